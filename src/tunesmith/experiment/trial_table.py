"""The trials of an experiment, and the groups that their states put them in: one place changes both."""

from __future__ import annotations

from collections import deque

from msgspec.structs import replace

from tunesmith.experiment.paused import OrderedIndices
from tunesmith.experiment.slots import SlotPool
from tunesmith.trial import Trial, TrialStatus, check_transition


class TrialTable:
    """Every trial as it stands. A fold changes it by `_add` and `_set`, which keep the groups in step."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []  #: by index
        #: Taken are the placements of the trials, and nothing else.
        self.pool = SlotPool(())
        #: Indices of all and only the trials in state RUNNING.
        self.running: set[int] = set()
        #: Indices of all and only the trials in state PENDING, in the order in which they are to start: those that
        #: have begun before go first, since what was started is to be finished.
        self.pending: deque[int] = deque()
        self.n_begun = 0  #: how many of `pending`, all at its front, have begun before
        self.n_ever_begun = 0  #: trials with a first attempt
        #: Indices of all and only the trials in state PAUSED.
        self.paused = OrderedIndices()
        #: Paused trials that the searcher wants to go on, first come first; a part of `paused`.
        self.thaws: deque[int] = deque()
        #: Trials changed since they were last taken for the store.
        self.changed: set[int] = set()

    def find(self, index: int) -> Trial | None:
        """The trial of this index, or None: events come from outside, and may be wrong."""
        return self.trials[index] if 0 <= index < len(self.trials) else None

    def runs(self, index: int, attempt: int) -> bool:
        """Whether this attempt of this trial is running."""
        trial = self.find(index)
        return trial is not None and trial.attempt == attempt and trial.status is TrialStatus.RUNNING

    def take_changed(self) -> list[Trial]:
        """The trials that changed since the last call, by index."""
        changed = [self.trials[index] for index in sorted(self.changed)]
        self.changed.clear()
        return changed

    def _add(self, trial: Trial) -> None:
        """A new trial, PENDING, with the next index."""
        self.trials.append(trial)
        self.pending.append(trial.index)
        self.changed.add(trial.index)

    def _set(self, index: int, **changes: object) -> None:
        """Change fields of the trial; with its state its group changes, with its placement what is free.

        Raises: TransitionError if it cannot go from the state it is in to the new one.
        """
        old = self.trials[index]
        new = replace(old, **changes)
        if new.status is not old.status:
            check_transition(old, new.status)
            self._move(old, new.status)
        if new.placement is not old.placement:
            if old.placement is not None:
                self.pool.release(old.placement)
            if new.placement is not None:
                self.pool.take(new.placement)
        self.trials[index] = new
        self.changed.add(index)

    def _move(self, trial: Trial, target: TrialStatus) -> None:
        index, has_begun = trial.index, trial.attempt > 0
        if trial.status is TrialStatus.RUNNING:
            self.running.discard(index)
        elif trial.status is TrialStatus.PENDING:
            self.pending.remove(index)
            self.n_begun -= has_begun
        elif trial.status is TrialStatus.PAUSED:
            self.paused.discard(index)
            if index in self.thaws:
                self.thaws.remove(index)
        if target is TrialStatus.RUNNING:
            self.running.add(index)
            self.n_ever_begun += not has_begun
        elif target is TrialStatus.PAUSED:
            self.paused.add(index)
        elif target is TrialStatus.PENDING:
            self.pending.insert(self.n_begun if has_begun else len(self.pending), index)
            self.n_begun += has_begun
