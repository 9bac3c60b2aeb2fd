"""How much each parameter mattered, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunesmith.errors import TuneError
from tunesmith.plots.figure import (
    BLACK,
    BLUE,
    SKY,
    counted,
    empty_figure,
    escape,
    graph_objects,
    make_figure,
    reader_of,
    shortened,
    status_note,
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
    `result.importance().shares`.

    Args: metric, mode, step, space: as in `ExperimentAnalysis.importance`, which says how they are computed.
    Raises: ConfigError for an unknown metric, with those there are; ImportError without plotly.
    """
    reader = reader_of(result)
    title = "Importance of parameters"
    try:
        found = result.importance(metric, mode, step=step, space=space)
    except TuneError as error:
        return empty_figure(title, str(error))
    notes = [f"share of the variance of {found.metric}", counted(found.n_trials, "trial")]
    if step is not None:
        notes.append(f"at step {step}")
    if found.n_left_out:
        notes.append(f"{found.n_left_out:,} left out")
    if len(found.shares) > _MAX_BARS:
        notes.append(f"the first {_MAX_BARS} of {len(found.shares)} parameters")
    figure = make_figure(title, [*notes, *status_note(reader)])
    n_bars = _add_bars(figure, found)
    longest = max(share + found.errors[name] for name, share in found.shares.items())
    figure.update_layout(
        xaxis={
            "title": {"text": "share of the variance explained"},
            "range": [0.0, 1.05 * longest or 1.0],
            "tickformat": ".0%",
        },
        yaxis={"autorange": "reversed", "showgrid": False, "ticks": ""},
        height=max(320, 180 + 26 * n_bars),
        bargap=0.3,
        legend={"traceorder": "normal"},
    )
    return figure


def _add_bars(figure: Figure, found: Importance) -> int:
    names = list(found.shares)[:_MAX_BARS]
    _add(figure, "one parameter", names, [found.shares[n] for n in names], [found.errors[n] for n in names], BLUE)
    pairs = [(pair, share) for pair, share in found.pairs.items() if share >= _LEAST_PAIR][:_MAX_PAIRS]
    if pairs:
        labels = [f"{shortened(a, 18)} with {shortened(b, 18)}" for (a, b), _ in pairs]
        _add(figure, "two together, beyond their own", labels, [share for _, share in pairs], None, SKY)
    return len(names) + len(pairs)


def _add(
    figure: Figure, legend: str, names: list[str], shares: list[float], errors: list[float] | None, colour: str
) -> None:
    text = [f"{share:.1%}" if share >= 0.0005 else "0%" for share in shares]
    bars = None if errors is None else {
        "type": "data", "symmetric": False, "array": errors, "color": BLACK, "thickness": 1, "width": 3,
        "arrayminus": [min(pair) for pair in zip(errors, shares, strict=True)],
    }  # fmt: skip
    figure.add_trace(
        graph_objects().Bar(
            orientation="h",
            name=legend,
            x=shares,
            y=[escape(shortened(name, 40)) for name in names],
            error_x=bars,
            marker={"color": colour},
            customdata=text,
            hovertemplate="%{y}: %{customdata}<extra></extra>",
        )
    )
