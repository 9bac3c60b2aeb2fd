"""The state machine of an experiment: events in, commands out; no I/O and no clock."""

from tunesmith.experiment.experiment import Experiment
from tunesmith.experiment.slots import SlotPool

__all__ = ["Experiment", "SlotPool"]
