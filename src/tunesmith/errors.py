"""Every error a user can meet. A message says what was seen, what was expected, and the next step."""

from __future__ import annotations


class TunesmithError(Exception):
    """Base of all errors raised by tunesmith."""


class SpaceError(TunesmithError, ValueError):
    """A search space is wrong; the message names the leaf."""


class ConfigError(TunesmithError, ValueError):
    """An argument of an experiment, searcher, scheduler or stopper is wrong."""


class ResourceError(ConfigError):
    """More was asked for than the machine has."""


class TrainableError(TunesmithError, TypeError):
    """The training function cannot be called or sent to a worker as it is."""


class MetricError(TunesmithError, ValueError):
    """A reported value is not a metric; raised where it is reported."""


class ReportError(TunesmithError, ValueError):
    """A report contradicts an earlier one: its step goes back, or the same step has another value."""


class CheckpointError(TunesmithError, RuntimeError):
    """A checkpoint is missing, incomplete or outside its folder."""


class StoreError(TunesmithError):
    """The store is damaged, foreign, newer than this program, or cannot be written."""


class DiskFullError(StoreError):
    """There is no room for what was to be stored; nothing of it was. It may be tried again."""


class LeaseError(StoreError):
    """Another driver owns this experiment, or took it over."""


class TransitionError(TunesmithError, AssertionError):
    """A trial was asked to go from one state to another that the table does not allow: a defect of tunesmith."""


class ExperimentExistsError(TunesmithError, ValueError):
    """An experiment of this name differs from the one asked for."""


class StudyExhausted(TunesmithError):  # noqa: N818 (it ends a loop, as StopIteration does)
    """A study has no further trial to hand out: as many as asked for were, or its searcher knows no other config."""


class StudyWaiting(TunesmithError):  # noqa: N818 (it is no fault)
    """A study has no trial to hand out now, but may have one later: when another one was told."""


class TuneError(TunesmithError, RuntimeError):
    """Trials did not complete; raised at the end of an experiment, after everything is stored."""
