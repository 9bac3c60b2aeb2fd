"""When configs are asked for, how many, and what the answers lead to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.events import ConfigsSuggested, EndReason, Suggest
from tunesmith.trial import AttemptOutcome, TrialStatus

from .world import World, of, started


def asked(records):
    return [suggest.n for suggest in of(records, Suggest)]


def test_as_many_are_asked_for_as_there_are_slots():
    assert asked(World(n_slots=3, answers_itself=False).begin()) == [3]


def test_never_more_than_trials_are_left():
    assert asked(World(n_slots=8, n_trials=5, answers_itself=False).begin()) == [5]


def test_never_more_at_once_than_may_run():
    world = World(n_slots=8, max_concurrent_trials=2, answers_itself=False)
    assert asked(world.begin()) == [2]


def test_configs_are_held_ready_and_refilled_in_batches():
    world = World(n_slots=2, n_trials=100, n_ahead=8)
    assert asked(world.begin()) == [10]
    batches = []
    for trial in range(20):
        batches += asked(world.end(trial))
    assert batches == [5, 5, 5, 5]


def test_one_request_is_open_at_a_time_and_the_next_asks_for_all_that_is_missing():
    """Regression: a second request is answered from a history that lacks the first one's trials, so with the same."""
    world = World(n_slots=4, n_trials=20, answers_itself=False)
    world.begin()
    world.handle(world.suggested(1, 4))
    assert asked(world.end(0)) == [1]
    assert asked(world.end(1)) == []
    assert asked(world.end(2)) == []
    assert asked(world.handle(world.suggested(2, 1))) == [2]


def test_more_configs_than_asked_for_are_not_taken():
    world = World(n_slots=2, n_trials=2, answers_itself=False)
    world.begin()
    world.handle(world.suggested(1, 7))
    assert len(world.trials) == 2


def test_an_exhausted_searcher_ends_the_experiment_when_all_is_over():
    world = World(n_slots=2, n_trials=None, answers_itself=False)
    world.begin()
    world.handle(world.suggested(1, 1, is_exhausted=True, note="all 1 points were proposed"))
    assert asked(world.report(0)) == []
    world.end(0)
    assert world.ending.why is EndReason.EXHAUSTED
    assert world.ending.detail == "the searcher has no further config after 1 trials: all 1 points were proposed"


def test_an_endless_experiment_goes_on_until_it_is_told():
    world = World(n_slots=2, n_trials=None)
    world.begin()
    for trial in range(200):
        assert started(world.end(trial))
    assert world.ending is None
    world.interrupt()
    assert world.ending.why is EndReason.INTERRUPTED


def test_a_trial_that_never_reported_is_over_and_without_a_value_in_what_the_searcher_is_told():
    """F5."""
    world = World(n_slots=2, n_trials=4)
    world.begin()
    world.report(1)
    world.end(0)
    world.end(1)
    silent, other = world.experiment.history().trials[:2]
    assert (silent.status, silent.n_reports, silent.best_value) == (TrialStatus.COMPLETED, 0, None)
    assert (other.status, other.best_value) == (TrialStatus.COMPLETED, 1.0)


# ---------------------------------------------------------------- Wait


def waiting_world():
    """Trial 0 runs, one slot is free, and the searcher has just said Wait."""
    world = World(n_slots=2, n_trials=10, answers_itself=False)
    world.begin()
    world.handle(world.suggested(1, 1))
    assert asked(world.handle(ConfigsSuggested(2, (), note="wait"))) == []
    return world


def test_whoever_waits_is_not_asked_again_without_news():
    """Regression: each Wait was followed by the next request, in an endless loop."""
    world = waiting_world()
    for _ in range(5):
        assert world.handle() == []
    assert asked(world.started(0)) == []


@pytest.mark.parametrize("news", ["report", "end", "loss"])
def test_whoever_waits_is_asked_again_once_for_each_piece_of_news(news):
    world = waiting_world()
    if news == "report":
        records = world.report(0)
    else:
        records = world.end(0, AttemptOutcome.LOST if news == "loss" else AttemptOutcome.RETURNED)
    assert len(asked(records)) == 1
    world.handle(ConfigsSuggested(3, (), note="wait"))
    assert world.handle() == []


def test_news_between_the_request_and_a_wait_counts():
    world = World(n_slots=2, n_trials=10, answers_itself=False)
    world.begin()
    world.handle(world.suggested(1, 1))
    world.report(0)
    assert asked(world.handle(ConfigsSuggested(2, (), note="wait"))) == [1]


def test_waiting_for_news_that_cannot_come_ends_the_experiment():
    world = World(n_slots=2, n_trials=10, answers_itself=False)
    world.begin()
    world.handle(ConfigsSuggested(1, (), note="wait"))
    assert world.ending.why is EndReason.FAILED
    assert world.ending.detail == "nothing runs, and the searcher waits for news"


# ---------------------------------------------------------------- retries and new trials


def test_a_slot_whose_trial_waits_for_its_retry_is_used_for_another():
    world = World(n_slots=1, n_trials=3, max_failures=1)
    world.begin()
    assert started(world.fail(0)) == [1]
    assert world.experiment.next_deadline() == pytest.approx(0.5, abs=1e-5)
    assert started(world.handle(at=0.6)) == []
    assert started(world.end(1)) == [0]


def test_a_deadline_that_has_passed_without_a_free_slot_is_no_deadline():
    world = World(n_slots=1, n_trials=3, max_failures=1)
    world.begin()
    world.fail(0)
    world.handle(at=0.6)
    assert world.experiment.next_deadline() == float("inf")


@given(
    n_slots=st.integers(1, 6),
    n_trials=st.integers(1, 25),
    n_ahead=st.sampled_from([0, 1, 8, 64]),
    limit=st.sampled_from([None, 1, 3]),
    max_failures=st.integers(0, 2),
    outcomes=st.lists(st.sampled_from(["return", "fail", "lose", "report"]), max_size=120),
)
def test_never_more_trials_than_asked_for_and_nobody_starves(n_slots, n_trials, n_ahead, limit, max_failures, outcomes):
    world = World(
        n_slots=n_slots,
        n_trials=n_trials,
        n_ahead=n_ahead,
        max_concurrent_trials=limit,
        max_failures=max_failures,
        n_alike_failures=10**9,
    )
    world.begin()
    turn = 0
    while not world.experiment.is_done:
        what = outcomes[turn] if turn < len(outcomes) else "return"
        turn += 1
        if not world.state.running:
            world.handle(at=world.experiment.next_deadline())
            assert world.state.running or world.experiment.is_done
            continue
        index = sorted(world.state.running)[turn % len(world.state.running)]
        if what == "report":
            world.report(index)
        elif what == "fail":
            world.fail(index)
        else:
            world.end(index, AttemptOutcome.LOST if what == "lose" else AttemptOutcome.RETURNED)
        assert len(world.trials) <= n_trials
        n_could = min(n_slots, limit or n_slots)
        n_ready = len(world.trials) - sum(trial.status.is_over for trial in world.trials) - len(world.state.not_before)
        assert len(world.state.running) >= min(n_could, n_ready)
    assert len(world.trials) == n_trials
    assert world.ending.why is EndReason.FINISHED
