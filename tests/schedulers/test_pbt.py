from __future__ import annotations

import math
import random

import pytest

from tunesmith.errors import ConfigError
from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    Clone,
    ConcludeAttempt,
    ConfigsSuggested,
    Decision,
    DeleteCheckpoint,
    StartAttempt,
    Suggestion,
    Thaw,
    TrialReported,
    Verdict,
)
from tunesmith.experiment.invariants import check_invariants
from tunesmith.protocols import Hold, StartNew
from tunesmith.resources import Placement, Resources
from tunesmith.schedulers import PopulationBasedTraining
from tunesmith.space import uniform
from tunesmith.testing.samples import LOSS, running
from tunesmith.trial import AttemptOutcome, Mode, Objective, TrialStatus

from .population import SPACE, Full, LimitedStore, WeightExecutor, check_lineage, clones, population

MUTATIONS = {"lr": uniform(0.0, 1.0)}
PLACE = Placement("here", Resources())


def make(**changes):
    facts = {"time_attr": "training_iteration", "perturbation_interval": 5, "hyperparam_mutations": MUTATIONS}
    return PopulationBasedTraining(**{**facts, **changes})


class Bench:
    """A scheduler with trials that have begun with the config {"lr": index / 10}."""

    def __init__(self, n=8, *, objective=LOSS, n_suggested=None, **changes):
        self.scheduler = make(**changes)
        self.scheduler.bind(objective)
        suggestions = tuple(Suggestion({"lr": i / 10}) for i in range(n_suggested or n))
        self.scheduler.observe(ConfigsSuggested(1, suggestions))
        for i in range(n):
            self.scheduler.observe(StartAttempt(i, 1, PLACE, {"lr": i / 10}))

    def report(self, trial, step, loss, *, checkpoint=True, attempt=1):
        path = f"{trial}/c{step}" if checkpoint is True else checkpoint or None
        report = TrialReported(trial, attempt, step, {"loss": loss}, float(step), 1000.0 + step, path)
        decision = self.scheduler.decide(running(report), report)
        self.scheduler.observe(report)
        self.scheduler.observe(AnswerReport(trial, attempt, step, decision))
        return decision

    def report_all(self, step, losses, **more):
        """In order; the decision about the last one."""
        return [self.report(i, step, loss, **more) for i, loss in enumerate(losses)][-1]


# ---------------------------------------------------------------- who copies whom


def test_the_last_of_the_population_copies_one_of_the_best_quarter():
    bench = Bench()
    decision = bench.report_all(5, [1, 2, 3, 4, 5, 6, 7, 8])
    assert decision.verdict is Verdict.CLONE
    assert decision.clone.donor in (0, 1)
    assert decision.clone.checkpoint == f"{decision.clone.donor}/c5"
    assert decision.words().startswith(f"rank 8 of 8 (loss 8): goes on from trial {decision.clone.donor} (")


@pytest.mark.parametrize("loss", [0.5, 2.5, 5.5])
def test_nobody_else_does(loss):
    bench = Bench()
    assert bench.report_all(5, [1, 2, 3, 4, 6, 7, 8, loss]).verdict is Verdict.CONTINUE


def test_large_values_are_best_where_the_mode_is_max():
    bench = Bench(objective=Objective(("loss",), (Mode.MAX,)))
    decision = bench.report_all(5, [1, 2, 3, 4, 5, 6, 7, 0])
    assert decision.clone.donor in (5, 6)


def test_nothing_happens_within_an_interval():
    bench = Bench()
    assert bench.report_all(4, [1, 2, 3, 4, 5, 6, 7, 8]).verdict is Verdict.CONTINUE


def test_nothing_happens_before_the_end_of_the_burn_in():
    bench = Bench(burn_in_period=6)
    assert bench.report_all(5, [1, 2, 3, 4, 5, 6, 7, 8]).verdict is Verdict.CONTINUE
    assert bench.report_all(6, [1, 2, 3, 4, 5, 6, 7, 8]).verdict is Verdict.CLONE


