"""The search beside schedulers that stop trials early."""

from __future__ import annotations

import pytest

from tunesmith.api.scheduling import make_deciders
from tunesmith.methods import CurveSearch
from tunesmith.protocols import Curve, Exhausted, History, Wait
from tunesmith.rng import generator
from tunesmith.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule
from tunesmith.searchers import AutoSearch, RandomSearch
from tunesmith.space import Space, choice, grid_search, uniform
from tunesmith.testing.samples import LOSS
from tunesmith.trial import Trial, TrialStatus

SPACE = Space({"x": uniform(0.0, 1.0), "y": uniform(0.0, 1.0)})


def deciders(**given):
    arguments = {
        "metric": "loss",
        "mode": "min",
        "constraints": None,
        "search_alg": None,
        "scheduler": AsyncHyperBandScheduler(max_t=27),
        "points_to_evaluate": None,
        "warm_start": None,
    }
    return make_deciders(given.pop("space", SPACE), **{**arguments, **given})


def test_the_default_search_beside_a_scheduler_that_stops_learns_from_curves():
    found = deciders()
    assert isinstance(found.searcher, CurveSearch)
    assert found.searcher.curves_by == "training_iteration"


@pytest.mark.parametrize(
    ("given", "searcher"),
    [
        ({"search_alg": "random"}, RandomSearch),
        ({"scheduler": FIFOScheduler()}, AutoSearch),
        ({"scheduler": MedianStoppingRule()}, AutoSearch),
        ({"constraints": {"latency": "<= 20"}}, AutoSearch),
        ({"space": Space({"x": grid_search([1, 2])})}, RandomSearch),
    ],
)
def test_elsewhere_the_search_is_what_it_was(given, searcher):
    assert type(deciders(**given).searcher) is searcher


def test_given_points_come_first():
    found = deciders(points_to_evaluate=[{"x": 0.25}]).searcher
    history = History(SPACE, LOSS, 3, ())
    (first,) = found.suggest(history, generator(3, "suggest", 0), 1)
    assert first.config["x"] == 0.25
    assert first.max_t is None


def test_paused_trials_are_neither_thawed_nor_stopped():
    trials = tuple(
        Trial(i, f"t{i}", {"x": i / 12, "y": 0.5}, TrialStatus.PAUSED, attempt=1, step=1, max_t=1.0) for i in range(12)
    )
    curves = tuple(Curve([1.0], [i / 12], [i + 1], 1) for i in range(12))
    history = History(SPACE, LOSS, 3, trials, curves)
    found = CurveSearch(max_t=27).suggest(history, generator(3, "suggest", 12), 3)
    assert len(found) == 3
    assert all(set(one.config) == {"x", "y"} for one in found)


def test_a_finite_space_ends_exhausted():
    space = Space({"x": choice(["a", "b"])})
    trials = tuple(
        Trial(i, f"t{i}", {"x": name}, TrialStatus.COMPLETED, attempt=1, step=27) for i, name in enumerate("ab")
    )
    curves = tuple(Curve([1.0, 27.0], [1.0, 0.5], [2 * i + 1, 2 * i + 2], 2) for i in range(2))
    found = CurveSearch(max_t=27).suggest(History(space, LOSS, 3, trials, curves), generator(3, "suggest", 2), 1)
    assert isinstance(found, Exhausted | Wait)


def misleading(index, x):
    """Near 0.8 losses begin low and rise, near 0.2 they begin high and fall; every other trial was stopped at once."""
    first, last = 1.2 - x, abs(x - 0.2)
    is_stopped = index % 2 == 1
    steps = [1.0] if is_stopped else [1.0, 3.0, 9.0, 27.0]
    values = [first + (last - first) * (step - 1.0) / 26.0 for step in steps]
    status = TrialStatus.STOPPED if is_stopped else TrialStatus.COMPLETED
    trial = Trial(
        index, f"t{index}", {"x": x}, status, attempt=1, step=int(steps[-1]), n_reports=len(steps),
        metrics={"loss": values[-1]}, best_value=min(values), best_step=1,
    )  # fmt: skip
    return trial, Curve(steps, values, [4 * index + k for k in range(1, len(steps) + 1)], len(steps))


def test_it_goes_where_trials_were_headed_and_not_where_stopped_ones_were_good():
    space = Space({"x": uniform(0.0, 1.0)})
    places = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.75)
    trials, curves = zip(*(misleading(i, x) for i, x in enumerate(places)), strict=True)
    history = History(space, LOSS, 3, trials, curves)
    [of_curves] = CurveSearch(max_t=27).suggest(history, generator(3, "suggest", 12), 1)
    [of_results] = AutoSearch().suggest(history, generator(3, "suggest", 12), 1)
    assert of_curves.config["x"] < 0.45
    assert of_results.config["x"] > 0.6
