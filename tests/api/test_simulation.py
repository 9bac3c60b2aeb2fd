"""Simulated experiments as users run them: any searcher and scheduler on synthetic or recorded learning curves."""

import math

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError, StoreError, TuneError
from tunesmith.events import (
    AttemptEnded,
    AttemptStarted,
    ConcludeAttempt,
    Decision,
    EndReason,
    StartAttempt,
    Thaw,
    TrialReported,
    Verdict,
)
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.protocols import Hold, StartNew
from tunesmith.schedulers import ASHAScheduler, FIFOScheduler
from tunesmith.stoppers import NoImprovement
from tunesmith.trial import AttemptOutcome, TrialStatus

SPACE = {"level": tune.uniform(0.0, 1.0), "speed": tune.uniform(0.5, 2.0)}


def curve(config):
    return [(config["speed"], config["level"] + math.exp(-step / 5)) for step in range(1, 28)]


def asha():
    return ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3)


def simulate(curves=curve, **arguments):
    given = {"metric": "loss", "mode": "min", "seed": 1, "charge_deciders": False}
    if callable(curves):
        given |= {"space": SPACE, "search_alg": "random", "num_samples": 40, "num_workers": 4}
    return tune.simulate(curves, **{**given, **arguments})


def records(result, kind):
    return [record for record in result.log if isinstance(record, kind)]


# ---------------------------------------------------------------- results


def test_the_result_agrees_with_what_the_trials_did():
    found = simulate(scheduler=asha())
    reports = records(found, TrialReported)
    assert found.n_steps == len(reports) == sum(trial.n_reports for trial in found.trials)
    best = min(reports, key=lambda report: report.metrics["loss"])
    assert (found.best.value, found.best.trial, found.best.step, found.best.at_s) == (
        best.metrics["loss"], best.trial, best.step, best.at,
    )  # fmt: skip
    assert found.best.config == found.trials[best.trial].config
    assert found.wall_s == reports[-1].at
    assert found.training_s == math.fsum(trial.time_total_s for trial in found.trials)
    assert set(found.counts()) == {TrialStatus.COMPLETED, TrialStatus.STOPPED}
    assert found.end.why is EndReason.FINISHED
    assert found.scheduler_lines[0].startswith("Using AsyncHyperBand: num_stopped=")


def test_progress_is_the_running_best():
    found = simulate(scheduler=asha())
    assert [point.value for point in found.progress] == sorted({p.value for p in found.progress}, reverse=True)
    assert found.progress[0].n_steps == 1
    assert found.progress[-1].value == found.best.value
    assert found.progress[-1].at_s == found.best.at_s


def test_tables_have_a_row_for_each_trial_and_each_report():
    found = simulate(num_samples=5)
    trials, results = found.dataframe(), found.results_dataframe()
    assert list(trials["config/level"]) == [trial.config["level"] for trial in found.trials]
    assert len(results) == found.n_steps == 5 * 27
    assert list(results.groupby("trial")["loss"].min()) == list(trials["best_value"])


def test_the_largest_is_best_where_the_mode_says_so():
    found = simulate(mode="max")
    assert found.best.value == max(report.metrics["loss"] for report in records(found, TrialReported))


def test_without_a_finite_value_best_says_why():
    found = simulate(lambda config: [(1.0, math.nan)])
    with pytest.raises(TuneError, match=r"No trial reported a finite 'loss'; 40 trials reported loss"):
        _ = found.best
    assert "40 COMPLETED" in repr(found)


def test_what_a_curve_raises_fails_its_trial_and_no_other():
    def failing(config):
        yield from curve(config)[:3]
        if config["level"] > 0.5:
            raise MemoryError("too large")
        yield from curve(config)[3:]

    found = simulate(failing)
    failed = {trial.index for trial in found.trials if trial.status is TrialStatus.FAILED}
    assert failed == {trial.index for trial in found.trials if trial.config["level"] > 0.5} != set()


# ---------------------------------------------------------------- determinism and cost


@pytest.mark.parametrize("search_alg", ["random", "gp"])
def test_equal_seeds_give_the_same_experiment_bit_by_bit(search_alg):
    arguments = {
        "search_alg": search_alg, "scheduler": asha(), "num_samples": 24, "crash_rate": 0.3, "max_failures": 2,
        "straggler_rate": 0.3, "start_s": 0.25,
    }  # fmt: skip
    one, again, other = simulate(**arguments), simulate(**arguments), simulate(**arguments, seed=2)
    assert one.log == again.log
    assert one.trials == again.trials
    assert (one.wall_s, one.idle_share) == (again.wall_s, again.idle_share)
    assert one.log != other.log


