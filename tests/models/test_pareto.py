from __future__ import annotations

import itertools

import numpy as np
import pytest

from tunesmith.models.pareto import (
    crowding_distances,
    hypervolume,
    hypervolume_contributions,
    improving_boxes,
    is_non_dominated,
    non_dominated_ranks,
    pareto_places,
)

INF = np.inf


def dominates(a, b):
    return (a <= b).all() and (a < b).any()


def union_of_boxes(losses, reference):
    """The hypervolume by inclusion and exclusion: the sum over all subsets, of alternating sign."""
    total = 0.0
    for size in range(1, len(losses) + 1):
        for subset in itertools.combinations(losses, size):
            sides = reference - np.max(subset, axis=0)
            total += (-1) ** (size + 1) * (float(np.prod(sides)) if (sides > 0).all() else 0.0)
    return total


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_a_result_is_kept_if_and_only_if_none_dominates_it(m, seed):
    losses = np.random.default_rng(seed).integers(0, 5, (40, m)).astype(float)
    expected = [not any(dominates(other, own) for other in losses) for own in losses]
    assert is_non_dominated(losses).tolist() == expected


def test_equal_results_are_kept_together():
    assert is_non_dominated(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 2.0]])).tolist() == [True, True, False]


def test_infinite_losses_compare_as_they_should():
    assert is_non_dominated(np.array([[-INF, INF], [0.0, 0.0], [0.0, INF]])).tolist() == [True, True, False]
    assert is_non_dominated(np.array([[INF, INF], [INF, INF]])).tolist() == [True, True]


@pytest.mark.parametrize("m", [1, 2, 3])
def test_no_results_are_an_empty_set(m):
    assert is_non_dominated(np.empty((0, m))).shape == (0,)
    assert hypervolume(np.empty((0, m)), np.ones(m)) == 0.0
    assert pareto_places(np.empty((0, m)), np.empty((0, 1))).tolist() == []


def test_ranks_are_layers():
    losses = np.array([[0.0, 3.0], [3.0, 0.0], [1.0, 4.0], [4.0, 4.0], [4.0, 1.0]])
    assert non_dominated_ranks(losses).tolist() == [0, 0, 1, 2, 1]


def test_results_that_break_a_constraint_come_last_by_how_much_they_break_it():
    losses = np.array([[5.0], [0.0], [0.0], [9.0]])
    assert non_dominated_ranks(losses, np.array([0.0, 0.2, 0.1, 0.0])).tolist() == [0, 3, 2, 1]


def test_ranking_ends_once_enough_are_ranked():
    losses = np.array([[0.0], [1.0], [2.0], [0.0]])
    assert non_dominated_ranks(losses, np.array([0, 0, 0, 1.0]), n_enough=2).tolist() == [0, 1, INF, INF]


def test_the_lonely_ones_of_a_front_are_told_from_the_crowded():
    front = np.array([[0.0, 4.0], [1.0, 3.0], [1.5, 2.5], [4.0, 0.0]])
    found = crowding_distances(front)
    assert found[[0, 3]].tolist() == [INF, INF]
    assert found[1:3] == pytest.approx([2 * 1.5 / 4, 2 * 3 / 4])


def test_a_front_without_extent_has_no_lonely_ones():
    assert crowding_distances(np.ones((3, 2))).tolist() == [0, 0, 0]


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_the_hypervolume_is_that_of_the_union(m, seed):
    rng = np.random.default_rng(seed)
    losses, reference = rng.uniform(0, 1.2, (9, m)), np.full(m, 1.1)
    losses[1] = losses[0]
    assert hypervolume(losses, reference) == pytest.approx(union_of_boxes(losses, reference), rel=1e-9)


def test_results_at_or_beyond_the_reference_add_no_hypervolume():
    assert hypervolume(np.array([[1.0, 0.0], [0.5, 2.0], [0.5, 0.5]]), np.ones(2)) == 0.25


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_a_contribution_is_what_would_be_lost(m):
    rng = np.random.default_rng(m)
    losses, reference = rng.uniform(0, 1.2, (10, m)), np.ones(m)
    losses[1] = losses[0]
    whole = hypervolume(losses, reference)
    lost = [whole - hypervolume(np.delete(losses, i, axis=0), reference) for i in range(len(losses))]
    assert hypervolume_contributions(losses, reference) == pytest.approx(lost, abs=1e-12)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_the_improving_boxes_are_what_the_front_leaves(m):
    rng = np.random.default_rng(m)
    front, reference = rng.uniform(0, 1.2, (12, m)), np.ones(m)
    lows, highs = improving_boxes(front, reference)
    points = rng.uniform(-0.5, 1.1, (500, m))
    n_boxes = ((points[:, None] > lows) & (points[:, None] < highs)).all(axis=2).sum(axis=1)
    gains = [hypervolume(np.vstack([front, point]), reference) > hypervolume(front, reference) for point in points]
    assert n_boxes.tolist() == [int(gain) for gain in gains]


def test_without_a_front_everything_better_than_the_reference_improves():
    lows, highs = improving_boxes(np.empty((0, 2)), np.array([1.0, 2.0]))
    assert (lows.tolist(), highs.tolist()) == ([[-INF, -INF]], [[1.0, 2.0]])


def test_the_pareto_set_is_of_feasible_results_sorted_by_the_first_loss():
    losses = np.array([[3.0, 1.0], [0.0, 0.0], [1.0, 3.0], [2.0, 4.0]])
    assert pareto_places(losses, np.array([[0.0], [0.1], [0.0], [0.0]])).tolist() == [2, 0]


def test_where_no_result_is_feasible_the_closest_are_the_set():
    violations = np.array([[2.0, 0.0], [1.0, 1.0], [2.0, 1.0], [INF, 0.0]])
    assert pareto_places(np.array([[3.0], [2.0], [0.0], [0.0]]), violations).tolist() == [1, 0]
