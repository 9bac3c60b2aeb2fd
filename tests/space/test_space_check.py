"""F77: a config given by the user is checked field by field."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.errors import SpaceError
from tunesmith.space import Space, choice, grid_search, loguniform, randint, sample_from, uniform


def relu():
    return 0


SPACE = Space(
    {
        "lr": loguniform(1e-4, 1e-1),
        "n": randint(1, 10),
        "act": choice([relu, "tanh", None]),
        "opt": choice([{"name": "sgd", "momentum": uniform(0, 1)}, {"name": "adam", "beta": uniform(0, 1)}]),
        "only": choice([{"decay": uniform(0, 1)}]),
        "shape": (randint(1, 9), [uniform(0, 1)]),
        "depth": grid_search([2, 4]),
        "seed": 3,
        "free": sample_from(lambda: 1),
    }
)
GOOD = {
    "lr": 0.01,
    "n": 5,
    "act": relu,
    "opt": {"name": "adam", "beta": 0.5},
    "only": {"decay": 0.5},
    "shape": (3, [0.5]),
    "depth": 4,
    "seed": 3,
    "free": object(),
}


def test_a_config_of_the_space_is_accepted():
    SPACE.check(GOOD)
    SPACE.check({**GOOD, "seed": np.int64(3), "n": np.int64(5), "lr": np.float32(0.01)})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"lr": 1.0}, "'lr' is '1'"),
        ({"lr": "0.01"}, "'lr' is '0.01' (str); expected a value of loguniform(0.0001, 0.1)"),
        ({"lr": True}, "'lr' is 'True' (bool)"),
        ({"lr": float("nan")}, "'lr' is 'nan'"),
        ({"n": 10}, "'n' is '10'"),
        ({"n": 5.0}, "'n' is '5' (float)"),
        ({"act": "relu"}, "'act' is 'relu' (str); expected one of the options"),
        ({"act": []}, "'act' is '[]' (list)"),
        ({"opt": {"name": "adam", "momentum": 0.5}}, "'opt' is"),
        ({"opt": "adam"}, "'opt' is 'adam'"),
        ({"only": {"decay": 2.0}}, "'only/decay' is '2'"),
        ({"only": {}}, "'only/decay' is missing"),
        ({"shape": [3, [0.5]]}, "'shape' is '[3, [0.5]]' (list); expected a tuple of length 2"),
        ({"shape": (3, [0.5, 0.5])}, "'shape/1' is"),
        ({"shape": (3, [7.0])}, "'shape/1/0' is '7'"),
        ({"depth": 3}, "'depth' is '3'"),
        ({"seed": 4}, "'seed' is '4' (int); expected the constant '3'"),
        ({"seed": True}, "'seed' is 'True'"),
        ({"more": 1}, "'more' is not in the space"),
        ({"a\nb": 1}, r"'a\\nb' is not in the space"),
    ],
)
def test_f77_a_wrong_field_is_named(change, field):
    with pytest.raises(SpaceError) as caught:
        SPACE.check({**GOOD, **change})
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize("name", list(GOOD))
def test_f77_a_missing_field_is_named(name):
    with pytest.raises(SpaceError, match=f"'{name}' is missing"):
        SPACE.check({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize("config", [None, [], "lr", 3])
def test_f77_a_config_is_a_dict(config):
    with pytest.raises(SpaceError, match="the config is"):
        SPACE.check(config)


def test_values_give_options_as_written():
    values = SPACE.values(GOOD)
    assert values["act",] is relu
    assert values["opt",] is SPACE.leaves[3].domain.options[1]
    assert values["opt", 1, "beta"] == 0.5
    assert ("opt", 0, "momentum") not in values


def test_a_value_that_two_options_could_give_is_taken_for_the_first():
    space = Space({"x": choice([uniform(0, 1), uniform(0, 2)])})
    assert [leaf.path for leaf in space.active({"x": 0.5})] == [("x",), ("x", 0)]
    assert [leaf.path for leaf in space.active({"x": 1.5})] == [("x",), ("x", 1)]


def test_a_constant_option_wins_over_one_with_domains():
    space = Space({"x": choice([uniform(0, 1), 0.5])})
    assert [leaf.path for leaf in space.active({"x": 0.5})] == [("x",)]