def test_deciders_are_charged_on_the_virtual_clock_unless_told_not_to():
    free, charged = simulate(scheduler=asha()), simulate(scheduler=asha(), charge_deciders=True, num_samples=40)
    assert charged.decider_cpu_s > 0
    assert charged.wall_s > free.wall_s
    assert max(r.at for r in records(charged, TrialReported)) <= charged.wall_s


def test_a_slow_scheduler_leaves_workers_idle_where_it_is_charged():
    class Slow(FIFOScheduler):
        def decide(self, trial, report):
            sum(range(20_000))
            return Decision()

    def quick(config):
        return [(1e-3, 1.0)] * 5

    assert simulate(quick, scheduler=Slow()).idle_share == pytest.approx(0.0, abs=1e-9)
    assert simulate(quick, scheduler=Slow(), charge_deciders=True).idle_share > 0.05


def test_cpu_is_told_per_event_and_by_parts_of_the_run():
    found = simulate(num_samples=100)
    assert 0 < found.decider_us_per_event < found.cpu_us_per_event
    parts = found.cpu_us_by_part(5)
    assert len(parts) == 5
    assert sum(parts) / 5 == pytest.approx(found.cpu_us_per_event, rel=0.3)


# ---------------------------------------------------------------- workers and time


def test_the_idle_share_of_a_schedule_by_hand():
    # Two workers, three trials of 1, 3 and 1 s: the last start is at 1 s, and nobody waits until then.
    three = [({"i": i}, [1.0], [seconds]) for i, seconds in enumerate((1.0, 3.0, 1.0))]
    assert simulate(three, num_workers=2).idle_share == pytest.approx(0.0, abs=1e-12)
    # Nothing is begun while two have been and one of them runs: one worker is idle from 1 s to 4 s.
    held = [({"i": i}, [1.0], [seconds]) for i, seconds in enumerate((1.0, 4.0, 1.0))]
    assert simulate(held, num_workers=2, scheduler=HoldsAfterTwo()).idle_share == pytest.approx(3 / 8)


def test_start_up_takes_its_time_at_each_start_and_thaw():
    recorded = [({"i": 0}, [1.0, 1.0], 1.0), ({"i": 1}, [1.0], 4.0)]
    found = simulate(recorded, num_workers=2, scheduler=PausesTheFirst(), start_s=0.5)
    assert [(r.trial, r.attempt, r.at) for r in records(found, AttemptStarted)] == [
        (0, 1, 0.5),
        (1, 1, 0.5),
        (0, 2, 5.0),
    ]
    assert found.wall_s == 6.0
    held = [({"i": i}, [1.0], [seconds]) for i, seconds in enumerate((1.0, 4.0, 1.0))]
    assert simulate(held, num_workers=2, scheduler=HoldsAfterTwo(), start_s=0.5).idle_share == pytest.approx(3 / 9)


@pytest.mark.parametrize("num_workers", [1, 7, 300])
def test_so_many_trials_run_at_once(num_workers):
    found = simulate(num_workers=num_workers, num_samples=60)
    running, most = 0, 0
    for record in found.log:
        running += isinstance(record, StartAttempt)
        running -= isinstance(record, AttemptEnded)
        most = max(most, running)
    assert most == min(num_workers, 60)
    assert found.n_workers == num_workers


def test_budgets_and_stop_rules_end_it():
    assert simulate(max_total_steps=100).end.why is EndReason.STEP_BUDGET
    assert simulate(time_budget_s=30.0).wall_s == pytest.approx(30.0, abs=2.0)
    assert simulate(num_samples=-1, stop=NoImprovement(6)).end.why is EndReason.STOPPER
    assert {trial.step for trial in simulate(stop={"training_iteration": 3}).trials} == {3}


# ---------------------------------------------------------------- faults


def test_crashes_are_a_function_of_trial_and_attempt_and_come_at_the_stated_rate():
    first, other = (simulate(crash_rate=0.25, num_samples=400, num_workers=n) for n in (1, 50))
    crashed = [
        {(r.trial, r.attempt) for r in records(found, AttemptEnded) if r.outcome is AttemptOutcome.EXITED}
        for found in (first, other)
    ]
    assert crashed[0] == crashed[1]
    assert 60 <= len(crashed[0]) <= 140  # 100 expected, standard deviation 8.7: fails by chance in 1 of 10^5
    assert first.counts()[TrialStatus.FAILED] == len(crashed[0])


