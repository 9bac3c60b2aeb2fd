"""Sweep files in W&B's shape, and YAML that means harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.cli.distributions import DISTRIBUTIONS, parameter_domain
from tunesmith.cli.sweep import load_space, load_sweep, parse_sweep
from tunesmith.cli.yaml_input import load_yaml, parse_yaml
from tunesmith.errors import ConfigError, SpaceError
from tunesmith.space import Space

SWEEP = """
program: train.py
method: bayes
name: ignored
project: digits
description: of nobody
metric: {name: val/loss, goal: minimize}
run_cap: 20
parameters:
  lr: {distribution: log_uniform_values, min: 1e-5, max: 1e-1}
  batch: {values: [16, 32]}
  epochs: {value: 5}
  layers: {min: 1, max: 4}
  dropout: {min: 0.0, max: 0.5}
  optimizer:
    parameters:
      name: {values: [adam, sgd]}
      beta: {distribution: uniform, min: 0.8, max: 0.99}
early_terminate: {type: hyperband, max_iter: 27, s: 2, eta: 3}
"""


def described(tree: Any) -> Any:
    return Space(dict(tree)).describe()["tree"]


def test_a_sweep_becomes_a_space_arguments_and_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    sweep = load_sweep(tmp_path / "sweep.yaml")
    assert described(sweep.tree) == described(
        {
            "lr": tune.loguniform(1e-5, 1e-1),
            "batch": tune.choice([16, 32]),
            "epochs": 5,
            "layers": tune.randint(1, 5),
            "dropout": tune.uniform(0.0, 0.5),
            "optimizer": {"name": tune.choice(["adam", "sgd"]), "beta": tune.uniform(0.8, 0.99)},
        }
    )
    arguments = dict(sweep.arguments)
    scheduler = arguments.pop("scheduler")
    assert arguments == {"search_alg": "auto", "metric": "val/loss", "mode": "min", "num_samples": 20}
    assert "27" in repr(vars(scheduler))
    assert sweep.words == ("/usr/bin/env", "python", "train.py", "${args}")
    assert sweep.wandb == {"project": "digits"}
    errors = capsys.readouterr().err
    assert "description in the sweep has no effect." in errors
    assert "name in the sweep has no effect: --name names the experiment" in errors


def test_a_grid_goes_through_all_values_up_to_the_cap() -> None:
    grid = {
        "method": "grid",
        "program": "t.py",
        "parameters": {
            "a": {"values": [1, 2]},
            "b": {"min": 1, "max": 30},
            "c": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.5},
        },
    }
    sweep = parse_sweep(grid)
    assert (sweep.arguments["search_alg"], sweep.arguments["num_samples"]) == ("grid", 2 * 30 * 3)
    assert sweep.tree["c"].options == (0.0, 0.5, 1.0)
    assert parse_sweep({**grid, "run_cap": 7}).arguments["num_samples"] == 7
    with pytest.raises(ConfigError, match="a grid cannot go through uniform"):
        parse_sweep({**grid, "parameters": {"a": {"min": 0.0, "max": 1.0}}})


def test_a_command_is_words_with_macros_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data; rm")
    base = {"method": "random", "program": "t.py", "parameters": {"a": {"value": 1}}}
    command = ["${interpreter}", "-m", "${program}", "--data=${envvar:DATA}", "${args_no_hyphens}", 5]
    words = parse_sweep({**base, "command": command}).words
    assert words == ("python", "-m", "t.py", "--data=/data; rm", "${args_no_hyphens}", "5")
    for command, expected in ([["${envvar:NO_SUCH}"], "NO_SUCH is not set"], ["python t.py", "Give a list of words"]):
        with pytest.raises(ConfigError, match=expected):
            parse_sweep({**base, "command": command})


def test_every_distribution_makes_a_domain() -> None:
    given = {"value": 1, "values": [1, 2], "min": 1, "max": 8, "mu": 0.0, "sigma": 1.0, "q": 2}
    for name, (needs, takes, _) in DISTRIBUTIONS.items():
        parameter = {"distribution": name, **{key: given[key] for key in (*needs, *takes) if key in given}}
        domain = parameter_domain(parameter, "p", is_grid=False)
        assert Space({"x": domain}).describe()
    exact = parameter_domain({"distribution": "q_uniform", "min": 1, "max": 9, "q": 2}, "p", is_grid=False)
    assert described({"x": exact}) == described({"x": tune.qrandint(1, 9, 2)})


def test_what_is_given_decides_the_distribution() -> None:
    for parameter, expected in (
        ({"min": 0, "max": 256, "q": 32}, tune.qrandint(0, 256, 32)),
        ({"min": 0.0, "max": 1.0, "q": 0.1}, tune.quniform(0.0, 1.0, 0.1)),
        ({"mu": 1.0, "q": 0.5}, tune.qrandn(1.0, 1.0, 0.5)),
        ({"sigma": 2}, tune.randn(0.0, 2)),
    ):
        assert described({"x": parameter_domain(parameter, "p", is_grid=False)}) == described({"x": expected})
    assert parameter_domain({"min": 0, "max": 64, "q": 32}, "p", is_grid=True).options == (0, 32, 64)


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ({"distribution": "uniform", "min": 0, "max": 1, "q": 0.1}, "uniform does not take q. Give q_uniform"),
        ({"distribution": "int_uniform", "min": 0, "max": 8, "q": 2}, "int_uniform does not take q. Give q_uniform"),
        ({"distribution": "normal", "min": 0, "max": 1}, "normal does not take max, min. It takes mu, sigma"),
        ({"distribution": "log_uniform_values", "min": 1, "max": 8, "q": 2}, "Give q_log_uniform_values"),
        ({"values": [1, 2], "min": 0}, "categorical does not take min"),
        ({"value": 1, "values": [1, 2]}, "categorical does not take value"),
        ({"value": 1, "max": 2}, "constant does not take max"),
        ({"min": 0, "max": 1, "mu": 0}, "int_uniform does not take mu"),
        ({"distribution": "beta", "a": 1}, "'beta' is not known here"),
    ],
)
def test_a_key_that_a_distribution_does_not_have_is_refused(parameter: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as found:
        parameter_domain(parameter, "parameters.a", is_grid=False)
    assert str(found.value).startswith("parameters.a: ") and words in str(found.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "genetic"}, "method is 'genetic'"),
        ({"metric": {"name": "loss", "goal": "smaller"}}, "goal"),
        ({"metric": {"name": "loss", "target": "low"}}, "metric.target is 'low'"),
        ({"metric": {"name": "loss", "aim": 1}}, "aim"),
        ({"parameters": None}, "parameters is None"),
        ({"parameters": {"a": {"distribution": "uniform", "min": 0, "max": 1, "a": 1}}}, "does not take a"),
        ({"parameters": {"a": {"distribution": "inv_log_uniform", "min": 1, "max": 2}}}, "is not known here"),
        ({"parameters": {"a": {"values": [1, 2], "probabilities": [0.1, 0.9]}}}, "equally likely"),
        ({"parameters": {"a": {"min": 1}}}, "Give value, values, or min and max"),
        ({"parameters": {"a": {"min": "low", "max": 2}}}, "parameters.a"),
        ({"early_terminate": {"type": "envelope"}}, "Give hyperband"),
        ({"early_terminate": {"type": "hyperband", "eta": 3}}, "needs min_iter, or max_iter"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 3, "eta": 1}}, "eta is 1. Give a number above 1"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 3, "eta": True}}, "eta is True"),
        ({"early_terminate": {"type": "hyperband", "max_iter": 9, "s": 0}}, "early_terminate.s is 0"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 2.5}}, "min_iter is 2.5. Give a whole number"),
        ({"run_cap": 0}, "run_cap is 0"),
        ({"schedule": {}}, "'schedule' is not known"),
        ({"parameters": {"a": {"values": [1, 2, 1]}}}, "'1' twice"),
        ({"program": None}, "program is missing"),
    ],
)
def test_what_a_sweep_must_not_be(change: dict[str, Any], words: str) -> None:
    good = {"program": "t.py", "method": "random", "metric": {"name": "loss"}, "parameters": {"a": {"value": 1}}}
    with pytest.raises((ConfigError, SpaceError)) as found:
        parse_sweep({**good, **change})
    assert words in str(found.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"min_iter": 3, "eta": 2.0}, (3, 10**9, 2)),
        ({"min_iter": 3.0, "eta": 1.5}, (3, 10**9, 1.5)),
        ({"max_iter": 27, "s": 2.0}, (3, 27, 3)),
        ({"max_iter": 27, "s": 2, "min_iter": 5}, (3, 27, 3)),
        ({"max_iter": 81, "s": 4, "eta": 3}, (1, 81, 3)),
    ],
)
def test_early_termination_has_wandbs_brackets(given: dict[str, Any], expected: tuple[float, ...], monkeypatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr("tunesmith.methods.create_scheduler", lambda name, **keywords: seen.update(keywords))
    sweep = {"program": "t.py", "method": "random", "metric": {"name": "loss"}, "parameters": {"a": {"value": 1}}}
    parse_sweep({**sweep, "early_terminate": {"type": "hyperband", **given}})
    assert (seen["grace_period"], seen["max_t"], seen["reduction_factor"]) == expected


def test_what_has_no_effect_here_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    parse_sweep(
        {
            "program": "t.py",
            "method": "random",
            "metric": {"name": "loss", "impute": "worst", "impute_while_running": "false"},
            "parameters": {"a": {"value": 1}},
            "early_terminate": {"type": "hyperband", "min_iter": 3, "strict": True},
            "controller": {"type": "local"},
        }
    )
    errors = capsys.readouterr().err
    for name in ("metric.impute ", "metric.impute_while_running", "early_terminate.strict", "controller"):
        assert f"{name.strip()} in the sweep has no effect" in errors


@pytest.mark.parametrize(("goal", "target", "values"), [("minimize", 2.0, [3, 2, 1]), ("maximize", 2, [1, 2, 3])])
def test_the_experiment_ends_at_the_target(goal: str, target: float, values: list[int], tmp_path: Path) -> None:
    sweep = parse_sweep(
        {
            "program": "t.py",
            "method": "grid",
            "metric": {"name": "loss", "goal": goal, "target": target},
            "parameters": {"a": {"values": values}},
        }
    )
    again = {"storage_path": tmp_path, "name": "e", "executor": "inline", "max_concurrent_trials": 1}
    result = tune.run(lambda config: {"loss": config["a"]}, config=sweep.tree, verbose=0, **sweep.arguments, **again)
    assert [trial.config["a"] for trial in result.trials if trial.last_result] == values[:2]
    assert "reached the target: loss is 2" in result.stats()["detail"]


def test_1e_3_is_a_number() -> None:
    assert parse_yaml("[1e-3, -1E5, 1.5e+3, 1e, e5, 0x10]") == [1e-3, -1e5, 1500.0, "1e", "e5", 16]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "'a' is there twice, again in line 2"),
        ("x: {b: 1, b: 2}", "'b' is there twice"),
        ("!!python/object/apply:os.system ['touch pwned']", "could not determine a constructor"),
        ("a: &a [1]\nb: [" + "*a, " * 200 + "]", "more than 100 aliases"),
        (
            "a: &a {b: 1}\n"
            + "\n".join(f"k{i}: &k{i} [{','.join(['*a' if i == 0 else f'*k{i - 1}'] * 9)}]" for i in range(9)),
            "entries once its aliases",
        ),
        ("[" * 3000, "nested too deeply"),
        ("a: [", "is no YAML"),
        ("\x00", "is no YAML"),
        ("x: " + "y" * 1_100_000, "more than 1,048,576 bytes"),
    ],
    ids=["twice", "nested-twice", "tag", "aliases", "bomb", "deep", "broken", "nul", "large"],
)
def test_yaml_that_means_harm_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as found:
        load_yaml(path)
    assert words in str(found.value)
    assert len(str(found.value)) < 600


def test_merge_keys_and_a_few_aliases_work() -> None:
    assert parse_yaml("base: &b {x: 1, y: 2}\nc: {<<: *b, y: 3}") == {"base": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}}


def test_a_space_is_a_file_or_a_dict_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text("lr: {min: 0.0, max: 1.0}\n")
    (tmp_path / "own_space.py").write_text("import tunesmith as tune\nspace = {'lr': tune.uniform(0, 1)}\nn = 3\n")
    assert described(load_space("space.yaml")) == described(load_space("own_space.py:space"))
    with pytest.raises(ConfigError, match="Give a dict of parameters"):
        load_space("own_space.py:n")
