"""How a parameter is laid on an axis, and which trials and parameters are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.analysis.history import trial_history
from tunesmith.analysis.metric_choice import ChosenMetric, choose_metric
from tunesmith.analysis.parameters import Parameter, ParameterTable, parameter_table
from tunesmith.errors import ConfigError
from tunesmith.plots.axes import log_ticks
from tunesmith.plots.figure import escape, shortened
from tunesmith.stores import Reader
from tunesmith.trial import TrialStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_FAILED = (TrialStatus.FAILED, TrialStatus.INVALID)
_MAX_OPTION_TICKS = 16


@dataclass(frozen=True)
class Trials:
    """The trials of an experiment with their parameters and what they reached; entries are by trial."""

    chosen: ChosenMetric
    table: ParameterTable
    trial: NDArray[np.int64]
    value: Array  #: best finite one; NaN where there is none
    losses: Array  #: the same, smaller is better
    is_completed: NDArray[np.bool_]
    is_failed: NDArray[np.bool_]  #: of those without a value
    is_feasible: NDArray[np.bool_]  #: whether the value is of a report that keeps the constraints


def trials_of(reader: Reader, metric: str | None, mode: str | None) -> Trials:
    """Raises: ConfigError for an unknown metric."""
    chosen = choose_metric(reader, metric, mode)
    history = trial_history(reader, chosen)
    is_failed = np.array([state in _FAILED for state in history.state], bool) & np.isnan(history.value)
    is_completed = np.array([state is TrialStatus.COMPLETED for state in history.state], bool)
    losses = chosen.mode.as_loss(1.0) * history.value
    return Trials(
        chosen=chosen,
        table=parameter_table(reader),
        trial=history.trial,
        value=history.value,
        losses=losses,
        is_completed=is_completed,
        is_failed=is_failed,
        is_feasible=history.is_feasible,
    )


def chosen_parameters(
    table: ParameterTable, names: Sequence[str] | None, limit: int
) -> tuple[list[Parameter], list[str]]:
    """The parameters named, or the first ones of the space; and a note where some are left out.

    Raises: ConfigError for an unknown name, with those there are.
    """
    if isinstance(names, str):
        raise ConfigError(f"params is {names!r}. Give a list of names.")
    if names is not None:
        return [table.named(name) for name in names], []
    n = len(table.parameters)
    notes = [f"the first {limit} of {n} parameters, params= chooses"] if n > limit else []
    return list(table.parameters[:limit]), notes


def parameter_layout(parameter: Parameter, values: Array, *, max_ticks: int = 8) -> dict[str, Any]:
    """The axis for these values of the parameter, in plotly's words."""
    title = {"title": {"text": escape(shortened(parameter.name))}}
    if parameter.options is not None:
        at = np.arange(len(parameter.options))
        kept = at[:: max(1, -(-len(at) // _MAX_OPTION_TICKS))]
        labels = [escape(shortened(parameter.options[i], 14)) for i in kept]
        return {**title, "tickvals": kept, "ticktext": labels, "range": [-0.5, len(at) - 0.5], "showgrid": False}
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return title
    if parameter.is_log and known.min() > 0.0:
        low, high = np.log10(known.min()), np.log10(known.max())
        pad = 0.05 * (high - low) or 0.1
        return {**title, "type": "log", "range": [low - pad, high + pad], **log_ticks(low - pad, high + pad, max_ticks)}
    low, high = float(known.min()), float(known.max())
    pad = 0.05 * (high - low) or abs(low) * 0.1 or 0.5
    is_whole = bool((known == known.round()).all())
    ticks = {"dtick": 1} if is_whole and high - low <= max_ticks + 2 * pad else {"nticks": max_ticks}
    return {**title, "range": [low - pad, high + pad], **ticks}


def value_texts(parameter: Parameter, at: NDArray[np.int64]) -> list[str]:
    """What these trials had for the parameter, for hovering: options by their labels, wherever their dots lie."""
    values = parameter.values[at].tolist()
    if parameter.options is None:
        return [f"{value:.6g}" for value in values]
    return [escape(shortened(parameter.options[int(code)], 60)) for code in values]


def jittered(parameter: Parameter, values: Array, trial: NDArray[np.int64]) -> Array:
    """Categories spread a little, by the number of the trial, so that equal ones can be told apart."""
    if parameter.options is None:
        return values
    return np.asarray(values + ((trial * 0.6180339887) % 1.0 - 0.5) * 0.5)
