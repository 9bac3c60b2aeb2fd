"""Several experiments on the axes of one budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.analysis.history import BestSoFar
from tunesmith.analysis.history import best_so_far as best_over_budget
from tunesmith.analysis.metric_choice import ChosenMetric, choose_metric
from tunesmith.errors import ConfigError
from tunesmith.plots.axes import duration_axis, value_axis
from tunesmith.plots.best import BUDGETS
from tunesmith.plots.figure import (
    SERIES,
    empty_figure,
    escape,
    graph_objects,
    make_figure,
    reader_of,
    shortened,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from plotly.graph_objects import Figure

    from tunesmith.analysis import ExperimentAnalysis

    Array = NDArray[np.float64]

_DASHES = ("solid", "dash", "dot", "dashdot")
_MAX_LEGEND = 24


def comparison(
    results: Mapping[str, ExperimentAnalysis] | Sequence[ExperimentAnalysis],
    metric: str | None = None,
    mode: str | None = None,
    *,
    over: str = "steps",
) -> Figure:
    """Which of several experiments found good values sooner, for the same budget.

    Each line ends, with a dot, where its experiment had spent all that it spent.

    Args:
        results: by name, or a list, named by their experiments.
        metric, mode: the first experiment's own where left out; all must have it.
        over: "trials", "steps" (reports of all trials together), or "time" (while the experiment was at work).
    Raises: ConfigError without results, for an unknown metric, or for modes that contradict each other; ImportError
        without plotly.
    """
    if over not in BUDGETS:
        raise ConfigError(f"over is {over!r}. Give one of {', '.join(BUDGETS)}.")
    named = _named(results)
    chosen = _chosen(named, metric, mode)
    title = f"Best {next(iter(chosen.values())).name} so far"
    found = {name: best_over_budget(result.reader, chosen[name]) for name, result in named.items()}
    known = {name: best for name, best in found.items() if len(best.value)}
    if not known:
        return empty_figure(title, "None of the experiments has reported a finite value.")
    notes = [f"{len(known)} experiments"] if len(known) > 1 else ["1 experiment"]
    if len(known) < len(found):
        notes.append(f"no finite value in {', '.join(name for name in found if name not in known)}")
    unit_s, label = _budget(known, over)
    axis = value_axis(np.concatenate([best.value for best in known.values()]), next(iter(chosen.values())).mode)
    figure = make_figure(title, [*notes, *axis.notes])
    longest = 0.0
    for i, (name, best) in enumerate(known.items()):
        x = _spent(best, over, unit_s)
        longest = max(longest, float(x[-1]))
        _add_line(figure, i, name, x=x, best=best, label=label)
    figure.update_layout(
        xaxis={"title": {"text": label}, "range": [-0.01 * longest, 1.02 * longest or 1.0]},
        yaxis={"title": {"text": escape(next(iter(chosen.values())).name)}, **axis.layout},
        legend={"traceorder": "normal"},
        showlegend=len(known) <= _MAX_LEGEND,
    )
    return figure


def _named(results: Mapping[str, ExperimentAnalysis] | Sequence[ExperimentAnalysis]) -> dict[str, ExperimentAnalysis]:
    if not isinstance(results, Mapping):
        listed = list(results) if isinstance(results, Sequence) else [results]
        names = [reader_of(result).spec.name for result in listed]
        results = {
            name if names.count(name) == 1 else f"{name} ({i + 1})": result
            for i, (name, result) in enumerate(zip(names, listed, strict=True))
        }
    if not results:
        raise ConfigError("There is nothing to compare. Give a list or a dict of results.")
    for result in results.values():
        reader_of(result)
    return {str(name): result for name, result in results.items()}


def _chosen(named: dict[str, ExperimentAnalysis], metric: str | None, mode: str | None) -> dict[str, ChosenMetric]:
    first = choose_metric(next(iter(named.values())).reader, metric, mode)
    chosen = {}
    for name, result in named.items():
        own = result.reader.spec.objective
        is_own = metric is None and own is not None and own.metric == first.name
        chosen[name] = choose_metric(
            result.reader, None if is_own else first.name, first.mode.value if mode is not None or not is_own else None
        )
        if chosen[name].mode is not first.mode:
            raise ConfigError(
                f"{first.name!r} is to be {first.mode.value} in one experiment and {chosen[name].mode.value} in "
                f"{name!r}. Give mode=."
            )
    return chosen


def _budget(known: dict[str, BestSoFar], over: str) -> tuple[float, str]:
    if over != "time":
        return 1.0, "trials that reported" if over == "trials" else "reports of all trials"
    unit_s, unit = duration_axis(max(float(best.time_s[-1]) for best in known.values()))
    return unit_s, f"time at work ({unit})"


def _spent(best: BestSoFar, over: str, unit_s: float) -> Array:
    columns = {"trials": best.n_trials, "steps": best.n_steps, "time": best.time_s}
    return np.asarray(columns[over] / unit_s, float)


def _add_line(figure: Figure, i: int, name: str, *, x: Array, best: BestSoFar, label: str) -> None:
    go = graph_objects()
    colour = SERIES[i % len(SERIES)]
    sizes = np.zeros(len(x))
    sizes[-1] = 8
    figure.add_trace(
        go.Scatter(
            x=x,
            y=best.value,
            customdata=best.trial,
            name=escape(shortened(name)),
            mode="lines+markers",
            line={"color": colour, "width": 2.2, "shape": "hv", "dash": _DASHES[i // len(SERIES) % len(_DASHES)]},
            marker={"size": sizes, "color": colour, "opacity": 1.0, "line": {"width": 0}},
            hovertemplate=f"{escape(name)}<br>{label} %{{x:.6g}}<br>%{{y:.6g}}, trial %{{customdata}}<extra></extra>",
        )
    )
