import math

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.analysis.importance import _explained
from tunesmith.analysis.metric_choice import choose_metric
from tunesmith.analysis.response import response
from tunesmith.errors import ConfigError, SpaceError, TuneError
from tunesmith.space import Space
from tunesmith.trial import Mode, TrialStatus

from .written import write

UNITS = {name: tune.uniform(0, 1) for name in ("a", "b", "c")}


def experiment(folder, space, loss, n=200, **spec):
    """Configs drawn at random, each with one report."""
    drawn = [Space(space).sample(1, i) for i in range(n)]
    return write(folder, [[loss(config)] for config in drawn], space=space, configs=drawn, **spec)


def test_shares_are_those_of_an_additive_function(tmp_path):
    """Var(3a) : Var(2b) is 9 : 4."""
    found = experiment(tmp_path / "e", UNITS, lambda c: 3 * c["a"] + 2 * c["b"]).importance()
    assert list(found.shares) == ["a", "b", "c"]
    assert found.shares["a"] == pytest.approx(9 / 13, abs=0.08)
    assert found.shares["b"] == pytest.approx(4 / 13, abs=0.08)
    assert found.shares["c"] < 0.02
    assert found.n_trials == 200


def test_what_two_do_only_together_is_their_pair(tmp_path):
    found = experiment(tmp_path / "e", UNITS, lambda c: float((c["a"] > 0.5) != (c["b"] > 0.5)), n=400).importance()
    (pair, share), *_ = found.pairs.items()
    assert (pair, share > 0.4) == (("a", "b"), True)
    assert max(found.shares.values()) < 0.1


def test_a_conditional_parameter_is_not_credited_for_its_choice(tmp_path):
    """By the choice alone values differ by 1; within the option that has `x` it moves them by +-0.1."""
    space = {"kind": tune.choice([{"name": "one", "x": tune.uniform(0, 1)}, {"name": "two"}])}

    def loss(config):
        return 0.2 * config["kind"]["x"] if config["kind"]["name"] == "one" else 1.1

    found = experiment(tmp_path / "e", space, loss).importance()
    assert found.shares["kind"] > 0.85
    assert found.shares["kind/x"] < 0.15


def test_a_conditional_parameter_counts_as_often_as_it_takes_part(tmp_path):
    """Half of the configs have `x`; among them it explains all, and the choice nothing: the mean is the same."""
    space = {"kind": tune.choice([{"x": tune.uniform(0, 1)}, {"y": tune.uniform(0, 1)}])}

    def loss(config):
        return config["kind"].get("x", config["kind"].get("y"))

    found = experiment(tmp_path / "e", space, loss, n=300).importance()
    assert found.shares["kind/x"] == pytest.approx(0.5, abs=0.12)
    assert found.shares["kind/y"] == pytest.approx(0.5, abs=0.12)
    assert found.shares["kind"] < 0.05


@pytest.mark.parametrize("mode", ["min", "max"])
def test_categories_logarithms_and_drawn_values_are_parameters_too(tmp_path, mode):
    space = {
        "lr": tune.loguniform(1e-5, 1e-1),
        "act": tune.choice(["relu", "tanh"]),
        "width": tune.sample_from(lambda _: int(2 ** np.random.randint(2, 9))),
    }

    def loss(config):
        return abs(math.log10(config["lr"]) + 3) + (config["act"] == "tanh") + 0.1 * math.log2(config["width"])

    found = experiment(tmp_path / "e", space, loss, mode=Mode(mode)).importance()
    assert set(found.shares) == {"lr", "act", "width"}
    assert sum(found.shares.values()) > 0.8
    assert min(found.shares, key=found.shares.get) == "width"


def test_equal_seeds_give_equal_numbers(tmp_path):
    result = experiment(tmp_path / "e", UNITS, lambda c: c["a"], n=30)
    assert result.importance() == result.importance()
    assert result.importance(seed=1) != result.importance()


