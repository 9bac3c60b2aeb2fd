"""The cross-validation example, in processes: a race needs fewer models and finds the same kind of config."""

import re

import pytest

import tunesmith as tune

pytest.importorskip("sklearn", reason="the example needs scikit-learn: pip install 'tunesmith[examples]'")


@pytest.mark.processes
def test_a_race_over_folds_fits_fewer_models_and_its_best_is_a_mean_over_all_folds(run_example, tmp_path):
    output = run_example("cross_validation.py", "--num-samples", 16, "--folds", 5)
    mean = float(re.search(r"Mean accuracy over 5 folds: (\d\.\d+)", output)[1])
    n_fits = int(re.search(r"Models fitted: (\d+) instead of 80", output)[1])
    assert n_fits < 80
    assert mean > 0.9

    (folder,) = (tmp_path / "results").iterdir()
    result = tune.load(folder)
    best = result.reader.top_trials(1)[0]
    assert [score.fold for score in best.folds] == [0, 1, 2, 3, 4]
    assert sum(score.value for score in best.folds) / 5 == pytest.approx(result.best.value)
    assert result.best.value == pytest.approx(mean, abs=1e-4)
    assert result.get_best_trial().index == result.best.trial.index == best.index
    assert any("trial" in (trial.reason or "") for trial in result.trials)
    result.reader.close()


@pytest.mark.processes
def test_without_a_race_every_fold_is_fitted(run_example):
    output = run_example("cross_validation.py", "--num-samples", 3, "--folds", 3, "--scheduler", "fifo")
    assert "Models fitted: 9 instead of 9" in output
