"""What every store promises."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tunesmith.errors import StoreError
from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    Clone,
    ConcludeAttempt,
    ConfigsSuggested,
    Decision,
    DeleteCheckpoint,
    EndExperiment,
    EndReason,
    InterruptRequested,
    NodeLost,
    NodeOffered,
    QuarantineNode,
    Record,
    ReportRefused,
    SessionStarted,
    StartAttempt,
    StopAttempt,
    Suggest,
    Suggestion,
    TrialReported,
    Verdict,
)
from tunesmith.protocols import Store
from tunesmith.resources import Node, Placement, Resources
from tunesmith.testing.samples import make_spec
from tunesmith.trial import AttemptOutcome, Trial, TrialStatus

#: The spec of the experiment that the suite stores: give it to stores that want one.
SPEC = make_spec()

_PLACEMENT = Placement(node="here", resources=Resources(cpu=2.0, gpu=0.5), gpus={"0": 0.5})
_CHECKPOINT = "trials/00000/checkpoint_000001"


def _trial(index: int) -> Trial:
    config = {"lr": 0.1 * (index + 1), "layers": 2}
    return Trial(index, f"eeeee_{index:05d}", config, status=TrialStatus.RUNNING, attempt=1)


def _start(trial: int, attempt: int = 1, *, checkpoint: str | None = None, start_step: int = 0) -> StartAttempt:
    return StartAttempt(trial, attempt, _PLACEMENT, _trial(trial).config, checkpoint, start_step)


def _report(
    trial: int = 0, step: int = 1, *, loss: float = 0.5, checkpoint: str | None = None, is_last: bool = False
) -> TrialReported:
    return TrialReported(trial, 1, step, {"loss": loss}, 0.5 * step, 1e9 + step, checkpoint, is_last)


def _answer(to: TrialReported, verdict: Verdict = Verdict.CONTINUE, reason: str | None = None) -> AnswerReport:
    is_plain = verdict is Verdict.CONTINUE and reason is None
    return AnswerReport(to.trial, to.attempt, to.step, CONTINUE if is_plain else Decision(verdict, reason))


EVERY_KIND: list[Record] = [
    SessionStarted(epoch=1, at=1.0, nodes=(Node("here", 4.0, gpus=("0",)),)),
    Suggest(request=1, n=2),
    ConfigsSuggested(1, (Suggestion(_trial(0).config), Suggestion(_trial(1).config, reason="b", parent=0))),
    _start(0),
    _start(1),
    _report(0, checkpoint=_CHECKPOINT),
    _answer(_report(0)),
    CheckpointSaved(0, 1, 1, _CHECKPOINT, 2.0),
    _report(1),
    _answer(_report(1), Verdict.STOP, "rank {rank}"),
    _report(0, 2, is_last=True),
    _answer(_report(0, 2), reason="a continue with a reason"),
    ReportRefused(1, 1, 2, "late"),
    AttemptEnded(1, 1, AttemptOutcome.STOPPED, 3.0, error="x", cpu_s=1.0, max_rss_bytes=2**33),
    StopAttempt(0, 1, "why", is_immediate=True),
    ConcludeAttempt(1, 1, TrialStatus.STOPPED, reason="rank 2"),
    _start(1, 2, checkpoint=_CHECKPOINT, start_step=1),
    StartAttempt(1, 3, _PLACEMENT, {}),
    StartAttempt(1, 4, _PLACEMENT, {"lr": 3.0, "layers": 3}),
    _start(1, 5),
    AnswerReport(1, 5, 9, Decision(Verdict.CLONE, "from {donor}", {"donor": 0}, Clone(0, _CHECKPOINT, {"lr": 9.0}))),
    StartAttempt(1, 6, _PLACEMENT, {"lr": 9.0}, _CHECKPOINT, 1, 0.5, donor=0),
    DeleteCheckpoint(0, _CHECKPOINT),
    AttemptStarted(0, 1, 1.5, pid=2**22, node="here"),
    InterruptRequested(1, "SIGINT"),
    NodeLost("here"),
    NodeOffered(Node("there", 2.0, ("1",), {"license": 1.0}, {"1": 0.5})),
    QuarantineNode("there", "3 attempts failed there"),
    EndExperiment(EndReason.INTERRUPTED, "Ctrl-C"),
]


class StoreContract:
    """Derive from it and override `make`, and `reopen` where the log outlives the object."""

    def make(self, folder: Path) -> Store:
        """A new, empty store of the experiment `SPEC`; the folder is empty and its own."""
        raise NotImplementedError

    def reopen(self, folder: Path) -> Store | None:
        """The store that was made in this folder and closed; None where closing forgets everything."""
        return None

    # ------------------------------------------------------------ the contract

    def test_every_kind_of_record_comes_back_in_order(self, tmp_path: Path) -> None:
        with closing(self.make(tmp_path)) as store:
            for record in EVERY_KIND:
                store.append([record], [])
            assert list(store.records()) == EVERY_KIND

    def test_records_of_one_append_come_back_in_order(self, tmp_path: Path) -> None:
        with closing(self.make(tmp_path)) as store:
            store.append(EVERY_KIND, [_trial(0), _trial(1)])
            assert list(store.records()) == EVERY_KIND

    def test_the_log_outlives_the_store(self, tmp_path: Path) -> None:
        with closing(self.make(tmp_path)) as store:
            store.append(EVERY_KIND, [_trial(0), _trial(1)])
        again = self.reopen(tmp_path)
        if again is not None:
            with closing(again):
                assert list(again.records()) == EVERY_KIND

    def test_an_answer_that_comes_late_keeps_its_place(self, tmp_path: Path) -> None:
        first, second = _report(0), _report(1)
        log: list[Record] = [first, second, Suggest(1, 1), _answer(second), Suggest(2, 1), _answer(first)]
        with closing(self.make(tmp_path)) as store:
            for record in log:
                store.append([record], [])
            assert list(store.records()) == log

    def test_an_answer_to_nothing_stored_is_kept(self, tmp_path: Path) -> None:
        with closing(self.make(tmp_path)) as store:
            store.append([_answer(_report(3))], [])
            assert list(store.records()) == [_answer(_report(3))]

    def test_a_second_answer_is_kept_too(self, tmp_path: Path) -> None:
        log: list[Record] = [_report(), _answer(_report()), _answer(_report())]
        with closing(self.make(tmp_path)) as store:
            store.append(log[:2], [])
            store.append(log[2:], [])
            assert list(store.records()) == log

    def test_numbers_that_are_not_finite_come_back_exactly(self, tmp_path: Path) -> None:
        log: list[Record] = [
            _report(step=i, loss=value) for i, value in enumerate((float("nan"), float("inf"), -float("inf"), -0.0), 1)
        ]
        with closing(self.make(tmp_path)) as store:
            store.append(log, [])
            assert repr(list(store.records())) == repr(log)

    def test_an_empty_append_changes_nothing(self, tmp_path: Path) -> None:
        with closing(self.make(tmp_path)) as store:
            store.append([], [])
            assert list(store.records()) == []

    def test_records_can_be_read_twice(self, tmp_path: Path) -> None:
        with closing(self.make(tmp_path)) as store:
            store.append([_report(), _answer(_report())], [_trial(0)])
            assert list(store.records()) == list(store.records())

    def test_a_closed_store_takes_nothing(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        store.close()
        try:
            store.append([Suggest(1, 1)], [])
        except StoreError as error:
            assert "closed" in str(error)
        else:
            raise AssertionError("a closed store took a record")

    def test_closing_twice_is_fine(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        store.close()
        store.close()
