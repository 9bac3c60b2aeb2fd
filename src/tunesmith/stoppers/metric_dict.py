"""Limits in a dict, as `stop={"training_iteration": 10, "accuracy": 0.9}`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.events import CONTINUE, Decision, Record, TrialReported, Verdict
from tunesmith.stoppers.noop import NoopStopper
from tunesmith.stoppers.result import result_dict
from tunesmith.trial import Trial, metric_value


class DictStopper(NoopStopper):
    """Completes a trial as soon as one of the values it reported is at least its limit.

    Reaching a limit is what the user asked for, be it an iteration, a time or an accuracy: COMPLETE, not STOP. The
    comparison is `>=` for every key, so a loss that should fall below a limit needs a function. A key that is missing
    in some reports is ignored there; one that no trial reported before, and this one does not, is an error.

    Args:
        limits: numbers by the name of what is reported or filled in (`training_iteration`, `time_total_s`, ...).
    Raises: ConfigError, from `decide` too, for a key that is not reported.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits: dict[str, float] = {}
        for name, limit in limits.items():
            if not isinstance(name, str):
                raise ConfigError(f"stop has the key {name!r}. Give the name of a reported value.")
            if not isinstance(limit, Real) or math.isnan(limit):
                raise ConfigError(
                    f"stop[{name!r}] is {limit!r}. Give a number; the trial ends when the value reaches it."
                )
            self._limits[name] = int(limit) if isinstance(limit, Integral) else float(limit)
        self._reported: set[str] = set()  #: every name in any report so far

    def observe(self, record: Record) -> None:
        """Remember which names are reported."""
        if isinstance(record, TrialReported):
            self._reported.update(record.metrics)

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """COMPLETE at the first limit reached, in the order of the dict."""
        for name, limit in self._limits.items():
            value = _value(trial, report, name)
            if value is None:
                if name not in self._reported:
                    raise _unknown_key(name, report)
            elif value >= limit:
                numbers = {"name": name, "limit": _json_number(limit), "value": _json_number(value)}
                return Decision(Verdict.COMPLETE, "reached {name} >= {limit}", numbers)
        return CONTINUE


def _value(trial: Trial, report: TrialReported, name: str) -> float | None:
    value: Any = metric_value(report.metrics, report.step, report.time_total_s, name)
    if value is None:
        value = result_dict(trial, report).get(name)  # other keys that are filled in, such as done or timestamp
    return float(value) if isinstance(value, Real) else None


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _unknown_key(name: str, report: TrialReported) -> ConfigError:
    known = [*report.metrics, "training_iteration", "time_total_s"]
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else f" Report {name!r}, or stop on one of these."
    return ConfigError(
        f"stop has the key {name!r}, which trial {report.trial} did not report; it has {', '.join(known)}.{hint}"
    )
