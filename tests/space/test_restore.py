from __future__ import annotations

import json
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import SpaceError
from tunesmith.space import Space, decode_config, encode_config, readable_space, restore_space

SPACE: dict[str, Any] = {
    "a": tune.uniform(0, 1),
    "b": tune.quniform(0, 1, 0.1),
    "c": tune.loguniform(1e-3, 1),
    "d": tune.qloguniform(1, 8, 1),
    "e": tune.randint(1, 5),
    "f": tune.qrandint(2, 8, 2),
    "g": tune.lograndint(1, 9),
    "h": tune.qlograndint(2, 8, 2),
    "i": tune.randn(0, 2),
    "j": tune.qrandn(0, 1, 0.2),
    "k": tune.choice([1, "x", (2, 3), None, 1.0, True]),
    "l": tune.grid_search([1, 2]),
    "m": {"n": [1, tune.uniform(1, 2), (3, 4)], "o": 5},
    "p": tune.choice([{"t": "sgd", "lr": tune.uniform(0, 1)}, {"t": "adam"}]),
    "q": float("inf"),
}


def test_a_space_comes_back_from_its_description_and_draws_the_same() -> None:
    space = Space(SPACE)
    restored = restore_space(json.loads(json.dumps(space.describe())))
    assert restored.fingerprint == space.fingerprint
    assert [restored.sample(3, i) for i in range(20)] == [space.sample(3, i) for i in range(20)]


def test_leaves_that_only_code_can_rebuild_are_named() -> None:
    space = Space({"x": {"y": tune.sample_from(lambda _: 1)}, "z": tune.choice([dict, list]), "w": 1})
    with pytest.raises(SpaceError, match="x/y, z, z"):
        restore_space(space.describe())


def test_a_readable_space_takes_objects_by_their_labels_and_draws_what_was_seen() -> None:
    space = Space({"x": {"y": tune.sample_from(lambda _: 1)}, "z": tune.choice([dict, tune.uniform(0, 1)])})
    readable = readable_space(space.describe(), {("x", "y"): [8, 16]})
    config = decode_config(encode_config({"x": {"y": 3}, "z": dict}, space), None)
    assert list(readable.values(config)) == [("x", "y"), ("z",)]
    assert {readable.sample(0, i)["x"]["y"] for i in range(5)} == {8, 16}


def test_a_readable_space_draws_none_where_nothing_was_seen() -> None:
    space = Space({"z": tune.choice([tune.sample_from(lambda _: 1), tune.sample_from(lambda _: 2)])})
    assert readable_space(space.describe()).sample(0, 0) == {"z": None}
