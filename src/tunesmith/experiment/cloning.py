"""Clones: a trial goes on from another trial's checkpoint, with another config. What that makes of the trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from tunesmith.errors import TransitionError
from tunesmith.events import Clone, Decision, StartAttempt, Verdict
from tunesmith.trial import Checkpoint, FoldScore, Trial, TrialStatus


class Loan(NamedTuple):
    """A checkpoint that another trial than the one that saved it needs."""

    donor: int
    path: str


class Promise(NamedTuple):
    """What a trial was told to start with next."""

    clone: Clone
    lent: Checkpoint  #: as it was when that was said: the donor may itself be a clone since, and count it no more


@dataclass
class Borrowing:
    """Which trials are to become clones, and what they need that others saved. Part of the fold."""

    #: What trials are to start with next, told so in answer to a report. Keys are RUNNING (told), PENDING, INTERRUPTED.
    promises: dict[int, Promise] = field(default_factory=dict)
    #: Checkpoints of others: all that are a trial's newest one, and such as a running attempt began from.
    loans: dict[int, Loan] = field(default_factory=dict)

    def note_start(self, trial: int, start: Checkpoint | None) -> None:
        """It starts from this checkpoint, whatever it was told before."""
        self.promises.pop(trial, None)
        self.loans.pop(trial, None)
        if start is not None and start.donor is not None:
            self.loans[trial] = Loan(start.donor, start.path)

    def note_conclusion(self, trial: Trial, status: TrialStatus) -> None:
        """Its attempt is over and leaves it in this state."""
        self.drop_unless_newest(trial)
        if status not in (TrialStatus.PENDING, TrialStatus.INTERRUPTED):
            self.promises.pop(trial.index, None)

    def drop_unless_newest(self, trial: Trial) -> None:
        """Give the loan back where the trial's checkpoints are all its own."""
        if len(own_checkpoints(trial)) == len(trial.checkpoints):
            self.loans.pop(trial.index, None)

    def note_answer(self, trial: int, clone: Clone, *, trials: Sequence[Trial]) -> None:
        """It was told to become this clone."""
        lent = lent_checkpoint(trials, clone)
        if lent is not None:
            self.promises[trial] = Promise(clone, lent)

    def note_deletion(self, donor: int, path: str) -> list[int]:
        """A checkpoint is gone, and nobody will start from it. Answers which trials have it on loan."""
        for trial in [trial for trial, promise in self.promises.items() if promise.clone.checkpoint == path]:
            del self.promises[trial]
        return [trial for trial, loan in self.loans.items() if loan == (donor, path)]

    def all_loans(self) -> set[Loan]:
        """Checkpoints that others than those who saved them need, or will."""
        clones = ((trial, promise.clone) for trial, promise in self.promises.items())
        promised = (Loan(clone.donor, clone.checkpoint) for trial, clone in clones if clone.donor != trial)
        return {*self.loans.values(), *promised}

    def paths(self) -> set[str]:
        """Checkpoints that are on loan, or from which trials are to start."""
        promised = (promise.lent.path for promise in self.promises.values())
        return {*(loan.path for loan in self.loans.values()), *promised}


def lent_checkpoint(trials: Sequence[Trial], clone: Clone) -> Checkpoint | None:
    """The donor's checkpoint; None if the donor does not keep it any more, or never saved it itself."""
    if not 0 <= clone.donor < len(trials):
        return None
    own = own_checkpoints(trials[clone.donor])
    return next((saved for saved in own if saved.path == clone.checkpoint), None)


def own_checkpoints(trial: Trial) -> tuple[Checkpoint, ...]:
    """Those that the trial saved itself, oldest first."""
    return tuple(saved for saved in trial.checkpoints if saved.donor is None)


def checked_clone(trials: Sequence[Trial], decision: Decision) -> Decision:
    """The decision where it can be carried out; else to continue, with the reason on record (F86).

    Raises: TransitionError for a CLONE that does not say from where.
    """
    clone = decision.clone
    if clone is None:
        raise TransitionError("The scheduler answered CLONE without a clone. Give Decision(Verdict.CLONE, clone=...).")
    if lent_checkpoint(trials, clone) is not None:
        return decision
    return Decision(
        Verdict.CONTINUE,
        "trial {donor} was to be cloned, and does not keep {checkpoint}",
        {"donor": clone.donor, "checkpoint": clone.checkpoint},
    )


def cloned(trial: Trial, command: StartAttempt, *, promise: Promise | None, trials: Sequence[Trial]) -> Trial:
    """The trial with the config of this start and with the checkpoint that it begins from as its newest.

    Its own checkpoints above that step are superseded, as its results are; the others stay, for the case that the
    donor's is gone.
    """
    assert command.donor is not None and command.checkpoint is not None
    is_as_promised = promise is not None and promise.lent.path == command.checkpoint
    lent = promise.lent if promise is not None and is_as_promised else None
    lent = lent or lent_checkpoint(trials, Clone(command.donor, command.checkpoint, {}))
    assert lent is not None, "the donor's checkpoint was there when the start was decided"
    kept = tuple(saved for saved in own_checkpoints(trial) if saved.step <= lent.step)
    if command.donor == trial.index:
        return replace(trial, config=command.config, checkpoints=kept)
    value, step, folds = _standing_up_to(trial, kept, lent.step)
    last = trial if trial.step <= lent.step else kept[-1] if kept else None
    metrics = last.metrics if last is not None else None
    borrowed = replace(lent, donor=command.donor, metrics=metrics, best_value=value, best_step=step, folds=folds)
    return replace(trial, config=command.config, checkpoints=(*kept, borrowed))


def _standing_up_to(
    trial: Trial, kept: Sequence[Checkpoint], step: int
) -> tuple[float | None, int | None, tuple[FoldScore, ...]]:
    """The best of the trial's own results up to the step, and its folds, as far as is known: where it lies above, as of
    a checkpoint.

    The donor's best is not the trial's: it was reached with another config, and is the donor's already.
    """
    last = max((score.step for score in trial.folds), default=trial.best_step)
    if last is not None and last <= step:
        return trial.best_value, trial.best_step, trial.folds
    return (kept[-1].best_value, kept[-1].best_step, kept[-1].folds) if kept else (None, None, ())
