"""The objective against each parameter by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.plots.axes import ValueAxis, value_axis
from tunesmith.plots.figure import (
    GREY,
    LIGHT,
    SCALE,
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
from tunesmith.plots.parameter_axes import Trials, chosen_parameters, jittered, parameter_layout, trials_of, value_texts
from tunesmith.plots.thinning import best_and_spread

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from tunesmith.analysis import ExperimentAnalysis
    from tunesmith.analysis.parameters import Parameter

MAX_PANELS = 12
_MAX_POINTS = 2000  #: in each panel


def slices(
    result: ExperimentAnalysis,
    metric: str | None = None,
    mode: str | None = None,
    *,
    params: Sequence[str] | None = None,
) -> Figure:
    """Where in each parameter's range the good values lie, and whether the range was wide enough.

    Each dot is a trial at its best value, the later the lighter, hollow unless it was completed and keeps the
    constraints; a trial in which a parameter takes no part is not in its panel. Crosses at the lower edge failed
    without a value. Parameters that the space draws on a logarithmic scale have one here.

    Args:
        metric, mode: the experiment's own (the first of several) where left out.
        params: names, `optimizer/momentum`; the first 12 of the space where left out.
    Raises: ConfigError for an unknown metric or parameter, with those there are; ImportError without plotly.
    """
    reader = reader_of(result)
    trials = trials_of(reader, metric, mode)
    name = trials.chosen.name
    title = f"{name} by parameter"
    parameters, notes = chosen_parameters(trials.table, params, MAX_PANELS)
    if not parameters:
        return empty_figure(title, "Nothing varies in the space.")
    if not np.isfinite(trials.value).any():
        return empty_figure(title, why_empty(reader, name))
    axis = value_axis(trials.value, trials.chosen.mode, has_rug=bool(trials.is_failed.any()))
    known = np.flatnonzero(np.isfinite(trials.value))
    shown = known[best_and_spread(trials.losses[known], _MAX_POINTS)]
    n = len(known)
    first = [counted(n, "trial") if len(shown) == n else f"{len(shown):,} of {n:,} trials"]
    first += without_value(trials.value, trials.is_failed)
    figure = make_figure(title, [*first, *_hollow(trials, known), *notes, *axis.notes, *status_note(reader)])
    _panels(figure, trials, parameters, axis=axis, shown=shown)
    return figure


def _hollow(trials: Trials, known: np.ndarray) -> list[str]:
    """What hollow dots mean, where there are any."""
    why = [] if trials.is_completed[known].all() else ["not trained to the end"]
    why += [] if trials.is_feasible[known].all() else ["breaks a constraint"]
    return [f"hollow: {' or '.join(why)}"] if why else []


def _panels(
    figure: Figure, trials: Trials, parameters: Sequence[Parameter], *, axis: ValueAxis, shown: np.ndarray
) -> None:
    n_columns = min(len(parameters), 4)
    n_rows = -(-len(parameters) // n_columns)
    gap_x, gap_y = 0.045, 0.26 / max(n_rows, 1)
    width = (1.0 - gap_x * (n_columns - 1)) / n_columns
    height = (1.0 - gap_y * (n_rows - 1)) / n_rows
    for i, parameter in enumerate(parameters):
        row, column = divmod(i, n_columns)
        left, bottom = column * (width + gap_x), 1.0 - row * (height + gap_y) - height
        end = "" if i == 0 else str(i + 1)
        look = {"gridcolor": LIGHT, "linecolor": GREY, "zeroline": False, "ticks": "outside", "tickcolor": GREY}
        small = {"tickfont": {"size": 11}, "title": {"font": {"size": 12}, "standoff": 4}}
        x_axis = parameter_layout(parameter, parameter.values[np.isfinite(trials.value)], max_ticks=4)
        x_axis["title"] = {**x_axis["title"], "font": {"size": 12}, "standoff": 4}
        y_axis = {**axis.layout, "domain": [max(bottom, 0.0), bottom + height], "anchor": f"x{end}"}
        if column:
            y_axis["showticklabels"] = False
        else:
            y_axis["title"] = {"text": escape(trials.chosen.name), "font": {"size": 12}, "standoff": 4}
        figure.update_layout(
            {
                f"xaxis{end}": {**look, **small, **x_axis, "domain": [left, left + width], "anchor": f"y{end}"},
                f"yaxis{end}": {**look, **small, **y_axis, "matches": "y" if i else None},
            }
        )
        _dots(figure, trials, parameter, end=end, shown=shown, axis=axis)
    figure.update_layout(showlegend=False, margin={"b": 56}, height=max(380, 120 + 230 * n_rows))


def _dots(
    figure: Figure, trials: Trials, parameter: Parameter, *, end: str, shown: np.ndarray, axis: ValueAxis
) -> None:
    go = graph_objects()
    x = jittered(parameter, parameter.values, trials.trial)
    at = shown[np.isfinite(x[shown])]
    is_solid = trials.is_completed[at] & trials.is_feasible[at]
    name = escape(parameter.name)
    n = len(shown)
    marker = {
        "symbol": np.where(is_solid, "circle", "circle-open"),
        "color": trials.trial[at],
        "colorscale": list(SCALE),
        "cmin": 0,
        "cmax": max(int(trials.trial.max()), 1),
        "size": 7 if n <= 100 else 5 if n <= 500 else 3.5,
        "opacity": 0.8 if n <= 500 else 0.55,
        "line": {"width": np.where(is_solid, 0.0, 1.2)},
        "showscale": end == "",
        "colorbar": {"title": {"text": "trial", "font": {"size": 12}}, "thickness": 12, "len": 0.6, "outlinewidth": 0},
    }
    figure.add_trace(
        go.Scatter(
            x=x[at],
            y=trials.value[at],
            customdata=trials.trial[at],
            mode="markers",
            marker=marker,
            xaxis=f"x{end}",
            yaxis=f"y{end}",
            text=None if parameter.options is None else value_texts(parameter, at),
            hovertemplate=f"trial %{{customdata}}<br>{name} %{{{'x:.6g' if parameter.options is None else 'text'}}}<br>"
            f"{escape(trials.chosen.name)} %{{y:.6g}}<extra></extra>",
        )
    )
    failed = np.flatnonzero(trials.is_failed & np.isfinite(x))
    if len(failed):
        figure.add_trace(
            go.Scatter(
                x=x[failed],
                y=np.full(len(failed), axis.at(0.02)),
                customdata=trials.trial[failed],
                mode="markers",
                marker={"symbol": "x-thin", "size": 6, "line": {"color": VERMILION, "width": 1.3}},
                xaxis=f"x{end}",
                yaxis=f"y{end}",
                hovertemplate="trial %{customdata} failed<extra></extra>",
            )
        )
