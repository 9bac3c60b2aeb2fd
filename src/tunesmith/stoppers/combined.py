"""Several rules as one, and rules in a user's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.events import CONTINUE, Decision, Record, TrialReported, Verdict
from tunesmith.protocols import Stopper
from tunesmith.stoppers.metric_dict import DictStopper
from tunesmith.stoppers.noop import NoopStopper
from tunesmith.stoppers.timeout import TimeoutStopper
from tunesmith.stoppers.user import FunctionStopper, StopperAdapter
from tunesmith.trial import Objective, Trial


class CombinedStopper:
    """Ends a trial, or the experiment, as soon as one of the stoppers does; each in any form that `stop=` takes.

    The first one that does not continue gives the reason; those after it are not asked about that report.
    """

    def __init__(self, *stoppers: Any) -> None:
        self.stoppers = tuple(parse_stop(stopper) for stopper in stoppers)

    def bind(self, objective: Objective | None) -> None:
        """Every stopper that compares trials takes the experiment's objective."""
        for stopper in self.stoppers:
            bind_stopper(stopper, objective)

    def observe(self, record: Record) -> None:
        """Every stopper observes every record."""
        for stopper in self.stoppers:
            stopper.observe(record)

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """The first decision that is not to continue."""
        for stopper in self.stoppers:
            decision = stopper.decide(trial, report)
            if decision.verdict is not Verdict.CONTINUE:
                return decision
        return CONTINUE

    def should_end(self) -> str | None:
        """The first reason there is."""
        return next((why for stopper in self.stoppers if (why := stopper.should_end()) is not None), None)


def parse_stop(stop: Any) -> Stopper:
    """The stopper meant by `stop=`: None, limits in a dict, a function of (trial_id, result), a stopper, or a list.

    Raises: ConfigError for anything else, a stopper's class included.
    """
    if stop is None:
        return NoopStopper()
    if isinstance(stop, type):
        raise ConfigError(f"stop is the class {stop.__name__}. Give an instance: {stop.__name__}(...).")
    if all(callable(getattr(stop, name, None)) for name in ("observe", "decide", "should_end")):
        return stop  # type: ignore[no-any-return]
    if isinstance(stop, Mapping):
        return DictStopper(stop)
    if isinstance(stop, list | tuple):
        return CombinedStopper(*stop)
    if callable(stop):
        return StopperAdapter(stop) if callable(getattr(stop, "stop_all", None)) else FunctionStopper(stop)
    raise ConfigError(
        f"stop is {stop!r}. Give a dict such as {{'training_iteration': 10}}, a function of (trial_id, result), "
        "a stopper, or a list of these."
    )


def bind_stopper(stopper: Stopper, objective: Objective | None) -> Stopper:
    """The same stopper, told what the experiment optimises if it wants to know: if it has a method `bind`.

    Raises: ConfigError if it needs an objective and there is none.
    """
    bind = getattr(stopper, "bind", None)
    if callable(bind):
        bind(objective)
    return stopper


def shortest_timeout_s(stopper: Stopper) -> float | None:
    """The shortest timeout among the stoppers, None without one. The experiment keeps it as a deadline."""
    if isinstance(stopper, TimeoutStopper):
        return stopper.timeout_s
    inner = stopper.stoppers if isinstance(stopper, CombinedStopper) else ()
    return min((t for s in inner if (t := shortest_timeout_s(s)) is not None), default=None)