def test_failed_and_nan_trials_are_left_out_and_counted(tmp_path):
    drawn = [Space(UNITS).sample(1, i) for i in range(20)]
    values = [[math.nan] if i < 3 else [c["a"]] for i, c in enumerate(drawn)]
    states = [TrialStatus.FAILED if i in (3, 4) else TrialStatus.COMPLETED for i in range(20)]
    found = write(tmp_path / "e", values, space=UNITS, configs=drawn, states=states).importance()
    assert (found.n_trials, found.n_left_out) == (15, 5)


def test_a_step_compares_who_got_there_by_its_value_until_then(tmp_path):
    drawn = [Space(UNITS).sample(1, i) for i in range(60)]
    values = [[c["a"], c["b"] - 5] if i % 2 else [c["a"]] for i, c in enumerate(drawn)]
    result = write(tmp_path / "e", values, space=UNITS, configs=drawn)
    assert next(iter(result.importance(step=1).shares)) == "a"
    assert result.importance(step=1).n_trials == 60
    assert next(iter(result.importance(step=2).shares)) == "b"
    assert result.importance(step=2).n_trials == 30
    with pytest.raises(TuneError, match=r"0 of 60 trials .* at step 3"):
        result.importance(step=3)
    with pytest.raises(ConfigError, match="step is 0"):
        result.importance(step=0)


def test_too_few_trials_say_so(tmp_path):
    with pytest.raises(TuneError, match=r"4 of 4 trials .* needs 5 or more"):
        experiment(tmp_path / "e", UNITS, lambda c: c["a"], n=4).importance()


def test_nothing_that_varies_says_so(tmp_path):
    with pytest.raises(TuneError, match="Nothing varies"):
        write(tmp_path / "e", [[1.0]] * 9).importance()


def test_equal_values_have_no_variance_to_explain(tmp_path):
    assert set(experiment(tmp_path / "e", UNITS, lambda c: 1.0, n=20).importance().shares.values()) == {0.0}


def test_options_of_one_label_need_the_space(tmp_path):
    space = {"f": tune.choice([lambda: 1, lambda: 2])}
    result = write(tmp_path / "e", [[1.0]] * 9, space=space, configs=[{"f": 1}] * 9)
    with pytest.raises(SpaceError, match="twice"):
        result.importance()


def test_chance_differences_between_bins_are_taken_off():
    """Between bins 16, within them 4 with 2 degrees of freedom: 16 - 4 / 2 = 14, by 4 rows."""
    y = np.array([0.0, 2.0, 4.0, 6.0])
    assert _explained(y, np.array([0, 0, 1, 1])) == 3.5
    assert _explained(y, np.array([-1, -1, 0, 1])) == 0.0
    assert _explained(y[[0, 3, 1, 2]], np.array([0, 0, 1, 1])) == 0.0


# ---------------------------------------------------------------- response


def test_the_response_follows_the_two_parameters(tmp_path):
    result = experiment(tmp_path / "e", UNITS, lambda c: 3 * c["a"] + c["b"], n=300, mode=Mode.MAX)
    found = response(result, choose_metric(result.reader), (("a",), ("b",)))
    assert found.mean.shape == (len(found.y), len(found.x)) == (25, 25)
    truth = 3 * np.array(found.x)[None, :] + np.array(found.y)[:, None]
    assert np.abs(found.mean - truth).max() < 0.7
    assert np.abs(found.mean - truth).mean() < 0.2


def test_the_response_is_nan_where_two_never_take_part_together(tmp_path):
    space = {"k": tune.choice([{"x": tune.uniform(0, 1)}, {"y": tune.uniform(0, 1)}])}
    result = experiment(tmp_path / "e", space, lambda c: 1.0 + len(c["k"]), n=20)
    found = response(result, choose_metric(result.reader), (("k", 0, "x"), ("k", 1, "y")))
    assert np.isnan(found.mean).all()
    by_choice = response(result, choose_metric(result.reader), (("k",), ("k", 0, "x")))
    assert np.isnan(by_choice.mean).all(axis=0).tolist() == [False, True]


def test_the_response_needs_five_trials(tmp_path):
    result = experiment(tmp_path / "e", UNITS, lambda c: 1.0, n=4)
    assert response(result, choose_metric(result.reader), (("a",), ("b",))) is None
