from __future__ import annotations

import numpy as np
import pytest
from campaigns.search.histories import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.errors import SpaceError
from tunesmith.models.cube import Cube
from tunesmith.space import Space, choice, lograndint, loguniform, qrandn, quniform, randint, sample_from, uniform


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 1000))
def test_a_row_made_from_a_config_gives_the_config_back(space, seed):
    cube = Cube(space, seed=seed)
    config = space.sample(seed, 3)
    again = cube.config(cube.encode(config), index=3)
    for (path, value), (_, other) in zip(space.values(config).items(), space.values(again).items(), strict=True):
        assert other == pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else other == value, path


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 1000))
def test_sampled_and_mutated_rows_are_exactly_those_of_their_configs(space, seed):
    """What is scored is what is run."""
    cube, rng = Cube(space, seed=seed), np.random.default_rng(seed)
    rows = cube.sample(rng, 4)
    rows = np.concatenate([rows, cube.mutate(rows, rng, sigma=0.2, rate=0.5)])
    rows, is_allowed = cube.settle(rows, index=7)
    for row in rows[is_allowed]:
        assert np.allclose(cube.encode(cube.config(row, index=7)), row, atol=1e-9, equal_nan=True)


def test_a_leaf_of_an_option_that_is_not_chosen_is_nan_and_is_drawn_when_it_is():
    cube = Cube(Space({"o": choice([{"k": "a", "z": uniform(0, 1)}, {"k": "b"}])}), seed=0)
    rows = cube.sample(np.random.default_rng(0), 50)
    assert (np.isnan(rows[:, 1]) == (rows[:, 0] == 1.0)).all()
    rows[:, 0] = 0.0
    assert not np.isnan(cube.complete(rows, np.random.default_rng(1))).any()


def test_whole_and_stepped_numbers_are_rounded_to_their_places():
    space = Space({"i": randint(0, 4), "l": lograndint(1, 9), "q": quniform(0, 1, 0.25), "n": qrandn(0, 1, 0.5)})
    cube = Cube(space, seed=0)
    rows = cube.sample(np.random.default_rng(0), 500)
    assert sorted(set(rows[:, 0])) == [0.125, 0.375, 0.625, 0.875]
    assert [len(set(rows[:, j])) for j in range(3)] == [4, 8, 5]
    values = [cube.config(row, index=0) for row in rows[:20]]
    assert all(np.allclose(cube.encode(value), row) for value, row in zip(values, rows[:20], strict=True))


def test_a_choice_among_numbers_is_ordered_and_one_among_words_is_not():
    cube = Cube(Space({"batch": choice([64, 16, 32]), "opt": choice(["sgd", "adam", "rms"])}), seed=0)
    assert cube.is_categorical.tolist() == [False, True]
    assert [cube.columns[0].encode(size) for size in (16, 32, 64)] == pytest.approx([1 / 6, 3 / 6, 5 / 6])


def test_what_sample_from_returns_is_its_domain():
    space = Space({"width": sample_from(lambda _: 2 ** np.random.randint(2, 5)), "lr": loguniform(1e-4, 1.0)})
    cube = Cube(space, seed=0)
    assert cube.columns[0].n_values == 3
    assert not cube.has_dependents
    rows = cube.sample(np.random.default_rng(0), 200)
    assert {cube.config(row, index=0)["width"] for row in rows} == {4, 8, 16}


def test_a_value_that_is_made_from_another_follows_it():
    space = Space({"a": uniform(0, 1), "b": sample_from(lambda spec: 2 * spec.config.a)})
    cube = Cube(space, seed=0)
    assert cube.has_dependents
    rows, _ = cube.settle(cube.sample(np.random.default_rng(0), 20), index=5)
    for row in rows:
        config = cube.config(row, index=5)
        assert config["b"] == 2 * config["a"]


def test_every_config_of_a_small_space_is_enumerated_once():
    space = Space({"n": lograndint(1, 5), "o": choice([{"k": "a", "z": randint(0, 3)}, "b"]), "c": 7})
    rows = Cube(space, seed=0).enumerate()
    assert len(rows) == space.cardinality == 16
    assert len({row.tobytes() for row in np.nan_to_num(rows, nan=-1.0)}) == 16


def test_a_config_outside_the_space_has_no_row():
    with pytest.raises(SpaceError, match="'x'"):
        Cube(Space({"x": uniform(0, 1)}), seed=0).encode({"x": 2.0})
