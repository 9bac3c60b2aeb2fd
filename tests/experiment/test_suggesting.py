"""When configs are asked for, how many, and what the answers lead to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.events import ConcludeAttempt, ConfigsSuggested, EndReason, Suggest
from tunesmith.experiment.pace import MIN_PATIENCE_S, PATIENCE_SHARE, WORTHWHILE_SHARE, Pace
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


# ---------------------------------------------------------------- ahead of need, where it pays


def paced_world(*, cost_s, held_s, **spec):
    """A first round in which each config cost `cost_s` and each trial held its slot for `held_s`; the second one runs.

    Returns also what was asked for in the pass that started it.
    """
    world = World(n_slots=4, n_ahead=None, answers_itself=False, **{"n_trials": 100, **spec})
    world.begin()
    world.handle(world.suggested(1, 4, cpu_s=4 * cost_s))
    n_running = len(world.state.running)
    world.handle(*[world.ended(trial) for trial in range(n_running)], at=held_s)
    (request,) = world.state.requests
    return world, asked(world.handle(world.suggested(request, n_running, cpu_s=n_running * cost_s)))


@pytest.mark.parametrize(
    ("cost_s", "held_s", "n_ready"),
    [
        (0.0, 10.0, 0),
        (0.199, 10.0, 0),
        (0.201, 10.0, 1),
        (2.51, 10.0, 2),
        (7.5, 10.0, 3),
        (10.0, 10.0, 4),
        (99.0, 1.0, 4),
    ],
)
def test_as_many_are_held_ready_as_slots_become_free_while_one_is_proposed(cost_s, held_s, n_ready):
    _, ahead = paced_world(cost_s=cost_s, held_s=held_s)
    assert ahead == ([n_ready] if n_ready else [])
    assert WORTHWHILE_SHARE == 0.02


def test_with_long_trials_each_result_is_in_before_the_next_config_is_asked_for():
    world, ahead = paced_world(cost_s=0.03, held_s=600.0)
    for trial in range(4, 12):
        assert ahead == []
        assert asked(world.end(trial, at=world.now + 150.0)) == [1]
        (request,) = world.state.requests
        ahead = asked(world.handle(world.suggested(request, 1, cpu_s=0.03)))


def test_a_slot_that_becomes_free_is_taken_at_once_and_what_it_took_is_asked_for_again():
    world, ahead = paced_world(cost_s=4.0, held_s=10.0)
    assert ahead == [2]
    world.handle(world.suggested(3, 2, cpu_s=8.0))
    records = world.end(4)
    assert (started(records), asked(records)) == ([8], [1])


def test_no_more_are_held_ready_than_may_run_or_are_left():
    _, ahead = paced_world(cost_s=99.0, held_s=1.0, max_concurrent_trials=2)
    assert ahead == [2]
    _, ahead = paced_world(cost_s=99.0, held_s=1.0, n_trials=11)
    assert ahead == [3]


def test_a_fixed_number_ahead_is_not_changed_by_what_was_measured():
    world = World(n_slots=4, n_trials=100, n_ahead=0, answers_itself=False)
    world.begin()
    world.handle(world.suggested(1, 4, cpu_s=400.0))
    world.handle(*[world.ended(trial) for trial in range(4)], at=1.0)
    assert asked(world.handle(world.suggested(2, 4, cpu_s=400.0))) == []


def test_a_replay_holds_as_many_ready_as_the_driver_before():
    world, ahead = paced_world(cost_s=4.0, held_s=10.0)
    assert ahead == [2]
    again = world.resumed()
    assert again.state.pace == world.state.pace
    assert asked(again.handle()) == []  # asked for when it began
    assert list(again.state.requests.values()) == [Suggest(4, 2)]


def test_the_cost_of_the_next_config_is_the_median_of_the_latest():
    pace = Pace()
    for cpu_s in (5.0, 0.02, 0.04, 0.02):  # the first one paid for an import
        pace.note_answer(cpu_s, 2)
    pace.note_answer(9.0, 0)
    assert pace.cost_s == pytest.approx(0.01)
    for _ in range(9):
        pace.note_answer(1.0, 1)
    assert pace.cost_s == 1.0


def test_all_attempts_of_a_trial_count_for_its_time_and_failures_do_not():
    world = World(n_slots=3, n_trials=3, max_failures=1)
    world.begin()
    world.fail(0, at=2.0)
    world.handle(at=3.0)
    assert [c.held_s for c in of(world.end(0, at=5.0), ConcludeAttempt)] == [pytest.approx(2.0)]
    assert world.state.pace.mean_held_s == pytest.approx(4.0)
    world.fail(1, at=6.0)
    world.end(1, AttemptOutcome.INVALID, at=7.0)
    world.end(2, at=10.0)
    assert world.state.pace.mean_held_s == pytest.approx((4.0 + 10.0) / 2)


# ---------------------------------------------------------------- F84: a searcher that is too slow


def idle_world(**spec):
    """Two slots are free, and the searcher does not answer."""
    world = World(n_slots=2, answers_itself=False, **{"n_trials": 10, **spec})
    world.begin()
    return world


def test_random_search_is_asked_when_a_slot_has_stood_idle_for_too_long():
    world = idle_world()
    assert world.experiment.next_deadline() == pytest.approx(60.0, abs=1e-5)
    assert asked(world.handle(at=59.0)) == []
    (instead,) = of(world.handle(at=60.0), Suggest)
    reason = "no answer to request 1, and a slot has stood idle for 60 s"
    assert instead == Suggest(2, 2, instead_of=1, reason=reason)
    assert world.experiment.next_deadline() == float("inf"), "random search is waited for"
    assert asked(world.handle(at=200.0)) == []


def test_the_late_answer_is_dropped_and_the_searcher_is_asked_again_for_the_next_slot():
    world = idle_world()
    world.handle(at=60.0)
    assert world.handle(world.suggested(1, 2)) == []
    assert started(world.handle(world.suggested(2, 2))) == [0, 1]
    assert world.handle(world.suggested(1, 2)) == []
    assert of(world.end(0), Suggest) == [Suggest(3, 1)]


def test_nobody_stands_in_while_no_slot_is_idle():
    world, ahead = paced_world(cost_s=4.0, held_s=10.0)
    assert ahead == [2]
    assert world.experiment.next_deadline() == float("inf")
    assert asked(world.handle(at=1000.0)) == []
    world.end(4, at=1001.0)
    assert asked(world.handle(at=1060.0)) == []
    assert of(world.handle(at=1061.0), Suggest) == [
        Suggest(4, 1, instead_of=3, reason="no answer to request 3, and a slot has stood idle for 60 s")
    ]


def test_all_slots_that_became_idle_meanwhile_are_served():
    world = World(n_slots=4, n_trials=100, answers_itself=False)
    world.begin()
    world.handle(world.suggested(1, 4))
    assert asked(world.end(0, at=5.0)) == [1]
    world.end(1, at=20.0)
    world.end(2, at=30.0)
    assert asked(world.handle(at=65.0)) == [3]


def test_with_long_trials_the_searcher_has_a_tenth_of_their_time():
    world = World(n_slots=1, n_trials=10, answers_itself=False)
    world.begin()
    world.handle(world.suggested(1, 1))
    world.end(0, at=3000.0)
    assert world.experiment.next_deadline() == pytest.approx(3000.0 + 0.1 * 3000.0)
    assert (MIN_PATIENCE_S, PATIENCE_SHARE) == (60.0, 0.1)


def test_the_time_of_a_stand_in_is_not_taken_for_the_searchers():
    world = idle_world()
    world.handle(at=60.0)
    world.handle(world.suggested(2, 2, cpu_s=0.001))
    assert world.state.pace.cost_s is None


def test_an_answer_in_the_last_instant_is_taken():
    world = idle_world()
    assert started(world.handle(world.suggested(1, 2), at=60.0)) == [0, 1]


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
