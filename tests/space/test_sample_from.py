"""Values made by functions of the user: what they see, the order they run in, their seeds and their errors."""

from __future__ import annotations

import functools
import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import SpaceError
from tunesmith.space import Space, choice, grid_search, sample_from, uniform
from tunesmith.space.resolve import MAX_WAITING


def one(tree, **known):
    """The value of `x` in a space of the known values and `tree`."""
    return Space({**known, "x": sample_from(tree)}).sample(0, 0)["x"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda spec: spec.config.a,
        lambda spec: spec["config"]["a"],
        lambda spec: spec.config["a"],
        lambda spec: spec["config"].a,
        lambda config: config["a"],
        lambda config: config.a,
        lambda config: config.get("a"),
        lambda config: dict(config)["a"],
        lambda config: {**config, "x": 0}["a"],
        lambda config: config.get("nowhere", config["a"]),
        lambda config: config["a"] if "a" in config and "nowhere" not in config else 0,
        lambda spec=None: spec["a"],
    ],
)
def test_the_config_is_read_in_the_manner_of_either_ray_tune(fn):
    assert one(fn, a=7) == 7


@pytest.mark.parametrize(
    "fn",
    [
        lambda spec: spec.config.model.layers[1].lr,
        lambda spec: spec["config"]["model"]["layers"][1]["lr"],
        lambda config: config["model"].get("layers")[-1]["lr"],
        lambda config: next(layer["lr"] for layer in config["model"]["layers"] if "lr" in layer),
    ],
)
def test_nested_values_are_read_at_any_depth(fn):
    assert one(fn, model={"layers": [{}, {"lr": 0.5}]}) == 0.5


@pytest.mark.parametrize(
    ("fn", "value"),
    [
        (lambda: 3, 3),
        (functools.partial(max, 1, 2), 2),
        (lambda i=5: i, 5),
        (lambda *args: len(args), 0),
        (int, 0),
        (lambda: np.float64(0.5), 0.5),
        (lambda: np.int64(3), 3),
        (lambda: np.bool_(True), True),
        (lambda: {"a": [np.int64(1)], "b": (np.float32(0.5),)}, {"a": [1], "b": (0.5,)}),
        (lambda: None, None),
        (lambda: len, len),
    ],
)
def test_functions_without_argument_give_plain_values(fn, value):
    result = one(fn)
    assert result == value
    assert type(result) is type(value)


def test_random_functions_of_libraries_are_called_without_argument():
    assert 0 <= one(np.random.rand) < 1
    assert 0 <= one(np.random.random) < 1
    assert 0 <= one(np.random.uniform) < 1
    assert 0 <= one(random.random) < 1


def test_a_key_named_config_is_the_users_own_value():
    assert one(lambda config: config["config"], config=7) == 7
    assert one(lambda spec: spec.config.config, config=7) == 7
    assert one(lambda spec: spec.config["config"]["lr"], config={"lr": 7}) == 7


CHAIN = {
    "a": sample_from(lambda c: 1),
    "b": sample_from(lambda c: c["a"] + 1),
    "c": sample_from(lambda spec: spec.config.b * 10 + spec.config.a),
    "d": sample_from(lambda c: c["u"] + c["c"]),
    "u": uniform(0, 1),
    "n": {"e": sample_from(lambda c: [c["b"], c.t[1]])},
    "t": (0, sample_from(lambda c: c["c"])),
}


@given(st.permutations(list(CHAIN)))
def test_the_order_in_which_leaves_are_written_makes_no_difference(order):
    config = Space({key: CHAIN[key] for key in order}).sample(0, 3)
    assert (config["a"], config["b"], config["c"]) == (1, 2, 21)
    assert config["d"] == config["u"] + 21
    assert config["n"] == {"e": [2, 21]}
    assert config["t"] == (0, 21)


@given(st.permutations(["a", "b", "c"]))
def test_random_draws_in_functions_do_not_depend_on_the_order_either(order):
    functions = {
        "a": sample_from(lambda c: (np.random.rand(), c["b"], np.random.rand(), random.random())),
        "b": sample_from(lambda c: (c["c"], np.random.rand())),
        "c": sample_from(lambda c: random.random()),
    }
    expected = Space(functions).sample(5, 7)
    assert Space({key: functions[key] for key in order}).sample(5, 7) == expected


def test_leaves_with_the_same_function_draw_different_values():
    config = Space({k: sample_from(np.random.rand) for k in "abc"}).sample(0, 0)
    assert len(set(config.values())) == 3


def test_each_function_is_called_once_a_config():
    calls = []
    space = Space(
        {
            "a": sample_from(lambda c: calls.append("a") or c["b"]),
            "b": sample_from(lambda c: calls.append("b") or c["c"]),
            "c": sample_from(lambda: calls.append("c") or 1),
        }
    )
    space.sample(0, 0)
    assert sorted(calls) == ["a", "b", "c"]


def test_the_global_generators_are_as_they_were_before():
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    Space({"a": sample_from(lambda: np.random.rand() + random.random())}).sample(0, 0)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_the_global_generators_are_as_they_were_after_an_error():
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()
    with pytest.raises(SpaceError):
        one(lambda: np.random.rand() / 0)
    assert np.random.get_state()[1].tolist() == before


