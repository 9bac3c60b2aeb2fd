import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from callback_worlds import LOSS, trial, view

from tunesmith.callbacks.progress_view import LiveFacts, ResourceUse, best_by_last_report, build_view, memory_now
from tunesmith.events import EndReason
from tunesmith.resources import Node, Placement, Resources
from tunesmith.spec import ExperimentSpec
from tunesmith.trial import Checkpoint, TrialStatus

FOLDER = Path("/runs/e1")


class FakeReader:
    """A reader of fixed trials."""

    def __init__(self, *trials, status: tuple[str | None, str | None] = (None, None), **spec: Any) -> None:
        facts = {"objective": LOSS, "n_trials": 10, **spec}
        self.spec = ExperimentSpec(
            experiment_id="e1", name="e1", trainable_name="train", space={}, space_fingerprint="", seed=0, **facts
        )
        self._trials = trials
        self._status = status

    def status(self):
        return SimpleNamespace(status=self._status[0], detail=self._status[1])

    def counts(self):
        return {status: sum(t.status is status for t in self._trials) for status in {t.status for t in self._trials}}

    def n_results(self):
        return sum(t.n_reports for t in self._trials)

    def trials(self):
        return list(self._trials)

    def top_trials(self, n):
        return sorted((t for t in self._trials if t.best_value is not None), key=lambda t: t.best_value)[:n]

    def results(self, trial):
        return [SimpleNamespace(attempt=1, step=3, value=0.1), SimpleNamespace(attempt=2, step=5, value=0.4)]

    def config_of(self, trial, attempt):
        return {"config of": (trial, attempt)}


def built(*trials, live: dict[str, Any] | None = None, paths: dict[str, Any] | None = None, **facts: Any):
    live_facts = LiveFacts(**{"elapsed_s": 60.0, "now_wall": 1030.0, **(live or {})})
    return build_view(FakeReader(*trials, **facts), live_facts, folder=FOLDER, **(paths or {}))


def test_view_counts_what_the_store_holds():
    seen = built(trial(0), trial(1, TrialStatus.COMPLETED), trial(2, TrialStatus.STOPPED))
    assert (seen.n_over, seen.n_running, seen.n_total, seen.n_reports, seen.n_steps) == (2, 1, 10, 15, 15)


def test_names_are_the_trainables_unless_the_user_named_them():
    assert built(trial(3)).trial_name(3) == "train_5d9ac_00003"
    assert built(trial(3), paths={"trial_name": lambda t: f"mine-{t.index}"}).trial_name(3) == "mine-3"
    assert built().trial_name(3) == "trial 3"


def test_best_holds_value_step_config_and_the_checkpoint_of_that_step():
    checkpoints = (Checkpoint("t/checkpoint_000003", 3, 1), Checkpoint("t/checkpoint_000005", 5, 1))
    best = built(trial(0), trial(1, best_value=0.1, best_step=3, checkpoints=checkpoints)).best
    assert best is not None
    assert (best.trial, best.value, best.step, best.checkpoint_step) == (1, 0.1, 3, 3)
    assert best.checkpoint == "/runs/e1/t/checkpoint_000003"


def test_best_without_a_checkpoint_of_its_step_names_the_newest():
    best = built(trial(1, best_step=3, checkpoints=(Checkpoint("t/c5", 5, 1),))).best
    assert best is not None and best.checkpoint_step == 5


def test_best_config_is_the_one_of_its_step_though_a_clone_changed_it_since():
    best = built(trial(7, attempt=2, best_value=0.1, best_step=3)).best
    assert best is not None and best.config == {"config of": (7, 1)}
    unknown = built(trial(7, attempt=2, best_value=0.2, best_step=3)).best
    assert unknown is not None and unknown.config == trial(7).config


@pytest.mark.parametrize("facts", [{"best_value": math.nan}, {"best_value": None}, {"best_step": None}])
def test_there_is_no_best_without_a_number(facts):
    assert built(trial(0, **facts)).best is None


def test_there_is_no_best_without_an_objective():
    assert built(trial(0), objective=None).best is None


def test_best_by_a_metric_of_the_reporters_own_is_taken_from_last_reports():
    seen = view(trial(0, loss=0.5), trial(1, loss=math.nan), trial(2, loss=0.2), trial(3, step=0))
    best = best_by_last_report(seen, "accuracy", "max")
    assert best is not None and (best.trial, best.value, best.step) == (2, 0.8, 5)
    assert best_by_last_report(seen, "missing", "max") is None


