"""Callbacks are told, under Ray Tune's hook names, what trials did: each thing once, in order, as it was then."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError
from tunesmith.hooks import LoggerCallback
from tunesmith.schedulers import ASHAScheduler, HyperBandScheduler, PopulationBasedTraining


class Diary(tune.Callback):
    """Notes every hook with its trial and the trial's status at that moment."""

    def __init__(self):
        self.lines, self.infos, self.trials = [], [], []
        self.results, self.reasons = {}, {}

    def setup(self, stop=None, num_samples=None, total_num_samples=None, **info):
        self.lines.append("setup")
        self.infos.append((total_num_samples, info))

    def note(self, hook, trial):
        self.lines.append((hook, trial.index, trial.status))

    def on_trial_start(self, iteration, trials, trial, **info):
        assert trials[trial.index] is trial
        self.note("start", trial)

    def on_trial_restore(self, iteration, trials, trial, **info):
        self.note("restore", trial)

    def on_trial_result(self, iteration, trials, trial, result, **info):
        assert result == trial.last_result
        self.note("result", trial)
        self.results.setdefault(trial, []).append(result)
        if trial.decision.words() is not None:
            self.reasons[trial.index] = trial.decision.words()

    def on_trial_save(self, iteration, trials, trial, **info):
        self.note("save", trial)

    def on_checkpoint(self, iteration, trials, trial, checkpoint, **info):
        self.lines.append(("checkpoint", trial.index, Path(checkpoint.path).name))

    def on_trial_pause(self, iteration, trials, trial, **info):
        self.note("pause", trial)

    def on_trial_recover(self, iteration, trials, trial, **info):
        self.note("recover", trial)

    def on_trial_complete(self, iteration, trials, trial, **info):
        self.note("complete", trial)

    def on_trial_error(self, iteration, trials, trial, **info):
        self.note("error", trial)

    def on_experiment_end(self, trials, **info):
        self.lines.append("end")
        self.trials = list(trials)
        self.ancestry = [(trial.parent, trial.schedule) for trial in trials]


def run(trainable, tmp_path, *callbacks, **arguments):
    settings = {"executor": "inline", "verbose": 0, "local_dir": tmp_path, "raise_on_failed_trial": False}
    return tune.run(trainable, callbacks=list(callbacks), **{**settings, **arguments})


def three_steps(config):
    for step in range(1, 4):
        tune.report(loss=step * config["a"])


def test_hooks_come_in_the_order_of_what_they_tell_of(tmp_path):
    diary = Diary()
    run(three_steps, tmp_path, diary, config={"a": tune.grid_search([1.0, 2.0])})
    told = [("start", "RUNNING"), *[("result", "RUNNING")] * 3, ("complete", "TERMINATED")]
    assert diary.lines == ["setup", *[(hook, index, status) for index in (0, 1) for hook, status in told], "end"]


def test_setup_is_told_which_experiment_it_is(tmp_path):
    diary = Diary()
    result = run(three_steps, tmp_path, diary, config={"a": 1.0}, num_samples=2, name="exp")
    [(total, info)] = diary.infos
    assert total == 2
    assert info == {
        "experiment_id": result.trials[0].last_result["experiment_id"],
        "experiment_name": "exp",
        "folder": tmp_path / "exp",
    }


def test_a_trial_at_its_end_is_what_the_results_show(tmp_path):
    diary = Diary()
    result = run(three_steps, tmp_path, diary, config={"a": tune.grid_search([1.0, 2.0])}, metric="loss", mode="min")
    for told, shown in zip(diary.trials, result.trials, strict=True):
        assert told.last_result == shown.last_result
        assert list(told.last_result) == list(shown.last_result)
        names = ("trial_id", "name", "config", "status", "state", "reason", "best_value", "experiment_tag", "logdir")
        for name in names:
            assert getattr(told, name) == getattr(shown, name), name


def test_each_result_is_shown_as_it_was_at_its_time(tmp_path):
    diary = Diary()
    run(three_steps, tmp_path, diary, config={"a": 2.0})
    [results] = diary.results.values()
    assert [(r["loss"], r["training_iteration"], r["done"]) for r in results] == [
        (2, 1, False),
        (4, 2, False),
        (6, 3, False),
    ]
    assert [r["config"] for r in results] == [{"a": 2.0}] * 3
    totals = [r["time_total_s"] for r in results]
    assert [r["time_this_iter_s"] for r in results] == pytest.approx([b - a for a, b in zip([0, *totals], totals)])


