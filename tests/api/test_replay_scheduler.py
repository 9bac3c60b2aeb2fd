"""What another scheduler would have made of an experiment: answered from its log, and equal to what it does live."""

import math
import random

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError, StoreError
from tunesmith.events import AnswerReport, Clone, Decision, StopPaused, Verdict
from tunesmith.executors.simulated import SimulatedExecutor, SimulatedStep
from tunesmith.protocols import StartNew
from tunesmith.schedulers import ASHAScheduler, FIFOScheduler
from tunesmith.stoppers import NoImprovement

N_TRIALS, N_STEPS, N_WORKERS = 40, 27, 4
SPACE = {"i": tune.grid_search(list(range(N_TRIALS)))}


def steps_of(config, *, saves_every=0):
    """A curve of its own for each config; durations add up without rounding, so that no two runs differ by it."""
    draw = random.Random(config["i"])
    level, speed = draw.random(), draw.randrange(512, 2048) / 1024
    losses = [level + math.exp(-step / 5) * (1 + draw.random() / 4) for step in range(1, N_STEPS + 1)]
    return [
        SimulatedStep(speed, {"loss": loss}, saves_every > 0 and step % saves_every == 0)
        for step, loss in enumerate(losses, start=1)
    ]


def run(folder, name, *, scheduler=None, saves_every=0, steps=steps_of, **arguments):
    """A live experiment with its database; only its trials are simulated."""

    def script(config, first_step):
        return iter(steps(config, saves_every=saves_every)[first_step - 1 :])

    return tune.run(
        lambda config: None,
        **{"metric": "loss", "mode": "min", "config": SPACE, "seed": 1, "verbose": 0, **arguments},
        name=name,
        storage_path=folder,
        scheduler=scheduler,
        executor=SimulatedExecutor(script, n_workers=N_WORKERS),
        raise_on_failed_trial=False,
    )


@pytest.fixture
def fifo(tmp_path):
    found = run(tmp_path, "fifo")
    yield found
    found.reader.close()


def asha():
    return ASHAScheduler(max_t=N_STEPS, grace_period=1, reduction_factor=3)


def answers(records):
    return [(r.trial, r.step, r.decision.verdict, r.decision.words()) for r in records if isinstance(r, AnswerReport)]


def recorded(analysis):
    return [record for _, record in analysis.reader.records(limit=100_000)]


# ---------------------------------------------------------------- the key


def test_a_replay_under_asha_of_what_ran_under_fifo_decides_what_asha_decides_live(tmp_path, fifo):
    live = run(tmp_path, "asha", scheduler=asha())
    replay = tune.replay(fifo, scheduler=asha())
    assert answers(replay.simulation.log) == answers(recorded(live))
    assert replay.replayed.steps == live.reader.n_results() < fifo.reader.n_results()
    assert replay.replayed.best.value == live.best.value
    assert replay.unknown_trials == ()
    live.reader.close()


def test_a_replay_under_the_scheduler_that_ran_changes_nothing_and_leaves_nothing_unknown(tmp_path):
    live = run(tmp_path, "asha", scheduler=asha())
    replay = tune.replay(live, scheduler=asha())
    assert answers(replay.simulation.log) == answers(recorded(live))
    assert (replay.steps_saved, replay.hours_saved, replay.regret, replay.unknown_trials) == (0.0, 0.0, 0.0, ())
    assert "the same" in replay.summary()
    live.reader.close()


# ---------------------------------------------------------------- numbers


def test_the_answer_adds_up(fifo):
    replay = tune.replay(fifo, scheduler=asha())
    assert replay.recorded.steps == N_TRIALS * N_STEPS
    assert replay.recorded.best.value == fifo.best.value == replay.recorded.best.value
    assert (replay.recorded.best.trial, replay.recorded.best.step) == (fifo.best.trial.index, fifo.best.step)
    assert replay.recorded.training_s == sum(trial.last_result["time_total_s"] for trial in fifo.trials)
    assert replay.simulation.n_workers == N_WORKERS
    assert replay.steps_saved == 1 - replay.replayed.steps / (N_TRIALS * N_STEPS)
    frame = replay.dataframe()
    assert frame["steps"].sum() == replay.replayed.steps
    assert frame["training_s"].sum() / 3600 == pytest.approx(
        replay.recorded.training_s / 3600 - replay.hours_saved, rel=1e-12
    )
    assert (
        f"{replay.replayed.steps} instead of {N_TRIALS * N_STEPS}, {replay.steps_saved:.0%} fewer" in replay.summary()
    )


def test_a_folder_is_answered_as_its_results_are(tmp_path, fifo):
    assert tune.replay(tmp_path / "fifo", scheduler=asha()).summary() == tune.replay(fifo, scheduler=asha()).summary()