def test_a_users_error_names_the_leaf_and_is_raised_after_one_call():
    calls = []

    def fails(config):
        calls.append(1)
        raise ValueError("my own bug")

    space = Space({"m": {"x": sample_from(fails)}})
    with pytest.raises(SpaceError, match="'m/x' raised ValueError: my own bug") as caught:
        space.sample(0, 0)
    assert isinstance(caught.value.__cause__, ValueError)
    assert calls == [1]


def test_an_error_in_a_function_that_another_one_reads_is_raised_after_one_call():
    calls = []

    def fails():
        calls.append(1)
        raise KeyError("deep")

    def swallows(config):
        try:
            return config["b"]
        except BaseException:
            return 0

    space = Space({"a": sample_from(swallows), "b": sample_from(fails)})
    with pytest.raises(SpaceError, match="'b' raised KeyError"):
        space.sample(0, 0)
    assert calls == [1]


def test_a_cycle_is_found_behind_except_exception():
    def careful(config):
        try:
            return config["b"]
        except Exception:
            return 0

    space = Space({"a": sample_from(careful), "b": sample_from(lambda c: c["a"])})
    with pytest.raises(SpaceError, match="cycle: 'a' -> 'b' -> 'a'"):
        space.sample(0, 0)


def test_an_interrupt_passes_through():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one(interrupted)


def test_an_attribute_that_does_not_exist_lists_what_does():
    with pytest.raises(SpaceError, match=r"no value 'typo'.*'lr': 1"):
        one(lambda spec: spec.config.typo, lr=1)


def test_the_value_of_an_option_not_chosen_is_an_error_by_name():
    space = Space({"o": choice(["off"]), "x": sample_from(lambda c: c["o"]["lr"])})
    with pytest.raises(SpaceError, match="'x' raised TypeError"):
        space.sample(0, 0)


def test_domains_that_a_function_returns_are_drawn():
    space = Space(
        {
            "n": choice([1, 2, 3]),
            "layers": sample_from(lambda c: [{"w": uniform(10 * i, 10 * i + 1)} for i in range(c["n"])]),
            "last": sample_from(lambda c: c["layers"][-1]["w"]),
        }
    )
    for i in range(20):
        config = space.sample(0, i)
        assert [int(layer["w"] // 10) for layer in config["layers"]] == list(range(config["n"]))
        assert config["last"] == config["layers"][-1]["w"]
    assert space.sample(0, 3) == space.sample(0, 3)


def test_a_function_that_returns_a_function_leaf_is_followed():
    assert one(lambda: sample_from(lambda c: c["a"] + 1), a=1) == 2
    assert one(lambda: {"b": (sample_from(lambda c: c["a"]),)}, a=1) == {"b": (1,)}


def test_a_function_that_returns_itself_for_ever_is_stopped():
    def again():
        return sample_from(again)

    with pytest.raises(SpaceError, match="20 times"):
        one(again)


def test_a_grid_from_a_function_is_refused():
    with pytest.raises(SpaceError, match="'x' is a grid_search"):
        one(lambda: grid_search([1, 2]))


def test_a_part_of_the_config_that_is_returned_is_a_copy_of_it():
    config = Space({"a": {"b": [{"c": 1}]}, "x": sample_from(lambda c: c["a"])}).sample(0, 0)
    config["a"]["b"][0]["c"] = 2
    assert config["x"] == {"b": [{"c": 1}]}


def test_the_whole_config_is_read_without_the_value_being_made():
    config = Space({"n": {"x": sample_from(dict), "y": 2}, "a": 1}).sample(0, 0)
    assert config == {"n": {"x": {}, "y": 2}, "a": 1}
    config = Space({"n": {"x": sample_from(lambda c: {**c, "len": len(c.n)}), "y": 2}, "a": 1}).sample(0, 0)
    assert config["n"]["x"] == {"n": {"y": 2}, "a": 1, "len": 1}


def test_two_values_that_each_read_the_whole_config_are_a_cycle():
    with pytest.raises(SpaceError, match="cycle"):
        Space({"a": sample_from(lambda c: dict(c)), "b": sample_from(lambda c: dict(c))}).sample(0, 0)


def test_a_list_that_holds_itself_is_refused():
    def endless():
        loop = []
        loop.append(loop)
        return loop

    with pytest.raises(SpaceError, match="nested deeper"):
        one(endless)


def test_plain_lists_of_the_config_are_real_lists():
    assert one(lambda c: type(c["a"]) is list and sum(c["a"]) == 3, a=[1, 2])


def test_a_list_with_values_not_made_yet_reads_item_by_item():
    space = Space(
        {
            "a": [sample_from(lambda c: c["b"]), 5, sample_from(lambda c: c["a"][1])],
            "b": sample_from(lambda c: sum(c.a[1:])),
        }
    )
    assert space.sample(0, 0) == {"a": [10, 5, 5], "b": 10}


def test_a_long_chain_works_in_the_order_of_use_and_is_refused_in_reverse():
    n = MAX_WAITING * 3
    names = [f"x{i}" for i in range(n)]
    leaves = {"x0": sample_from(lambda: 0)}
    leaves |= {b: sample_from(lambda c, a=a: c[a] + 1) for a, b in itertools.pairwise(names)}
    assert Space(leaves).sample(0, 0)[names[-1]] == n - 1
    with pytest.raises(SpaceError, match="order of use"):
        Space({name: leaves[name] for name in reversed(names)}).sample(0, 0)