@pytest.mark.parametrize(("n", "verdict"), [(1, Verdict.CONTINUE), (2, Verdict.CLONE), (3, Verdict.CLONE)])
def test_a_pair_is_a_population_and_one_alone_is_none(n, verdict):
    bench = Bench(n)
    assert bench.report_all(5, range(n)).verdict is verdict


def test_equals_leave_each_other_alone():
    """F82."""
    bench = Bench()
    assert bench.report_all(5, [1.0] * 8).verdict is Verdict.CONTINUE


def test_where_all_is_nan_nobody_is_copied():
    """F82."""
    bench = Bench()
    assert bench.report_all(5, [math.nan] * 8).verdict is Verdict.CONTINUE


def test_nan_is_last_and_copies():
    bench = Bench()
    decision = bench.report_all(5, [1, 2, 3, 4, 5, 6, 7, math.nan])
    assert decision.verdict is Verdict.CLONE
    assert "(loss without a usable value)" in decision.words()


def test_only_who_keeps_a_checkpoint_is_a_donor():
    bench = Bench()
    for trial in range(7):
        bench.report(trial, 5, trial, checkpoint=trial == 1)
    assert bench.report(7, 5, 8).clone.donor == 1


def test_without_any_checkpoint_nobody_copies():
    bench = Bench()
    assert bench.report_all(5, range(8), checkpoint=False).verdict is Verdict.CONTINUE


def test_a_donor_that_lost_its_checkpoint_is_none():
    """F86."""
    bench = Bench()
    for trial in range(7):
        bench.report(trial, 5, trial)
    bench.scheduler.observe(DeleteCheckpoint(0, "0/c5"))
    assert bench.report(7, 5, 8).clone.donor == 1
    bench.scheduler.observe(DeleteCheckpoint(1, "1/c5"))
    bench.report(6, 10, 7)
    assert bench.report(7, 10, 8).verdict is Verdict.CONTINUE


def test_trials_that_are_over_are_no_donors_and_not_ranked():
    bench = Bench()
    for trial in range(7):
        bench.report(trial, 5, trial)
    for trial in (0, 1):
        bench.scheduler.observe(ConcludeAttempt(trial, 1, TrialStatus.COMPLETED))
    decision = bench.report(7, 5, 8)
    assert decision.clone.donor in (2, 3)
    assert decision.numbers["n"] == 6


def test_one_that_was_told_to_end_is_over_before_its_attempt_is():
    bench = Bench()
    for trial in range(7):
        bench.report(trial, 5, trial)
    for trial, verdict in enumerate([Verdict.COMPLETE, Verdict.STOP]):
        bench.scheduler.observe(AnswerReport(trial, 1, 5, Decision(verdict)))
    decision = bench.report(7, 5, 8)
    assert decision.clone.donor in (2, 3)
    assert decision.numbers["n"] == 6


def test_a_clone_is_no_donor_before_it_has_saved_a_checkpoint_of_its_own():
    bench = Bench(4, quantile_fraction=0.5)
    bench.report_all(5, [1, 2, 3, 4])
    for trial in (0, 1):
        bench.scheduler.observe(StartAttempt(trial, 2, PLACE, {"lr": 0.5}, "2/c5", 5, 5.0, donor=2))
    assert bench.report(3, 10, 4).verdict is Verdict.CONTINUE


def test_a_trial_whose_clone_could_not_start_copies_somebody_else_at_its_next_report():
    """F86."""
    bench = Bench()
    assert bench.report_all(5, range(8)).verdict is Verdict.CLONE
    bench.scheduler.observe(StartAttempt(7, 2, PLACE, {"lr": 0.7}, "7/c5", 5, 5.0))
    assert bench.report(7, 6, 8, attempt=2).verdict is Verdict.CLONE


