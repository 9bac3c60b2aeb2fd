"""Which metric is meant, and which way is better."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from tunesmith.analysis.scores import FILLED_IN, metrics_seen
from tunesmith.errors import ConfigError
from tunesmith.stores import Reader
from tunesmith.trial import MetricConstraint, Mode


@dataclass(frozen=True)
class ChosenMetric:
    """A metric and its mode; `constraints` are the experiment's, where the metric was not named but is its own."""

    name: str
    mode: Mode
    constraints: tuple[MetricConstraint, ...] = ()
    n_objectives: int = 1  #: of the experiment


def choose_metric(reader: Reader, metric: str | None = None, mode: str | None = None) -> ChosenMetric:
    """The metric meant: the experiment's first objective where none is named.

    Raises: ConfigError if none is known; for one that no trial reported, with those there are; or if nobody said
        whether small or large values of it are good.
    """
    own = reader.spec.objective
    if metric is None and own is None:
        raise ConfigError(
            f'The experiment was run without a metric. Give one of {_names(reader)}: metric=..., mode="min" or "max".'
        )
    name = check_metric(reader, metric) if metric is not None else own.metric  # type: ignore[union-attr]
    if mode is None and own is not None and name in own.metrics:
        which = own.modes[own.metrics.index(name)]
    elif mode in ("min", "max"):
        which = Mode(mode)
    else:
        raise ConfigError(f"mode is {mode!r}. Say which values of {name!r} are good: mode='min' or mode='max'.")
    constraints = own.constraints if own is not None and metric is None else ()
    return ChosenMetric(name, which, constraints, len(own.metrics) if own is not None else 1)


def check_metric(reader: Reader, metric: str) -> str:
    """The metric, if a trial reported it, or as long as none has reported anything.

    Raises: ConfigError naming the metrics there are.
    """
    own = reader.spec.objective
    if metric in FILLED_IN or (own is not None and metric in own.metrics):
        return metric
    seen = metrics_seen(reader)
    if not seen or metric in seen:
        return metric
    close = difflib.get_close_matches(metric, seen, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"No trial reported the metric {metric!r}. Give one of {_names(reader)}.{hint}")


def _names(reader: Reader) -> str:
    return ", ".join([*metrics_seen(reader), *FILLED_IN])