def test_resources_are_what_running_trials_hold_of_what_the_nodes_have():
    nodes = (Node("a", 8, ("0", "1"), {"license": 2.0}), Node("b", 8))
    held = Placement("a", Resources(cpu=2, gpu=0.5, custom={"license": 1.0}))
    seen = built(trial(0, placement=held), trial(1, TrialStatus.STOPPED), live={"nodes": nodes})
    assert seen.resources == (ResourceUse("CPU", 2, 16), ResourceUse("GPU", 0.5, 2), ResourceUse("license", 1, 2))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, 10),
        ({"n_trials": None}, 12),
        ({"resources": Resources(cpu=3)}, 3),
        ({"resources": Resources(cpu=1, gpu=1)}, 2),
        ({"resources": Resources(cpu=1, gpu=0.3)}, 6),
        ({"resources": Resources(cpu=1, custom={"license": 2.0})}, 1),
        ({"resources": Resources(cpu=0), "n_trials": 7}, 7),
        ({"max_concurrent_trials": 3}, 3),
        ({"resources": Resources(cpu=99)}, 1),
    ],
)
def test_concurrency_is_what_fits_each_node(facts, expected):
    nodes = (Node("a", 8, ("0", "1"), {"license": 2.0}), Node("b", 4))
    assert built(live={"nodes": nodes}, **facts).n_parallel == expected


@pytest.mark.parametrize(
    ("status", "running", "expected"),
    [
        ((None, None), True, "RUNNING"),
        (("running", None), True, "RUNNING"),
        (("interrupted", "Ctrl-C"), True, "ENDING"),
        (("interrupted", "Ctrl-C"), False, "INTERRUPTED"),
        ((EndReason.FINISHED, None), False, "FINISHED"),
    ],
)
def test_state_is_one_word(status, running, expected):
    trials = [trial(0)] if running else [trial(0, TrialStatus.COMPLETED)]
    assert built(*trials, status=status).state == expected


def test_interrupted_trials_are_not_over():
    assert built(trial(0, TrialStatus.INTERRUPTED), trial(1, TrialStatus.FAILED)).n_over == 1


def test_stops_and_failures_come_latest_first():
    seen = view(
        *(trial(i, TrialStatus.STOPPED if i % 2 else TrialStatus.FAILED, n_failures=1 - i % 2) for i in range(6))
    )
    assert [t.index for t in seen.stops()] == [5, 3, 1]
    assert [t.index for t in seen.failures()] == [4, 2, 0]


def test_trial_that_failed_and_runs_again_is_among_the_failures():
    assert [t.index for t in view(trial(0, n_failures=1, attempt=2), trial(1)).failures()] == [0]


def test_log_files_are_named_for_failed_trials_only():
    seen = built(
        trial(0), trial(1, TrialStatus.FAILED, n_failures=1), paths={"log_file": lambda t: FOLDER / f"{t.index}.log"}
    )
    assert seen.log_files == {1: "/runs/e1/1.log"}


def test_time_left_counts_the_wall_time_of_trials_that_never_reported():
    silent = [trial(i, TrialStatus.COMPLETED, step=0, started_at=1000.0, ended_at=1030.0) for i in range(3)]
    silent = [msgspec.structs.replace(t, time_total_s=0.0) for t in silent]
    assert view(*silent, n_total=7, n_parallel=1).time_left_s() == pytest.approx(120)


def test_time_left_takes_the_reporters_total_for_the_experiments():
    over = [trial(i, TrialStatus.COMPLETED) for i in range(4)]
    assert view(*over, n_total=None, n_parallel=2).time_left_s() is None
    assert view(*over, n_total=None, n_parallel=2).time_left_s(8) == pytest.approx(20)


def test_running_trial_is_silent_after_ten_steps_and_a_minute_without_a_report():
    trials = [
        trial(0, reported_at=1000.0),
        trial(1, reported_at=1000.0),
        trial(2, TrialStatus.STOPPED, reported_at=0.0),
    ]
    assert view(*trials, now_wall=1060.0).silent_for_s() == {}
    slow = [msgspec.structs.replace(t, time_total_s=100.0) for t in trials]
    assert view(*slow, now_wall=1150.0).silent_for_s() == {}
    assert set(view(*trials, now_wall=1065.0).silent_for_s()) == {0, 1}


def test_nothing_is_silent_before_anything_reported():
    assert view(trial(0, step=0, time_total_s=0.0), now_wall=9999.0).silent_for_s() == {}


def test_iterating_gives_trials_in_ray_tunes_words():
    seen = view(trial(0), trial(1, TrialStatus.STOPPED), trial(2, TrialStatus.FAILED))
    assert [t.status for t in seen] == ["RUNNING", "TERMINATED", "ERROR"]
    assert len(seen) == 3 and bool(view())
    first = next(iter(seen))
    assert (str(first), first.last_result["training_iteration"], first.last_result["done"]) == (
        "train_cifar_5d9ac_00000",
        5,
        False,
    )


def test_memory_used_is_a_part_of_all_there_is():
    used, total = memory_now()
    assert 0 < used < total


def test_the_time_left_is_that_of_the_session_the_deadline_of_a_stop_rule_included():
    assert built(time_budget_s=500.0).time_budget_s == 500.0
    assert built(time_budget_s=500.0, live={"time_limit_s": 100.0}).time_budget_s == 100.0
    assert built(live={"time_limit_s": math.inf}).time_budget_s is None
