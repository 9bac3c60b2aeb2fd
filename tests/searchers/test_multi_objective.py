from __future__ import annotations

import warnings

import numpy as np
import pytest
from campaigns.search.histories import histories
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tunesmith.models.cube import Cube
from tunesmith.models.gaussian_process import last_step
from tunesmith.models.pareto import hypervolume
from tunesmith.protocols import Exhausted, History
from tunesmith.searchers import GPSearch, RandomSearch
from tunesmith.searchers.multi_objective import (
    ConstraintModel,
    TargetFits,
    reference_point,
    squash,
    warp_objectives,
)
from tunesmith.space import Space, choice, grid_search, uniform
from tunesmith.trial import Trial, TrialStatus, parse_objective

from .drive import ask

SQUARE = {"x": uniform(0, 1), "y": uniform(0, 1)}
TWO = parse_objective(["a", "b"], ["min", "max"])
BOUNDED = parse_objective("a", "min", {"c": "<= 0"})
NESTED = {"x": uniform(0, 1), "o": choice([{"k": "p", "y": uniform(0, 1)}, {"k": "q", "z": uniform(0, 1)}])}


def trial_of(i, config, metrics, reason=None):
    """Trial i: completed with these metrics, failed (None), or still running ("open")."""
    facts = {"index": i, "trial_id": f"t{i}", "config": config, "attempt": 1, "proposed_by": reason}
    if metrics is None:
        return Trial(**facts, status=TrialStatus.FAILED, n_failures=1)
    if metrics == "open":
        return Trial(**facts, status=TrialStatus.INTERRUPTED)
    facts |= {"step": 1, "n_reports": 1, "metrics": metrics, "best_value": metrics.get("a"), "best_step": 1}
    return Trial(**facts, status=TrialStatus.COMPLETED)


def run(searcher, space, evaluate, n, *, objective=TWO, seed=0, n_workers=1):
    """The trials of n suggestions; fewer where the space is exhausted."""
    space = space if isinstance(space, Space) else Space(space)
    trials: list[Trial] = []
    while len(trials) < n:
        history = History(space, objective, seed, tuple(trials))
        found = ask(searcher, history, min(n_workers, n - len(trials)))
        if isinstance(found, Exhausted):
            break
        trials += [
            trial_of(len(trials) + k, suggestion.config, evaluate(suggestion.config), suggestion.reason)
            for k, suggestion in enumerate(found)
        ]
    return trials


def volume(trials):
    """Dominated by small a and large b, from (1, 0)."""
    values = [(t.metrics["a"], -t.metrics["b"]) for t in trials if t.metrics]
    return hypervolume(np.array(values), np.array([1.0, 0.0]))


def corner(config):
    """The front is y = 0; a is small at its left end, b large at its right one."""
    return {"a": config["x"] ** 2 + config["y"], "b": 1 - (1 - config["x"]) ** 2 - config["y"]}


def nested(config):
    o = config["o"]
    off = abs(o["y"] - 0.7) if o["k"] == "p" else 0.2 + abs(o["z"] - 0.2)
    return {"a": config["x"] ** 2 + off, "b": 1 - (1 - config["x"]) ** 2 - off}


@pytest.mark.parametrize(("space", "evaluate"), [(SQUARE, corner), (NESTED, nested)], ids=["square", "conditional"])
def test_it_dominates_more_than_random_search(space, evaluate):
    """On average over three seeds, with 25 trials, by a tenth."""
    ours, random = (
        np.mean([volume(run(make(), space, evaluate, 25, seed=seed)) for seed in range(3)])
        for make in (GPSearch, RandomSearch)
    )
    assert ours > 1.1 * random


def test_four_objectives_are_searched_too():
    objective = parse_objective(["a", "b", "c", "d"], ["min"] * 4)

    def evaluate(config):
        return {name: (config["x"] - at) ** 2 + config["y"] for name, at in zip("abcd", (0, 0.3, 0.6, 1), strict=True)}

    trials = run(GPSearch(), SQUARE, evaluate, 22, objective=objective)
    assert np.mean([trial.config["y"] for trial in trials[10:]]) < 0.1  # y spoils all four


