"""The objective over two parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.analysis.metric_choice import ChosenMetric
from tunesmith.analysis.parameters import Parameter
from tunesmith.analysis.response import Response, response
from tunesmith.errors import ConfigError, TuneError
from tunesmith.plots.axes import ValueAxis, log_ticks, value_axis
from tunesmith.plots.figure import (
    counted,
    empty_figure,
    escape,
    graph_objects,
    make_figure,
    reader_of,
    shortened,
    status_note,
    why_empty,
    without_value,
)
from tunesmith.plots.parameter_axes import Trials, jittered, parameter_layout, trials_of, value_texts
from tunesmith.plots.thinning import best_and_spread
from tunesmith.space import Space, label
from tunesmith.trial import Mode

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from tunesmith.analysis import ExperimentAnalysis

_MAX_POINTS = 1000
_N_CONTOURS = 16


def contour(
    result: ExperimentAnalysis,
    x: str | None = None,
    y: str | None = None,
    metric: str | None = None,
    mode: str | None = None,
    *,
    space: Mapping[str, Any] | Space | None = None,
) -> Figure:
    """What to expect for each pair of values of two parameters, the others as the space draws them.

    The colour is the mean of a forest fitted to all trials, those that failed or reported only NaN at the worst value
    of the others; dots are trials, in the colour of what they reached. With fewer than 5 trials only these are drawn.
    Both share one scale, logarithmic where small values are good and span a lot; the darker the better.

    Args:
        x, y: names of parameters; the two that explain most where left out (see `ExperimentAnalysis.importance`).
        metric, mode: the experiment's own (the first of several) where left out.
        space: as given to `run`, where its constraints or what `sample_from` draws should count.
    Raises: ConfigError for an unknown metric or parameter, or one and the same twice; ImportError without plotly.
    """
    reader = reader_of(result)
    trials = trials_of(reader, metric, mode)
    chosen = trials.chosen
    given = [trials.table.named(name) for name in (x, y) if name is not None]
    if len(given) == 2 and given[0] is given[1]:
        raise ConfigError(f"x and y are both {x!r}. Give two parameters.")
    if len(trials.table.parameters) < 2:
        return empty_figure(chosen.name, "Fewer than two parameters vary in the space; plots.slices shows one.")
    if not np.isfinite(trials.value).any():
        return empty_figure(chosen.name, why_empty(reader, chosen.name))
    by_x, by_y = _pair(result, trials, x, y, metric=metric, space=space)
    is_part = np.isfinite(by_x.values) & np.isfinite(by_y.values)
    is_known = np.isfinite(trials.value) & is_part
    axis = value_axis(trials.value[is_known], chosen.mode)
    surface, notes = _surface(result, chosen, (by_x, by_y), space=space)
    n_apart = int((np.isfinite(trials.value) & ~is_part).sum())
    apart = [f"in {n_apart:,} others one of the two takes no part"] if n_apart else []
    notes = [counted(int(is_known.sum()), "trial"), *apart, *without_value(trials.value), *notes]
    figure = make_figure(f"{chosen.name} over {by_x.name} and {by_y.name}", [*notes, *axis.notes, *status_note(reader)])
    colours = _colours(axis, chosen.mode, chosen.name)
    if surface is not None:
        _add_surface(figure, surface, (by_x, by_y), axis=axis, colours=colours)
    _add_dots(figure, trials, (by_x, by_y), is_known=is_known, axis=axis, colours=colours)
    x_axis, y_axis = (_layout(parameter, is_known, surface, i) for i, parameter in enumerate((by_x, by_y)))
    figure.update_layout(xaxis=x_axis, yaxis=y_axis)
    figure.update_layout(coloraxis=colours, showlegend=False, margin={"b": 56})
    return figure


def _surface(
    result: ExperimentAnalysis, chosen: ChosenMetric, by: tuple[Parameter, Parameter], *, space: Any
) -> tuple[Response | None, list[str]]:
    """The surface, if there is one, and what is to be said of it."""
    try:
        surface = response(result, chosen, (by[0].path, by[1].path), space=space)
    except TuneError as error:
        return None, [str(error)]
    n = surface.n_diverged
    return surface, [f"in the surface {n:,} that failed or diverged count as the worst"] if n else []


def _pair(
    result: ExperimentAnalysis, trials: Trials, x: str | None, y: str | None, *, metric: str | None, space: Any
) -> tuple[Parameter, Parameter]:
    """The parameters named, completed by the most important ones; by the first of the space with too few trials."""
    ranked = [parameter.name for parameter in trials.table.parameters]
    if x is None or y is None:
        try:
            ranked = list(result.importance(metric, trials.chosen.mode.value, space=space).shares)
        except TuneError:
            pass
    given = {trials.table.named(name).name for name in (x, y) if name is not None}
    others = [name for name in ranked if name not in given]
    by_x = trials.table.named(x if x is not None else others.pop(0))
    return by_x, trials.table.named(y if y is not None else others.pop(0))


def _colours(axis: ValueAxis, mode: Mode, name: str) -> dict[str, Any]:
    bar: dict[str, Any] = {
        "thickness": 14,
        "outlinewidth": 0,
        "title": {"text": escape(shortened(name, 14)), "font": {"size": 13}},
    }
    if axis.is_log and (ticks := log_ticks(axis.low, axis.high)):
        bar |= {"tickvals": np.log10(ticks["tickvals"]), "ticktext": ticks["ticktext"]}
    return {
        "colorscale": "Viridis",
        "reversescale": mode is Mode.MAX,
        "cmin": axis.low,
        "cmax": axis.high,
        "colorbar": bar,
    }


def _scaled(values: Any, axis: ValueAxis) -> Any:
    if not axis.is_log:
        return np.clip(values, axis.low, axis.high)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(np.log10(values), axis.low, axis.high)


def axis_places(parameter: Parameter, values: tuple[Any, ...]) -> list[float]:
    """Where values of a config lie on the parameter's axis."""
    if parameter.options is None:
        return [float(value) for value in values]
    names = [label(value) for value in values]
    if set(names) <= set(parameter.options):
        return [float(parameter.options.index(name)) for name in names]
    return [float(i) for i in range(len(values))]


