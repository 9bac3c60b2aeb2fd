import math

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.analysis.importance import _explained, _settled_sample
from tunesmith.analysis.metric_choice import choose_metric
from tunesmith.analysis.response import response
from tunesmith.errors import ConfigError, SpaceError, TuneError
from tunesmith.models.cube import Cube
from tunesmith.space import Space
from tunesmith.trial import Mode, TrialStatus

from .written import write

NAN = math.nan
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


def test_what_makes_trials_diverge_matters(tmp_path):
    """Of the trials with a value `lr` says nothing: all that it does is to let 7 in 10 end without one."""
    space = {"lr": tune.uniform(0, 1), "w": tune.uniform(0, 1)}
    drawn = [Space(space).sample(1, i) for i in range(200)]
    is_lost = [c["lr"] > 0.3 for c in drawn]
    values = [
        [NAN] if lost and i % 2 else [] if lost else [0.1 * c["w"]]
        for i, (c, lost) in enumerate(zip(drawn, is_lost, strict=True))
    ]
    states = [TrialStatus.FAILED if lost and not i % 2 else TrialStatus.COMPLETED for i, lost in enumerate(is_lost)]
    result = write(tmp_path / "e", values, space=space, configs=drawn, states=states)
    found = result.importance()
    assert found.shares["lr"] > 0.5
    assert (found.n_trials, found.n_diverged, found.n_left_out) == (200, sum(is_lost), 0)
    surface = response(result, choose_metric(result.reader), (("lr",), ("w",)))
    assert surface.n_diverged == sum(is_lost)
    assert surface.mean[:, np.array(surface.x) > 0.35].mean() > 0.09
    assert surface.mean[:, np.array(surface.x) < 0.25].mean() < 0.07


def test_divergence_alone_is_seen_where_all_other_values_are_equal(tmp_path):
    result = experiment(tmp_path / "e", UNITS, lambda c: NAN if c["a"] > 0.5 else 1.0, n=60)
    assert result.importance().shares["a"] > 0.8


@pytest.mark.parametrize(("mode", "bad"), [("min", math.inf), ("max", -math.inf)])
def test_the_bad_infinity_is_divergence_and_the_good_one_says_nothing(tmp_path, mode, bad):
    drawn = [Space(UNITS).sample(1, i) for i in range(20)]
    values = [[bad], [-bad], *([c["a"]] for c in drawn[2:])]
    found = write(tmp_path / "e", values, space=UNITS, configs=drawn, mode=Mode(mode)).importance()
    assert (found.n_trials, found.n_diverged, found.n_left_out) == (19, 1, 1)


def test_trials_that_are_not_over_or_were_refused_are_left_out_and_counted(tmp_path):
    drawn = [Space(UNITS).sample(1, i) for i in range(20)]
    states = [TrialStatus.RUNNING, TrialStatus.INVALID, TrialStatus.INTERRUPTED] + [TrialStatus.COMPLETED] * 17
    found = write(tmp_path / "e", [[c["a"]] for c in drawn], space=UNITS, configs=drawn, states=states).importance()
    assert (found.n_trials, found.n_diverged, found.n_left_out) == (17, 0, 3)


def test_at_a_step_one_that_failed_later_counts_with_its_value(tmp_path):
    drawn = [Space(UNITS).sample(1, i) for i in range(20)]
    values = [[], [5.0], [NAN], *([c["a"], 1.0] for c in drawn[3:])]
    states = [TrialStatus.FAILED, TrialStatus.FAILED] + [TrialStatus.COMPLETED] * 18
    result = write(tmp_path / "e", values, space=UNITS, configs=drawn, states=states)
    assert (result.importance(step=1).n_trials, result.importance(step=1).n_diverged) == (20, 2)
    assert (result.importance(step=2).n_trials, result.importance(step=2).n_diverged) == (19, 2)


# ---------------------------------------------------------------- whether the model has found anything


@pytest.mark.parametrize("n", [30, 100])
def test_a_model_of_noise_is_not_telling(tmp_path, n):
    """The seeds are fixed; of others 13 of 300 passed for more with 30 trials, none of 90 with 150."""
    rng = np.random.default_rng(n)
    found = experiment(tmp_path / "e", UNITS, lambda _: float(rng.normal()), n=n).importance()
    assert found.fit < 0.1
    assert not found.is_telling


@pytest.mark.parametrize(("n", "sd", "least"), [(30, 0.0, 0.7), (100, 1.0, 0.2), (200, 0.0, 0.9)])
def test_a_model_of_what_parameters_do_is_telling(tmp_path, n, sd, least):
    rng = np.random.default_rng(0)
    found = experiment(tmp_path / "e", UNITS, lambda c: 3 * c["a"] + 2 * c["b"] + sd * rng.normal(), n=n).importance()
    assert found.is_telling
    assert least < found.fit <= 1.0


def test_what_does_not_differ_cannot_be_predicted(tmp_path):
    assert experiment(tmp_path / "e", UNITS, lambda c: 1.0, n=20).importance().fit == 0.0


# ---------------------------------------------------------------- constraints


def constrained(is_allowed):
    return Space(dict(UNITS), constraints=[is_allowed])


def test_a_constraint_that_is_rarely_kept_is_drawn_for_longer():
    """One in 64 configs is allowed: 2,000 draws find about 30."""
    space = constrained(lambda c: c["a"] < 1 / 8 and c["b"] < 1 / 8)
    rows = _settled_sample(Cube(space, seed=1), np.random.default_rng(0))
    assert len(rows) >= 500
    assert rows[:, :2].max() < 1 / 8


def test_a_constraint_that_is_never_kept_says_so(tmp_path):
    result = experiment(tmp_path / "e", UNITS, lambda c: c["a"], n=10)
    with pytest.raises(TuneError, match=r"The constraints allow 0 of 67,584 configs drawn .* needs 500"):
        result.importance(space=constrained(lambda c: c["a"] > 2))


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
    with pytest.raises(TuneError, match="too few trials for a surface"):
        response(result, choose_metric(result.reader), (("a",), ("b",)))


@pytest.mark.parametrize("options", [[f"o{i}" for i in range(100)], list(range(100))], ids=["words", "numbers"])
def test_the_response_leaves_out_no_option(tmp_path, options):
    space = {"p": tune.choice(options), "a": tune.uniform(0, 1)}
    result = experiment(tmp_path / "e", space, lambda c: c["a"], n=30)
    found = response(result, choose_metric(result.reader), (("p",), ("a",)))
    assert list(found.x) == options
    assert np.isfinite(found.mean).all()


def test_the_response_of_too_many_options_says_so(tmp_path):
    space = {name: tune.choice([f"o{i}" for i in range(200)]) for name in "pq"}
    result = experiment(tmp_path / "e", space, lambda c: float(len(c["p"])), n=9)
    with pytest.raises(TuneError, match="too many options for a surface: 200 by 200"):
        response(result, choose_metric(result.reader), (("p",), ("q",)))
