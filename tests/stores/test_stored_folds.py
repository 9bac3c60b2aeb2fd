"""Folds in the store: exact, ranked, and absent from files of the version before."""

from __future__ import annotations

import math
import sqlite3

import pytest

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.api import load
from tunesmith.stores import create_store, open_reader, open_store, recover
from tunesmith.trial import FoldScore, Mode, TrialStatus

from .store_samples import cross_validated, make_spec, make_trial, start, write_folds


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "e"


def top(folder, n=9):
    reader = open_reader(folder)
    try:
        return [trial.index for trial in reader.top_trials(n)]
    finally:
        reader.close()


@pytest.mark.parametrize("values", [[0.1], [0.3, math.nan, -math.inf], [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_folds_come_back_exactly(folder, values):
    write_folds(folder, [values])
    reader = open_reader(folder)
    assert repr(reader.trial(0)) == repr(cross_validated(0, values))
    assert repr(reader.trials()) == repr([cross_validated(0, values)])
    assert reader.has_folds()
    reader.close()


def test_a_fold_that_changes_later_is_written(folder):
    with create_store(folder, make_spec()) as store:
        for n in (1, 2):
            store.append([], [cross_validated(0, [3.0, 5.0][:n])])
        store.append([], [cross_validated(0, [3.0, 4.0])])
    reader = open_reader(folder)
    assert reader.trial(0).folds == (FoldScore(0, 1, 3.0), FoldScore(1, 2, 4.0))
    reader.close()


@pytest.mark.parametrize(("mode", "order"), [(Mode.MIN, [2, 0, 1, 3]), (Mode.MAX, [1, 0, 2, 3])])
def test_the_most_folds_rank_first_and_then_the_mean(folder, mode, order):
    write_folds(folder, [[2.0, 2.0], [3.0, 3.0], [1.0, 2.0], [0.0], [math.nan, 0.0, 0.0]], mode=mode)
    assert top(folder) == order
    assert top(folder, 1) == order[:1]


def test_trials_without_folds_rank_by_value_as_before(folder):
    with create_store(folder, make_spec()) as store:
        for index, value in enumerate([2.0, 1.0, 3.0]):
            store.append([start(index)], [make_trial(index, best_value=value, best_step=1, metrics={"loss": value})])
    reader = open_reader(folder)
    assert not reader.has_folds()
    reader.close()
    assert top(folder) == [1, 0, 2]


def test_another_objective_ranks_by_its_own_folds(folder):
    write_folds(folder, [[2.0, 2.0], [1.0, 1.0]])
    with open_store(folder) as store:
        again = [cross_validated(0, [0.1, 0.1]), cross_validated(1, [0.2, 0.2])]
        store.revise(make_spec("accuracy", Mode.MAX), again)
    reader = open_reader(folder)
    assert [trial.folds[0].value for trial in reader.top_trials(2)] == [0.2, 0.1]
    reader.close()


# ---------------------------------------------------------------- the version before


@pytest.fixture
def old_file(folder):
    """As version 1 wrote it."""
    write_folds(folder, [[2.0, 3.0], [1.0, 5.0]])
    with sqlite3.connect(folder / "experiment.db") as file:
        file.execute("ALTER TABLE trial_states DROP COLUMN folds")
        file.execute("PRAGMA user_version = 1")
    file.close()
    return folder


def test_a_file_of_version_1_is_read_without_being_changed(old_file):
    before = (old_file / "experiment.db").read_bytes()
    reader = open_reader(old_file)
    assert [trial.folds for trial in reader.trials()] == [(), ()]
    assert [trial.index for trial in reader.top_trials(2)] == [0, 1]
    assert ExperimentAnalysis(reader).best.value == 2.5  # its results say of which fold they are
    reader.close()
    assert (old_file / "experiment.db").read_bytes() == before


def test_a_file_of_version_1_is_gone_on_with(old_file):
    with open_store(old_file) as store:
        store.append([], [cross_validated(1, [1.0, 2.0])])
    reader = open_reader(old_file)
    assert [len(trial.folds) for trial in reader.trials()] == [0, 2]
    reader.close()
    assert (old_file / "experiment.db.v1").exists()


def test_a_file_of_version_1_is_recovered_whole(old_file, tmp_path):
    found = recover(old_file, tmp_path / "recovered.db")
    assert (found.lost, found.n_rows["trial_states"]) == ({}, 2)
    analysis = load(tmp_path / "recovered.db")
    assert [trial.state for trial in analysis.trials] == [TrialStatus.COMPLETED] * 2
    analysis.reader.close()
