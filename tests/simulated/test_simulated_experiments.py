"""Whole experiments on the virtual clock."""

from __future__ import annotations

from collections import Counter

import pytest

from tunesmith.events import EndReason, InterruptRequested, StartAttempt, Suggest, TrialReported
from tunesmith.experiment.invariants import check_invariants
from tunesmith.protocols import Wait
from tunesmith.schedulers import ASHAScheduler
from tunesmith.searchers import GridSearch, RandomSearch
from tunesmith.space import choice
from tunesmith.testing import Simulation, simulate
from tunesmith.trial import TrialStatus

from .scripts import SPACE, curve, fixed


def statuses(found):
    return Counter(trial.status for trial in found.trials)


def most_at_once(log):
    """The largest number of attempts that ran at one time."""
    running = most = 0
    for record in log:
        running += isinstance(record, StartAttempt)
        most = max(most, running)
        running -= type(record).__name__ == "ConcludeAttempt"
    return most


def test_time_passes_as_if_the_workers_were_there():
    found = simulate(fixed(10), n_trials=8, n_workers=4)
    assert found.clock.now() == 20.0
    assert statuses(found) == {TrialStatus.COMPLETED: 8}


def test_a_thousand_workers_and_thousands_of_trials():
    found = simulate(
        curve(27),
        space=SPACE,
        scheduler=ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3),
        n_trials=3000,
        n_workers=1000,
        n_ahead=256,
    )
    assert len(found.trials) == 3000
    assert most_at_once(found.log) == 1000
    assert statuses(found)[TrialStatus.STOPPED] > 2000
    check_invariants(found.experiment.state)
    levels = sorted(trial.config["level"] for trial in found.trials)
    completed = [t.config["level"] for t in found.trials if t.status is TrialStatus.COMPLETED]
    assert sum(level < levels[1000] for level in completed) > 0.5 * len(completed)


def test_no_more_run_at_once_than_allowed():
    found = simulate(fixed(3), n_trials=20, n_workers=8, max_concurrent_trials=3)
    assert most_at_once(found.log) == 3
    assert found.clock.now() == 21.0


def test_the_time_budget_ends_the_experiment_at_its_second():
    found = simulate(fixed(100), n_trials=None, n_workers=2, time_budget_s=10.5)
    assert found.experiment.state.ending.why is EndReason.TIME_BUDGET
    assert found.clock.now() == pytest.approx(11.0)  # what runs is told at its next report
    assert statuses(found) == {TrialStatus.INTERRUPTED: 2}


def test_every_suggestion_costs_its_virtual_time():
    found = simulate(fixed(1), n_trials=3, n_workers=1, cost_s=5.0)
    assert found.clock.now() == pytest.approx(18.0)
    assert {record.cpu_s for record in found.log if type(record).__name__ == "ConfigsSuggested"} == {5.0}


def test_a_slow_searcher_holds_up_no_report():
    found = simulate(fixed(10), n_trials=4, n_workers=2, cost_s=3.5)
    at = [record.at for record in found.log if isinstance(record, TrialReported) and record.trial == 0]
    assert at == [3.5 + step for step in range(1, 11)]


def test_scripts_that_raise_fail_their_trials_only():
    script = curve(5, fails_at=lambda config, step: config["level"] > 0.5 and step == 3)
    found = simulate(script, space=SPACE, n_trials=40)
    n_failed = statuses(found)[TrialStatus.FAILED]
    assert n_failed == sum(trial.config["level"] > 0.5 for trial in found.trials) > 5
    assert all("broken at step 3" in t.error for t in found.trials if t.status is TrialStatus.FAILED)


def test_a_script_that_cannot_be_begun_fails_its_trial():
    def script(config, first_step):
        raise OSError("no data")

    found = simulate(script, n_trials=4)
    assert statuses(found) == {TrialStatus.FAILED: 4}


def test_retries_wait_and_go_on_from_the_checkpoint():
    seen = []

    def script(config, first_step):
        seen.append(first_step)
        inner = curve(6, saves_every=2)(config, first_step)
        for _ in range(3):
            yield next(inner)
        raise RuntimeError("again")

    found = simulate(script, space=SPACE, n_trials=1, max_failures=2)
    assert seen == [1, 3, 5]
    starts = [record for record in found.log if isinstance(record, StartAttempt)]
    assert [start.start_step for start in starts] == [0, 2, 4]
    assert found.trials[0].status is TrialStatus.FAILED
    speed = found.trials[0].config["speed"]
    assert found.clock.now() == pytest.approx(8 * speed + 0.5 + 1.0, abs=1e-4)


def test_alike_failures_end_a_large_run_early():
    found = simulate(curve(5, fails_at=lambda config, step: True), space=SPACE, n_trials=500, n_workers=2)
    assert found.experiment.state.ending.why is EndReason.FAILED
    assert len(found.trials) <= 8


