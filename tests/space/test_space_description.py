"""Descriptions: JSON, the same in every run, and the sentences of what changed."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys

import pytest

from tunesmith.space import Space, choice, grid_search, loguniform, randint, sample_from, space_difference, uniform


class Model:
    pass


def make(**changes):
    return Space({"lr": loguniform(1e-4, 1e-1), "n": randint(1, 9), "seed": 3, **changes})


FULL = {
    "lr": loguniform(1e-4, 1e-1),
    "model": Model,
    "instance": choice([Model(), "x"]),
    "free": sample_from(lambda config: config["lr"] * 2),
    "opt": choice([{"a": uniform(0, 1)}, (1, 2)]),
    3: [grid_search([1, None]), float("nan")],
}


def test_a_description_is_json_without_addresses():
    text = json.dumps(Space(FULL).describe(), allow_nan=False)
    assert not re.search("0x[0-9a-f]{4}", text)
    assert 'lambda config: config[\\"lr\\"] * 2' in text
    assert Space(json.loads(text)) is not None


def test_the_fingerprint_is_the_same_in_another_process_with_another_hash_seed():
    code = (
        "from tunesmith.space import *\n"
        "print(Space({'a': choice(['x', (1, 2.5), len, {'b': uniform(0, 1)}]), 'c': grid_search([1, 2])}).fingerprint)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": s},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for s in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].strip()) == 64


def test_equal_spaces_have_equal_fingerprints():
    assert Space(FULL).fingerprint == Space(dict(reversed(FULL.items()))).fingerprint
    assert make().fingerprint == make(lr=loguniform(0.0001, 0.1, base=2)).fingerprint
    assert Space({"a": {"grid_search": [1]}}).fingerprint == Space({"a": grid_search([1])}).fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": loguniform(1e-3, 1e-1)},
        {"lr": uniform(1e-4, 1e-1)},
        {"seed": 4},
        {"seed": 3.0},
        {"seed": "3"},
        {"more": 1},
        {"n": choice([1, 2])},
        {"n": choice([1, 2.0])},
        {"n": sample_from(lambda: 1)},
        {"n": sample_from(lambda: 2)},
    ],
)
def test_a_changed_space_has_another_fingerprint(changes):
    assert make(**changes).fingerprint != make().fingerprint


@pytest.mark.parametrize(
    ("old", "new", "sentences"),
    [
        ({}, {}, []),
        (
            {},
            {"lr": loguniform(1e-3, 1e-1)},
            ["'lr' was loguniform(0.0001, 0.1), is loguniform(0.001, 0.1)"],
        ),
        ({}, {"momentum": uniform(0, 1)}, ["'momentum' was added"]),
        ({"momentum": uniform(0, 1)}, {}, ["'momentum' was removed"]),
        ({}, {"seed": 4}, ["'seed' was 3, is 4"]),
        ({}, {"seed": uniform(0, 1)}, ["'seed' was 3, is uniform(0, 1)"]),
        (
            {"opt": choice([{"lr": uniform(0, 1)}, "x"])},
            {"opt": choice([{"lr": uniform(0, 2)}, "x"])},
            ["'opt/0/lr' was uniform(0, 1), is uniform(0, 2)"],
        ),
        (
            {"opt": choice(["x", {"lr": uniform(0, 1)}])},
            {"opt": choice(["y", {"lr": uniform(0, 1)}])},
            ["'opt' was choice(['x', {lr: ...}]), is choice(['y', {lr: ...}])"],
        ),
        (
            {"m": {"d": [uniform(0, 1), 2]}},
            {"m": {"d": [uniform(0, 1), 3]}},
            ["'m/d/1' was 2, is 3"],
        ),
        ({"m": {1: uniform(0, 1)}}, {"m": {1: uniform(0, 2)}}, ["'m/1' was uniform(0, 1), is uniform(0, 2)"]),
        ({"t": (uniform(0, 1),)}, {"t": (uniform(0, 2),)}, ["'t/0' was uniform(0, 1), is uniform(0, 2)"]),
        (
            {"f": sample_from(lambda: 1)},
            {"f": sample_from(lambda: 2)},
            ["'f' was sample_from(lambda: 1), is sample_from(lambda: 2)"],
        ),
        (
            {"a": grid_search([1, 2]), "b": grid_search([1, 2])},
            {"b": grid_search([1, 2]), "a": grid_search([1, 2])},
            ["the order of the grid_search leaves was a, b, is b, a"],
        ),
    ],
)
def test_what_changed_is_said_by_name(old, new, sentences):
    assert space_difference(make(**old).describe(), make(**new).describe()) == sentences


def test_a_change_beyond_the_shown_options_is_still_said():
    old, new = (Space({"c": choice([*range(20), last])}).describe() for last in ("x", "y"))
    assert len(space_difference(old, new)) == 1


def test_a_description_may_have_been_through_json():
    description = make(opt=choice([(1, {"a": uniform(0, 1)})])).describe()
    assert space_difference(json.loads(json.dumps(description)), description) == []


def named(config):
    """A function with a name."""
    return 1


def source(fn):
    return sample_from(fn).describe()["source"]


def test_each_lambda_on_a_line_has_its_own_source():
    pair = [sample_from(lambda _: 1), sample_from(lambda _: lambda: 2)]
    assert [leaf.describe()["source"] for leaf in pair] == ["lambda _: 1", "lambda _: lambda: 2"]
    assert pair[0] != pair[1]


def test_the_source_is_the_text_of_the_function_or_its_name():
    assert source(named).startswith("def named(config):")
    assert source(int) == "builtins.int"
    assert source(functools.partial(max, 1)) == "functools.partial(<built-in function max>, 1)"
    made = eval(compile("lambda: 1", "<made up>", "eval"))  # "<string>" is that of `python -c` from Python 3.13 on
    assert source(made).endswith("<lambda>")
    multi_line = source(
        lambda config: (
            config["a"]
            + 1
        )
    )  # fmt: skip
    assert multi_line.startswith("lambda config: (")
    assert multi_line.endswith(")")
