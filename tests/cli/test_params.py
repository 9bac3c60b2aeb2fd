"""`--param` expressions: what they mean, and what is refused without being run."""

from __future__ import annotations

import pytest

from tunesmith.cli.params import parse_domain, parse_params
from tunesmith.cli.target import known_names, program_name, program_trainable
from tunesmith.errors import ConfigError, SpaceError
from tunesmith.space import Space
from tunesmith.trialside.arguments import fill_words


def described(tree: object) -> object:
    return Space({"x": tree}).describe()["tree"]["x"]


def test_domains_are_those_of_the_space() -> None:
    import tunesmith as tune

    for text, expected in {
        "loguniform(1e-5,1e-1)": tune.loguniform(1e-5, 1e-1),
        "uniform(-1, 1)": tune.uniform(-1, 1),
        "quniform(0, 1, q=0.1)": tune.quniform(0, 1, 0.1),
        "randint(1, 10)": tune.randint(1, 10),
        "choice(adam,sgd)": tune.choice(["adam", "sgd"]),
        "choice([8, 16])": tune.choice([8, 16]),
        "choice('a b', true, None, 1.5)": tune.choice(["a b", True, None, 1.5]),
        "choice(uniform(0,1), 2)": tune.choice([tune.uniform(0, 1), 2]),
        "choice([1,2],[3])": tune.choice([[1, 2], [3]]),
        "grid(1,2)": tune.grid_search([1, 2]),
    }.items():
        assert described(parse_domain(text, name="x")) == described(expected), text


def test_what_is_no_call_is_a_constant() -> None:
    values = {"0.1": 0.1, "-3": -3, "True": True, "resnet-50": "resnet-50", "'1'": "1", "[1, 2]": [1, 2], "a b": "a b"}
    for text, expected in values.items():
        found = parse_domain(text, name="x")
        assert (found, type(found)) == (expected, type(expected))


def test_a_slash_makes_nested_parameters() -> None:
    assert parse_params(["opt/name=adam", "opt/lr=0.1", "seed=1"]) == {"opt": {"name": "adam", "lr": 0.1}, "seed": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__import__('os').system('touch pwned')", "is no domain"),
        ("exec('1')", "'exec' is no domain"),
        ("open('/etc/passwd')", "'open' is no domain"),
        ("choice(open('/etc/passwd'))", "'open' is no domain"),
        ("choice(a.b)", "write it in quotes"),
        ("choice(resnet-50)", "write it in quotes"),
        ("choice(*[1])", "is not known here"),
        ("uniform(0, __name__)", "is not understood"),
        ("uniform(0)", "missing 1 required"),
        ("uniform(0,1,2,3)", "positional"),
        ("loguniform(1e-5", "cannot be read"),
        ("uniform", "needs its bounds"),
        ("choice(" * 60 + "1" + ")" * 60, "nested too deeply"),
        ("choice(" + "[" * 5000, "cannot be read"),
        ("[open]", "is not understood"),
        ("x" * 30_000, "more than 20,000"),
        ("lambda: 1", None),
    ],
)
def test_nothing_else_is_understood_and_nothing_is_run(text: str, words: str | None) -> None:
    if words is None:
        assert parse_domain(text, name="x") == text
        return
    with pytest.raises(ConfigError, match="--param x") as found:
        parse_domain(text, name="x")
    assert words in str(found.value)


def test_a_domain_that_makes_no_sense_names_its_parameter() -> None:
    with pytest.raises(SpaceError, match=r"--param lr: .*loguniform"):
        parse_domain("loguniform(0, 1)", name="lr")


@pytest.mark.parametrize("texts", [["lr"], ["=1"], ["a=1", "a=2"], ["a=1", "a/b=2"], ["a/=1"], ["a//b=1"]])
def test_names_are_given_once_and_whole(texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="--param"):
        parse_params(texts)


def test_macros_stand_for_all_parameters() -> None:
    config = {"lr": 0.1, "flag": True, "off": False, "opt": {"name": "a b"}}
    expected = {
        "${args}": ["--lr=0.1", "--flag=True", "--off=False", '--opt={"name": "a b"}'],
        "${args_no_hyphens}": ["lr=0.1", "flag=True", "off=False", 'opt={"name": "a b"}'],
        "${args_no_boolean_flags}": ["--lr=0.1", "--flag", '--opt={"name": "a b"}'],
        "${args_append_hydra}": ["+lr=0.1", "+flag=True", "+off=False", '+opt={"name": "a b"}'],
        "${args_override_hydra}": ["++lr=0.1", "++flag=True", "++off=False", '++opt={"name": "a b"}'],
        "${args_json}": ['{"lr": 0.1, "flag": true, "off": false, "opt": {"name": "a b"}}'],
    }
    for macro, arguments in expected.items():
        assert fill_words([macro], config, has_braces=False) == arguments
    no_equals = fill_words(["${args_no_equals}"], config, has_braces=False)
    assert no_equals[:4] == ["--lr", "0.1", "--flag", "True"]


def test_braces_name_parameters_nested_ones_too_and_a_wrong_one_is_told_the_known() -> None:
    tree = parse_params(["lr=uniform(0,1)", "opt/name=choice(adam,sgd)"])
    assert known_names(tree) == {"lr", "opt", "opt/name"}
    config = {"lr": 0.5, "opt": {"name": "adam"}}
    words = ["{lr}", "{opt/name}!", "{opt}", "{{lr}}"]
    assert fill_words(words, config, has_braces=True) == ["0.5", "adam!", '{"name": "adam"}', "{lr}"]
    for word, expected in {
        "{lrr}": "Parameters are lr, opt, opt/name",
        "{": "without its partner",
        "}": "partner",
    }.items():
        with pytest.raises(ConfigError, match=expected):
            program_trainable(["echo", word], tree, has_braces=True, metrics=())


def test_a_program_that_is_not_there_is_refused_before_anything_is_started() -> None:
    with pytest.raises(ConfigError, match="no program 'pyhton'"):
        program_trainable(["pyhton", "x"], {}, has_braces=True, metrics=())
    with pytest.raises(ConfigError, match=r"\$\{arg\} is not known"):
        program_trainable(["echo", "${arg}"], {}, has_braces=True, metrics=())


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["python", "-u", "train.py", "--lr", "{lr}"], "train"),
        (["/usr/bin/env", "python3.11", "deep/net.py"], "net"),
        (["./simulate"], "simulate"),
        (["sh", "-c", "echo a; exit"], "sh"),
    ],
)
def test_an_experiment_is_called_like_its_program(words: list[str], name: str) -> None:
    assert program_name(words) == name
