from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from tunesmith.errors import ConfigError
from tunesmith.models.cube import Cube
from tunesmith.protocols import Curve, Exhausted
from tunesmith.searchers import TuneBOHB, create_searcher
from tunesmith.searchers.bohb_search import BOHBModel, BOHBSettings, Standing, parse_settings
from tunesmith.searchers.bohb_search import read_standing as read
from tunesmith.space import Space, choice, grid_search, randint, uniform
from tunesmith.trial import Mode, Objective, Trial, TrialStatus

from .drive import LOSS, ask, history_of

LINE = {"x": uniform(0, 1)}
PAUSED, RUNNING, FAILED = TrialStatus.PAUSED, TrialStatus.RUNNING, TrialStatus.FAILED


def made(space, *entries, objective=LOSS, seed=0):
    """A history of (config, values at times 1, 2, ..., status)."""
    trials, curves = [], []
    for i, (config, values, status) in enumerate(entries):
        failures = int(status is FAILED)
        trials.append(Trial(i, f"t{i}", config, status, attempt=1, n_failures=failures, step=len(values)))
        curves.append(Curve([float(k + 1) for k in range(len(values))], list(values), [], len(values)))
    return replace(history_of(space, trials, objective=objective, seed=seed), curves=tuple(curves))


def at(x, *values, status=PAUSED):
    return ({"x": x}, values, status)


def standing_of(history, n_least=2):
    return read(history, Cube(history.space, seed=0), n_least=n_least)


# ---------------------------------------------------------------- which results


def test_the_longest_training_that_enough_trials_have_reached_is_modelled():
    """d + 1 = 2, so 4 results are enough: at time 2, not at 3."""
    history = made(LINE, *(at(0.1 * i, 9, i, *([0] * (i > 2))) for i in range(6)), at(0.9, 5))
    found = standing_of(history)
    assert (found.time, found.n_finite) == (2.0, 6)
    assert found.rows[:, 0] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert standing_of(made(LINE, *(at(0.1 * i, 1.0) for i in range(3)))) is None


def test_of_a_trial_that_has_trained_longer_the_value_at_that_time_counts():
    history = made(LINE, at(0.1, 1.0, -9.0), at(0.2, 2.0), at(0.3, 0.0), at(0.4, 3.0))
    assert standing_of(history).rows[:, 0] == pytest.approx([0.3, 0.1, 0.2, 0.4])


def test_times_between_rungs_that_trials_only_pass_do_not_count():
    """Four run and have reached time 2, where nobody paused; they count at time 1."""
    runners = [at(0.1 * i, float(i), 0.0, status=RUNNING) for i in range(4)]
    assert standing_of(made(LINE, *runners)) is None
    found = standing_of(made(LINE, *runners, at(0.9, 9.0)))
    assert (found.time, len(found.rows)) == (1.0, 5)


def test_a_trial_that_skips_a_time_counts_by_its_next_report():
    history = made(LINE, *(at(0.1 * i, 5.0 - i, 0.0) for i in range(4)))
    curves = (*history.curves[:3], Curve([3.0], [0.5], [], 1))
    found = standing_of(replace(history, curves=curves))
    assert found.time == 2.0
    assert found.rows[-1, 0] == pytest.approx(0.3)


def test_failures_and_nan_are_the_worst_and_lost_processes_are_nothing():
    entries = [at(0.1 * i, float(i)) for i in range(4)]
    history = made(LINE, at(0.6, status=FAILED), *entries, at(0.7, math.nan), at(0.8, status=TrialStatus.INVALID))
    found = standing_of(history)
    assert found.rows[:, 0] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 0.8])
    assert found.n_finite == 4
    lost = (replace(history.trials[0], n_failures=0), *history.trials[1:])
    assert len(standing_of(replace(history, trials=lost)).rows) == 6


def test_mode_max_turns_the_order_round():
    history = made(LINE, *(at(0.1 * i, float(i)) for i in range(4)), objective=Objective(("loss",), (Mode.MAX,)))
    assert standing_of(history).rows[:, 0] == pytest.approx([0.3, 0.2, 0.1, 0.0])


