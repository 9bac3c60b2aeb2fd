import logging
import math
import time

import pytest

from tunesmith.api import load
from tunesmith.errors import ConfigError, StoreError, TuneError
from tunesmith.events import DeleteCheckpoint
from tunesmith.stores import create_store
from tunesmith.trial import Checkpoint, Mode, TrialStatus

from ..stores.store_samples import answer, make_spec, make_trial, report, run_of, start

NAN, INF = math.nan, math.inf


def write(folder, values, *, spec=None, name="loss"):
    """An experiment with one trial for each list of values of one metric; None leaves the metric out of a report."""
    with create_store(folder, spec or make_spec()) as store:
        for index, series in enumerate(values):
            metrics = [{"x": 1.0} if value is None else {name: value} for value in series]
            store.append([start(index), *run_of(index, metrics)], [finished(index, metrics)])
    return load(folder)


def finished(index, metrics, **changes):
    facts = {"status": TrialStatus.COMPLETED, "step": len(metrics), "n_reports": len(metrics)}
    facts |= {"metrics": metrics[-1] if metrics else None, "reported_at": 1e9 + len(metrics), "pid": 7, "node": "box"}
    return make_trial(index, time_total_s=0.5 * len(metrics), **{**facts, **changes})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "experiment"


# ---------------------------------------------------------------- scopes

#: values of each trial, mode, then the best trial in scopes last, all, avg, last-5-avg and last-10-avg
SCOPES = [
    ([[3, 1], [2, 2]], "min", (0, 0, 0, 0, 0)),
    ([[1, 3], [2, 1.9]], "min", (1, 0, 1, 1, 1)),
    ([[1, 3], [2, 1.9]], "max", (0, 0, 0, 0, 0)),
    ([[2], [2]], "min", (0, 0, 0, 0, 0)),
    ([[100, 1, 1, 1, 1, 1], [2] * 6], "min", (0, 0, 1, 0, 1)),
    ([[100] + [1] * 10, [2] * 11], "min", (0, 0, 1, 0, 0)),
    ([[1, NAN], [2, 2]], "min", (1, 0, 1, 1, 1)),
    ([[1, None], [2, 2]], "min", (0, 0, 0, 0, 0)),
    ([[-INF, 1], [2, 2]], "min", (0, 1, 1, 1, 1)),
    ([[INF, 1], [2, 2]], "min", (0, 0, 1, 1, 1)),
    ([[NAN], [INF]], "min", (None,) * 5),
    ([[], [5]], "max", (1,) * 5),
]


@pytest.mark.parametrize("name", ["loss", 'odd "name"/ü.x[0]'])
@pytest.mark.parametrize(("values", "mode", "best"), SCOPES)
def test_best_trial_of_each_scope(folder, values, mode, best, name):
    analysis = write(folder, values, name=name)
    scopes = ("last", "all", "avg", "last-5-avg", "last-10-avg")
    found = [analysis.get_best_trial(name, mode, scope) for scope in scopes]
    assert tuple(None if trial is None else trial.index for trial in found) == best


def test_an_unfiltered_infinity_may_win(folder):
    assert write(folder, [[1.0], [-INF]]).get_best_trial("loss", "min", filter_nan_and_inf=False).index == 1


def test_an_unfiltered_nan_is_worst(folder):
    assert write(folder, [[NAN], [INF], [NAN]]).get_best_trial("loss", "min", filter_nan_and_inf=False).index == 1


def test_metric_and_mode_default_to_the_experiments(folder):
    spec = make_spec(mode=Mode.MAX)
    assert write(folder, [[1.0], [2.0]], spec=spec).best_trial.index == 1


def test_an_unknown_metric_gives_none_and_a_warning_with_the_closest(folder, caplog):
    analysis = write(folder, [[1.0]])
    with caplog.at_level(logging.WARNING):
        assert analysis.get_best_trial("los", "min") is None
    assert "Metrics seen: loss. Did you mean 'loss'?" in caplog.text


def test_no_mode_is_a_value_error(folder):
    with pytest.raises(ValueError, match="Give both"):
        write(folder, [[1.0]], spec=make_spec(None)).get_best_trial("loss")


@pytest.mark.parametrize(("mode", "scope"), [("least", "last"), ("min", "first")])
def test_an_unknown_mode_or_scope_is_refused(folder, mode, scope):
    with pytest.raises(ConfigError, match="Give"):
        write(folder, [[1.0]]).get_best_trial("loss", mode, scope)