def test_a_best_that_is_lost_is_said_with_its_regret():
    late = [({"i": 0}, [5.0, 4.0, 0.0], 1.0), ({"i": 1}, [1.0, 1.0, 1.0], 1.0)]
    replay = tune.replay(late, scheduler=StopsWorseThan(2.0), metric="loss", mode="min")
    assert not replay.is_best_kept
    assert replay.regret == 1.0
    assert "lost: 1 (trial 1, step 1) instead of loss 0 (trial 0, step 3)" in replay.summary()


def test_nothing_at_all_kept_is_an_infinite_regret():
    replay = tune.replay(
        [({}, [math.nan, 1.0], 1.0)], scheduler=StopsWorseThan(-1.0, also_nan=True), metric="loss", mode="max"
    )
    assert replay.regret == math.inf
    assert "lost: no value" in replay.summary()


def test_several_schedulers_make_a_table(fifo):
    replays = tune.replay(fifo, scheduler=[asha(), "fifo", ASHAScheduler(max_t=N_STEPS, reduction_factor=2)])
    assert [one.steps_saved > 0 for one in replays] == [True, False, True]
    lines = replays.summary().splitlines()
    assert [line.split("  ")[0] for line in lines[1:5]] == [
        "as recorded",
        "AsyncHyperBandScheduler",
        "fifo",
        "AsyncHyperBandScheduler",
    ]
    assert list(replays.dataframe()["steps"]) == [one.replayed.steps for one in replays]


def test_the_scheduler_given_is_not_used_up(fifo):
    scheduler = asha()
    assert tune.replay(fifo, scheduler=scheduler).summary() == tune.replay(fifo, scheduler=scheduler).summary()


def test_a_stop_rule_is_replayed_too(fifo):
    replay = tune.replay(fifo, stop=NoImprovement(3))
    assert replay.simulation.end.detail.startswith("no improvement")
    assert replay.replayed.steps < replay.recorded.steps
    assert replay.unknown_trials == ()


# ---------------------------------------------------------------- what is not known


def test_trials_that_would_have_gone_on_are_counted_and_not_guessed(tmp_path):
    live = run(tmp_path, "asha", scheduler=asha())
    n_stopped = sum(trial.state == "STOPPED" for trial in live.trials)
    replay = tune.replay(live, scheduler="fifo", stop={"training_iteration": N_STEPS})
    assert len(replay.unknown_trials) == n_stopped > 0
    assert all(live.trials[index].step < N_STEPS for index in replay.unknown_trials)
    assert f"{n_stopped} of {N_TRIALS} trials were stopped before" in replay.summary()
    assert "lower bounds" in replay.summary()
    assert set(replay.dataframe().query("is_unknown")["trial"]) == set(replay.unknown_trials)
    live.reader.close()


def test_a_last_rung_of_then_is_no_end_for_a_scheduler_with_a_later_one(tmp_path):
    live = run(tmp_path, "short", scheduler=ASHAScheduler(max_t=9, grace_period=9))
    assert len(tune.replay(live, scheduler=asha()).unknown_trials) > 0
    assert tune.replay(live, scheduler=ASHAScheduler(max_t=9, grace_period=9)).unknown_trials == ()
    live.reader.close()


def test_a_stop_rule_of_then_holds_for_every_scheduler(tmp_path):
    live = run(tmp_path, "limit", scheduler=asha(), stop={"training_iteration": 5})
    longest = {trial.index for trial in live.trials if trial.step == 5}
    assert longest.isdisjoint(tune.replay(live, scheduler="fifo").unknown_trials)
    live.reader.close()


def test_what_a_budget_cut_off_is_not_known(tmp_path):
    live = run(tmp_path, "budget", max_total_steps=200)
    cut = {trial.index for trial in live.trials if trial.state == "INTERRUPTED"}
    assert set(tune.replay(live, scheduler="fifo").unknown_trials) == cut != set()
    live.reader.close()


def test_a_trial_that_failed_fails_again_and_is_known(tmp_path):
    def steps(config, *, saves_every):
        if config["i"] % 4 == 0:
            return [*steps_of(config)[:3], SimulatedStep(1.0, {}, error="out of memory")]
        return steps_of(config)

    live = run(tmp_path, "failing", steps=steps)
    replay = tune.replay(live, scheduler="fifo")
    assert replay.unknown_trials == ()
    assert replay.replayed.steps == replay.recorded.steps == live.reader.n_results()
    assert {trial.index for trial in replay.simulation.trials if trial.status == "FAILED"} == set(range(0, N_TRIALS, 4))
    live.reader.close()


