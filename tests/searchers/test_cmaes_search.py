from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from tunesmith import choice, grid_search, loguniform, quniform, randint, sample_from, uniform
from tunesmith.errors import ConfigError
from tunesmith.models.cube import Cube
from tunesmith.searchers import CMAESSearch
from tunesmith.searchers.cmaes_search import CMAES, _axes_of, _learn
from tunesmith.space import Space
from tunesmith.trial import Mode, Objective

from .drive import ask, gain_over_random, history_of, run, trial_of

SPHERE = {f"x{i}": uniform(-5, 5) for i in range(5)}
PLANE = {"x": uniform(0, 1), "y": uniform(0, 1)}
WHOLE = {f"n{i}": randint(0, 10) for i in range(8)}
MIXED = {
    "x": uniform(-5, 5),
    "lr": loguniform(1e-5, 1e-1),
    "n": randint(1, 100),
    "k": quniform(0.0, 1.0, 0.2),
    "o": choice(["a", "b", "c"]),
}
NESTED = {
    "x": uniform(0, 1),
    "w": uniform(0, 1),
    "o": choice([{"k": "a", "y": uniform(0, 1), "z": uniform(0, 1)}, {"k": "b", "w": uniform(0, 1)}, {"k": "c"}]),
}


def sphere_loss(c):
    return sum((x - 1) ** 2 for x in c.values())


def corner_loss(c):
    return sum((x - 5) ** 2 for x in c.values())


def whole_loss(c):
    return 1e-3 + sum((k + 1) * (n - (k + 2) % 10) ** 2 for k, n in enumerate(c.values()))


def mixed_loss(c):
    numbers = (c["x"] - 1) ** 2 + (math.log10(c["lr"]) + 3) ** 2 + ((c["n"] - 30) / 20) ** 2
    return numbers + (c["k"] - 0.8) ** 2 + (c["o"] != "b")


def nested_loss(c):
    o = c["o"]
    here = {"a": lambda: (o["y"] - 0.7) ** 2 + (o["z"] - 0.2) ** 2, "b": lambda: 0.1 + o["w"], "c": lambda: 0.2}[o["k"]]
    return (c["x"] - 0.3) ** 2 + (c["w"] - 0.6) ** 2 + here()


def plane_loss(c):
    return (c["x"] - 0.3) ** 2 + (c["y"] - 0.6) ** 2


@pytest.mark.parametrize(
    ("space", "loss"),
    [(SPHERE, sphere_loss), (SPHERE, corner_loss), (WHOLE, whole_loss), (MIXED, mixed_loss), (NESTED, nested_loss)],
    ids=["sphere", "corner", "whole numbers", "mixed", "nested"],
)
def test_it_comes_thirty_times_closer_than_random_search(space, loss):
    """300 trials, 4 fixed seeds; 250 times closer or more on the geometric average when this was written."""
    assert np.mean(gain_over_random(CMAESSearch, space, loss, 300, n_seeds=4)) > 1.5


@pytest.mark.parametrize(("space", "loss"), [(PLANE, plane_loss), (WHOLE, whole_loss), (MIXED, mixed_loss)])
def test_the_order_in_which_trials_end_changes_nothing(space, loss):
    space = Space(space)
    done = run(CMAESSearch(), space, loss, 40, n_workers=4)
    used, trials = CMAESSearch(), [trial_of(t.index, t.config, "open") for t in done]
    for i in sorted(range(40), key=lambda i: (i * 17) % 40):
        trials[i] = done[i]
        if i % 5 == 0:
            ask(used, history_of(space, trials), 2)
    history = history_of(space, trials)
    assert ask(used, history, 3) == ask(CMAESSearch(), history, 3)


def test_a_result_that_comes_late_still_counts():
    done = run(CMAESSearch(), PLANE, plane_loss, 30)
    late = [*done[:3], trial_of(3, done[3].config, "open"), *done[4:]]
    assert ask(CMAESSearch(), history_of(PLANE, late)) != ask(CMAESSearch(), history_of(PLANE, done))


def test_it_searches_widely_again_when_it_has_converged():
    trials = run(CMAESSearch(), PLANE, plane_loss, 1000)
    distances = [math.sqrt(t.best_value) for t in trials]
    converged = next(i for i in range(len(trials) - 6) if max(distances[i : i + 6]) < 1e-5)
    assert max(distances[converged:]) > 0.1


def test_a_restart_doubles_the_population_and_begins_at_the_best_result():
    optimizer = CMAES(_axes_of(Cube(Space(PLANE), seed=0)), seed=0)
    first = optimizer._library.population_size
    optimizer.tell({"x": 0.9, "y": 0.1}, 0.0)
    for _ in range(1000):
        optimizer.tell(optimizer.ask(), 1.0)  # nothing to learn: it ends for lack of differences
        if optimizer._library.population_size != first:
            break
    assert optimizer._library.population_size == 2 * first
    assert optimizer._library.mean == pytest.approx([0.9, 0.1])


def test_a_distribution_that_broke_down_is_begun_anew():
    class Broken:
        def tell(self, points):
            raise np.linalg.LinAlgError("Eigenvalues did not converge")

    told = [(1.0, np.zeros(2), np.zeros(0))]
    assert not _learn(Broken(), told, n_options=np.zeros(0, dtype=np.int64))


def test_constraints_are_met_without_drawing_at_random():
    space = Space(PLANE, [lambda c: c["x"] < c["y"]])
    trials = run(CMAESSearch(), space, lambda c: (c["x"] - 0.5) ** 2 + (c["y"] - 0.5) ** 2, 100)
    assert all(t.config["x"] < t.config["y"] for t in trials)
    assert {t.proposed_by for t in trials} == {"asked of CMAES"}


def test_only_what_varies_freely_is_searched():
    tree = {
        "x": uniform(0, 1),
        "one": uniform(2, 2),
        "only": choice(["it"]),
        "drawn": sample_from(lambda: 2 ** np.random.randint(0, 8)),
        "double": sample_from(lambda spec: 2 * spec.config.x),
        "cell": grid_search([1, 2, 3]),
        "o": choice(["a", "b"]),
    }
    cube = Cube(Space(tree), seed=0)
    axes = _axes_of(cube)
    assert [cube.names[j] for j in axes.numbers] == ["x", "drawn"]
    assert [cube.names[j] for j in axes.choices] == ["o"]


def test_the_cells_of_a_grid_are_gone_through():
    trials = run(CMAESSearch(), PLANE | {"cell": grid_search(["a", "b", "c"])}, plane_loss, 9)
    assert [t.config["cell"] for t in trials] == ["a", "b", "c"] * 3


@pytest.mark.parametrize("space", [{"x": uniform(0, 1), "o": choice(["a", "b"])}, {"o": choice(["a", "b"])}, {}])
def test_fewer_than_two_numbers_are_drawn_at_random_and_the_reason_names_another_searcher(space):
    found = ask(CMAESSearch(), history_of(space), 2)
    assert [s.config for s in found] == [Space(space).sample(0, 0), Space(space).sample(0, 1)]
    assert all("needs 2 numbers" in s.reason and "'tpe'" in s.reason for s in found)


def test_two_metrics_are_refused():
    two = Objective(("loss", "size"), (Mode.MIN, Mode.MIN))
    with pytest.raises(ConfigError, match="there are 2 metrics"):
        ask(CMAESSearch(), history_of(PLANE, objective=two))


def test_a_missing_library_is_said_with_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(ConfigError, match=r"pip install 'tunesmith\[cmaes\]'"):
        CMAESSearch()