def test_a_clone_that_found_no_checkpoint_copies_somebody_else_at_its_next_report():
    """F86."""
    bench = Bench()
    donor = bench.report_all(5, range(8)).clone.donor
    bench.scheduler.observe(StartAttempt(7, 2, PLACE, {"lr": 0.1}, f"{donor}/c5", 5, 5.0, donor=donor))
    bench.scheduler.observe(AttemptEnded(7, 2, AttemptOutcome.NO_CHECKPOINT, 0.0))
    bench.scheduler.observe(DeleteCheckpoint(donor, f"{donor}/c5"))
    bench.scheduler.observe(StartAttempt(7, 3, PLACE, {"lr": 0.1}))
    decision = bench.report(7, 1, 8, attempt=3)
    assert decision.verdict is Verdict.CLONE
    assert decision.clone.donor == 1 - donor


def test_a_clone_rests_for_an_interval():
    bench = Bench()
    donor = bench.report_all(5, range(8)).clone.donor
    bench.scheduler.observe(StartAttempt(7, 2, PLACE, {"lr": 0.1}, f"{donor}/c5", 5, 5.0, donor=donor))
    assert [bench.report(7, step, 99, attempt=2).verdict.value for step in range(6, 11)] == ["continue"] * 4 + ["clone"]


# ---------------------------------------------------------------- several frequencies


def test_a_slower_sub_population_is_compared_at_its_own_pace():
    bench = Bench(evolution_frequencies=(1, 2))
    assert bench.report_all(5, range(8)).verdict is Verdict.CONTINUE
    assert bench.report_all(10, range(8)).verdict is Verdict.CLONE


def test_a_slower_one_never_copies_a_faster_one():
    bench = Bench(evolution_frequencies=(1, 2))
    losses = [0.0, 5, 0.0, 6, 0.0, 7, 0.0, 8]  # the fast ones, even, are the best
    bench.report_all(5, losses)
    assert bench.report_all(10, losses).clone.donor == 1


def test_a_faster_one_copies_a_slower_one_that_is_better():
    bench = Bench(evolution_frequencies=(1, 2))
    losses = [5, 0.0, 6, 0.0, 7, 0.0, 8, 0.0]
    bench.report_all(10, losses)
    assert bench.report(6, 15, 9).clone.donor in (1, 3)


# ---------------------------------------------------------------- user code


def test_what_a_function_of_the_user_raises_fails_the_trial_and_not_the_loop():
    def broken(config):
        raise KeyError("width")

    found = population(make(custom_explore_fn=broken), n_trials=4, n_workers=4).run()
    failed = [trial for trial in found.trials if trial.status is TrialStatus.FAILED]
    assert failed
    assert all("KeyError in custom_explore_fn: 'width'" in trial.error for trial in failed)
    assert {trial.status for trial in found.trials} <= {TrialStatus.FAILED, TrialStatus.COMPLETED}


def test_a_mutation_that_raises_fails_the_trial():
    bench = Bench(hyperparam_mutations={"lr": lambda: 1 / 0}, resample_probability=1.0)
    decision = bench.report_all(5, range(8))
    assert decision.verdict is Verdict.REFUSE
    assert decision.words() == "ZeroDivisionError in hyperparam_mutations: division by zero"


def test_a_function_that_returns_no_config_fails_the_trial():
    decision = Bench(custom_explore_fn=lambda config: None).report_all(5, range(8))
    assert decision.words() == "custom_explore_fn returned None. Return the config, a dict."


def test_in_rounds_too_a_function_that_raises_ends_its_trial_alone():
    def broken(config):
        raise ValueError("no")

    found = population(make(custom_explore_fn=broken, synch=True), n_trials=4, n_workers=4).run()
    stopped = [trial for trial in found.trials if trial.status is TrialStatus.STOPPED]
    assert stopped
    assert all(trial.reason == "ValueError in custom_explore_fn: no" for trial in stopped)


def test_custom_explore_fn_has_the_last_word():
    decision = Bench(custom_explore_fn=lambda config: {**config, "lr": -1.0, "new": 2}).report_all(5, range(8))
    assert decision.clone.config == {"lr": -1.0, "new": 2}


def test_random_numbers_of_the_users_functions_are_the_same_each_time():
    def drawn():
        return random.random()

    first, second = (
        Bench(hyperparam_mutations={"lr": drawn}, resample_probability=1.0).report_all(5, range(8)) for _ in range(2)
    )
    assert first == second


