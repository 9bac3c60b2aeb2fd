"""Configs as JSON and back: nothing is lost, objects by their place in the space."""

from __future__ import annotations

import enum
import functools
import json
import math
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import SpaceError
from tunesmith.space import (
    Opaque,
    Space,
    choice,
    config_is_json,
    decode_config,
    encode_config,
    flatten_config,
    grid_search,
    label,
    uniform,
)


class Net:
    def __init__(self, depth=1):
        self.depth = depth


class Loud:
    def __repr__(self):
        raise RuntimeError("no repr")


class Color(enum.IntEnum):
    RED = 1
    BLUE = 2


def a_function():
    return 1


def same(a, b):
    """Equal, types and NaN included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        pairs = zip(a.items(), b.items(), strict=True)
        return len(a) == len(b) and all(same(k, m) and same(v, w) for (k, v), (m, w) in pairs)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    return a == b


texts = st.text(st.characters(codec=None, categories=None) | st.sampled_from("$\ud800\udc00"), max_size=6)
scalars = st.none() | st.booleans() | st.integers() | st.integers(2**53 - 2, 2**80) | st.floats() | texts
keys = texts | st.integers() | st.booleans() | st.none() | st.tuples(st.integers(), texts)
tags = st.sampled_from(["$tuple", "$float", "$object", "$dict", "$int", "$str", "$domain"])
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(tags, inner, min_size=1, max_size=2)
    ),
    max_leaves=20,
)


@given(trees)
def test_any_tree_comes_back_through_strict_json(tree):
    text = json.dumps(encode_config(tree), allow_nan=False, ensure_ascii=False)
    text.encode("utf-8")
    assert config_is_json(tree)
    assert same(decode_config(json.loads(text)), tree)


@pytest.mark.parametrize(
    ("value", "tree"),
    [
        ({"a": [1, 0.5, "x", None, True]}, {"a": [1, 0.5, "x", None, True]}),
        ((1, 2), {"$tuple": [1, 2]}),
        (math.nan, {"$float": "NaN"}),
        (-math.inf, {"$float": "-Infinity"}),
        (2**53, 2**53),
        (2**53 + 1, {"$int": "9007199254740993"}),
        ({1: "a"}, {"$dict": [[1, "a"]]}),
        ({"$tuple": 1}, {"$dict": [["$tuple", 1]]}),
        ("\ud800", {"$str": "\\ud800"}),
        (np.float64(0.5), 0.5),
        (np.int32(3), 3),
        (OrderedDict(a=1), {"a": 1}),
        (a_function, {"$object": f"{__name__}.a_function"}),
        (Color.RED, {"$object": f"{__name__}.Color.RED"}),
        (Loud(), {"$object": "<Loud>"}),
        (b"ab", {"$object": "b'ab'"}),
    ],
)
def test_a_value_is_stored_as(value, tree):
    assert encode_config(value) == tree


def test_integers_of_thousands_of_digits_come_back():
    assert decode_config(encode_config([-(10**6000)])) == [-(10**6000)]


def test_labels_hold_no_address_and_are_short():
    assert encode_config(Net()) == {"$object": f"<{__name__}.Net>"}
    text = encode_config({"f": functools.partial(a_function), "b": b"x" * 1000})
    assert "0x" not in str(text)
    assert len(text["b"]["$object"]) == 200


def test_a_value_nested_too_deep_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(SpaceError, match="holds itself"):
        encode_config(loop)


@pytest.mark.parametrize("value", [Net(), a_function, Color.RED, np.float64(1), {"a": [b""]}, OrderedDict(), {1, 2}])
def test_what_does_not_come_back_alike_is_no_json(value):
    assert not config_is_json({"x": value})


OBJECTS = {
    "act": choice(["tanh", a_function, Net]),
    "net": grid_search([Net(1), Net(2)]),
    "color": choice(list(Color)),
    "data": choice([np.arange(2), {1, 2}]),
    "opt": choice([{"cls": Net, "lr": uniform(0, 1)}, ("plain", a_function)]),
    "loss": {"fn": [len], "w": uniform(0, 1)},
    "const": {"fn": max},
}


def test_an_object_that_is_an_option_is_tagged_with_leaf_and_index():
    space = Space({"m": {"act": choice(["tanh", a_function])}})
    tree = encode_config({"m": {"act": a_function}}, space)
    assert tree == {"m": {"act": {"$object": f"{__name__}.a_function", "leaf": ["m", "act"], "choice": 1}}}


@given(st.integers(0, 1000))
def test_objects_come_back_as_the_same_objects_with_the_space(index):
    space = Space(OBJECTS)
    config = space.sample(0, index)
    text = json.dumps(encode_config(config, space), allow_nan=False)
    again = decode_config(json.loads(text), space)
    assert again["act"] is config["act"] or config["act"] == "tanh"
    assert again["net"] is config["net"]
    assert again["color"] is config["color"]
    assert again["data"] is config["data"]
    assert again["loss"] == config["loss"]
    assert again["const"]["fn"] is max
    assert again["opt"] == config["opt"]
    space.check(again)


def test_without_the_space_an_object_is_a_label():
    again = decode_config(encode_config({"act": a_function}, Space(OBJECTS)))
    assert again == {"act": Opaque(f"{__name__}.a_function")}
    assert str(again["act"]) == f"{__name__}.a_function"
    assert encode_config(again) == {"act": {"$object": f"{__name__}.a_function"}}


def test_an_object_is_not_taken_for_another_that_moved_into_its_place():
    tree = encode_config({"act": a_function}, Space({"act": choice(["tanh", a_function])}))
    for options in (["tanh", Net], ["tanh"]):
        assert decode_config(tree, Space({"act": choice(options)})) == {"act": Opaque(f"{__name__}.a_function")}
    assert isinstance(decode_config(tree, Space({}))["act"], Opaque)


@pytest.mark.parametrize(
    "tree",
    [{"$float": "x"}, {"$later": 1}, {"$int": "1.5"}, {"$dict": 3}, {"$dict": [[1]]}, {"$str": 3}, {"$tuple": None}],
)
def test_a_damaged_tree_is_refused(tree):
    with pytest.raises(SpaceError, match="damaged"):
        decode_config({"a": tree})


def test_flattening_joins_names_and_keeps_empty_containers():
    config = {"a": 1, "m": {"b": [2, (3,)], "e": {}}, 4: [], "n": None}
    assert flatten_config(config) == {"a": 1, "m/b/0": 2, "m/b/1/0": 3, "m/e": {}, "4": [], "n": None}


def test_flattening_loses_no_value_when_names_collide():
    assert flatten_config({"a": {"b": 1}, "a/b": 2}) == {"a/b": 1, "a~1b": 2}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456789, "0.12346"),
        (1e-5, "1e-05"),
        (3, "3"),
        (True, "True"),
        (None, "None"),
        ("adam", "adam"),
        ("a\nb\x1b[0m\u202e", "a\\nb\\x1b[0m\\u202e"),
        ("x" * 100, "x" * 77 + "..."),
        ([1, 0.1234567], "[1, 0.12346]"),
        ((1,), "(1,)"),
        ({"a": {"b": 1}}, "{a: {b: 1}}"),
        (list(range(10)), "[0, 1, 2, 3, 4, 5, 6, 7, ...]"),
        (a_function, "a_function"),
        (Net, "Net"),
        (Color.RED, "Color.RED"),
        (math.nan, "nan"),
        pytest.param(10**5000, "int of 16610 bits", id="huge"),
        (Loud(), "<Loud>"),
    ],
)
def test_a_label_is_short_and_readable(value, text):
    assert label(value) == text