def test_a_crashed_trial_goes_on_from_its_last_checkpoint():
    found = simulate(crash_rate=0.5, max_failures=-1, checkpoint_every=5, num_samples=30)
    again = [r for r in records(found, StartAttempt) if r.attempt > 1]
    assert {trial.status for trial in found.trials} == {TrialStatus.COMPLETED}
    assert len(again) > 5
    assert {r.start_step % 5 for r in again} == {0}
    assert any(r.start_step > 0 for r in again)


def test_without_checkpoints_it_begins_anew():
    found = simulate(crash_rate=0.5, max_failures=-1, checkpoint_every=0, num_samples=30)
    assert {r.start_step for r in records(found, StartAttempt)} == {0}


def test_a_crash_takes_the_time_of_the_step_it_came_in():
    found = simulate([({}, [1.0], 8.0)], crash_rate=1.0)
    assert found.wall_s == 8.0
    assert found.n_steps == 0


def test_stragglers_take_so_many_times_as_long_in_all_their_steps():
    plain, slow = simulate(), simulate(straggler_rate=0.5, straggler_factor=8.0)
    factors = {round(b.time_total_s / a.time_total_s, 6) for a, b in zip(plain.trials, slow.trials, strict=True)}
    assert factors == {1.0, 8.0}


# ---------------------------------------------------------------- curves


def test_steps_may_be_simulated_steps_with_their_own_checkpoints_and_numbers():
    def own(config):
        return [
            SimulatedStep(1.0, {"loss": 1.0, "accuracy": 0.5}, saves_checkpoint=True, step=10),
            (2.0, {"loss": 0.5}),
        ]

    found = simulate(own, num_samples=1, checkpoint_every=None)
    assert [(r.step, r.at, r.metrics, r.checkpoint is not None) for r in records(found, TrialReported)] == [
        (10, 1.0, {"loss": 1.0, "accuracy": 0.5}, True),
        (11, 3.0, {"loss": 0.5}, False),
    ]


def test_recorded_curves_in_a_list_or_mapping_are_run_in_their_order():
    triples = [({"a": 3}, [3.0, 2.0], 1.0), ({"a": 1}, [{"loss": 1.0, "x": 5.0}], [2.5])]
    for given in (triples, dict(enumerate(triples))):
        found = simulate(given)
        assert [trial.config for trial in found.trials] == [{"a": 3}, {"a": 1}]
        assert [(r.trial, r.step, r.at) for r in records(found, TrialReported)] == [
            (0, 1, 1.0),
            (0, 2, 2.0),
            (1, 1, 4.5),
        ]
    assert len(simulate(triples, num_samples=1).trials) == 1


def test_an_experiment_is_run_again_as_it_was(tmp_path):
    def train(config):
        for step in range(1, 4):
            tune.report(loss=config["a"] / step, extra=step)

    real = tune.run(
        train, config={"a": tune.grid_search([3.0, 1.0, 2.0])}, metric="loss", mode="min", name="real", verbose=0,
        storage_path=tmp_path, executor="inline",
    )  # fmt: skip
    for given in (real, tune.load(tmp_path / "real"), tmp_path / "real", str(tmp_path / "real")):
        found = simulate(given, metric=None, mode=None)
        assert [trial.config for trial in found.trials] == [{"a": 3.0}, {"a": 1.0}, {"a": 2.0}]
        assert [trial.metrics for trial in found.trials] == [trial.metrics for trial in real.trials]
        assert found.best.value == real.best.value
        assert found.trials[0].time_total_s == pytest.approx(real.trials[0].last_result["time_total_s"])
        if hasattr(given, "reader") and given is not real:
            given.reader.close()
    real.reader.close()


def test_a_searcher_and_a_scheduler_that_are_one_stay_one():
    class Both(FIFOScheduler):
        uses_results = False

        def __init__(self):
            self.seen = []

        def observe(self, record):
            self.seen.append(record)

        def suggest(self, history, rng, n):
            from tunesmith.events import Suggestion

            return [Suggestion({"n_seen": len(self.seen)})]

    both = Both()
    found = tune.simulate(
        lambda config: [(1.0, 1.0)], {"n_seen": tune.randint(0, 1000)}, search_alg=both, scheduler=both, metric="loss",
        mode="min", num_samples=3, charge_deciders=False,
    )  # fmt: skip
    assert sorted(trial.config["n_seen"] for trial in found.trials)[-1] > 0
    assert both.seen == []