def test_the_direction_of_each_mode_is_kept():
    """The same problem said the other way round is searched alike."""
    turned = parse_objective(["a", "b"], ["max", "min"])
    first = run(GPSearch(), SQUARE, corner, 20)
    second = run(GPSearch(), SQUARE, lambda c: {k: -v for k, v in corner(c).items()}, 20, objective=turned)
    assert [t.config for t in first] == [t.config for t in second]


def test_equal_histories_give_equal_answers_whoever_asked_before():
    searcher = GPSearch()
    trials = run(searcher, SQUARE, corner, 25)
    for n in (12, 24):
        history = History(Space(SQUARE), TWO, 0, tuple(trials[:n]))
        assert ask(searcher, history) == ask(GPSearch(), history)
        assert ask(searcher, history)[0].config == trials[n].config


def test_workers_that_ask_together_get_different_configs():
    trials = run(GPSearch(), SQUARE, corner, 16)
    history = History(Space(SQUARE), TWO, 0, tuple(trials))
    rows = np.array([[s.config["x"], s.config["y"]] for s in ask(GPSearch(), history, 6)])
    gaps = np.abs(rows[:, None] - rows[None]).max(axis=2)[np.triu_indices(6, 1)]
    assert gaps.min() > 0.005


def test_running_trials_are_not_proposed_again():
    trials = run(GPSearch(), SQUARE, corner, 16)
    alone = ask(GPSearch(), History(Space(SQUARE), TWO, 0, tuple(trials)))[0].config
    crowd = [trial_of(16 + k, {"x": alone["x"], "y": min(alone["y"] + 1e-4 * k, 1.0)}, "open") for k in range(10)]
    beside = ask(GPSearch(), History(Space(SQUARE), TWO, 0, tuple(trials + crowd)))[0].config
    assert abs(beside["x"] - alone["x"]) + abs(beside["y"] - alone["y"]) > 0.02


def test_a_region_that_fails_is_left():
    """The front goes on where they fail. Of 30 random configs 18 would."""
    trials = run(GPSearch(), SQUARE, lambda c: None if c["x"] > 0.4 else corner(c), 40)
    assert sum(trial.metrics is None for trial in trials[10:]) <= 14


def test_a_grid_is_kept_to_and_a_finite_space_exhausted():
    trials = run(GPSearch(), {"x": uniform(0, 1), "y": grid_search([0.0, 0.5])}, corner, 14)
    assert [trial.config["y"] for trial in trials] == [0.0, 0.5] * 7
    assert len(run(GPSearch(), {"x": choice([0.0, 0.5, 1.0]), "y": choice([0.0, 1.0])}, corner, 20)) == 6


def test_a_prior_draws_the_search_to_it():
    searcher = GPSearch(priors={"x": (0.9, "high")})
    trials = run(searcher, SQUARE, lambda c: {"a": 1.0, "b": 1.0}, 15)
    assert np.mean([trial.config["x"] for trial in trials[6:]]) > 0.7


def test_many_results_are_left_to_evolution():
    trials = [trial_of(i, c, corner(c)) for i, c in enumerate(Space(SQUARE).sample(0, i) for i in range(401))]
    (suggestion,) = ask(GPSearch(), History(Space(SQUARE), TWO, 0, tuple(trials)))
    assert suggestion.reason.startswith("NSGA-II: a child of trial ")


def test_the_reason_says_what_was_promised():
    last = run(GPSearch(), SQUARE, corner, 12)[-1]
    assert last.proposed_by == "Gaussian processes of 11 results: the largest expected gain of hypervolume"


# ---------------------------------------------------------------- constraints


