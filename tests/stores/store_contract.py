"""What every store promises; a test class for a store derives from this one and gives it a `store` fixture."""

from __future__ import annotations

import pytest

from tunesmith.errors import StoreError
from tunesmith.events import (
    AttemptEnded,
    CheckpointSaved,
    ConcludeAttempt,
    ConfigsSuggested,
    DeleteCheckpoint,
    EndExperiment,
    EndReason,
    InterruptRequested,
    NodeLost,
    ReportRefused,
    SessionStarted,
    StopAttempt,
    Suggest,
    Suggestion,
    Verdict,
)
from tunesmith.resources import Node
from tunesmith.trial import AttemptOutcome, TrialStatus

from .store_samples import answer, make_trial, report, run_of, start

EVERY_KIND = [
    SessionStarted(epoch=1, at=1.0, nodes=(Node("here", 4.0, gpus=("0",)),)),
    Suggest(request=1, n=2),
    ConfigsSuggested(1, (Suggestion(make_trial(0).config), Suggestion(make_trial(1).config, reason="b", parent=0))),
    start(0),
    start(1),
    report(0, step=1, checkpoint="trials/00000/checkpoint_000001"),
    answer(report(0, step=1)),
    CheckpointSaved(0, 1, 1, "trials/00000/checkpoint_000001", 2.0),
    report(1, step=1),
    answer(report(1, step=1), Verdict.STOP, "rank {rank}"),
    report(0, step=2, is_last=True),
    answer(report(0, step=2), reason="a continue with a reason"),
    ReportRefused(1, 1, 2, "late"),
    AttemptEnded(1, 1, AttemptOutcome.STOPPED, 3.0, error="x", cpu_s=1.0, max_rss_bytes=2**33),
    StopAttempt(0, 1, "why", is_immediate=True),
    ConcludeAttempt(1, 1, TrialStatus.STOPPED, reason="rank 2"),
    start(1, 2, config={"lr": 3.0, "layers": 3}, checkpoint="trials/00000/checkpoint_000001", start_step=1),
    start(1, 3, config={}),
    start(1, 4, config={}),
    start(1, 5, config=make_trial(1).config),
    DeleteCheckpoint(0, "trials/00000/checkpoint_000001"),
    InterruptRequested(1, "SIGINT"),
    NodeLost("here"),
    EndExperiment(EndReason.INTERRUPTED, "Ctrl-C"),
]


class StoreContract:
    def test_every_kind_of_record_comes_back_in_order(self, store):
        for record in EVERY_KIND:
            store.append([record], [])
        assert list(store.records()) == EVERY_KIND

    def test_records_of_one_append_come_back_in_order(self, store):
        store.append(EVERY_KIND, [make_trial(0), make_trial(1)])
        assert list(store.records()) == EVERY_KIND

    def test_an_answer_that_comes_late_keeps_its_place(self, store):
        first, second = report(0), report(1)
        log = [first, second, Suggest(1, 1), answer(second), Suggest(2, 1), answer(first)]
        for record in log:
            store.append([record], [])
        assert list(store.records()) == log

    def test_an_answer_to_nothing_stored_is_kept(self, store):
        store.append([answer(report(3))], [])
        assert list(store.records()) == [answer(report(3))]

    def test_a_second_answer_is_kept_too(self, store):
        log = [report(), answer(report()), answer(report())]
        store.append(log[:2], [])
        store.append(log[2:], [])
        assert list(store.records()) == log

    def test_an_empty_append_changes_nothing(self, store):
        store.append([], [])
        assert list(store.records()) == []

    def test_records_can_be_read_twice(self, store):
        store.append(run_of(0, [{"loss": 1.0}]), [make_trial()])
        assert list(store.records()) == list(store.records())

    def test_a_closed_store_takes_nothing(self, store):
        store.close()
        with pytest.raises(StoreError, match="closed"):
            store.append([Suggest(1, 1)], [])

    def test_closing_twice_is_fine(self, store):
        store.close()
        store.close()
