"""The demo, cut down to four trials of three epochs."""

import ast
import re

import pytest

import tunesmith as tune

pytest.importorskip("sklearn", reason="the demo needs scikit-learn: pip install 'tunesmith[examples]'")

CHANCE = 0.1


@pytest.mark.processes
@pytest.mark.parametrize("executor", ["processes", "inline"])
def test_demo_prints_the_best_config_and_a_test_accuracy_well_above_chance(run_example, tmp_path, executor):
    output = run_example("digits.py", "--num-samples", 4, "--max-epochs", 3, "--executor", executor)
    config = ast.literal_eval(re.search(r"Best config: (\{.*\})", output)[1])
    assert config.keys() == {"lr", "momentum", "batch", "units", "activation"}
    assert float(re.search(r"test (0\.\d+)", output)[1]) > 3 * CHANCE

    (folder,) = (tmp_path / "results").iterdir()
    result = tune.load(folder)
    assert len(result.trials) == 4
    assert result.best.config == config


@pytest.mark.processes
def test_demo_goes_on_with_an_experiment_by_name(run_example, tmp_path):
    run_example("digits.py", "--num-samples", 1, "--max-epochs", 2, "--name", "mine")
    run_example("digits.py", "--num-samples", 2, "--max-epochs", 2, "--name", "mine")
    assert len(tune.load(tmp_path / "results" / "mine").trials) == 2