def _add_surface(
    figure: Figure, surface: Response, by: tuple[Parameter, Parameter], *, axis: ValueAxis, colours: dict[str, Any]
) -> None:
    go = graph_objects()
    x, y = axis_places(by[0], surface.x), axis_places(by[1], surface.y)
    z = _scaled(surface.mean, axis)[np.argsort(y, kind="stable")][:, np.argsort(x, kind="stable")]
    # Not on the shared colour axis: with one, plotly.js 3 never ends drawing filled contours.
    scale = {"colorscale": colours["colorscale"], "reversescale": colours["reversescale"], "showscale": False}
    facts = {"x": sorted(x), "y": sorted(y), "z": z, **scale, "zmin": axis.low, "zmax": axis.high, "hoverinfo": "skip"}
    if any(parameter.options is not None for parameter in by):
        figure.add_trace(go.Heatmap(**facts, opacity=0.85))
    else:
        size = (axis.high - axis.low) / _N_CONTOURS
        levels = {"coloring": "fill", "start": axis.low + size, "end": axis.high - size, "size": size}
        figure.add_trace(go.Contour(**facts, contours=levels, line={"width": 0.4, "color": "white"}, opacity=0.85))


def _add_dots(
    figure: Figure,
    trials: Trials,
    by: tuple[Parameter, Parameter],
    *,
    is_known: Any,
    axis: ValueAxis,
    colours: dict[str, Any],
) -> None:
    known = np.flatnonzero(is_known)
    at = known[best_and_spread(trials.losses[known], _MAX_POINTS)]
    x, y = (jittered(parameter, parameter.values, trials.trial * (1 + i))[at] for i, parameter in enumerate(by))
    texts = zip(*(value_texts(parameter, at) for parameter in by), strict=True)
    names = [escape(parameter.name) for parameter in by]
    figure.add_trace(
        graph_objects().Scatter(
            x=x,
            y=y,
            customdata=np.stack([trials.trial[at], trials.value[at]], axis=1),
            mode="markers",
            cliponaxis=False,
            marker={
                "color": _scaled(trials.value[at], axis),
                "coloraxis": "coloraxis",
                "size": 9 if len(at) <= 100 else 6 if len(at) <= 400 else 4,
                "line": {"color": "white", "width": 1.0 if len(at) <= 400 else 0.5},
            },
            text=[f"{names[0]} {x_text}<br>{names[1]} {y_text}" for x_text, y_text in texts],
            hovertemplate="trial %{customdata[0]}<br>%{text}<br>"
            f"{escape(trials.chosen.name)} %{{customdata[1]:.6g}}<extra></extra>",
        )
    )


def _layout(parameter: Parameter, is_known: Any, surface: Response | None, i: int) -> dict[str, Any]:
    """The axis of all that is drawn; of numbers it ends where the surface does."""
    values = parameter.values[is_known]
    if surface is None or parameter.options is not None:
        return parameter_layout(parameter, values)
    places = axis_places(parameter, (surface.x, surface.y)[i])
    layout = parameter_layout(parameter, np.concatenate([values, places]))
    ends = np.array([min(places), max(places)])
    is_log = layout.get("type") == "log"
    has_length = ends[1] > ends[0]
    ends = np.log10(ends) if is_log else ends
    room = 1e-6 * (ends[1] - ends[0])  # else a dot on the very edge may be taken to lie outside
    return {**layout, "range": [float(ends[0] - room), float(ends[1] + room)]} if has_length else layout
