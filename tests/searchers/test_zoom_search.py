from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tunesmith.models.cube import Cube
from tunesmith.models.observations import Observations
from tunesmith.searchers import ZoomSearch
from tunesmith.searchers.zoom_search import Region, boxes_to_try
from tunesmith.space import Space, choice, grid_search, loguniform, randint, uniform

from .drive import best, gain_over_random, run

LINE = Cube(Space({"x": uniform(0, 1)}), seed=0)
NESTED = {
    "x": uniform(0, 1),
    "o": choice([{"k": "a", "y": uniform(0, 1), "z": uniform(0, 1)}, {"k": "b", "w": uniform(0, 1)}, {"k": "c"}]),
}


def nested_loss(c):
    o = c["o"]
    here = {"a": lambda: (o["y"] - 0.7) ** 2 + (o["z"] - 0.2) ** 2, "b": lambda: 0.1 + o["w"], "c": lambda: 0.2}[o["k"]]
    return (c["x"] - 0.3) ** 2 + here()


def observed(rows, losses, failed=()):
    rows = np.array(rows, float)
    n, d = rows.shape
    return Observations(
        rows, np.array(losses, float)[:, None], np.zeros((n, 0)), np.ones(n, int),
        np.array(failed, float).reshape(-1, d), np.empty((0, d)), np.arange(n),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("place", "n_round", "nodes"),
    [
        (0.9, 1, [1 / 6, 3 / 6, 5 / 6]),
        (0.5, 2, [7 / 18, 9 / 18, 11 / 18]),
        (0.4, 2, [5 / 18, 7 / 18, 9 / 18]),
        (0.9, 2, [13 / 18, 15 / 18, 17 / 18]),  # at the border the three last cells
        (1.0, 2, [13 / 18, 15 / 18, 17 / 18]),
        (0.0, 2, [1 / 18, 3 / 18, 5 / 18]),
    ],
)
def test_a_box_is_three_cells_around_the_best_config_and_within_the_range(place, n_round, nodes):
    box = Region(LINE, np.array([[place]])).box(n_round)
    assert box.nodes[0] == pytest.approx(nodes)
    assert 0.0 <= box.low[0] <= place <= box.high[0] <= 1.0
    assert box.high[0] - box.low[0] == pytest.approx(3.0**-n_round * 3.0)


def test_nodes_are_values_of_the_domain_and_each_comes_once():
    cube = Cube(Space({"n": randint(0, 4)}), seed=0)
    assert Region(cube, np.array([[0.625]])).box(1).nodes[0].tolist() == [0.125, 0.625, 0.875]
    assert Region(cube, np.array([[0.625]])).box(4).nodes[0].tolist() == [0.625]


def test_options_become_fewer_by_the_best_config_of_each():
    """9 options, 3 tried: all, then a third, then those of the three best configs only."""
    cube = Cube(Space({"c": choice(list("abcdefghi"))}), seed=0)
    region = Region(cube, np.array([[4.0], [4.0], [7.0], [1.0]]))
    assert [box.nodes[0].tolist() for box in map(region.box, (1, 2, 3))] == [
        [4.0, 7.0, 1.0, 0.0, 2.0, 3.0, 5.0, 6.0, 8.0],
        [4.0, 7.0, 1.0],
        [4.0, 7.0],
    ]


def test_a_finer_box_comes_only_when_the_coarser_was_tried():
    """Two results leave one of three nodes; with three it is the turn of the box of the second round."""
    tried = [[1 / 6], [0.5], [5 / 6]]
    assert next(boxes_to_try(LINE, observed(tried[:2], [2, 1]))).round == 1
    second = next(boxes_to_try(LINE, observed(tried, [2, 1, 3])))
    assert (second.round, second.best[0]) == (2, pytest.approx(0.5))


def test_what_failed_counts_as_tried():
    assert next(boxes_to_try(LINE, observed([[1 / 6], [0.5]], [2, 1], failed=[[5 / 6]]))).round == 2


