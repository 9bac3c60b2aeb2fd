"""What the policy for failures counts, beside the numbers that each trial carries. Part of the fold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tunesmith.experiment.values import last_line
from tunesmith.trial import AttemptOutcome, Trial


class Losses(NamedTuple):
    """Attempts of one trial that vanished, none of which came further than one before."""

    n: int
    step: int  #: the highest that any of them had reported


_NO_LOSSES = Losses(0, -1)


@dataclass
class Failures:
    """All of it counts within a session, but for `n_crashes` and `forgiven`."""

    #: Since a trial last came further; only of trials that are not over.
    losses: dict[int, Losses] = field(default_factory=dict)
    #: Attempts of a trial that died by a signal; not more than its failures.
    n_crashes: dict[int, int] = field(default_factory=dict)
    #: Failures of a trial that no longer count, since it was run again on request.
    forgiven: dict[int, int] = field(default_factory=dict)
    #: Whether any trial reported, or returned: then not all of them fail.
    has_success: bool = False
    #: The nodes on which one did.
    good_nodes: set[str] = field(default_factory=set)
    #: Node -> attempts that failed there and were put down to the node.
    strikes: dict[str, int] = field(default_factory=dict)
    #: Trials whose attempt ended so, until that is concluded.
    struck: set[int] = field(default_factory=set)
    #: Error line -> the trials that failed with it before any report; empty once `has_success`.
    at_start: dict[str, set[int]] = field(default_factory=dict)

    def begin_session(self) -> None:
        """Another driver, perhaps with mended code."""
        self.losses.clear()
        self.has_success = False
        for forgotten in (self.at_start, self.good_nodes, self.strikes, self.struck):
            forgotten.clear()

    def forgive(self, trial: Trial) -> None:
        """It is run again on request."""
        self.forgiven[trial.index] = trial.n_failures
        self.n_crashes.pop(trial.index, None)

    def note_success(self, trial: Trial) -> None:
        """It reported, or returned."""
        if trial.placement is not None:
            self.good_nodes.add(trial.placement.node)
        if not self.has_success:
            self.has_success = True
            self.at_start.clear()

    def note_step(self, index: int, step: int) -> None:
        """A trial reported this step; where it came further than before, its losses are forgiven."""
        if self.losses and step > self.losses.get(index, _NO_LOSSES).step:
            self.losses.pop(index, None)

    def note_loss(self, trial: Trial) -> None:
        """An attempt of it vanished."""
        before = self.losses.get(trial.index, _NO_LOSSES)
        self.losses[trial.index] = Losses(before.n + 1, max(before.step, trial.step))

    def note_strike(self, trial: Trial, error: str | None) -> None:
        """An attempt of it failed, and the node is to blame."""
        assert trial.placement is not None
        self.strikes[trial.placement.node] = self.strikes.get(trial.placement.node, 0) + 1
        self.struck.add(trial.index)
        self._note_at_start(trial, error)

    def note_failure(self, trial: Trial, outcome: AttemptOutcome, error: str | None) -> None:
        """An attempt of it failed."""
        self._note_at_start(trial, error)
        if outcome is AttemptOutcome.SIGNALLED:
            self.n_crashes[trial.index] = self.n_crashes.get(trial.index, 0) + 1

    def _note_at_start(self, trial: Trial, error: str | None) -> None:
        if trial.n_reports == 0 and error and not self.has_success:
            self.at_start.setdefault(last_line(error), set()).add(trial.index)

    def n_that_count(self, trial: Trial) -> int:
        """Its failures since it was last run again on request."""
        return trial.n_failures - self.forgiven.get(trial.index, 0)

    def alike(self) -> tuple[str, int]:
        """The error with which most trials failed before any report, and how many did."""
        n_alike, line = max(((len(trials), line) for line, trials in self.at_start.items()), default=(0, ""))
        return line, n_alike