def test_a_stop_is_told_with_the_result_that_led_to_it(tmp_path):
    diary = Diary()
    scheduler = ASHAScheduler(metric="loss", mode="min", max_t=3, grace_period=1, reduction_factor=2)
    run(three_steps, tmp_path, diary, config={"a": tune.grid_search([1.0, 2.0, 3.0])}, scheduler=scheduler)
    stopped = [trial for trial in diary.trials if trial.state.value == "STOPPED"]
    assert stopped
    for trial in stopped:
        assert diary.results[trial][-1]["done"]
        assert "rung" in diary.reasons[trial.index]


def test_retries_and_checkpoints_have_their_hooks(tmp_path):
    def train(config, checkpoint_dir=None):
        with tune.checkpoint_dir(step=1) as folder:
            Path(folder, "weights").write_text("w")
        tune.report(loss=1.0)
        if checkpoint_dir is None:
            raise RuntimeError("once")
        tune.report(loss=0.5)

    diary = Diary()
    run(train, tmp_path, diary, max_failures=1)
    hooks = [line if isinstance(line, str) else line[0] for line in diary.lines]
    assert hooks == [
        "setup", "start", "result", "save", "checkpoint", "recover",
        "start", "restore", "result", "save", "checkpoint", "result", "complete", "end",
    ]  # fmt: skip
    [trial] = diary.trials
    assert diary.results[trial][-1]["iterations_since_restore"] == 2


def saving(config, checkpoint_dir=None):
    done = 0 if checkpoint_dir is None else int(Path(checkpoint_dir, "step").read_text())
    for step in range(done + 1, 10):
        with tune.checkpoint_dir(step=step) as folder:
            Path(folder, "step").write_text(str(step))
        tune.report(loss=step * config["a"])


def test_a_trial_that_is_paused_and_thawed_has_one_object_and_each_result_once(tmp_path):
    diary = Diary()
    scheduler = HyperBandScheduler(metric="loss", mode="min", max_t=9)
    result = run(saving, tmp_path, diary, config={"a": tune.uniform(1.0, 2.0)}, num_samples=9, scheduler=scheduler)
    paused = {line[1] for line in diary.lines if line[0] == "pause"}
    restored = {line[1] for line in diary.lines if line[0] == "restore"}
    assert restored
    assert restored <= paused
    assert {line[2] for line in diary.lines if line[0] == "pause"} == {"PAUSED"}
    for trial in diary.trials:
        told = [(r["training_iteration"], r["loss"]) for r in diary.results[trial]]
        assert told == result.trials[trial.index].values("loss")
        assert sum(line[:2] == ("complete", trial.index) for line in diary.lines if line[0] == "complete") == 1


def test_a_clone_is_told_with_its_new_config(tmp_path):
    diary = Diary()
    scheduler = PopulationBasedTraining(
        metric="loss", mode="min", time_attr="training_iteration", perturbation_interval=2,
        hyperparam_mutations={"a": tune.uniform(1.0, 2.0)}, quantile_fraction=0.5, synch=True,
    )  # fmt: skip
    config = {"a": tune.grid_search([1.0, 2.0])}
    result = run(saving, tmp_path, diary, config=config, scheduler=scheduler, stop={"training_iteration": 8})
    assert any(trial.parent is not None for trial in result.trials)
    for told, shown in zip(diary.trials, result.trials, strict=True):
        assert diary.ancestry[told.index] == (shown.parent, shown.schedule)
        assert told.config == shown.config
        assert told.last_result == shown.last_result
        configs = [r["config"] for r in diary.results[told]]
        assert configs[-1] == shown.config
        if shown.parent not in (None, shown.index):
            assert configs[0] != configs[-1]


def test_a_failed_trial_is_told_with_its_traceback(tmp_path):
    def train(config):
        raise RuntimeError("broken for good")

    diary = Diary()
    run(train, tmp_path, diary)
    assert diary.lines == ["setup", ("start", 0, "RUNNING"), ("error", 0, "ERROR"), "end"]
    assert "broken for good" in diary.trials[0].error


