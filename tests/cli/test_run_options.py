"""What `tunesmith run` hands to `tune.run`, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.cli.main import main
from tunesmith.space import Space


class Handed(BaseException):
    """Ends the command where `tune.run` would begin; click and `main` let it through."""


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A function that calls `tunesmith` and returns the trainable and the arguments of `tune.run`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNESMITH_RESULTS", str(tmp_path / "results"))
    caught: list[dict[str, Any]] = []

    def run(trainable: Any, **arguments: Any) -> None:
        caught.append({**arguments, "trainable": trainable})
        raise Handed

    def call(*arguments: str) -> dict[str, Any]:
        with pytest.raises(Handed):
            main(arguments)
        return caught.pop()

    monkeypatch.setattr("tunesmith.api.run", run)
    return call


def described(tree: Any) -> Any:
    return Space(dict(tree)).describe()["tree"]


def test_zero_is_a_value_of_an_option(handed) -> None:
    found = handed(
        *("run", "-p", "a=1", "--seed", "0", "-n", "0", "--cpus", "0", "--gpus", "0", "--grace", "0"),
        *("--max-failures", "0", "--time-budget", "0", "--report-timeout", "0", "--", "true"),
    )
    assert found["resources_per_trial"] == {"cpu": 0, "gpu": 0}
    names = ("seed", "num_samples", "grace_s", "max_failures", "time_budget_s", "report_timeout_s")
    assert {name: found[name] for name in names} == dict.fromkeys(names, 0)


def test_no_trial_at_all_is_refused_as_tune_run_does(capsys, tmp_path: Path) -> None:
    assert main(["run", "-p", "a=1", "-n", "0", "--storage", str(tmp_path), "--", "true"]) == 2
    assert "num_samples is 0" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_given_is_not_handed_on(handed) -> None:
    found = handed("run", "-p", "a=1", "--", "true")
    assert {"seed", "num_samples", "resources_per_trial", "fail_fast", "grace_s"}.isdisjoint(found)


SWEEP = """
method: random
metric: {name: loss}
parameters:
  batch: {values: [16, 32]}
  optimizer:
    parameters:
      lr: {min: 0.0, max: 1.0}
      name: {values: [adam, sgd]}
"""


def test_a_parameter_takes_the_place_of_its_like_and_leaves_those_beside_it(handed, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(f"program: train.py\n{SWEEP}")
    (tmp_path / "space.yaml").write_text("optimizer: {parameters: {momentum: {value: 0.9}}}\n")
    found = handed("run", "sweep.yaml", "--space", "space.yaml", "-p", "optimizer/lr=loguniform(1e-4,1e-1)")
    assert described(found["config"]) == described(
        {
            "batch": tune.choice([16, 32]),
            "optimizer": {
                "lr": tune.loguniform(1e-4, 1e-1),
                "name": tune.choice(["adam", "sgd"]),
                "momentum": 0.9,
            },
        }
    )


def test_a_command_takes_the_place_of_a_sweeps_which_then_needs_none(handed, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(f'command: ["${{envvar:NO_SUCH}}", "${{program}}"]\n{SWEEP}')
    found = handed("run", "sweep.yaml", "--", "true", "{batch}")
    assert found["trainable"].keywords["words"] == ("true", "{batch}")
    assert (found["metric"], found["search_alg"]) == ("loss", "random")


def test_the_target_of_a_sweep_stays_beside_limits_and_goes_with_none(handed, tmp_path: Path) -> None:
    text = SWEEP.replace("name: loss", "name: loss, target: 0.5")
    (tmp_path / "sweep.yaml").write_text(f"program: train.py\n{text}")
    target = handed("run", "sweep.yaml")["stop"]
    assert type(target).__name__ == "TargetStopper"
    both = handed("run", "sweep.yaml", "--stop", "training_iteration=3")["stop"]
    assert (type(both[0]), both[1]) == (type(target), {"training_iteration": 3.0})
    assert handed("run", "sweep.yaml", "--stop", "none")["stop"] is None