def test_trials_outside_the_space_are_left_out():
    history = made(LINE, *(at(0.1 * i, float(i)) for i in range(4)), at(7.0, -1.0))
    assert standing_of(history).rows[:, 0] == pytest.approx([0.0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize(("n", "d", "n_good"), [(8, 3, 4), (20, 3, 4), (40, 3, 6), (199, 3, 29)])
def test_the_best_15_percent_are_good_and_no_fewer_than_d_plus_1(n, d, n_good):
    space = Space({f"x{j}": uniform(0, 1) for j in range(d)})
    rows = np.random.default_rng(0).random((n, d))
    model = BOHBModel(Cube(space, seed=0), Standing(1.0, rows, n), BOHBSettings(), n_least=d + 1)
    assert (model._n_good, model._n_others) == (n_good, n - n_good)


# ---------------------------------------------------------------- proposals


def seen(n, *, space=LINE, optimum=0.3, seed=0):
    draw = np.random.default_rng(seed)
    return made(space, *(at(float(x), (x - optimum) ** 2) for x in draw.random(n)), seed=seed)


def test_about_a_third_of_the_proposals_are_spread_evenly():
    """900 proposals; the bound is 5 standard deviations of a binomial wide: 1 failure in 2 million."""
    history = seen(20)
    found = [s for s in ask(TuneBOHB(), history, 900) if "evenly" in s.reason]
    assert abs(len(found) / 900 - 1 / 3) < 5 * math.sqrt(2 / 9 / 900)


def test_the_model_proposes_near_the_good_configs():
    found = [s.config["x"] for s in ask(TuneBOHB(), seen(30), 60) if s.reason.startswith("BOHB")]
    assert len(found) > 20
    assert np.median(np.abs(np.array(found) - 0.3)) < 0.1


def test_before_there_are_results_enough_configs_are_spread_evenly():
    assert {s.reason for s in ask(TuneBOHB(), seen(3), 20)} == {"spread evenly over the space"}
    assert any(s.reason.startswith("BOHB: like the 2 best at 1") for s in ask(TuneBOHB(), seen(4), 20))


def test_no_config_of_a_finite_space_is_proposed_twice_and_then_it_is_exhausted():
    space = {"n": randint(0, 6), "o": choice(["a", "b"])}
    history = made(space)
    while not isinstance(found := ask(TuneBOHB(), history, 1), Exhausted):
        config = found[0].config
        entries = [(t.config, c.points()[1], PAUSED) for t, c in zip(history.trials, history.curves, strict=True)]
        history = made(space, *entries, (config, [float(config["n"])], PAUSED))
    configs = [tuple(t.config.values()) for t in history.trials]
    assert len(configs) == len(set(configs)) == 12


def test_constraints_of_the_space_hold():
    space = Space({"x": uniform(0, 1), "y": uniform(0, 1)}, constraints=[lambda c: c["x"] + c["y"] < 1])
    draw = np.random.default_rng(0)
    points = [(x, y) for x, y in draw.random((60, 2)) if x + y < 1]
    history = made(space, *(({"x": x, "y": y}, [-x - y], PAUSED) for x, y in points))
    found = ask(TuneBOHB(bohb_config={"random_fraction": 0}), history, 20)
    assert {s.reason.split(":")[0] for s in found} == {"BOHB"}
    assert all(s.config["x"] + s.config["y"] < 1 for s in found)


def test_every_cell_of_a_grid_gets_its_turn():
    space = {"x": uniform(0, 1), "g": grid_search(["a", "b"])}
    history = made(space, *(({"x": i / 20, "g": "ab"[i % 2]}, [float(i)], PAUSED) for i in range(20)))
    assert [s.config["g"] for s in ask(TuneBOHB(), history, 6)] == list("ababab")


def test_given_points_come_first():
    searcher = create_searcher("bohb", points_to_evaluate=[{"x": 0.125}])
    assert ask(searcher, made(LINE))[0].config == {"x": 0.125}


def test_its_own_seed_takes_the_place_of_the_experiments():
    def configs(seed, history):
        return [s.config for s in ask(TuneBOHB(seed=seed), history, 8)]

    history, other = seen(20), replace(seen(20), seed=9)
    assert configs(4, history) == configs(4, other)
    assert configs(4, history) != configs(5, history)
    assert configs(None, history) != configs(None, other)


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"space": {"x": 1}}, "space is dict. Give the space as config="),
        ({"max_concurrent": 4}, "max_concurrent is 4. Use max_concurrent_trials="),
        ({"seed": -1}, "seed is -1. Give a whole number"),
        ({"metric": "loss"}, "mode is None"),
        ({"time_attr": 1}, "time_attr is 1"),
        ({"bohb_config": {"eta": 3}}, "bohb_config has 'eta'. Give some of min_points_in_model"),
        ({"bohb_config": {"num_samples": 0}}, "num_samples=0. Give a whole number from 1"),
        ({"bohb_config": {"random_fraction": 1.5}}, "random_fraction=1.5. Give a number from 0 to 1"),
        ({"bohb_config": [3]}, "bohb_config is [3]. Give a dict"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(arguments, words):
    with pytest.raises(ConfigError) as caught:
        TuneBOHB(**arguments)
    assert words in str(caught.value)


def test_the_constants_are_those_of_the_paper_unless_others_are_given():
    assert parse_settings(None) == BOHBSettings(None, 15, 64, 1 / 3, 3, 1e-3)
    assert parse_settings({"top_n_percent": 20}).top_n_percent == 20


def test_a_metric_of_its_own_must_be_the_experiments():
    assert ask(TuneBOHB(metric="loss", mode="min"), seen(5))
    with pytest.raises(ConfigError, match="TuneBOHB has metric='loss', mode='max', and the experiment has"):
        ask(TuneBOHB(metric="loss", mode="max"), seen(5))
