"""TensorBoard: what was written is read by TensorBoard's own EventAccumulator."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.logger import TBXLoggerCallback, TensorBoardLoggerCallback

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


class Checks(TBXLoggerCallback):
    """Notes whether torch or TensorFlow was imported."""

    def on_experiment_end(self, trials, **info):
        super().on_experiment_end(trials, **info)
        loaded = [name for name in ("torch", "tensorflow") if sys.modules.get(name) is not None]
        (self._folder / "loaded.txt").write_text(repr(loaded))


class KilledOnce(TBXLoggerCallback):
    """Its process is killed after the third report of a trial was written and before that was noted."""

    def flush(self):
        mark = self._folder / "killed"
        is_due = any(trial.step >= 3 for trial in self._dirty) and not mark.exists()
        super().flush()
        if is_due:
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return ()


def run(trainable, tmp_path, *callbacks, **arguments):
    settings = {
        "executor": "inline",
        "verbose": 0,
        "local_dir": tmp_path,
        "name": "exp",
        "metric": "loss",
        "mode": "min",
    }
    return tune.run(trainable, callbacks=list(callbacks), **{**settings, **arguments})


def read(folder):
    found = event_accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def scalars(events, tag):
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]


def report_down(config):
    for step in range(1, 5):
        tune.report(loss=config["a"] / step, nested={"acc": step / 10})


def hparams(events):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    contents = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = HParamsPluginData.FromString(contents).session_start_info
    end = events.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    values = {name: value.number_value or value.string_value for name, value in start.hparams.items()}
    return values, HParamsPluginData.FromString(end).session_end_info.status


def test_scalars_parameters_and_the_end_are_there_without_torch(tmp_path):
    config = {"a": tune.grid_search([1.0, 2.0]), "model": {"act": "relu"}, "password": "hidden"}
    result = run(report_down, tmp_path, Checks(), config=config)
    for trial in result.trials:
        events = read(tmp_path / "exp" / "tensorboard" / trial.name)
        assert scalars(events, "loss") == trial.values("loss")
        assert scalars(events, "nested/acc") == [(step, step / 10) for step in range(1, 5)]
        assert hparams(events) == ({"a": trial.config["a"], "model/act": "relu", "password": "***"}, 1)
        [status] = events.Tensors("tunesmith/status/text_summary")
        assert status.tensor_proto.string_val == [b"COMPLETED"]
    assert (tmp_path / "exp" / "tensorboard" / "loaded.txt").read_text() == "[]"


def test_steps_that_a_retry_takes_again_count_once(tmp_path):
    def train(config, checkpoint_dir=None):
        for step in range(1 if checkpoint_dir is None else 2, 5):
            if step == 1:
                with tune.checkpoint_dir(step=step) as folder:
                    Path(folder, "weights").touch()
            tune.report(loss=step + (100.0 if checkpoint_dir else 0.0))
            if step == 3 and checkpoint_dir is None:
                raise RuntimeError("once")

    result = run(train, tmp_path, TensorBoardLoggerCallback(tmp_path / "board"), config={"a": 1.0}, max_failures=1)
    events = read(tmp_path / "board" / result.trials[0].name)
    assert scalars(events, "loss") == [(1, 1.0), (2, 102.0), (3, 103.0), (4, 104.0)]


def test_after_a_kill_between_writing_and_noting_nothing_is_twice_or_missing(tmp_path):
    result = run(report_down, tmp_path, KilledOnce(), config={"a": 1.0})
    assert (tmp_path / "exp" / "tensorboard" / "killed").exists()
    events = read(tmp_path / "exp" / "tensorboard" / result.trials[0].name)
    assert scalars(events, "loss") == result.trials[0].values("loss")


def test_a_failed_trial_is_shown_as_failed(tmp_path):
    def train(config):
        tune.report(loss=1.0)
        raise RuntimeError("no such luck")

    result = run(train, tmp_path, TBXLoggerCallback(), config={"a": 1.0}, raise_on_failed_trial=False)
    events = read(tmp_path / "exp" / "tensorboard" / result.trials[0].name)
    assert hparams(events)[1] == 2
    [error] = events.Tensors("tunesmith/error/text_summary")
    assert b"no such luck" in error.tensor_proto.string_val[0]


def test_the_hparams_view_shows_the_parameters_of_all_branches(tmp_path):
    from tensorboard import context
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams.backend_context import Context

    def train(config):
        tune.report(loss=1.0)

    branches = [{"sgd": {"momentum": 0.9}}, {"adam": {"beta": 0.99}}]
    tune.run(
        train,
        config={"opt": tune.grid_search(branches), "i": tune.grid_search([0, 1])},
        executor="inline",
        verbose=0,
        local_dir=tmp_path,
        name="exp",
        callbacks=[TBXLoggerCallback()],
    )
    folder = str(tmp_path / "exp" / "tensorboard")
    files = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(folder)
    files.Reload()
    view = Context(TBContext(data_provider=data_provider.MultiplexerDataProvider(files, folder)))
    request = context.RequestContext()
    shown = view.experiment_from_metadata(request, "0", True, view.hparams_metadata(request, "0"), [])
    assert {info.name for info in shown.hparam_infos} == {"i", "opt/sgd/momentum", "opt/adam/beta"}
    assert "loss" in {info.name.tag for info in shown.metric_infos}
