"""Configs out of a space: crossing of grids, conditional options, determinism."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import SpaceError
from tunesmith.space import Space, choice, grid_search, loguniform, randint, sample_from, uniform

Pair = namedtuple("Pair", "left right")


def a_function():
    return 1


CONDITIONAL = {
    "opt": choice(
        [
            {"name": "sgd", "lr": loguniform(1e-4, 1e-1), "momentum": choice([0.0, uniform(0.5, 0.99)])},
            {"name": "adam", "lr": loguniform(1e-5, 1e-2)},
            "none",
        ]
    ),
    "layers": [randint(1, 9), (randint(10, 19), "x")],
}


def test_the_first_grid_varies_fastest_and_the_crossed_grid_is_repeated():
    space = Space({"a": grid_search([1, 2]), "m": {"b": {"grid_search": ["x", "y", "z"]}}})
    points = [(c["a"], c["m"]["b"]) for c in (space.sample(0, i) for i in range(8))]
    once = [(1, "x"), (2, "x"), (1, "y"), (2, "y"), (1, "z"), (2, "z")]
    assert space.n_grid == 6
    assert points == [*once, (1, "x"), (2, "x")]
    assert [tuple(space.grid_point(i).values()) for i in range(6)] == once
    assert list(space.grid_point(0)) == [("a",), ("m", "b")]


def test_other_leaves_are_redrawn_for_every_grid_point_and_repetition():
    space = Space({"a": grid_search([1, 2]), "lr": uniform(0, 1)})
    assert len({space.sample(0, i)["lr"] for i in range(6)}) == 6


def test_domains_within_a_grid_value_are_drawn():
    space = Space({"a": grid_search([{"lr": uniform(0, 1)}, "off"])})
    assert 0 <= space.sample(0, 0)["a"]["lr"] <= 1
    assert space.sample(0, 1)["a"] == "off"


@pytest.mark.parametrize("i", [-1, 6])
def test_a_point_beyond_the_grid_is_refused(i):
    with pytest.raises(SpaceError, match="0 to 5"):
        Space({"a": grid_search([1, 2]), "b": grid_search([1, 2, 3])}).grid_point(i)


def test_a_negative_index_is_refused():
    with pytest.raises(SpaceError, match="counted from 0"):
        Space({"a": uniform(0, 1)}).sample(0, -1)


def test_a_huge_grid_costs_nothing_until_it_is_drawn():
    space = Space({f"x{i}": grid_search(range(10)) for i in range(100)})
    assert space.n_grid == 10**100
    assert space.sample(0, 123)["x2"] == 1


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**6), st.integers(0, 50))
def test_the_same_seed_and_index_give_the_same_config_whatever_was_drawn_before(seed, index, other):
    space = Space({**CONDITIONAL, "free": sample_from(lambda c: (np.random.rand(), c["layers"][0]))})
    first = space.sample(seed, index)
    space.sample(seed, other)
    np.random.rand()
    assert space.sample(seed, index) == first


def test_seeds_and_indices_differ():
    space = Space({"a": uniform(0, 1)})
    assert len({space.sample(seed, index)["a"] for seed in range(5) for index in range(5)}) == 25


@given(st.integers(0, 10_000))
def test_only_the_chosen_option_is_resolved_and_active(index):
    space = Space(CONDITIONAL)
    config = space.sample(0, index)
    active = {leaf.name for leaf in space.active(config)}
    option = config["opt"]
    if option == "none":
        assert active == {"opt", "layers/0", "layers/1/0"}
    elif option["name"] == "adam":
        assert active == {"opt", "opt/1/lr", "layers/0", "layers/1/0"}
    else:
        inner = {"opt/0/momentum/1"} if option["momentum"] else set()
        assert active == {"opt", "opt/0/lr", "opt/0/momentum", "layers/0", "layers/1/0"} | inner
    assert type(config["layers"]) is list
    assert type(config["layers"][1]) is tuple
    space.check(config)


def test_leaves_stand_in_the_order_written_each_choice_before_its_options():
    assert [leaf.name for leaf in Space(CONDITIONAL).leaves] == [
        "opt",
        "opt/0/lr",
        "opt/0/momentum",
        "opt/0/momentum/1",
        "opt/1/lr",
        "layers/0",
        "layers/1/0",
    ]


def test_functions_and_classes_are_constants():
    space = Space({"f": a_function, "c": dict, "g": len, "lr": uniform(0, 1)})
    config = space.sample(0, 0)
    assert (config["f"], config["c"], config["g"]) == (a_function, dict, len)


def test_constants_keep_their_type_and_their_containers_are_new_in_every_config():
    weights = {0: 1.0, (1, 2): [3]}
    ordered = OrderedDict(a=1)
    space = Space({"w": weights, "o": ordered, "lr": uniform(0, 1)})
    first, second = space.sample(0, 0), space.sample(0, 1)
    first["w"][0] = "changed"
    assert second["w"] == weights == {0: 1.0, (1, 2): [3]}
    assert second["o"] is ordered


def test_a_named_tuple_with_domains_stays_one():
    config = Space({"p": Pair(uniform(0, 1), sample_from(lambda: 3))}).sample(0, 0)
    assert type(config["p"]) is Pair
    assert config["p"].right == 3


def test_a_choice_of_domains_draws_from_the_chosen_one():
    space = Space({"a": choice([uniform(0, 1), uniform(10, 11), choice(["x", "y"])])})
    drawn = [space.sample(0, i)["a"] for i in range(60)]
    assert all(v in ("x", "y") or 0 <= v <= 1 or 10 <= v <= 11 for v in drawn)
    assert space.active({"a": 10.5})[-1].path == ("a", 1)


@given(st.integers(0, 10_000))
def test_a_config_is_assembled_again_from_its_values(index):
    space = Space({**CONDITIONAL, "free": sample_from(lambda: np.random.rand()), "g": grid_search([1, 2])})
    config = space.sample(1, index)
    assert space.assemble(space.values(config), seed=999, index=999) == config


def test_assemble_draws_what_is_not_given():
    space = Space({"a": uniform(0, 1), "b": uniform(0, 1), "c": sample_from(lambda c: c["a"] * 2)})
    config = space.assemble({("a",): 0.25}, seed=0, index=0)
    assert (config["a"], config["c"]) == (0.25, 0.5)
    assert 0 <= config["b"] <= 1


@given(st.integers(0, 1000), st.lists(st.floats(0, 1), min_size=7, max_size=7))
def test_a_point_of_the_unit_cube_makes_a_config_of_the_space(index, cube):
    space = Space(CONDITIONAL)
    values = {leaf.path: leaf.domain.decode(u) for leaf, u in zip(space.leaves, cube, strict=True)}
    config = space.assemble(values, seed=0, index=index)
    traced = space.values(config)
    assert traced == {path: values[path] for path in traced}


def test_assemble_refuses_an_unknown_path():
    with pytest.raises(SpaceError, match="'b' is no leaf"):
        Space({"a": uniform(0, 1)}).assemble({("b",): 1}, seed=0, index=0)


def test_assemble_refuses_a_value_outside_its_domain():
    with pytest.raises(SpaceError, match="'a' cannot be 2"):
        Space({"a": uniform(0, 1)}).assemble({("a",): 2}, seed=0, index=0)


def test_a_space_survives_pickling():
    space = Space({"a": grid_search([1, 2]), "b": choice([{"x": uniform(0, 1)}, np.arange(2)])})
    again = pickle.loads(pickle.dumps(space))
    assert again.fingerprint == space.fingerprint
    assert again.sample(3, 0)["a"] == space.sample(3, 0)["a"]


def test_names_join_the_path():
    space = Space({"a": {"b": [uniform(0, 1)]}})
    assert space.name(space.leaves[0].path) == "a/b/0"


def test_importing_the_package_does_not_import_numpy():
    code = "import sys, tunesmith.space as s; s.Space({'a': s.uniform(0, 1)}); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_loguniform_and_choice_of_the_2022_tutorial_work_together():
    space = Space(
        {
            "l1": sample_from(lambda _: 2 ** np.random.randint(2, 9)),
            "l2": sample_from(lambda _: 2 ** np.random.randint(2, 9)),
            "lr": loguniform(1e-4, 1e-1),
            "batch_size": choice([2, 4, 8, 16]),
        }
    )
    configs = [space.sample(0, i) for i in range(100)]
    assert {c["l1"] for c in configs} == {4, 8, 16, 32, 64, 128, 256}  # false-failure rate 7 * (6/7)**100 < 2e-6
    assert any(c["l1"] != c["l2"] for c in configs)
    assert {type(v) for c in configs for v in c.values()} == {int, float}