# ---------------------------------------------------------------- turns


def test_a_trial_gives_its_slot_to_one_that_has_trained_for_less():
    bench = Bench(2, n_suggested=3)
    assert bench.report(0, 5, 1).verdict is Verdict.PAUSE
    assert isinstance(bench.scheduler.choose_next([]), StartNew)


def test_it_keeps_it_where_nobody_waits():
    bench = Bench(2)
    assert bench.report(0, 5, 1).verdict is Verdict.CONTINUE


def test_a_turn_that_is_due_is_given_at_the_next_checkpoint():
    bench = Bench(2, n_suggested=3)
    assert bench.report(0, 5, 1, checkpoint=False).verdict is Verdict.CONTINUE
    assert bench.report(0, 6, 1).verdict is Verdict.PAUSE


def test_the_paused_trial_that_has_trained_least_goes_on_first():
    bench = Bench(4)
    for trial, step in ((0, 9), (1, 5), (2, 7)):
        bench.report(trial, step, 1.0)
        bench.scheduler.observe(ConcludeAttempt(trial, 1, TrialStatus.PAUSED))
    paused = [running(TrialReported(i, 1, 1, {"loss": 1.0}, 1.0, 1.0)) for i in (0, 1, 2)]
    assert bench.scheduler.choose_next(paused).trial == 1


def test_a_population_larger_than_the_slots_trains_side_by_side():
    found = population(make(), n_trials=8, n_workers=2).run()
    order = [r.trial for r in found.log if isinstance(r, StartAttempt)]
    assert set(order[:8]) == set(range(8)), "each has had a turn before any has a second one"
    check_lineage(found.log)


# ---------------------------------------------------------------- rounds


def test_in_rounds_all_wait_for_the_last_and_the_bottom_is_cloned():
    found = population(make(synch=True, quantile_fraction=0.25), n_steps=12).run()
    check_lineage(found.log)
    donors = clones(found.log)
    assert len(donors) == 4  # two rounds, a quarter of 8 each
    reached = {}
    for record in found.log:
        if isinstance(record, TrialReported):
            reached[record.trial] = max(record.step, reached.get(record.trial, 0))
        elif isinstance(record, StartAttempt) and record.attempt > 1:
            assert min(reached.values()) >= record.start_step, "nobody goes on before all are as far"
    assert {trial.status for trial in found.trials} == {TrialStatus.COMPLETED}


@pytest.mark.parametrize("n_workers", [1, 3, 8])
def test_rounds_do_not_depend_on_the_number_of_slots(n_workers):
    found = population(make(synch=True), n_workers=n_workers, n_steps=22).run()
    expected = population(make(synch=True), n_workers=8, n_steps=22).run()

    def facts(run):
        return sorted((clone.trial, clone.donor, clone.start_step, clone.config["lr"]) for clone in clones(run.log))

    assert facts(found) == facts(expected) != []


def test_one_that_is_left_alone_does_not_wait():
    bench = Bench(2, synch=True)
    assert bench.report(0, 5, 1).verdict is Verdict.PAUSE
    bench.scheduler.observe(ConcludeAttempt(1, 1, TrialStatus.COMPLETED))
    assert bench.report(0, 10, 1).verdict is Verdict.CONTINUE


def test_nobody_goes_on_while_one_is_behind():
    bench = Bench(2, synch=True)
    bench.report(0, 5, 1)
    bench.scheduler.observe(ConcludeAttempt(0, 1, TrialStatus.PAUSED))
    paused = [running(TrialReported(0, 1, 5, {"loss": 1.0}, 5.0, 5.0))]
    assert isinstance(bench.scheduler.choose_next(paused), Hold)
    bench.report(1, 5, 2)
    assert isinstance(bench.scheduler.choose_next(paused), Thaw)


# ---------------------------------------------------------------- whole populations