def bounded(config):
    """Small a is forbidden: the best that is allowed lies on x + y = 1."""
    return {"a": config["x"] + 2 * config["y"], "c": 1 - config["x"] - config["y"]}


def best_feasible(trials):
    return min(trial.metrics["a"] for trial in trials if trial.metrics["c"] <= 0)


def test_the_best_that_keeps_the_constraint_is_found():
    """It is 1, at the corner x = 1, y = 0; of 30 random configs the best is about 1.15."""
    trials = run(GPSearch(), SQUARE, bounded, 30, objective=BOUNDED)
    assert 1.0 <= best_feasible(trials) < 1.02


def test_a_small_feasible_region_is_found_by_how_much_results_break_the_constraint():
    """A hundredth of the square keeps it: 40 random configs miss it in two of three cases."""
    for seed in range(3):
        far = lambda c: {"a": c["x"], "c": (c["x"] - 0.8) ** 2 + (c["y"] - 0.3) ** 2 - 0.0032}  # noqa: E731
        trials = run(GPSearch(), SQUARE, far, 25, objective=BOUNDED, seed=seed)
        assert any(trial.metrics["c"] <= 0 for trial in trials)


def test_before_any_result_keeps_the_constraint_the_reason_says_so():
    trials = run(GPSearch(), SQUARE, lambda c: {"a": c["x"], "c": 1 + c["y"]}, 20, objective=BOUNDED)
    words = "Gaussian processes of 19 results: the most likely to keep the constraints, which no result does yet"
    assert trials[-1].proposed_by == words
    assert np.median([trial.config["y"] for trial in trials[8:]]) < 0.2


def test_several_objectives_keep_their_constraints():
    objective = parse_objective(["a", "b"], ["min", "max"], {"c": "<= 0"})
    trials = run(GPSearch(), SQUARE, lambda c: corner(c) | {"c": 0.3 - c["y"]}, 30, objective=objective)
    kept = [trial.config["y"] for trial in trials[10:] if trial.metrics["c"] <= 0]
    assert len(kept) >= 12
    assert np.median(kept) < 0.4
    assert trials[-1].proposed_by.endswith("the largest expected gain of hypervolume that keeps the constraints")


def test_results_without_the_bounded_metric_break_it():
    trials = run(
        GPSearch(), SQUARE, lambda c: {"a": c["x"]} | ({"c": -1.0} if c["y"] > 0.5 else {}), 25, objective=BOUNDED
    )
    assert np.mean(["c" in trial.metrics for trial in trials[10:]]) > 0.7


def test_excesses_are_squashed_in_order_with_0_at_0():
    found = squash(np.array([-np.inf, -1e300, -2.0, 0.0, 1e-9, 1.0, 1e300, np.inf]))
    assert (np.diff(found) >= 0).all()
    assert found[[0, 3, 7]].tolist() == [-1, 0, 1]
    assert found[4] > 0


@pytest.mark.parametrize("excesses", [[0.0, 0.0], [1e-300, 1e-300, 1.7e308], [np.inf, np.inf], [-1.7e308, 1.7e308]])
def test_any_excesses_are_squashed_without_a_warning(excesses):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = squash(np.array(excesses))
    assert (np.abs(found) <= 1).all()
    assert (np.sign(found) == np.sign(excesses)).all()


@pytest.mark.parametrize(("excess", "least", "most"), [(-0.3, 0.99, 1.0), (0.3, 0.0, 0.01)])
def test_a_constraint_that_never_varies_stays_on_its_side(excess, least, most):
    cube = Cube(Space(SQUARE), seed=0)
    rows = cube.sample(np.random.default_rng(0), 12)
    model = ConstraintModel(cube, rows, np.full(12, excess), TargetFits(), target=0)
    found = np.exp(model.log_probability(cube.sample(np.random.default_rng(1), 50)))
    assert ((least <= found) & (found <= most)).all()


