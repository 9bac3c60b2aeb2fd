"""Learning curves of all trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.analysis.curves import Curve
from tunesmith.analysis.curves import learning_curves as curves_of
from tunesmith.analysis.history import trial_history
from tunesmith.analysis.metric_choice import ChosenMetric, check_metric, choose_metric
from tunesmith.analysis.survival import rungs_of
from tunesmith.errors import ConfigError
from tunesmith.plots.axes import count_axis, duration_axis, tick_text, value_axis
from tunesmith.plots.figure import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    counted,
    empty_figure,
    escape,
    graph_objects,
    make_figure,
    reader_of,
    status_note,
    why_empty,
)
from tunesmith.plots.thinning import best_and_spread, thin_line
from tunesmith.stores import Reader
from tunesmith.trial import Mode, TrialStatus

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from tunesmith.analysis import ExperimentAnalysis

_MAX_CURVES = 200
_MAX_POINTS = 20_000  #: of all curves together
#: How curves are drawn, the last ones on top: name, states, colour, opacity, symbol at the end.
_KINDS: tuple[tuple[str, tuple[TrialStatus, ...], str, float, str], ...] = (
    ("stopped", (TrialStatus.STOPPED,), ORANGE, 0.55, "circle"),
    ("interrupted", (TrialStatus.INTERRUPTED,), GREY, 0.6, "circle"),
    ("paused", (TrialStatus.PAUSED, TrialStatus.PENDING), PURPLE, 0.6, "circle"),
    ("running", (TrialStatus.RUNNING,), GREEN, 0.9, "circle"),
    ("completed", (TrialStatus.COMPLETED,), BLUE, 0.75, "circle"),
    ("failed", (TrialStatus.FAILED, TrialStatus.INVALID), VERMILION, 0.8, "x"),
)


def learning_curves(
    result: ExperimentAnalysis, metric: str | None = None, mode: str | None = None, *, over: str = "steps"
) -> Figure:
    """How each trial went: who was stopped where, and would it have come back?

    Stopped trials are faded, the best one is black, a cross is where one failed. Dotted lines are the rungs at which
    the scheduler decided. What is NaN or infinite leaves a gap. Of more than 200 trials, the best 100 and a spread of
    the others are drawn.

    Args:
        metric, mode: the experiment's own (the first of several) where left out.
        over: "steps", or "time" (each trial's training time).
    Raises: ConfigError for an unknown metric, with those there are; ImportError without plotly.
    """
    if over not in ("steps", "time"):
        raise ConfigError(f"over is {over!r}. Give steps or time.")
    reader = reader_of(result)
    chosen = _chosen(reader, metric, mode)
    title = f"Learning curves: {chosen.name}"
    every = curves_of(reader, chosen)
    known = [curve for curve in every if np.isfinite(curve.value).any()]
    if not known:
        return empty_figure(title, why_empty(reader, chosen.name))
    best = _best_trial(reader, chosen, metric)
    losses = np.array([np.nanmin(chosen.mode.as_loss(1.0) * curve.value) for curve in known])
    kept = set(best_and_spread(losses, _MAX_CURVES).tolist())
    shown = [curve for i, curve in enumerate(known) if i in kept or curve.trial == best]
    unit_s, label = _budget(shown, over)
    axis = value_axis(np.concatenate([curve.value for curve in shown]), chosen.mode)
    levels = _rung_levels(reader, over)
    rungs = [f"rungs at {', '.join(map(tick_text, levels))}"] if levels else []
    figure = make_figure(title, [*_notes(every, known, shown), *rungs, *axis.notes, *status_note(reader)])
    for trace in _traces(shown, chosen.name, best=best, unit_s=unit_s, label=label):
        figure.add_trace(trace)
    top = max(float(_x(curve, unit_s)[-1]) for curve in shown)
    x_axis = count_axis(0, top) if unit_s is None else {"range": [-0.02 * top, 1.02 * top]}
    figure.update_layout(
        xaxis={"title": {"text": label}, **x_axis}, yaxis={"title": {"text": escape(chosen.name)}, **axis.layout}
    )
    for level in levels:
        look = {"color": GREY, "width": 1, "dash": "dot"}
        figure.add_vline(x=level / (unit_s or 1.0), line=look, layer="below")
    return figure


def _chosen(reader: Reader, metric: str | None, mode: str | None) -> ChosenMetric:
    """A metric without a mode can be drawn too: then no end of the axis is the bad one."""
    own = reader.spec.objective
    if metric is not None and mode is None and (own is None or metric not in own.metrics):
        return ChosenMetric(check_metric(reader, metric), Mode.MIN)
    return choose_metric(reader, metric, mode)


def _best_trial(reader: Reader, chosen: ChosenMetric, metric: str | None) -> int | None:
    """By the experiment's own objective, whatever is drawn; None where it has none."""
    if reader.spec.objective is not None:
        chosen = choose_metric(reader)
    elif metric is None:
        return None
    history = trial_history(reader, chosen)
    losses = np.where(history.is_candidate, chosen.mode.as_loss(1.0) * history.value, np.nan)
    return int(history.trial[np.nanargmin(losses)]) if np.isfinite(losses).any() else None


def _notes(every: Sequence[Curve], known: Sequence[Curve], shown: Sequence[Curve]) -> list[str]:
    notes = [counted(len(known), "trial")]
    if len(shown) < len(known):
        n_best = _MAX_CURVES // 2
        notes = [f"{len(shown)} of {len(known):,} trials: the best {n_best} and a spread of the others"]
    n_gaps = sum(bool(np.isnan(curve.value).any()) for curve in every)
    if n_gaps:
        notes.append(f"{counted(n_gaps, 'trial')} with NaN, infinite or missing values")
    return notes


def _budget(curves: Sequence[Curve], over: str) -> tuple[float | None, str]:
    """By what training seconds are divided, None for steps; and the title of the axis."""
    if over == "steps":
        return None, "training_iteration"
    unit_s, unit = duration_axis(max(float(curve.time_s[-1]) for curve in curves))
    return unit_s, f"training time ({unit})"


def _x(curve: Curve, unit_s: float | None) -> Any:
    return curve.step.astype(float) if unit_s is None else curve.time_s / unit_s


def _traces(curves: Sequence[Curve], name: str, *, best: int | None, unit_s: float | None, label: str) -> list[Any]:
    """One trace for each kind of trial, its curves parted by gaps, and one for the ends."""
    hover = f"trial %{{customdata}}<br>{label} %{{x:.6g}}<br>{escape(name)} %{{y:.6g}}<extra></extra>"
    limit = max(12, _MAX_POINTS // len(curves))
    traces = []
    for kind, states, colour, opacity, symbol in _KINDS:
        mine = [curve for curve in curves if curve.state in states and curve.trial != best]
        if mine:
            faint = opacity * (1.0 if len(mine) <= 30 else 0.7 if len(mine) <= 100 else 0.5)
            look = {"name": kind, "opacity": faint, "legendgroup": kind}
            traces += _lines(
                mine, look, colour=colour, symbol=symbol, width=1.2, unit_s=unit_s, limit=limit, hover=hover
            )
    mine = [curve for curve in curves if curve.trial == best]
    if mine:
        look = {"name": f"best (trial {best})", "legendgroup": "best"}
        traces += _lines(mine, look, colour=BLACK, symbol="circle", width=2.5, unit_s=unit_s, limit=500, hover=hover)
    return traces


def _lines(
    curves: Sequence[Curve], look: dict[str, Any], *, colour: str, symbol: str, width: float, unit_s: float | None,
    limit: int, hover: str,
) -> list[Any]:  # fmt: skip
    go = graph_objects()
    xs: list[Any] = []
    ys: list[Any] = []
    trials: list[Any] = []
    ends = []
    for curve in curves:
        kept = thin_line(curve.value, limit)
        x = _x(curve, unit_s)
        xs += [x[kept], [np.nan]]
        ys += [curve.value[kept], [np.nan]]
        trials += [np.full(len(kept) + 1, curve.trial)]
        last = np.flatnonzero(np.isfinite(curve.value))[-1]
        ends.append((x[last], curve.value[last], curve.trial))
    end_x, end_y, end_trial = zip(*ends, strict=True)
    line = go.Scatter(
        x=np.concatenate(xs),
        y=np.concatenate(ys),
        customdata=np.concatenate(trials),
        mode="lines",
        line={"color": colour, "width": width},
        hovertemplate=hover,
        **look,
    )
    end = go.Scatter(
        x=end_x,
        y=end_y,
        customdata=end_trial,
        mode="markers",
        marker={"color": colour, "size": 6 if symbol == "x" else 4.5, "symbol": symbol},
        hovertemplate=hover,
        showlegend=False,
        **look,
    )
    return [line, end]


def _rung_levels(reader: Reader, over: str) -> tuple[float, ...]:
    """The rungs that lie on the axis drawn."""
    rungs = rungs_of(reader)
    is_shown = rungs is not None and rungs.time_attr == {"steps": "training_iteration", "time": "time_total_s"}[over]
    return rungs.levels if rungs is not None and is_shown else ()
