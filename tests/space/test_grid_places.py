"""Whether samples of one grid stand where those of another one would."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.space import Space, choice, count_grid_points, grid_search, keeps_grid_places, uniform


def described(**leaves):
    """As it comes back from the store."""
    return json.loads(json.dumps(Space(leaves).describe()))


def grid(*values):
    return grid_search(list(values))


@pytest.mark.parametrize(
    ("leaves", "n_points"),
    [
        ({}, 1),
        ({"x": choice([1, 2])}, 1),
        ({"x": grid(1, 2, 3), "y": {"z": [grid(4, 5)]}}, 6),
        ({"x": grid(1, {"a": uniform(0, 1)}), 7: 8}, 2),
    ],
)
def test_points_are_counted_from_the_description(leaves, n_points):
    space = Space(leaves)
    assert count_grid_points(json.loads(json.dumps(space.describe()))) == space.n_grid == n_points


@pytest.mark.parametrize(
    ("old", "new", "n_samples", "is_kept"),
    [
        (described(x=grid(1, 2)), described(x=grid(1, 2, 3)), 2, True),
        (described(x=grid(1, 2)), described(x=grid(1, 2, 3)), 3, False),  # the third is 1 again, and would be 3
        (described(x=grid(1, 2)), described(x=grid(2, 1)), 1, False),
        (described(x=grid(1, 2)), described(x=grid(2, 1)), 2, True),
        (described(x=grid(1, 2)), described(x=grid(1.0, 2)), 1, False),
        (described(x=grid(1, 2)), described(x=grid(1, 2), y=grid(3)), 1, False),
        (described(x=grid(1, 2)), described(x=grid(1, 2), y=uniform(0, 1)), 1, True),
        (described(x=grid(1, 2)), described(x=7), 1, True),
        (described(x=7), described(x=grid(1, 2)), 1, False),
        (described(x=7), described(x=grid(1, 2)), 0, True),
        (described(x=grid(1, 2), y=grid(3, 4)), described(y=grid(3, 4), x=grid(1, 2)), 3, False),
    ],
)
def test_samples_keep_their_places_only_where_no_point_is_left_out(old, new, n_samples, is_kept):
    assert keeps_grid_places(old, new, n_samples) is is_kept


@given(
    old=st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True),
    more=st.lists(st.integers(5, 9), max_size=3, unique=True),
    n_whole=st.integers(1, 3),
    n_samples=st.integers(0, 12),
)
def test_where_places_are_kept_a_grown_grid_has_each_point_once_in_each_round_of_it(old, more, n_whole, n_samples):
    before, now = Space({"x": grid(*old)}), Space({"x": grid(*old, *more)})
    if not keeps_grid_places(before.describe(), now.describe(), n_samples):
        return
    n_total = max(n_whole * now.n_grid, -(-n_samples // now.n_grid) * now.n_grid)
    spaces = [before if i < n_samples else now for i in range(n_total)]
    points = [space.sample(0, i)["x"] for i, space in enumerate(spaces)]
    for first in range(0, n_total, now.n_grid):
        assert sorted(points[first : first + now.n_grid]) == sorted([*old, *more])
