"""The best value so far, over trials, reports or time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.analysis.history import BestSoFar, TrialHistory, trial_history
from tunesmith.analysis.history import best_so_far as best_over_budget
from tunesmith.analysis.metric_choice import ChosenMetric, choose_metric
from tunesmith.errors import ConfigError
from tunesmith.plots.axes import ValueAxis, count_axis, duration_axis, value_axis
from tunesmith.plots.figure import (
    BLUE,
    GREY,
    VERMILION,
    counted,
    empty_figure,
    escape,
    graph_objects,
    make_figure,
    reader_of,
    status_note,
    why_empty,
    without_value,
)
from tunesmith.stores import Reader
from tunesmith.trial import TrialStatus

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from tunesmith.analysis import ExperimentAnalysis

BUDGETS = ("trials", "steps", "time")
_FAILED = (TrialStatus.FAILED, TrialStatus.INVALID)


def best_so_far(
    result: ExperimentAnalysis, metric: str | None = None, mode: str | None = None, *, over: str = "trials"
) -> Figure:
    """How good the best was, and when: does the search still pay?

    Over trials, each is a dot at its best value, in the order in which they were proposed; failed ones are crosses at
    the lower edge. Over steps and time each dot is an improvement.

    Args:
        metric, mode: the experiment's own (the first of several) where left out.
        over: "trials", "steps" (reports of all trials together), or "time" (while the experiment was at work).
    Raises: ConfigError for an unknown metric, with those there are; ImportError without plotly.
    """
    if over not in BUDGETS:
        raise ConfigError(f"over is {over!r}. Give one of {', '.join(BUDGETS)}.")
    reader = reader_of(result)
    chosen = choose_metric(reader, metric, mode)
    title = f"Best {chosen.name} so far"
    history = trial_history(reader, chosen)
    if not np.isfinite(history.value).any():
        return empty_figure(title, why_empty(reader, chosen.name))
    if over == "trials":
        return _over_trials(reader, chosen, history, title)
    return _over_budget(reader, chosen, best_over_budget(reader, chosen), title, over)


def metric_notes(chosen: ChosenMetric) -> list[str]:
    """Which metric of several it is, and what bounds it is under; for the subtitle."""
    notes = [f"first of {chosen.n_objectives} objectives, metric= chooses"] if chosen.n_objectives > 1 else []
    if chosen.constraints:
        notes.append("of those with " + " and ".join(map(str, chosen.constraints)))
    return notes


def _over_trials(reader: Reader, chosen: ChosenMetric, history: TrialHistory, title: str) -> Figure:
    go = graph_objects()
    is_failed = np.array([state in _FAILED for state in history.state])
    axis = value_axis(history.value, chosen.mode, has_rug=bool(is_failed.any()))
    notes = [counted(len(history.trial), "trial"), *without_value(history.value, is_failed), *metric_notes(chosen)]
    figure = make_figure(title, [*notes, *axis.notes, *status_note(reader)])
    name = escape(chosen.name)
    for trace in _dots(history, name):
        figure.add_trace(trace)
    figure.add_trace(
        go.Scatter(
            x=history.trial,
            y=history.best,
            mode="lines",
            name="best so far",
            line={"color": BLUE, "width": 2.5, "shape": "hv"},
            hovertemplate=f"after trial %{{x}}<br>best {name} %{{y:.6g}}<extra></extra>",
        )
    )
    if is_failed.any():
        figure.add_trace(_crosses(history.trial[is_failed], axis))
    figure.update_layout(
        xaxis={"title": {"text": "trial"}, **count_axis(0, int(history.trial.max()))},
        yaxis={"title": {"text": name}, **axis.layout},
    )
    return figure


def _dots(history: TrialHistory, name: str) -> list[Any]:
    """The trials; hollow are those that cannot be the best."""
    is_known = np.isfinite(history.value)
    kinds = (
        ("breaks a constraint", ~history.is_feasible, "circle-open"),
        ("fewer folds", history.is_feasible & ~history.is_candidate, "circle-open"),
        ("trial", history.is_candidate, "circle"),
    )
    return [
        graph_objects().Scatter(
            x=history.trial[at],
            y=history.value[at],
            mode="markers",
            name=kind,
            marker={"color": GREY, "size": _dot_size(len(history.trial)), "opacity": 0.65, "symbol": symbol},
            hovertemplate=f"trial %{{x}}<br>{name} %{{y:.6g}}<extra></extra>",
        )
        for kind, which, symbol in kinds
        if len(at := np.flatnonzero(which & is_known))
    ]


def _over_budget(reader: Reader, chosen: ChosenMetric, best: BestSoFar, title: str, over: str) -> Figure:
    go = graph_objects()
    if len(best.value) == 0:
        return empty_figure(title, "No report keeps the constraints.")
    x, label = budget_axis(best, over)
    hover = f"{label} %{{x:.6g}}<br>{escape(chosen.name)} %{{y:.6g}}<br>trial %{{customdata}}<extra></extra>"
    axis = value_axis(best.value, chosen.mode)
    notes = [f"{counted(int(best.n_trials[-1]), 'trial')}, {counted(int(best.n_steps[-1]), 'report')}"]
    figure = make_figure(title, [*notes, *metric_notes(chosen), *axis.notes, *status_note(reader)])
    figure.add_trace(
        go.Scatter(
            x=x,
            y=best.value,
            customdata=best.trial,
            mode="lines+markers",
            line={"color": BLUE, "width": 2.5, "shape": "hv"},
            marker={"size": [6] * (len(x) - 1) + [0]},
            hovertemplate=hover,
            showlegend=False,
        )
    )
    figure.update_layout(
        margin={"b": 56},
        xaxis={"title": {"text": label}, "range": [-0.02 * float(x[-1]), 1.02 * float(x[-1])]},
        yaxis={"title": {"text": escape(chosen.name)}, **axis.layout},
    )
    return figure


def budget_axis(best: BestSoFar, over: str) -> tuple[Any, str]:
    """What was spent at each improvement, and the title of its axis."""
    if over == "trials":
        return best.n_trials, "trials that reported"
    if over == "steps":
        return best.n_steps, "reports of all trials"
    unit_s, unit = duration_axis(float(best.time_s[-1]))
    return best.time_s / unit_s, f"time at work ({unit})"


def _crosses(trials: Any, axis: ValueAxis) -> Any:
    return graph_objects().Scatter(
        x=trials,
        y=np.full(len(trials), axis.at(0.02)),
        mode="markers",
        name="failed",
        marker={"color": VERMILION, "size": 7, "symbol": "x-thin", "line": {"color": VERMILION, "width": 1.5}},
        hovertemplate="trial %{x} failed<extra></extra>",
        cliponaxis=False,
    )


def _dot_size(n: int) -> float:
    return 8.0 if n <= 50 else 6.0 if n <= 500 else 3.5