def test_losses_of_the_front_keep_their_gaps_and_what_lies_beyond_is_drawn_in():
    losses = np.column_stack([[0.0, 1.0, 2.0, 3.0, 1e3, 1e9], [3.0, 2.0, 1.0, 0.0, 9.0, 9.0]])
    warped = warp_objectives(losses, np.ones(6, bool))
    assert (np.diff(warped[:, 0]) > 0).all()
    assert np.diff(warped[:4, 0]).max() < 1.6 * np.diff(warped[:4, 0]).min()
    assert warped[5, 0] - warped[3, 0] < 2 * (warped[3, 0] - warped[0, 0])
    assert warped[4, 1] == warped[5, 1] > warped[0, 1]
    assert warped.mean(axis=0) == pytest.approx(0, abs=1e-12)
    assert warped.std(axis=0) == pytest.approx(1)


def test_only_feasible_results_say_where_the_front_ends():
    losses = np.array([[0.0, 9.0], [1.0, 1.0], [2.0, 5.0], [3.0, 9.0], [60.0, 0.1], [70.0, 9.0]])
    everything = warp_objectives(losses, np.zeros(6, bool))[:, 0]
    feasible = warp_objectives(losses, losses[:, 1] == 1.0)[:, 0]
    assert everything[4] - everything[3] > 1.5  # the front of all of them goes to 60
    assert feasible[4] - feasible[3] < 0.5  # that of the feasible one does not


@pytest.mark.parametrize("value", [0.0, 5e-324, -1.7e308, 1.7e308])
def test_losses_of_any_size_are_warped_to_finite_ones(value):
    for column in ([value] * 4, [value, 0.0, 1.0, -1.0], [value, -value, value, 0.0]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.isfinite(warp_objectives(np.array([column, [1.0, 2, 3, 4]]).T, np.ones(4, bool))).all()


@pytest.mark.parametrize("n", [1, 99, 100, 101, 107, 108, 400])
def test_hyperparameters_of_more_than_100_results_are_fitted_at_every_growth_by_8_percent(n):
    assert last_step(n) == {1: 1, 99: 99, 100: 100, 101: 100, 107: 100, 108: 108, 400: 399}[n]


def test_the_reference_lies_beyond_the_front_and_leaves_a_short_one_room():
    losses = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 9.0], [9.0, 9.0], [9.0, 9.0]])
    assert reference_point(losses[:2], losses).tolist() == [1.1, 9.0]
    assert (reference_point(losses[:1], losses) > losses[0]).all()
    assert (reference_point(np.zeros((1, 2)), np.zeros((1, 2))) > 0).all()


# ---------------------------------------------------------------- any history

_HOSTILE = st.sampled_from((0.0, -0.0, 1.0, -1e300, 1e300, 5e-324, float("inf"), float("-inf"), float("nan"), None))


@pytest.mark.parametrize("name", ["gp", "nsga2"])
def test_every_answer_lies_in_the_space_whatever_was_reported(name):
    from tunesmith.searchers import create_searcher

    objectives = [TWO, BOUNDED, parse_objective(["a", "b", "c"], ["min", "max", "min"], {"d": ">= 0", "c": "<= 1"})]

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(histories(), st.sampled_from(objectives), st.sampled_from((1, 3)), st.data())
    def answer(history, objective, n, data):
        values = data.draw(st.lists(_HOSTILE, min_size=7, max_size=7))
        trials = []
        for i, trial in enumerate(history.trials):
            metrics = {"a": float(i % 5), "b": values[i % 7], "c": values[(i + 3) % 7], "d": float(i % 3 - 1)}
            metrics = {key: value for key, value in metrics.items() if value is not None}
            has_report = trial.metrics is not None
            trials.append(replace(trial, metrics=metrics if has_report else None))
        asked = replace(history, objective=objective, trials=tuple(trials))
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            found = ask(create_searcher(name), asked, n)
        if isinstance(found, Exhausted):
            return
        for suggestion in found:
            asked.space.check(suggestion.config)

    answer()