def test_an_interrupt_leaves_what_can_be_resumed_and_the_rest_finishes_it():
    first = Simulation(curve(9, saves_every=3), space=SPACE, n_trials=10, n_workers=3)
    first.post(InterruptRequested(1, "SIGINT"), 12.0)
    first.run()
    assert first.experiment.state.ending.why is EndReason.INTERRUPTED
    assert statuses(first)[TrialStatus.INTERRUPTED] == 3
    again = Simulation(curve(9, saves_every=3), space=SPACE, n_trials=10, n_workers=3, store=first.store).run(epoch=2)
    assert statuses(again) == {TrialStatus.COMPLETED: 10}


def test_the_second_interrupt_ends_at_once():
    found = Simulation(fixed(1, duration_s=1e6), n_trials=10)
    found.post(InterruptRequested(1, "SIGINT"), 5.0)
    found.post(InterruptRequested(2, "SIGINT"), 6.0)
    found.run()
    assert found.clock.now() == 6.0
    assert statuses(found) == {TrialStatus.INTERRUPTED: 4}


# ---------------------------------------------------------------- searchers


def test_a_grid_is_gone_through_once_however_slow_the_searcher():
    for cost_s, n_ahead in ((0.0, 0), (0.7, 0), (7.0, 0), (7.0, 5)):
        found = simulate(
            fixed(2), space={"a": choice(list(range(37)))}, searcher=GridSearch(max_values=50),
            n_trials=None, n_workers=5, cost_s=cost_s, n_ahead=n_ahead,
        )  # fmt: skip
        assert [trial.config["a"] for trial in found.trials] == list(range(37))
        assert found.experiment.state.ending.why is EndReason.EXHAUSTED


class Patient:
    """Proposes nothing while a trial is open."""

    uses_results = True

    def __init__(self):
        self.n_asked = 0

    def suggest(self, history, rng, n):
        self.n_asked += 1
        if any(not trial.status.is_over for trial in history.trials):
            return Wait("one at a time")
        return RandomSearch().suggest(history, rng, 1)


def test_a_searcher_that_waits_is_asked_at_every_piece_of_news_and_not_between():
    searcher = Patient()
    found = simulate(fixed(4), searcher=searcher, n_trials=5, n_workers=3)
    assert most_at_once(found.log) == 1
    assert len(found.trials) == 5
    assert searcher.n_asked <= 5 * (1 + 4 + 1)


class Broken:
    uses_results = True

    def __init__(self, answer):
        self.answer = answer

    def suggest(self, history, rng, n):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [ValueError("no"), None, (), [], Wait("for ever"), [None], ["config"]])
def test_random_search_stands_in_for_a_searcher_that_gives_nothing_usable(answer):
    found = simulate(fixed(2), searcher=Broken(answer), n_trials=4, n_workers=2)
    assert statuses(found) == {TrialStatus.COMPLETED: 4}
    notes = [record.note for record in found.log if type(record).__name__ == "ConfigsSuggested"]
    assert any("random search answered instead" in (note or "") for note in notes)


class Greedy:
    uses_results = True

    def suggest(self, history, rng, n):
        return RandomSearch().suggest(history, rng, n + 5)


def test_a_searcher_that_gives_too_much_gets_no_more_trials():
    assert len(simulate(fixed(1), searcher=Greedy(), n_trials=3).trials) == 3


def test_a_space_that_cannot_be_sampled_ends_with_the_reason():
    from tunesmith.space import sample_from

    def broken(spec):
        raise ZeroDivisionError("in the lambda")

    found = simulate(fixed(1), space={"x": sample_from(broken)}, n_trials=3)
    ending = found.experiment.state.ending
    assert ending.why is EndReason.FAILED
    assert ending.detail.startswith("sample_from of 'x' raised ZeroDivisionError: in the lambda")


# ---------------------------------------------------------------- passes


def test_no_busy_loop_passes_are_bounded_by_events_and_deadlines():
    n_waits = 0

    found = Simulation(
        curve(9, saves_every=3, fails_at=lambda config, step: config["speed"] > 1.5 and step == 5),
        space=SPACE, n_trials=60, n_workers=7, max_failures=2, cost_s=0.3, time_budget_s=1e5,
    )  # fmt: skip
    wait = found.executor.wait

    def counted(timeout_s):
        nonlocal n_waits
        n_waits += 1
        return wait(timeout_s)

    found.executor.wait = counted
    found.run()
    n_events = sum(
        type(r).__name__ in ("TrialReported", "AttemptStarted", "AttemptEnded", "ConfigsSuggested") for r in found.log
    )
    n_deadlines = sum(type(r).__name__ == "ConcludeAttempt" and r.not_before is not None for r in found.log)
    assert n_deadlines > 10
    assert n_waits <= n_events + n_deadlines


def test_requests_are_few_where_configs_are_held_ready():
    found = simulate(fixed(2), n_trials=1000, n_workers=10, n_ahead=80)
    assert sum(isinstance(record, Suggest) for record in found.log) <= 1000 / 40 + 2
