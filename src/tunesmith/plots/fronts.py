"""Two or three objectives against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.analysis.objective_values import ObjectiveValues, objective_values
from tunesmith.errors import ConfigError
from tunesmith.plots.axes import ValueAxis, round_ticks, tick_text, value_axis
from tunesmith.plots.figure import (
    BLUE,
    GREY,
    LIGHT,
    ORANGE,
    counted,
    empty_figure,
    escape,
    graph_objects,
    make_figure,
    reader_of,
    status_note,
    why_empty,
)
from tunesmith.plots.thinning import spread
from tunesmith.trial import Mode

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from tunesmith.analysis import ExperimentAnalysis

_MAX_POINTS = 2000


def pareto_front(
    result: ExperimentAnalysis, metrics: Sequence[str] | None = None, modes: Sequence[str] | None = None
) -> Figure:
    """What one objective costs in terms of the others: trials by their last reports, those on the front in blue.

    The line of two objectives bounds what some trial reached: nothing beyond it is known to be possible. Trials that
    break a constraint of the experiment are hollow and on no front.

    Args: metrics, modes: two or three; the experiment's own where left out.
    Raises: ConfigError for an unknown metric, with those there are, or another number of them; ImportError without
        plotly.
    """
    reader = reader_of(result)
    found = objective_values(reader, metrics, modes)
    if len(found.metrics) not in (2, 3):
        raise ConfigError(
            f"A front is drawn of 2 or 3 metrics, not of {len(found.metrics)} ({', '.join(found.metrics)}). "
            "Give metrics=[...] and modes=[...]."
        )
    title = f"Pareto front: {', '.join(found.metrics[:-1])} and {found.metrics[-1]}"
    if len(found.trial) == 0:
        return empty_figure(title, why_empty(reader, " and ".join(found.metrics)))
    notes = [f"{int(found.is_best.sum())} of {counted(len(found.trial), 'trial')} on the front"]
    if found.n_left_out:
        notes.append(f"{found.n_left_out:,} left out without finite values")
    axes = [value_axis(found.values[:, j], mode, has_all=True) for j, mode in enumerate(found.modes)]
    figure = make_figure(title, [*notes, *status_note(reader)])
    if len(found.metrics) == 2:
        _add_line(figure, found)
        words = [f"{escape(name)} ({mode.value})" for name, mode in zip(found.metrics, found.modes, strict=True)]
        figure.update_layout(
            xaxis={"title": {"text": words[0]}, **axes[0].layout}, yaxis={"title": {"text": words[1]}, **axes[1].layout}
        )
    else:
        look = {"gridcolor": LIGHT, "showbackground": False, "zeroline": False, "tickfont": {"size": 11}}
        scene = {
            f"{letter}axis": {
                **look,
                **axis.layout,
                **_even_ticks(axis),
                "title": {"text": escape(name), "font": {"size": 13}},
            }
            for letter, axis, name in zip("xyz", axes, found.metrics, strict=True)
        }
        eye = {"eye": {"x": 1.3, "y": 1.5, "z": 0.8}, "center": {"x": 0.0, "y": 0.0, "z": -0.15}}
        figure.update_layout(
            scene={**scene, "camera": eye, "aspectmode": "cube"}, margin={"l": 24, "r": 24, "t": 72, "b": 40}
        )
    for trace in _dots(found):
        figure.add_trace(trace)
    return figure


def _even_ticks(axis: ValueAxis) -> dict[str, Any]:
    """Ticks of a linear axis in space, of which plotly makes only one or two by itself."""
    if axis.is_log:
        return {}
    ticks = round_ticks(axis.low, axis.high, 6)
    return {"tickvals": ticks, "ticktext": [tick_text(tick) for tick in ticks]}


def _dots(found: ObjectiveValues) -> list[Any]:
    kinds = (
        ("breaks a constraint", ~found.is_feasible, GREY, "circle-open", 6),
        ("trial", found.is_feasible & ~found.is_best, GREY, "circle", 5),
        ("on the front", found.is_best, BLUE, "circle", 8),
    )
    go = graph_objects()
    names = [escape(name) for name in found.metrics]
    lines = [f"{name} %{{{letter}:.6g}}" for name, letter in zip(names, "xyz", strict=False)]
    traces = []
    for name, which, colour, symbol, size in kinds:
        at = np.flatnonzero(which)
        if name != "on the front":
            at = at[spread(len(at), _MAX_POINTS)]
        if len(at) == 0:
            continue
        is_flat = len(names) == 2
        make = go.Scatter if is_flat else go.Scatter3d
        places = dict(zip("xyz", found.values[at].T, strict=False))
        opacity = 1.0 if name == "on the front" else 0.55
        smaller = 1.0 if len(found.trial) <= 300 or name == "on the front" else 0.7
        shown = size * smaller if is_flat else size * smaller * 0.7
        traces.append(
            make(
                **places,
                customdata=found.trial[at],
                mode="markers",
                name=name,
                marker={"color": colour, "symbol": symbol, "size": shown, "opacity": opacity},
                hovertemplate="<br>".join(["trial %{customdata}", *lines]) + "<extra></extra>",
            )
        )
    return traces


def _add_line(figure: Figure, found: ObjectiveValues) -> None:
    """The bound of what the front dominates: steps whose corners lie on the worse side of both."""
    front = found.values[found.is_best]
    if len(front) < 2:
        return
    front = front[np.lexsort((front[:, 1], front[:, 0]))]
    # Of neighbours, the corner has the worse value of each metric; going along x the step comes first or last.
    shape = "hv" if found.modes[0] is Mode.MIN else "vh"
    figure.add_trace(
        graph_objects().Scatter(
            x=front[:, 0],
            y=front[:, 1],
            mode="lines",
            line={"color": ORANGE, "width": 1.5, "shape": shape},
            hoverinfo="skip",
            showlegend=False,
        )
    )
