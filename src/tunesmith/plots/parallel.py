"""All parameters side by side, one line a trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.analysis.parameters import Parameter
from tunesmith.plots.axes import ValueAxis, log_ticks, round_ticks, tick_text, value_axis
from tunesmith.plots.figure import (
    SCALE,
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
from tunesmith.plots.parameter_axes import Trials, chosen_parameters, trials_of
from tunesmith.plots.thinning import best_and_spread
from tunesmith.trial import Mode

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from plotly.graph_objects import Figure

    from tunesmith.analysis import ExperimentAnalysis

    Array = NDArray[np.float64]

MAX_AXES = 10
_MAX_LINES = 200
_NO_PART = "none"  #: what stands where a parameter takes no part


def parallel_coordinates(
    result: ExperimentAnalysis,
    metric: str | None = None,
    mode: str | None = None,
    *,
    params: Sequence[str] | None = None,
) -> Figure:
    """Which combinations of parameters the good trials share. Drag along an axis to keep only what passes there.

    Each line is a trial with a finite value, the darker the better. Where a parameter takes no part, the line passes
    below its axis at "none". Of more than 200 trials, the best 100 and a spread of the others are drawn.

    Args:
        metric, mode: the experiment's own (the first of several) where left out.
        params: names, `optimizer/momentum`; the first 10 of the space where left out.
    Raises: ConfigError for an unknown metric or parameter, with those there are; ImportError without plotly.
    """
    reader = reader_of(result)
    trials = trials_of(reader, metric, mode)
    chosen = trials.chosen
    title = f"Parallel coordinates: {chosen.name}"
    parameters, notes = chosen_parameters(trials.table, params, MAX_AXES)
    known = np.flatnonzero(np.isfinite(trials.value))
    if not parameters:
        return empty_figure(title, "Nothing varies in the space.")
    if len(known) == 0:
        return empty_figure(title, why_empty(reader, chosen.name))
    shown = known[best_and_spread(trials.losses[known], _MAX_LINES)]
    shown = shown[np.argsort(-trials.losses[shown], kind="stable")]  # the best are drawn last
    axis = value_axis(trials.value[shown], chosen.mode)
    first = counted(len(known), "trial")
    others = without_value(trials.value)
    if len(shown) < len(known):
        first = f"{len(shown)} of {len(known):,} trials: the best {_MAX_LINES // 2} and a spread of the others"
    figure = make_figure(title, [first, *others, *notes, *axis.notes, *status_note(reader)])
    figure.add_trace(_lines(trials, parameters, shown, axis))
    figure.update_layout(margin={"l": 72, "r": 40, "t": 132, "b": 36})
    return figure


def _lines(trials: Trials, parameters: Sequence[Parameter], shown: NDArray[np.int64], axis: ValueAxis) -> Any:
    chosen = trials.chosen
    value = trials.value[shown]
    place = np.clip(np.log10(value) if axis.is_log else value, axis.low, axis.high)
    labels = _labels(parameters)
    dimensions = [
        {"label": label, **_dimension(parameter, parameter.values[shown])}
        for label, parameter in zip(labels, parameters, strict=True)
    ]
    ticks = log_ticks(axis.low, axis.high) if axis.is_log else {}
    if ticks:
        ticks = {**ticks, "tickvals": np.log10(ticks["tickvals"])}
    objective = {"label": escape(shortened(chosen.name, 18)), "values": place, "range": [axis.low, axis.high], **ticks}
    return graph_objects().Parcoords(
        dimensions=[*dimensions, objective],
        line={
            "color": place,
            "colorscale": list(SCALE),
            "reversescale": chosen.mode is Mode.MAX,
            "cmin": float(place.min()),
            "cmax": float(place.max()) if np.ptp(place) else float(place.min()) + 1.0,
        },
        labelfont={"size": 13},
        tickfont={"size": 11},
        rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
        unselected={"line": {"color": "#D8D8D8", "opacity": 0.4}},
    )


def _dimension(parameter: Parameter, values: Array) -> dict[str, Any]:
    """The axis of one parameter, with room below it where it takes no part in some trials."""
    is_log = parameter.is_log and bool((values[np.isfinite(values)] > 0.0).all())
    places = np.log10(values) if is_log else values
    known = places[np.isfinite(places)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if parameter.options is not None:
        low, high = 0.0, float(max(len(parameter.options) - 1, 0))
    if high == low:
        pad = abs(low) * 0.1 or 0.5
        low, high = low - pad, high + pad
    ticks = _ticks(parameter, low, high, is_log=is_log)
    bottom = low
    if not np.isfinite(places).all():
        bottom = low - 0.15 * (high - low)
        ticks = {"tickvals": [bottom, *ticks["tickvals"]], "ticktext": [_NO_PART, *ticks["ticktext"]]}
        places = np.where(np.isfinite(places), places, bottom)
    return {"values": places, "range": [bottom, high], **ticks}


def _labels(parameters: Sequence[Parameter]) -> list[str]:
    """Names that fit side by side: their last part alone, where it is no other's too."""
    last = [parameter.name.rsplit("/", 1)[-1] for parameter in parameters]
    names = [
        name if last.count(name) == 1 else parameter.name for name, parameter in zip(last, parameters, strict=True)
    ]
    return [escape(shortened(name, max(10, 100 // (len(names) + 1)))) for name in names]


def _ticks(parameter: Parameter, low: float, high: float, *, is_log: bool) -> dict[str, list[Any]]:
    if parameter.options is not None:
        every = range(0, len(parameter.options), max(1, len(parameter.options) // 12))
        # Not escaped: plotly reads tags in the labels of these axes, but not in their ticks.
        return {"tickvals": list(every), "ticktext": [shortened(parameter.options[i], 12) for i in every]}
    if is_log:
        found = log_ticks(low, high)
        if found:
            return {"tickvals": np.log10(found["tickvals"]).tolist(), "ticktext": found["ticktext"]}
    if is_log:  # less than a decade, and no round number in it
        values = np.linspace(low, high, 4).tolist()
        return {"tickvals": values, "ticktext": [f"{10.0**value:.3g}" for value in values]}
    values = round_ticks(low, high, 6)
    return {"tickvals": values, "ticktext": [tick_text(value) for value in values]}
