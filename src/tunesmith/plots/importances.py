"""How much each parameter mattered, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.errors import TuneError
from tunesmith.plots.axes import round_ticks
from tunesmith.plots.figure import (
    BLACK,
    BLUE,
    GREY,
    LIGHT,
    SKY,
    counted,
    empty_figure,
    escape,
    graph_objects,
    make_figure,
    reader_of,
    status_note,
    told_apart,
)
from tunesmith.space import Space

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from tunesmith.analysis import ExperimentAnalysis
    from tunesmith.analysis.importance import Importance

_MAX_BARS = 20
_MAX_PAIRS = 3
_LEAST_PAIR = 0.02  #: share of a pair that is shown


def importance(
    result: ExperimentAnalysis,
    metric: str | None = None,
    mode: str | None = None,
    *,
    step: int | None = None,
    space: Mapping[str, Any] | Space | None = None,
) -> Figure:
    """How much of the objective's variance each parameter explains: which are worth tuning?

    Bars are shares by functional ANOVA, lines their standard deviation over models of resampled trials. Up to three
    pairs follow that explain 2 % or more together, beyond what each does alone. The numbers are
    `result.importance().shares`. Bars are grey where the model predicts unseen trials no better than chance.

    Args: metric, mode, step, space: as in `ExperimentAnalysis.importance`, which says how they are computed.
    Raises: ConfigError for an unknown metric, with those there are; ImportError without plotly.
    """
    reader = reader_of(result)
    title = "Importance of parameters"
    try:
        found = result.importance(metric, mode, step=step, space=space)
    except TuneError as error:
        return empty_figure(title, str(error))
    figure = make_figure(title, [*_notes(found, step), *status_note(reader)])
    bars = _add_bars(figure, found)
    longest = max((bar.share + bar.error for bar in bars), default=0.0)
    end = 1.05 * longest or 1.0
    ticks = round_ticks(0.0, end, 8)
    figure.update_layout(
        xaxis={
            "title": {"text": "share of the variance explained"},
            "range": [0.0, end],
            "tickvals": ticks,
            "ticktext": [f"{100 * tick:.6g}%" for tick in ticks],
        },
        # By number: two names may read the same once they are shortened.
        yaxis={
            "range": [len(bars) - 0.5, -0.5],
            "tickvals": list(range(len(bars))),
            "ticktext": [escape(bar.label) for bar in bars],
            "showgrid": False,
            "ticks": "",
        },
        height=max(320, 180 + 26 * len(bars)),
        bargap=0.3,
        legend={"traceorder": "normal"},
    )
    return figure


class _Bar(NamedTuple):
    name: str  #: in full, for hovering
    label: str
    share: float
    error: float = 0.0


def _notes(found: Importance, step: int | None) -> list[str]:
    notes = [f"share of the variance of {found.metric}", counted(found.n_trials, "trial")]
    if step is not None:
        notes.append(f"at step {step}")
    if found.n_diverged:
        notes.append(f"{found.n_diverged:,} of them failed or diverged and count as the worst")
    if found.n_left_out:
        notes.append(f"{found.n_left_out:,} left out")
    if len(found.shares) > _MAX_BARS:
        notes.append(f"the first {_MAX_BARS} of {len(found.shares)} parameters")
    if found.is_telling:
        return [*notes, f"the model explains {found.fit:.0%} of the variance of unseen trials"]
    return [*notes, "no better than chance on unseen trials: do not read this"]


def _add_bars(figure: Figure, found: Importance) -> list[_Bar]:
    names = list(found.shares)[:_MAX_BARS]
    labels = told_apart(names, 40)
    mains = [
        _Bar(name, label, found.shares[name], found.errors[name]) for name, label in zip(names, labels, strict=True)
    ]
    telling = [pair for pair, share in found.pairs.items() if share >= _LEAST_PAIR][:_MAX_PAIRS]
    short = dict(zip(found.shares, told_apart(list(found.shares), 18), strict=True))
    pairs = [_Bar(f"{a} with {b}", f"{short[a]} with {short[b]}", found.pairs[a, b]) for a, b in telling]
    blue, sky = (BLUE, SKY) if found.is_telling else (GREY, LIGHT)
    _add(figure, "one parameter", mains, first=0, colour=blue)
    if pairs:
        _add(figure, "two together, beyond their own", pairs, first=len(mains), colour=sky)
    return [*mains, *pairs]


def _add(figure: Figure, legend: str, bars: list[_Bar], *, first: int, colour: str) -> None:
    """Bars at the places from `first` on."""
    shares = [bar.share for bar in bars]
    texts = [f"{share:.1%}" if share >= 0.0005 else "0%" for share in shares]
    errors = {
        "type": "data", "symmetric": False, "array": [bar.error for bar in bars], "color": BLACK, "thickness": 1,
        "width": 3, "arrayminus": [min(bar.error, bar.share) for bar in bars],
    }  # fmt: skip
    figure.add_trace(
        graph_objects().Bar(
            orientation="h",
            name=legend,
            x=shares,
            y=list(range(first, first + len(bars))),
            error_x=errors if any(bar.error for bar in bars) else None,
            marker={"color": colour},
            customdata=[[escape(bar.name), text] for bar, text in zip(bars, texts, strict=True)],
            hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
    )