def test_what_was_told_before_a_resume_is_known_and_not_told_again(tmp_path):
    first, second = Diary(), Diary()
    run(three_steps, tmp_path, first, config={"a": 1.0}, num_samples=1, name="exp")
    run(three_steps, tmp_path, second, config={"a": 1.0}, num_samples=2, name="exp")
    assert [line for line in second.lines if line[0] == "result"] == [("result", 1, "RUNNING")] * 3
    assert second.trials[0].last_result == first.trials[0].last_result
    assert [trial.status for trial in second.trials] == ["TERMINATED", "TERMINATED"]


def test_what_a_hook_raises_is_logged_once_and_the_next_hooks_are_called(tmp_path, caplog):
    class Broken(Diary):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            super().on_trial_result(iteration, trials, trial, result, **info)
            raise KeyError("no accuracy here")

    broken, healthy = Broken(), Diary()
    result = run(three_steps, tmp_path, broken, healthy, config={"a": 1.0})
    assert broken.lines == healthy.lines
    assert result.trials[0].step == 3
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ["on_trial_result() of Broken raised." in w.getMessage() for w in warnings] == [True, False]
    assert "no accuracy here" in warnings[0].exc_text
    assert warnings[1].getMessage() == "Broken raised 3 times in all."


def test_steps_frame_the_hooks_and_count_up(tmp_path):
    class Steps(tune.Callback):
        def __init__(self):
            self.lines = []

        def on_step_begin(self, iteration, trials, **info):
            self.lines.append(("begin", iteration))

        def on_trial_result(self, iteration, trials, trial, result, **info):
            self.lines.append(("result", iteration))

        def on_step_end(self, iteration, trials, **info):
            self.lines.append(("end", iteration))

    steps = Steps()
    run(three_steps, tmp_path, steps, config={"a": 1.0})
    numbers = [number for _, number in steps.lines]
    assert numbers == sorted(numbers)
    assert numbers[0] == 1
    for number in set(numbers):
        words = [word for word, n in steps.lines if n == number]
        assert (words[0], words[-1]) == ("begin", "end")
    assert sum(word == "result" for word, _ in steps.lines) == 3


def test_a_logger_callback_has_five_methods(tmp_path):
    class Log(LoggerCallback):
        def __init__(self):
            self.lines = []

        def log_trial_start(self, trial):
            self.lines.append("start")

        def log_trial_result(self, iteration, trial, result):
            self.lines.append(result["loss"])

        def log_trial_end(self, trial, failed=False):
            self.lines.append(("end", failed))

    log = Log()
    run(three_steps, tmp_path, log, config={"a": 1.0})
    assert log.lines == ["start", 1.0, 2.0, 3.0, ("end", False)]


def test_a_trials_folder_is_there_when_a_callback_wants_it(tmp_path):
    class Writes(tune.Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            Path(trial.logdir, "seen.txt").write_text(str(result["loss"]))

    result = run(three_steps, tmp_path, Writes(), config={"a": 1.0})
    assert Path(result.trials[0].local_path, "seen.txt").read_text() == "3.0"


@pytest.mark.parametrize("given", [[Diary], ["wandb"], Diary()])
def test_what_is_no_callback_is_refused_before_anything_is_made(tmp_path, given):
    with pytest.raises(ConfigError, match="callbacks"):
        tune.run(three_steps, config={"a": 1.0}, callbacks=given, local_dir=tmp_path)
    assert not list(tmp_path.iterdir())


class OfManyShapes(tune.Callback):
    """Hooks as Ray Tune's users write them, which it calls by keyword; and one that changes what it is given."""

    def __init__(self):
        self.told = []

    def on_trial_result(self, trial, result, **info):
        self.told.append(result.pop("loss"))
        result.clear()

    def on_trial_complete(self, *, trial, **info):
        self.told.append(sorted(info))

    def on_experiment_end(self, **info):
        self.told.append(len(info["trials"]))


def test_hooks_are_called_by_keyword_and_may_change_what_they_are_given(tmp_path, caplog):
    callback = OfManyShapes()

    def train(config):
        tune.report(loss=1.5)

    result = tune.run(
        train,
        config={},
        executor="inline",
        verbose=0,
        local_dir=tmp_path,
        callbacks=[callback],
    )
    assert callback.told == [1.5, ["iteration", "trials"], 1]
    assert result.trials[0].last_result["loss"] == 1.5
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
