import numpy as np

import tunesmith as tune
from tunesmith.analysis.survival import rungs_of, survival
from tunesmith.events import AnswerReport, Decision, SessionStarted, Verdict
from tunesmith.schedulers import ASHAScheduler
from tunesmith.stores import create_store
from tunesmith.trial import TrialStatus

from ..stores.store_samples import answer, make_trial, report, start
from .written import spec_of, store_simulation, write

SPACE = {"x": tune.uniform(0, 1)}


def simulated(folder, scheduler, n=27, steps=9, metrics=lambda t, c: {"loss": c["x"] + 1 / t}):
    def curve(config):
        return [(1.0, metrics(t, config)) for t in range(1, steps + 1)]

    result = tune.simulate(
        curve, SPACE, metric="loss", mode="min", scheduler=scheduler, num_samples=n, search_alg="random", seed=0,
        charge_deciders=False,
    )  # fmt: skip
    return store_simulation(folder, result, SPACE).reader


def test_every_trial_at_a_rung_has_one_fate(tmp_path):
    found = survival(simulated(tmp_path / "e", ASHAScheduler(max_t=9, reduction_factor=3)))
    assert found.has_rungs
    assert found.level.tolist() == [1, 3, 9]
    assert np.array_equal(sum(found.fates.values()), found.n_reached)
    assert found.n_reached[0] == 27
    assert found.fates["went on"].tolist() == [*found.n_reached[1:], 0]
    assert found.fates["completed"].tolist() == [0, 0, found.n_reached[2]]


def test_fates_are_counted_at_the_last_level_reached(tmp_path):
    states = [TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED, TrialStatus.RUNNING]
    found = survival(write(tmp_path / "e", [[1] * 4, [1] * 2, [1] * 3, [1]], states=states).reader)
    assert not found.has_rungs
    assert found.level.tolist() == [1, 2, 3, 4]
    assert found.n_reached.tolist() == [4, 3, 2, 1]
    assert {fate: counts.tolist() for fate, counts in found.fates.items()} == {
        "went on": [3, 2, 1, 0],
        "completed": [0, 0, 0, 1],
        "stopped": [0, 1, 0, 0],
        "failed": [0, 0, 1, 0],
        "not over": [1, 0, 0, 0],
    }


def test_steps_double_where_there_are_many(tmp_path):
    assert survival(write(tmp_path / "e", [[1] * 40]).reader).level.tolist() == [1, 2, 4, 8, 16, 32, 40]


def test_nothing_survives_where_nothing_was_reported(tmp_path):
    assert len(survival(write(tmp_path / "e", [[], []]).reader).level) == 0


def test_rungs_in_units_of_a_metric_are_recognised(tmp_path):
    scheduler = ASHAScheduler(time_attr="epochs", max_t=90, grace_period=10, reduction_factor=3)
    reader = simulated(tmp_path / "e", scheduler, metrics=lambda t, c: {"loss": c["x"] + 1 / t, "epochs": 10 * t})
    assert (rungs_of(reader).time_attr, rungs_of(reader).levels) == ("epochs", (10, 30))
    assert survival(reader).level.tolist() == [10, 30, 90]


def test_a_rung_that_was_skipped_is_recognised_at_the_report_that_crossed_it(tmp_path):
    with create_store(tmp_path / "e", spec_of()) as store:
        first, second = report(0, 1, 1), report(0, 1, 5)
        decided = AnswerReport(0, 1, 5, Decision(Verdict.STOP, "at rung {rung}", {"rung": 3}))
        records = [SessionStarted(1, 1e9, ()), start(0), first, answer(first), second, decided]
        store.append(records, [make_trial(0, status=TrialStatus.STOPPED)])
    reader = tune.load(tmp_path / "e").reader
    assert (rungs_of(reader).time_attr, rungs_of(reader).levels) == ("training_iteration", (3,))
    assert survival(reader).n_reached.tolist() == [1, 1]


def test_without_decisions_there_are_no_rungs(tmp_path):
    assert rungs_of(write(tmp_path / "e", [[1, 2]]).reader) is None