@pytest.mark.parametrize("metric", ["training_iteration", "time_total_s"])
def test_filled_in_keys_can_be_ranked(folder, metric):
    assert write(folder, [[1.0], [1.0, 1.0]]).get_best_trial(metric, "max", "all").index == 1


def test_superseded_steps_are_not_ranked(folder):
    write(folder, [[1.0, -9.0], [0.5]])
    with_second = [start(0, 2, start_step=1), report(0, 2, 2, metrics={"loss": 2.0})]
    from tunesmith.stores import open_store

    with open_store(folder) as store:
        store.append(with_second, [])
    assert load(folder).get_best_trial("loss", "min", "all").index == 1


# ---------------------------------------------------------------- best


def write_clone(folder):
    """Trial 0 is best at step 2, with a checkpoint, before it becomes a clone with another config."""
    paths = [f"trials/00000/checkpoint_{step:06d}" for step in (1, 2, 3)]
    kept = tuple(
        Checkpoint(path, step, 1 if step < 3 else 2, metrics={"loss": 1.0}) for step, path in enumerate(paths, 1)
    )
    reports = [report(0, 1, s, metrics={"loss": v}, checkpoint=paths[s - 1]) for s, v in ((1, 3.0), (2, 0.5))]
    clone = {"lr": 9.0, "layers": 2}
    after = [start(0, 2, config=clone, start_step=2), report(0, 2, 3, metrics={"loss": 1.0}, checkpoint=paths[2])]
    trial = finished(0, [{"loss": 1.0}] * 3, attempt=2, config=clone, checkpoints=kept, best_value=0.5, best_step=2)
    with create_store(folder, make_spec()) as store:
        store.append([start(0)], [make_trial(0)])
        store.append([*reports, answer(reports[0]), answer(reports[1]), *after], [trial])
    return load(folder)


def test_everything_of_best_is_from_one_step(folder):
    best = write_clone(folder).best
    assert (best.value, best.step, best.config["lr"]) == (0.5, 2, 0.1)
    assert best.checkpoint == str(folder.resolve() / "trials/00000/checkpoint_000002")


def test_best_has_no_checkpoint_where_it_was_not_kept(folder):
    from tunesmith.stores import open_store

    write_clone(folder)
    with open_store(folder) as store:
        store.append([DeleteCheckpoint(0, "trials/00000/checkpoint_000002")], [])
    assert load(folder).best.checkpoint is None


def test_best_leaves_out_what_is_not_finite(folder):
    best = write(folder, [[NAN, -INF], [3.0, 2.0]]).best
    assert (best.trial.index, best.value, best.step) == (1, 2.0, 2)


def test_best_without_a_finite_value_says_what_was_seen(folder):
    with pytest.raises(TuneError, match=r"finite 'loss' \(1 COMPLETED\). Metrics seen: x"):
        write(folder, [[None]]).best


def test_best_checkpoint_is_that_of_the_best_step_with_a_slash(folder):
    analysis = write_clone(folder)
    assert analysis.best_checkpoint == f"{folder.resolve()}/trials/00000/checkpoint_000002/"


def test_checkpoint_of_a_trial_is_the_newest(folder):
    checkpoint = write_clone(folder).trials[0].checkpoint
    assert checkpoint.value == f"{folder.resolve()}/trials/00000/checkpoint_000003/"
    assert (checkpoint.path + "/", checkpoint.step, checkpoint.result) == (checkpoint.value, 3, {"loss": 1.0})


def test_a_trial_without_checkpoint_has_one_without_value(folder):
    assert write(folder, [[1.0]]).trials[0].checkpoint.value is None


# ---------------------------------------------------------------- trials


def test_last_result_has_the_keys_of_ray_tune_in_order(folder):
    result = write(folder, [[3.0, 2.0]]).trials[0].last_result
    assert list(result) == [
        "loss", "time_this_iter_s", "done", "training_iteration", "trial_id", "experiment_id", "date", "timestamp",
        "time_total_s", "pid", "hostname", "node_ip", "config", "time_since_restore", "iterations_since_restore",
        "experiment_tag",
    ]  # fmt: skip
    assert result["date"] == time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(1e9 + 2))
    assert (result["done"], result["training_iteration"], result["time_this_iter_s"], result["pid"]) == (
        True,
        2,
        0.5,
        7,
    )


def test_a_reported_value_wins_over_a_filled_in_one(folder):
    result = write(folder, [[70.0]], name="training_iteration").trials[0].last_result
    assert result["training_iteration"] == 70.0


def test_iterations_since_restore_count_from_the_last_start(folder):
    assert write_clone(folder).trials[0].last_result["iterations_since_restore"] == 1