def test_reports_that_a_restart_superseded_are_not_presented(tmp_path):
    crashed = set()

    def steps(config, *, saves_every):
        found = steps_of(config, saves_every=saves_every)
        if config["i"] % 3 == 0 and config["i"] not in crashed:
            crashed.add(config["i"])
            return [*found[:7], SimulatedStep(1.0, {}, error="crash")]
        return found

    live = run(tmp_path, "crashing", steps=steps, saves_every=5, max_failures=1)
    replay = tune.replay(live, scheduler="fifo")
    assert len(crashed) == 14
    assert replay.recorded.steps == live.reader.n_results() == N_TRIALS * N_STEPS
    live.reader.close()


# ---------------------------------------------------------------- pauses and changes


def test_checkpoints_are_used_where_they_were_saved(tmp_path):
    live = run(tmp_path, "saving", saves_every=3)
    replay = tune.replay(live, scheduler=PausesAt(6))
    paused = {(r.trial, r.step) for r in replay.simulation.log if is_pause(r)}
    assert paused == {(index, 6) for index in range(N_TRIALS)}
    live.reader.close()


def test_a_scheduler_that_pauses_trials_without_checkpoints_is_refused(fifo):
    with pytest.raises(ConfigError, match="PausesAt pauses trials, and none saved a checkpoint"):
        tune.replay(fifo, scheduler=PausesAt(6))


def test_checkpoints_may_be_taken_for_granted(fifo):
    replay = tune.replay(fifo, scheduler=PausesAt(6), checkpoint_every=2)
    assert {r.step for r in replay.simulation.log if is_pause(r)} == {6}


def test_a_scheduler_that_changes_configs_is_refused(fifo):
    with pytest.raises(ConfigError, match="ClonesAt changes the configs of trials"):
        tune.replay(fifo, scheduler=ClonesAt(3), checkpoint_every=1)


# ---------------------------------------------------------------- errors


def test_without_a_metric_there_is_no_answer(tmp_path):
    live = run(tmp_path, "no metric", metric=None, mode=None)
    with pytest.raises(ConfigError, match="no metric to judge by"):
        tune.replay(live, scheduler="fifo")
    with pytest.raises(ConfigError, match="no metric to compare trials by"):
        tune.replay(live, scheduler=asha())
    assert tune.replay(live, scheduler=ASHAScheduler(metric="loss", mode="min", max_t=N_STEPS)).steps_saved > 0
    assert tune.replay(live, scheduler=asha(), metric="loss", mode="min").steps_saved > 0
    live.reader.close()


def test_a_schedulers_own_metric_counts(fifo):
    replay = tune.replay(fifo, scheduler=ASHAScheduler(metric="loss", mode="max", max_t=N_STEPS))
    assert replay.simulation.objective.mode == "max"
    assert replay.recorded.best.value > fifo.best.value


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(StoreError, match="There is no experiment in"):
        tune.replay(tmp_path, scheduler="fifo")


def test_an_experiment_without_a_report_is_refused(tmp_path):
    live = run(tmp_path, "silent", steps=lambda config, saves_every: [])
    with pytest.raises(ConfigError, match="nothing to replay"):
        tune.replay(live, scheduler="fifo")
    live.reader.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scheduler": []}, "empty list"),
        ({"scheduler": "fifi"}, "There is no scheduler 'fifi'"),
        ({"num_workers": 0}, "num_workers is 0"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(fifo, arguments, words):
    with pytest.raises(ConfigError, match=words):
        tune.replay(fifo, **arguments)


# ---------------------------------------------------------------- schedulers


class StopsWorseThan(FIFOScheduler):
    def __init__(self, bound, *, also_nan=False):
        self._bound, self._also_nan = bound, also_nan

    def decide(self, trial, report):
        loss = report.metrics["loss"]
        is_bad = loss > self._bound or (self._also_nan and math.isnan(loss))
        return Decision(Verdict.STOP, "too bad") if is_bad else Decision()


class PausesAt(FIFOScheduler):
    """Pauses every trial once; those paused go on when nothing new is left."""

    def __init__(self, step):
        self._step = step

    def decide(self, trial, report):
        return Decision(Verdict.PAUSE, "wait") if report.step == self._step else Decision()

    def choose_next(self, paused):
        return StopPaused(paused[0].index, "enough") if len(paused) > 2 else StartNew()


class ClonesAt(FIFOScheduler):
    def __init__(self, step):
        self._step = step

    def decide(self, trial, report):
        clone = Clone(trial.index, report.checkpoint or "", {"i": 0})
        return Decision(Verdict.CLONE, "as another", clone=clone) if trial.n_reports == self._step else Decision()


def is_pause(record):
    return isinstance(record, AnswerReport) and record.decision.verdict is Verdict.PAUSE
