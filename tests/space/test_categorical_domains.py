"""Options keep their types and identity and are told apart by type and value."""

from __future__ import annotations

import enum
import math
import pickle

import numpy as np
import pytest

from tunesmith.errors import SpaceError
from tunesmith.space import Choice, GridSearch, choice, grid_search, sample_from, uniform


class Activation:
    def __init__(self, name="relu"):
        self.name = name


class Color(enum.IntEnum):
    RED = 1


MIXED = [1, "x", (2, 3), None, Activation, 1.0, True, [1], {"a": 1}, Activation(), math.nan, len, Color.RED, b"1"]


def test_options_keep_their_types_and_identity():
    domain = choice(MIXED)
    n = len(MIXED)
    assert all(domain.decode((i + 0.5) / n) is option for i, option in enumerate(MIXED))


def test_encode_finds_each_option_by_type_and_value():
    domain = choice(MIXED)
    assert [domain.index(option) for option in MIXED] == list(range(len(MIXED)))
    assert all(domain.decode(domain.encode(option)) is option for option in MIXED)


@pytest.mark.parametrize("value", [2, 0.5, False, (2, 3.0), [1.0], "1"])
def test_a_value_of_another_type_or_value_is_no_option(value):
    domain = choice([1, "x", (2, 3), [1]])
    assert not domain.contains(value)


def test_encoding_what_is_no_option_is_refused():
    with pytest.raises(SpaceError, match="no option"):
        choice([1, 2]).encode(3)


def test_an_equal_unhashable_option_is_found_by_content():
    assert choice([[1, 2], {"a": [1]}]).index({"a": [1]}) == 1


def test_draws_use_every_option():
    """False-failure rate 4 * 0.75**200 < 1e-24."""
    rng = np.random.default_rng(0)
    assert {choice(["a", "b", "c", "d"]).sample(rng) for _ in range(200)} == set("abcd")


def test_options_may_come_from_any_ordered_iterable():
    expected = choice([0, 1, 2])
    assert choice(range(3)) == expected
    assert choice(i for i in range(3)) == expected
    assert choice({0: "a", 1: "b", 2: "c"}.keys()) == expected
    assert choice(np.arange(3)) == expected
    assert type(choice(np.arange(3)).options[0]) is int


def test_f74_ten_thousand_options_are_drawn_in_a_step():
    domain = choice(range(10_000))
    rng = np.random.default_rng(0)
    assert all(0 <= domain.sample(rng) < 10_000 for _ in range(1_000))
    assert domain.decode(domain.encode(9_999)) == 9_999
    assert len(repr(domain)) < 200


def test_a_grid_equals_ray_tunes_dict_form():
    assert grid_search([1, 2]) == {"grid_search": [1, 2]}
    assert grid_search([1, 2]) != {"grid_search": [1, 3]}
    assert grid_search([1, 2]) != choice([1, 2])
    assert isinstance(grid_search(range(2)), GridSearch)


def test_two_functions_on_one_line_are_two_options():
    assert choice([sample_from(lambda _: 1), sample_from(lambda _: 2)]).cardinality == 2


def test_a_choice_survives_pickling_with_its_index():
    domain = pickle.loads(pickle.dumps(choice([[1], np.arange(2), "a"])))
    assert isinstance(domain, Choice)
    assert domain.index(domain.options[1]) == 1


def test_description_tells_types_apart():
    texts = [repr(choice([option])) for option in (1, 1.0, True, "1", (1,), [1], None)]
    assert len({str(choice([o]).describe()) for o in (1, 1.0, True, "1", (1,), [1], None)}) == 7
    assert texts[4] == "choice([(1)])"


def test_equal_by_meaning_includes_domains_within():
    assert choice([{"lr": uniform(0, 1)}]) == choice([{"lr": uniform(0.0, 1.0)}])
    assert choice([{"lr": uniform(0, 1)}]) != choice([{"lr": uniform(0, 2)}])
