"""Rows F67 to F78 of the table of faults: what is wrong with a space is said where it is written, by name."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from tunesmith.errors import SpaceError
from tunesmith.space import (
    Space,
    choice,
    grid_search,
    lograndint,
    loguniform,
    qlograndint,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
)

BAD_DOMAINS = [
    ("F68 min > max", lambda: uniform(1, 0), "uniform(1, 0): the lower bound 1 is above"),
    ("F68 min > max", lambda: loguniform(1, 0.1), "above the upper bound"),
    ("F68 min > max", lambda: randint(5, 2), "above the upper bound"),
    ("F68 min > max", lambda: quniform(2, 1, 0.5), "above the upper bound"),
    ("F68 min > max", lambda: qlograndint(9, 3, 3), "above the upper bound"),
    ("F68 empty range", lambda: randint(3, 3), "upper is exclusive"),
    ("F68 empty range", lambda: lograndint(3, 3), "upper is exclusive"),
    ("F69 log of 0", lambda: loguniform(0, 1), "a log scale needs bounds"),
    ("F69 log of less than 0", lambda: loguniform(-1, 1), "a log scale needs bounds"),
    ("F69 log of a subnormal", lambda: loguniform(sys.float_info.min / 2, 1), "a log scale needs bounds"),
    ("F69 log of 0", lambda: lograndint(0, 5), "a log scale needs bounds"),
    ("F69 log of 0", lambda: qloguniform(0, 1, 0.1), "a log scale needs bounds"),
    ("F69 log of 0", lambda: qlograndint(0, 8, 2), "a log scale needs bounds"),
    ("F70 NaN", lambda: uniform(math.nan, 1), "lower is not finite"),
    ("F70 infinity", lambda: uniform(0, math.inf), "upper is not finite"),
    ("F70 infinity", lambda: loguniform(1, math.inf), "upper is not finite"),
    ("F70 beyond floats", lambda: uniform(0, 10**400), "upper is not finite"),
    ("F70 range beyond floats", lambda: uniform(-1e308, 1e308), "not a finite float"),
    ("F70 NaN", lambda: randint(0, math.nan), "upper is not an integer"),
    ("F70 NaN mean", lambda: randn(math.nan, 1), "mean is not finite"),
    ("F70 infinite sd", lambda: randn(0, math.inf), "sd is not finite"),
    ("F70 sd 0", lambda: randn(0, 0), "sd above 0"),
    ("F70 sd < 0", lambda: randn(0, -1), "sd above 0"),
    ("F71 step 0", lambda: quniform(0, 1, 0), "must be above 0"),
    ("F71 step < 0", lambda: qrandint(0, 10, -1), "must be above 0"),
    ("F71 step 0", lambda: qrandn(0, 1, 0), "above 0"),
    ("F71 step > range", lambda: quniform(0, 1, 2), "larger than the range"),
    ("F71 step > range", lambda: qrandint(0, 4, 5), "larger than the range"),
    ("F71 step NaN", lambda: quniform(0, 1, math.nan), "q is not finite"),
    ("F71 no multiple", lambda: quniform(0.1, 0.1, 0.3), "no multiple of q"),
    ("F71 step too fine", lambda: quniform(0, 1, 1e-300), "2**53 steps"),
    ("F71 step too fine", lambda: qrandn(0, 1, 1e-300), "2**53 steps"),
    ("F71 int beyond 2**53", lambda: randint(0, 2**53 + 1), "beyond +-2**53"),
    ("F71 int beyond 2**53", lambda: randint(-(2**60), 0), "beyond +-2**53"),
    ("F71 fraction", lambda: randint(0, 2.5), "not an integer"),
    ("F72 duplicate", lambda: choice(["adam", "sgd", "adam"]), "'adam' twice"),
    ("F72 duplicate NaN", lambda: choice([math.nan, float("nan")]), "twice"),
    ("F72 duplicate list", lambda: choice([[1, {"a": 2}], [1, {"a": 2}]]), "twice"),
    ("F72 duplicate grid value", lambda: grid_search([1, 1]), "num_samples="),
    ("F72 duplicate domain", lambda: choice([uniform(0, 1), uniform(0, 1)]), "twice"),
    ("no option", lambda: choice([]), "at least one"),
    ("no option", lambda: grid_search([]), "at least one"),
    ("text as options", lambda: choice("abc"), "expected a list"),
    ("set as options", lambda: choice({1, 2}), "sorted"),
    ("dict as options", lambda: choice({"a": 1}), "expected a list"),
    ("number as options", lambda: grid_search(3), "expected a list"),
    ("bool as bound", lambda: uniform(False, 1), "of type bool"),
    ("text as bound", lambda: uniform("0", 1), "of type str"),
    ("text as bound", lambda: randint("0", 1), "not an integer"),
    ("no function", lambda: sample_from(3), "expected a function"),
    ("two arguments", lambda: sample_from(lambda a, b: 1), "at most one"),
    ("base 1", lambda: loguniform(1, 2, base=1), "base"),
    ("base 0", lambda: loguniform(1, 2, base=0), "base"),
]


@pytest.mark.parametrize(
    ("make", "text"), [pytest.param(m, t, id=f"{i} {r}") for i, (r, m, t) in enumerate(BAD_DOMAINS)]
)
def test_a_domain_that_cannot_be_meant_is_refused_where_it_is_written(make, text):
    with pytest.raises(SpaceError) as caught:
        make()
    assert text in str(caught.value)


def test_f68_equal_bounds_are_a_constant():
    space = Space({"a": uniform(2, 2), "b": qrandint(4, 4, 2), "c": randint(7, 8), "d": quniform(0.3, 0.3, 0.1)})
    assert space.sample(0, 0) == {"a": 2.0, "b": 4, "c": 7, "d": 0.3}
    assert space.cardinality == 1


def test_f71_integers_up_to_2_to_the_53_stay_exact():
    domain = randint(2**53 - 1, 2**53)
    assert domain.sample(np.random.default_rng(0)) == 2**53 - 1


def test_f72_options_of_different_type_are_no_duplicates():
    assert choice([1, 1.0, True, "1"]).cardinality == 4
    assert choice([(1,), (True,), [1], (1.0,)]).cardinality == 4


def test_f73_mutable_options_are_addressed_by_index():
    options = [[1], {"a": 2}, np.arange(3)]
    space = Space({"x": choice(options)})
    drawn = [space.sample(0, i)["x"] for i in range(40)]
    assert all(any(value is option for option in options) for value in drawn)


def test_f75_a_cycle_names_its_leaves():
    space = Space({"x": 1, "a": sample_from(lambda c: c["b"]), "b": sample_from(lambda c: c["a"] + 1)})
    with pytest.raises(SpaceError, match=r"cycle: 'a' -> 'b' -> 'a'"):
        space.sample(0, 0)


def test_f75_a_leaf_that_reads_itself_is_a_cycle():
    with pytest.raises(SpaceError, match=r"cycle: 'a' -> 'a'"):
        Space({"a": sample_from(lambda c: c["a"])}).sample(0, 0)


def test_f75_a_name_that_does_not_exist_is_named():
    with pytest.raises(SpaceError, match=r"'a' raised KeyError: 'nowhere'.*The config has"):
        Space({"b": 1, "a": sample_from(lambda c: c["nowhere"])}).sample(0, 0)


def test_f75_the_same_name_in_two_branches_is_two_leaves():
    space = Space({"opt": choice([{"name": "sgd", "lr": uniform(0, 1)}, {"name": "adam", "lr": uniform(2, 3)}])})
    assert [leaf.name for leaf in space.leaves] == ["opt", "opt/0/lr", "opt/1/lr"]


BAD_SPACES = [
    ("no dict", [uniform(0, 1)], "a space is a dict"),
    ("no dict", uniform(0, 1), "a space is a dict"),
    ("no dict", None, "a space is a dict"),
    ("the space a grid", {"grid_search": [1, 2]}, "Give it a name"),
    ("F76 NUL", {"a\0b": uniform(0, 1)}, r"a\x00b"),
    ("F76 newline", {"a\nb": 1}, "control character"),
    ("F76 half a character", {"a\ud800": 1}, "half a character"),
    ("F76 300 characters", {"a" * 300: 1}, "300 characters"),
    ("F76 empty", {"": 1}, "empty"),
    ("F76 nested", {"model": {"a\0": uniform(0, 1)}}, "in 'model'"),
    ("F76 tuple as name", {(1, 2): uniform(0, 1)}, "no name"),
    ("F76 bool as name", {True: uniform(0, 1)}, "no name"),
    ("F76 float as name", {1.5: {"a": uniform(0, 1)}}, "no name"),
    ("F76 huge number as name", {10**5000: uniform(0, 1)}, "2**53"),
    ("F76 two leaves of one name", {"a/b": uniform(0, 1), "a": {"b": uniform(0, 1)}}, "'a/b' is the name of two"),
    ("F76 two leaves of one name", {1: uniform(0, 1), "1": 2}, "'1' is the name of two"),
    ("F27 too many leaves", {f"x{i}": uniform(0, 1) for i in range(10_001)}, "more than 10000 leaves"),
    ("F27 too many constants", {f"x{i}": i for i in range(10_001)}, "with_parameters"),
    ("raw grid without list", {"model": {"depth": {"grid_search": 3}}}, "'model/depth': grid_search expected a list"),
    ("raw grid without list", {"a": {"grid_search": "abc"}}, "'a': grid_search expected a list"),
    ("raw grid with duplicates", {"a": {"grid_search": [1, 1]}}, "'a': grid_search has the value"),
    ("grid in an option", {"a": choice([{"b": grid_search([1, 2])}, 1])}, "'a/0/b' is a grid_search"),
    ("raw grid in an option", {"a": choice([{"b": {"grid_search": [1, 2]}}, 1])}, "'a/0/b' is a grid_search"),
    ("grid in a grid", {"a": grid_search([grid_search([1, 2]), 1])}, "'a/0' is a grid_search"),
]


@pytest.mark.parametrize(
    ("tree", "text"), [pytest.param(s, t, id=f"{i} {r}") for i, (r, s, t) in enumerate(BAD_SPACES)]
)
def test_a_space_that_cannot_be_meant_is_refused_by_name(tree, text):
    with pytest.raises(SpaceError) as caught:
        Space(tree)
    assert text in str(caught.value)


def test_a_space_that_holds_itself_is_refused():
    tree = {"a": uniform(0, 1)}
    tree["self"] = tree
    with pytest.raises(SpaceError, match="holds itself"):
        Space(tree)


def test_f67_an_empty_space_is_allowed_and_says_so():
    space = Space({})
    assert space.is_empty
    assert (space.n_grid, space.cardinality, space.leaves) == (1, 1, ())
    assert space.sample(0, 5) == {}
    assert not Space({"a": uniform(0, 1)}).is_empty


def test_f76_unusual_but_readable_names_are_allowed():
    names = ["a/b", "..", "../../etc", "lr", "LR", "rate 🎲", "\u05e9", "\u202etxt", "a" * 200, 7]
    space = Space({name: uniform(0, 1) for name in names})
    assert [leaf.path for leaf in space.leaves] == [(name,) for name in names]
    space.check(space.sample(0, 0))


def test_f78_a_finite_space_can_be_counted():
    space = Space({"a": randint(0, 3), "b": choice([1, {"c": choice([1, 2])}]), "d": grid_search([1, 2])})
    assert space.cardinality == 3 * (1 + 2) * 2
    assert Space({"a": uniform(0, 1)}).cardinality is None
    assert Space({"a": choice([1, uniform(0, 1)])}).cardinality is None
    assert Space({"a": sample_from(lambda: 1)}).cardinality is None