# ---------------------------------------------------------------- refused


def test_without_a_metric_there_is_nothing_to_judge_by(tmp_path):
    with pytest.raises(ConfigError, match="no metric to judge by"):
        simulate(metric=None, mode=None)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(StoreError, match="There is no experiment in"):
        simulate(tmp_path)


def test_a_scheduler_that_pauses_trials_without_checkpoints_is_refused():
    with pytest.raises(ConfigError, match=r"pauses trials, and none saved a checkpoint.*checkpoint_every"):
        simulate(scheduler=PausesTheFirst(), checkpoint_every=0)


def test_an_experiment_that_cannot_go_on_is_an_error():
    def broken(config):
        raise ValueError("no curve")

    with pytest.raises(TuneError, match="failed alike before any report: ValueError: no curve"):
        simulate(broken)


@pytest.mark.parametrize(
    ("curves", "words"),
    [
        (lambda config: [3.0], r"The curve of .*: a step is 3.0. Give \(seconds, 0 or more"),
        (lambda config: [(-1.0, 0.5)], "a step is"),
        (lambda config: [(1.0, "good")], "a step is"),
        (lambda config: [(1.0, {"loss": None})], "a step is"),
        ([({}, [1.0], [1.0, 2.0])], "Recorded curve 0 is"),
        ([({}, [1.0])], "Recorded curve 0 is"),
        ([({}, ["x"], 1.0)], "Recorded curve 0: a step is"),
        ([], r"curves is \[\]. Give a function"),
        (17, "curves is 17. Give a function"),
    ],
)
def test_curves_that_are_none_are_refused(curves, words):
    with pytest.raises(ConfigError, match=words):
        simulate(curves)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_workers": 0}, "num_workers is 0. Give a whole number from 1 to 10,000"),
        ({"num_workers": 10_001}, "num_workers is 10001"),
        ({"num_workers": None}, "num_workers is None"),
        ({"start_s": -1.0}, "start_s is -1.0"),
        ({"checkpoint_every": 0.5}, "checkpoint_every is 0.5"),
        ({"crash_rate": 1.5}, "crash_rate is 1.5. Give a probability from 0 to 1"),
        ({"straggler_rate": "often"}, "straggler_rate is 'often'"),
        ({"straggler_factor": 0}, "straggler_factor is 0"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        simulate(**arguments)


@pytest.mark.parametrize("arguments", [{"space": SPACE}, {"search_alg": "random"}])
def test_recorded_curves_have_their_own_configs(arguments):
    with pytest.raises(ConfigError, match="Recorded curves are run in their order"):
        simulate([({}, [1.0], 1.0)], **arguments)


# ---------------------------------------------------------------- schedulers


class KnowsWhatRuns(FIFOScheduler):
    def __init__(self):
        self._running, self._begun = set(), set()

    def observe(self, record):
        if isinstance(record, StartAttempt):
            self._running.add(record.trial)
            self._begun.add(record.trial)
        elif isinstance(record, ConcludeAttempt):
            self._running.discard(record.trial)


class HoldsAfterTwo(KnowsWhatRuns):
    """Begins nothing while two trials have begun and one of them runs."""

    def choose_next(self, paused):
        return Hold() if len(self._begun) >= 2 and self._running else StartNew()


class PausesTheFirst(KnowsWhatRuns):
    """Pauses trial 0 at its first step; it goes on when no other runs."""

    def decide(self, trial, report):
        return Decision(Verdict.PAUSE, "wait") if trial.index == 0 and report.step == 1 else Decision()

    def choose_next(self, paused):
        if paused and not self._running:
            return Thaw(paused[0].index, "now")
        return StartNew()


# ---------------------------------------------------------------- folds


def folds(config):
    """The second config is lucky on its last fold, and the third on the only one that it comes to."""
    scores = {0: [0.5, 0.5, 0.5], 1: [0.9, 0.9, 0.1], 2: [0.2]}[config["kind"]]
    return [(1.0, {"loss": score, "fold": fold}) for fold, score in enumerate(scores)]


def test_the_best_is_the_best_mean_over_the_most_folds():
    found = simulate(folds, space={"kind": tune.grid_search([0, 1, 2])}, num_samples=1)
    assert (found.best.config, found.best.value, found.best.step) == ({"kind": 0}, 0.5, 3)
    assert found.best.at_s == 3.0