def test_the_population_comes_to_values_that_no_trial_began_with():
    found = population(make(), n_steps=40).run()
    alone = population(None, n_steps=40).run()
    best, best_alone = (min(trial.best_value for trial in run.trials) for run in (found, alone))
    assert len(clones(found.log)) > 5
    assert best < best_alone
    check_lineage(found.log)


@pytest.mark.parametrize("synch", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_crashes_and_resumes_leave_a_consistent_lineage(seed, synch):
    """Seeded, so not by luck: 8 trials on 3 workers with failures, and a driver that dies every 5 to 80 records."""
    draw = random.Random(seed)
    log, epoch, weights = [], 0, {}
    while True:
        epoch += 1
        store = LimitedStore(len(log) + draw.randint(5, 80) if epoch < 40 else 10**9, log)
        executor = WeightExecutor(n_workers=3, n_steps=24, saves_every=2, weights=weights)
        executor.dies = lambda command, step: (command.trial + step) % 11 == 0 and command.attempt % 2 == 1
        run = population(make(synch=synch), executor=executor, store=store, max_failures=-1, seed=seed)
        try:
            run.run(epoch)
        except Full:
            log = list(store.records())
            continue
        log = list(store.records())
        break
    assert epoch > 3
    assert {trial.status for trial in run.trials} == {TrialStatus.COMPLETED}
    check_invariants(run.experiment.state)
    assert clones(log)
    check_lineage(log)
    again = population(make(synch=synch), store=LimitedStore(10**9, log), max_failures=-1, seed=seed)
    assert [repr(trial) for trial in again.trials] == [repr(trial) for trial in run.trials]
    assert list(again.scheduler.describe()) == list(run.scheduler.describe())


def test_two_runs_are_the_same_and_another_seed_is_another_run():
    runs = [population(make(seed=seed), n_steps=20).run() for seed in (0, 0, 1)]
    logs = [[repr(record) for record in run.log] for run in runs]
    assert logs[0] == logs[1] != logs[2]


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hyperparam_mutations": None}, "nothing to change. Give hyperparam_mutations= or custom_explore_fn="),
        ({"hyperparam_mutations": {"lr": 0.1}}, r"hyperparam_mutations\['lr'\] is 0.1. Give a list"),
        ({"hyperparam_mutations": {"net": {"lr": []}}}, r"\['net'\]\['lr'\] is \[\]"),
        ({"hyperparam_mutations": [1]}, "Give a dict such as"),
        ({"perturbation_interval": 0}, "perturbation_interval is 0. Give a number above 0"),
        ({"quantile_fraction": 0.6}, "quantile_fraction is 0.6. Give a number above 0, up to 0.5"),
        ({"quantile_fraction": 0}, "quantile_fraction is 0"),
        ({"resample_probability": 1.5}, "resample_probability is 1.5. Give a number from 0 to 1"),
        ({"perturbation_factors": (1.2, 0)}, "perturbation_factors is"),
        ({"perturbation_factors": ()}, "perturbation_factors is"),
        ({"custom_explore_fn": 3}, "custom_explore_fn is 3"),
        ({"evolution_frequencies": (1, 0)}, "whole numbers of 1 or more"),
        ({"evolution_frequencies": 4}, "whole numbers of 1 or more"),
        ({"mode": "maximise"}, "Give 'min' or 'max'"),
        ({"burn_in_period": math.nan}, "burn_in_period is nan"),
    ],
)
def test_arguments_that_cannot_be_meant(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_it_needs_a_metric():
    with pytest.raises(ConfigError, match="PopulationBasedTraining has no metric"):
        make().bind(None)


def test_its_description_counts_the_clones():
    found = population(make(), n_steps=20).run()
    n = len(clones(found.log))
    assert list(found.scheduler.describe()) == [f"PopulationBasedTraining: {n} clones, 0 of 8 trials go on"]


def test_the_answer_names_what_it_needs_to_be_carried_out():
    decision = Bench().report_all(5, range(8))
    assert isinstance(decision, Decision) and isinstance(decision.clone, Clone)
    assert SPACE.keys() == decision.clone.config.keys()