def test_a_box_goes_with_a_new_best_config():
    rows = [[1 / 6], [0.5], [5 / 6], [7 / 18]]
    assert next(boxes_to_try(LINE, observed(rows, [2, 1, 3, 0.5]))).best[0] == pytest.approx(7 / 18)


def test_after_the_last_round_it_starts_again_elsewhere():
    near = 0.5 + np.arange(-30, 30)[:, None] * 1e-5
    found = observed(np.concatenate([near, [[0.05], [0.95]]]), [*np.abs(near[:, 0] - 0.5), 3.0, 2.0])
    boxes = list(boxes_to_try(LINE, found))
    assert boxes and all(box.round > 1 for box in boxes)
    assert boxes[0].best[0] == pytest.approx(0.95, abs=0.06)


def test_what_breaks_a_constraint_of_the_objective_is_not_gone_around():
    found = replace(observed([[0.1], [0.9]], [1.0, 2.0]), excesses=np.array([[0.5], [-0.5]]))
    assert next(boxes_to_try(LINE, found)).best[0] == pytest.approx(5 / 6)


def test_no_results_lead_to_no_box():
    assert list(boxes_to_try(LINE, observed(np.empty((0, 1)), []))) == []


def test_every_config_after_the_first_is_a_node_of_the_box_that_its_reason_names():
    trials = run(
        ZoomSearch(), {"x": uniform(0, 1), "lr": loguniform(1e-4, 1)}, lambda c: abs(c["x"] - 0.3) + c["lr"], 30
    )
    assert trials[5].proposed_by.startswith("spread")
    rounds = []
    for trial in trials[6:]:
        found = re.fullmatch(
            r"round (\d): grid of 3 x 3 around x=\S+, lr=\S+, (\S+)% of the range wide", trial.proposed_by
        )
        rounds.append(int(found[1]))
        assert float(found[2]) == pytest.approx(300 / 3 ** rounds[-1], abs=0.01)
        assert trial.config["x"] * 2 * 3 ** rounds[-1] % 2 == pytest.approx(1.0)  # the middle of a cell
    assert max(rounds) > 2


def test_workers_that_ask_together_get_different_nodes():
    trials = run(ZoomSearch(), {"x": uniform(0, 1), "y": uniform(0, 1)}, lambda c: c["x"] + c["y"], 40, n_workers=8)
    assert len({(trial.config["x"], trial.config["y"]) for trial in trials}) == 40


def test_it_comes_many_times_closer_than_random_search_on_a_conditional_space():
    """60 trials, 8 fixed seeds; 60 times closer on the geometric average when this was written."""
    assert np.mean(gain_over_random(ZoomSearch, NESTED, nested_loss, 60, n_seeds=8)) > 1.0


def test_nodes_beside_what_failed_come_last():
    trials = run(
        ZoomSearch(), {"x": uniform(0, 1), "y": uniform(0, 1)}, lambda c: None if c["x"] > 0.5 else c["y"] + c["x"], 60
    )
    assert sum(trial.best_value is None for trial in trials[6:]) <= 10  # 27 if drawn at random
    assert best(trials) < 0.05


def test_a_finite_space_is_gone_through_without_a_repetition():
    space = {"a": randint(0, 6), "b": choice(["x", "y"])}
    trials = run(ZoomSearch(), Space(space, [lambda c: c["a"] != 3]), lambda c: c["a"], 30)
    assert len({(trial.config["a"], trial.config["b"]) for trial in trials}) == len(trials) == 10


def test_a_grid_is_kept_to():
    trials = run(ZoomSearch(), {"x": uniform(0, 1), "g": grid_search([1, 2, 3])}, lambda c: c["x"], 21)
    assert [trial.config["g"] for trial in trials] == [1, 2, 3] * 7


def test_constant_losses_and_many_leaves_are_searched():
    space = {f"x{i}": uniform(0, 1) for i in range(200)} | {"c": choice([f"{i}" for i in range(1000)])}
    assert len(run(ZoomSearch(), space, lambda c: 1.0, 60, n_workers=6)) == 60