def test_a_trial_without_report_has_an_empty_last_result(folder):
    assert write(folder, [[]]).trials[0].last_result == {}


def test_names_paths_and_tag_of_a_trial(folder):
    trial = write(folder, [[1.0], [2.0], [3.0]]).trials[2]
    assert (repr(trial), trial.experiment_tag) == ("train_abcde_00002", "2_lr=0.3")
    assert trial.log_path == f"{folder.resolve()}/logs/00002.log" and trial.logdir.endswith("trials/00002")


def test_status_is_ray_tunes_word_and_state_is_ours(folder):
    with create_store(folder, make_spec()) as store:
        store.append(
            [], [make_trial(0, status=TrialStatus.STOPPED), make_trial(1, status=TrialStatus.FAILED, error="E")]
        )
    analysis = load(folder)
    assert [trial.status for trial in analysis] == ["TERMINATED", "ERROR"] and len(analysis) == 2
    assert analysis.errors == {"abcde_00001": "E"} and analysis[0].state is TrialStatus.STOPPED


def test_values_of_a_metric_are_steps_and_values(folder):
    assert repr(write(folder, [[1.0, None, NAN, 3]]).trials[0].values("loss")) == "[(1, 1.0), (3, nan), (4, 3.0)]"


def test_results_are_last_results_by_trial_id(folder):
    assert {key: value["loss"] for key, value in write(folder, [[1.0], [2.0]]).results.items()} == {
        "abcde_00000": 1.0,
        "abcde_00001": 2.0,
    }


def test_repr_and_stats_say_how_it_stands(folder):
    analysis = write(folder, [[1.0]])
    assert "sample: not started, 1 COMPLETED, in" in repr(analysis)
    assert analysis.stats()["states"] == {"COMPLETED": 1} and analysis.stats()["n_results"] == 1


def test_an_experiment_without_trials_can_be_looked_at(folder):
    analysis = write(folder, [])
    assert (len(analysis), analysis.best_trial, list(analysis), analysis.results) == (0, None, [], {})


# ---------------------------------------------------------------- tables


def test_dataframe_has_a_row_per_trial_with_config_columns(folder):
    frame = write(folder, [[1.0, 5.0], [2.0], []]).dataframe()
    assert frame[["loss", "training_iteration", "config/lr"]].values.tolist() == [[5.0, 2, 0.1], [2.0, 1, 0.2]]


def test_dataframe_of_a_metric_has_the_rows_of_its_best_values(folder):
    frame = write(folder, [[1.0, 5.0, NAN], [2.0], [-INF]]).dataframe("loss", "min")
    assert frame[["loss", "training_iteration"]].values.tolist() == [[1.0, 1], [2.0, 1]]


def test_dataframe_of_a_metric_has_the_config_of_that_step(folder):
    frame = write_clone(folder).dataframe("loss", "min")
    assert frame[["loss", "training_iteration", "config/lr"]].values.tolist() == [[0.5, 2, 0.1]]


def test_results_dataframe_has_a_row_per_report(folder):
    frame = write(folder, [[1.0, NAN], [INF, None]]).results_dataframe()
    assert repr(frame["loss"].tolist()) == "[1.0, nan, inf, nan]"
    assert frame["training_iteration"].tolist() == [1, 2, 1, 2] and frame["trial"].tolist() == [0, 0, 1, 1]


def test_trial_dataframes_are_read_by_directory(folder):
    analysis = write(folder, [[1.0, 2.0], [3.0]])
    assert analysis.trial_dataframes[analysis.trials[0].logdir]["loss"].tolist() == [1.0, 2.0]


def test_without_pandas_the_message_says_what_to_install(folder, monkeypatch):
    analysis = write(folder, [[1.0]])
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install tunesmith\[pandas\]"):
        analysis.dataframe()


# ---------------------------------------------------------------- load


def test_load_takes_the_folder_or_the_file(folder):
    write(folder, [[1.0]])
    assert len(load(folder)) == len(load(folder / "experiment.db")) == 1


def test_load_of_nothing_says_so(tmp_path):
    with pytest.raises(StoreError, match="no experiment in"):
        load(tmp_path / "nowhere")


def test_a_running_experiment_can_be_loaded(folder):
    with create_store(folder, make_spec()) as store:
        store.append([start(), *run_of(0, [{"loss": 1.0}])], [make_trial(step=1, metrics={"loss": 1.0}, n_reports=1)])
        assert load(folder).trials[0].last_result["done"] is False
