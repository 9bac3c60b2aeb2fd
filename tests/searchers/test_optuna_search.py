import sys
import warnings

import optuna
import pytest
from campaigns.search.histories import spaces
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace
from optuna.samplers import (
    BruteForceSampler,
    GridSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState

from tunesmith import choice, grid_search, loguniform, qloguniform, quniform, randint, randn, sample_from, uniform
from tunesmith.errors import ConfigError
from tunesmith.protocols import Exhausted, History
from tunesmith.rng import derived_seed, generator
from tunesmith.searchers import OptunaSearch
from tunesmith.searchers.optuna_study import HistoryStudy, parameters
from tunesmith.space import Space
from tunesmith.trial import Mode, Objective, Trial, TrialStatus, parse_objective

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

LOSS = Objective(("loss",), (Mode.MIN,))
TWO = Objective(("loss", "accuracy"), (Mode.MIN, Mode.MAX))
PLAIN = Space({"x": uniform(-5, 5), "y": loguniform(1e-3, 1.0), "n": randint(1, 9)})
NESTED = Space(
    {
        "lr": loguniform(1e-4, 1e-1),
        "model": choice([{"kind": "mlp", "depth": randint(1, 4)}, {"kind": "tree", "trees": choice([10, 20])}, "none"]),
        "made": sample_from(lambda c: 2 * c["lr"]),
    }
)
FINITE = Space({"a": choice(["u", {"kind": "v", "n": randint(0, 3)}]), "b": quniform(0.0, 0.2, 0.1)})


@pytest.fixture(autouse=True)
def _quiet():
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(verbosity)


def history(trials=(), *, space=PLAIN, objective=LOSS, seed=1):
    return History(space, objective, seed, tuple(trials))


def trial(index, config, value=None, *, status=TrialStatus.COMPLETED, **facts):
    metrics = {} if value is None else {"loss": value}
    known = {"metrics": metrics, "best_value": value, "step": 3} | facts
    return Trial(index, f"t{index}", config, status=status, **known)


def ask(searcher, history, n=1):
    return searcher.suggest(history, generator(history.seed, "suggest", len(history.trials)), n)


def configs(searcher, history, n=1):
    return [suggestion.config for suggestion in ask(searcher, history, n)]


def loss_of(config):
    return (config["x"] - 1) ** 2 + config["y"] + config["n"]


def run(searcher, n_trials, *, space=PLAIN, loss=loss_of, seed=1):
    """The configs of a whole experiment, one trial after the other."""
    trials = []
    while len(trials) < n_trials:
        found = ask(searcher, history(trials, space=space, seed=seed))
        if isinstance(found, Exhausted):
            break
        trials.append(trial(len(trials), found[0].config, loss(found[0].config)))
    return [t.config for t in trials]


# ---------------------------------------------------------------- as Optuna alone


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: NSGAIISampler(seed=seed, population_size=6),
        lambda seed: QMCSampler(seed=seed, scramble=True),
    ],
)
def test_a_sampler_that_writes_notes_proposes_what_it_does_in_optuna_alone(make):
    study = optuna.create_study(sampler=make(derived_seed(1, "sampler")))

    def objective(t):
        config = {"x": t.suggest_float("x", -5, 5), "y": t.suggest_float("y", 1e-3, 1, log=True)}
        return loss_of(config | {"n": t.suggest_int("n", 1, 8)})

    study.optimize(objective, 30)
    assert run(OptunaSearch(make), 30) == [pytest.approx(t.params) for t in study.trials]


def test_tpe_proposes_what_it_does_in_a_study_of_the_same_trials():
    trials = [trial(i, config, loss_of(config)) for i, config in enumerate(run(OptunaSearch(RandomSampler), 20))]
    searcher = OptunaSearch(lambda seed: TPESampler(seed=7))
    study = optuna.create_study(sampler=TPESampler(seed=7))
    distributions = {p.name: p.distribution for p in parameters(PLAIN)}
    for t in trials:
        study.add_trial(optuna.create_trial(params=t.config, distributions=distributions, value=t.best_value))
    assert configs(searcher, history(trials)) == [pytest.approx(study.ask(distributions).params)]


# ---------------------------------------------------------------- the study


OUTCOMES = [
    (trial(0, {}, 0.5), TrialState.COMPLETE, [0.5], {}),
    (trial(0, {}, 0.5, metrics={"loss": 0.9}), TrialState.COMPLETE, [0.5], {}),
    (trial(0, {}, float("nan")), TrialState.FAIL, None, {}),
    (trial(0, {}), TrialState.FAIL, None, {}),
    (trial(0, {}, 0.5, status=TrialStatus.STOPPED, metrics={"loss": 0.9}), TrialState.PRUNED, [0.9], {3: 0.9}),
    (trial(0, {}, status=TrialStatus.STOPPED), TrialState.PRUNED, None, {}),
    (trial(0, {}, 0.5, status=TrialStatus.FAILED), TrialState.FAIL, None, {}),
    (trial(0, {}, status=TrialStatus.INVALID), TrialState.FAIL, None, {}),
    (trial(0, {}, 0.5, status=TrialStatus.RUNNING), TrialState.RUNNING, None, {}),
    (trial(0, {}, 0.5, status=TrialStatus.PAUSED), TrialState.RUNNING, None, {}),
    (trial(0, {}, status=TrialStatus.PENDING), TrialState.RUNNING, None, {}),
    (trial(0, {}, 0.5, status=TrialStatus.INTERRUPTED), TrialState.RUNNING, None, {}),
]


@pytest.mark.parametrize("way", [HistoryStudy.add, HistoryStudy.ask_again])
@pytest.mark.parametrize(("ended", "state", "values", "intermediate"), OUTCOMES)
def test_a_trial_becomes_what_optuna_calls_it(way, ended, state, values, intermediate):
    config = {"lr": 0.01, "model": {"kind": "tree", "trees": 20}, "made": 0.5}
    study = HistoryStudy(NESTED, LOSS, RandomSampler(seed=1))
    way(study, replace(ended, config=config))
    (made,) = study.trials
    assert (made.state, made.values, made.intermediate_values) == (state, values, intermediate)
    assert made.params == {"lr": 0.01, "model": 1, "model/1/trees": 20}
    assert list(made.distributions) == list(made.params)


@pytest.mark.parametrize("status", [TrialStatus.COMPLETED, TrialStatus.STOPPED])
def test_several_metrics_are_several_values_of_the_last_report(status):
    study = HistoryStudy(PLAIN, TWO, RandomSampler(seed=1))
    config = {"x": 0.0, "y": 0.5, "n": 1}
    study.add(trial(0, config, 0.1, metrics={"loss": 0.4, "accuracy": 0.8}, status=status))
    study.add(trial(1, config, 0.1, metrics={"loss": 0.4}, status=status))
    assert [d.name for d in study.study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert [(t.state, t.values) for t in study.trials] == [(TrialState.COMPLETE, [0.4, 0.8]), (TrialState.FAIL, None)]


def test_mode_max_is_maximised():
    study = HistoryStudy(PLAIN, Objective(("loss",), (Mode.MAX,)), RandomSampler(seed=1))
    assert study.study.direction.name == "MAXIMIZE"


def test_a_trial_outside_the_space_is_left_out():
    study = HistoryStudy(PLAIN, LOSS, RandomSampler(seed=1))
    study.add(trial(0, {"x": 99.0, "y": 0.5, "n": 1}, 0.5))
    study.ask_again(trial(1, {"x": 1.0}, 0.5))
    assert study.trials == []


def test_a_new_study_says_nothing(capfd):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    ask(OptunaSearch(), history())
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(spaces())
def test_every_value_of_every_domain_is_a_parameters_and_comes_back(space):
    named = {p.leaf.path: p for p in parameters(space)}
    for index in range(5):
        values = space.values(space.sample(3, index))
        for path, p in named.items():
            if path in values:
                given_to_optuna = p.to_optuna(values[path])
                assert p.distribution._contains(p.distribution.to_internal_repr(given_to_optuna))
                back = p.from_optuna(given_to_optuna)
                assert type(back) is type(values[path])
                assert back == (pytest.approx(values[path], rel=1e-9) if type(back) is float else values[path])


def test_options_keep_their_types():
    space = Space({"a": choice([1, True, 1.0, "1", None, float("nan"), dict, [1]])})
    found = [c["a"] for c in configs(OptunaSearch(RandomSampler), history(space=space), 60)]
    assert {repr(value) for value in found} == {repr(value) for value in space.leaves[0].domain.options}


@pytest.mark.parametrize(
    ("domain", "shown"),
    [
        (uniform(0, 2), "FloatDistribution(high=2.0, log=False, low=0.0, step=None)"),
        (loguniform(1, 2), "FloatDistribution(high=2.0, log=True, low=1.0, step=None)"),
        (quniform(0, 0.3, 0.1), "FloatDistribution(high=0.3, log=False, low=0.0, step=0.1)"),
        (quniform(0, 2000, 0.001), "IntDistribution(high=2000000, log=False, low=0, step=1)"),
        (qloguniform(0.1, 0.3, 0.1), "IntDistribution(high=3, log=True, low=1, step=1)"),
        (randint(2, 9), "IntDistribution(high=8, log=False, low=2, step=1)"),
        (randn(5, 2), "FloatDistribution(high=1.0, log=False, low=0.0, step=None)"),
        (choice(["a", 2]), "CategoricalDistribution(choices=('a', 2))"),
        (choice([1, True]), "CategoricalDistribution(choices=(0, 1))"),
    ],
)
def test_each_domain_has_its_distribution(domain, shown):
    (p,) = parameters(Space({"p": domain}))
    assert repr(p.distribution) == shown


# ---------------------------------------------------------------- what is proposed


def test_only_active_leaves_are_suggested():
    study = HistoryStudy(NESTED, LOSS, RandomSampler(seed=1))
    asked = [(study.ask({}), study.trials[-1].params) for _ in range(20)]
    assert {tuple(params) for _, params in asked} == {
        ("lr", "model", "model/0/depth"),
        ("lr", "model", "model/1/trees"),
        ("lr", "model"),
    }
    for values, _ in asked:
        assert NESTED.values(NESTED.assemble(values, seed=1, index=0)).items() >= values.items()


@pytest.mark.parametrize("n", [1, 4])
def test_brute_force_gives_each_config_once_and_is_exhausted(n):
    searcher, trials = OptunaSearch(BruteForceSampler), []
    for _ in range(20):
        found = ask(searcher, history(trials, space=FINITE), n)
        if isinstance(found, Exhausted):
            break
        trials += [trial(len(trials) + i, s.config, 0.5) for i, s in enumerate(found)]
    assert found == Exhausted("BruteForceSampler has been through all its configs")
    assert len({repr(t.config) for t in trials}) == len(trials) == FINITE.cardinality


@pytest.mark.parametrize(
    "make", [lambda grid: GridSampler(grid, seed=2), lambda grid: lambda seed: GridSampler(grid, seed)]
)
def test_grid_sampler_gives_each_point_once_and_is_exhausted(make):
    space = Space({"opt": choice(["sgd", {"name": "adam", "beta": uniform(0, 1)}]), "step": quniform(0.0, 0.5, 0.1)})
    searcher = OptunaSearch(make({"opt": [0, 1], "opt/1/beta": [0.5, 0.9], "step": [0.1, 3 * 0.1]}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "sgd" goes by its index
        found = run(searcher, 20, space=space, loss=lambda config: 0.5)
    shown = sorted(repr(config) for config in found)
    assert len(shown) == 8
    assert len(set(shown)) == 6  # sgd has no beta, so its points come twice


def test_grid_sampler_beside_a_grid_is_refused():
    space = Space({"x": grid_search([1, 2]), "y": uniform(0, 1)})
    with pytest.raises(ConfigError, match="GridSampler and grid_search are two grids"):
        ask(OptunaSearch(GridSampler({"y": [0.5]})), history(space=space))


@pytest.mark.parametrize("sampler", [TPESampler, lambda seed: NSGAIISampler(seed=seed, population_size=2)])
def test_cells_of_a_grid_stay(sampler):
    space = Space({"y": uniform(0, 1), "g": grid_search(["a", {"kind": "b", "z": uniform(0, 1)}])})
    found = run(OptunaSearch(sampler), 8, space=space, loss=lambda c: c["y"])
    assert [c["g"] if c["g"] == "a" else c["g"]["kind"] for c in found] == ["a", "b"] * 4


@pytest.mark.parametrize("sampler", [TPESampler, BruteForceSampler])
def test_proposals_keep_the_constraints_of_the_space(sampler):
    space = Space({"a": randint(0, 4), "b": randint(0, 4)}, [lambda c: c["a"] < c["b"]])
    found = run(OptunaSearch(sampler), 12, space=space, loss=lambda c: c["a"])
    assert all(c["a"] < c["b"] for c in found)
    assert len(found) == (6 if sampler is BruteForceSampler else 12)


def test_where_no_proposal_is_allowed_one_is_drawn_and_says_so():
    class Stubborn(RandomSampler):
        def sample_independent(self, study, trial, param_name, param_distribution):
            return 0

    space = Space({"a": randint(0, 4)}, [lambda c: c["a"] > 0])
    (found,) = ask(OptunaSearch(lambda seed: Stubborn(seed)), history(space=space))
    assert found.config["a"] > 0
    assert found.reason == "drawn at random: 100 proposals of Optuna's Stubborn broke a constraint"


@pytest.mark.parametrize("way", [HistoryStudy.add, HistoryStudy.ask_again])
def test_bounds_on_metrics_are_optunas_constraints(way):
    bounded = parse_objective("loss", "min", {"latency": "<= 20", "accuracy": ">= 0.9"})
    study = HistoryStudy(PLAIN, bounded, RandomSampler(seed=1))
    config = {"x": 0.0, "y": 0.5, "n": 1}
    reported = {"loss": 0.1, "latency": 30.0, "accuracy": 1.0}
    way(study, trial(0, config, 0.1, metrics=reported))
    way(study, trial(1, config, 0.1, metrics={"loss": 0.1, "latency": 30.0}))
    first, second = study.trials
    assert first.system_attrs["constraints"] == pytest.approx([10.0, -0.1])
    assert first.user_attrs == reported
    assert (first.state, second.state) == (TrialState.COMPLETE, TrialState.FAIL)


# ---------------------------------------------------------------- a function of the history


@pytest.mark.parametrize("sampler", [TPESampler, lambda seed: NSGAIISampler(seed=seed, population_size=3)])
def test_results_in_another_order_give_the_same_as_a_fresh_searcher(sampler):
    used, found = OptunaSearch(sampler), run(OptunaSearch(RandomSampler), 12)
    trials = [trial(i, config, status=TrialStatus.RUNNING) for i, config in enumerate(found)]
    for i in (3, 0, 1, 2, 11, 5, 4, 6, 10, 9, 8, 7):
        trials[i] = trial(i, found[i], loss_of(found[i]))
        assert configs(used, history(trials), 2) == configs(OptunaSearch(sampler), history(trials), 2)


@pytest.mark.parametrize("sampler", [TPESampler, lambda: NSGAIISampler(population_size=3)])
def test_two_samplers_without_a_seed_propose_the_same(sampler):
    one, other = OptunaSearch(sampler()), OptunaSearch(sampler())
    assert run(one, 12) == run(other, 12)


def test_a_sampler_that_was_given_is_not_used_up():
    sampler = RandomSampler(seed=5)
    ask(OptunaSearch(sampler), history(), 3)
    assert sampler._rng.rng.random_sample() == RandomSampler(seed=5)._rng.rng.random_sample()


def test_each_trial_gets_a_config_of_its_own():
    for sampler in (RandomSampler(), lambda: RandomSampler(seed=1), lambda seed: RandomSampler(seed)):
        found = run(OptunaSearch(sampler), 6)
        assert len({c["x"] for c in found}) == 6


def test_its_own_seed_takes_the_place_of_the_experiments():
    assert run(OptunaSearch(seed=4), 12, seed=1) == run(OptunaSearch(seed=4), 12, seed=2)
    assert run(OptunaSearch(seed=4), 12) != run(OptunaSearch(seed=5), 12)


def test_a_history_that_grows_is_added_trial_by_trial(monkeypatch):
    added = []
    add = HistoryStudy.add
    monkeypatch.setattr(HistoryStudy, "add", lambda study, t: added.append(t.index) or add(study, t))
    run(OptunaSearch(RandomSampler), 30)
    assert added == list(range(29))


# ---------------------------------------------------------------- arguments


def test_without_optuna_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'tunesmith\[optuna\]'"):
        OptunaSearch()


@pytest.mark.parametrize("sampler", ["tpe", 3, lambda: "tpe"])
def test_what_is_no_sampler_is_refused(sampler):
    with pytest.raises(ConfigError, match="sampler"):
        OptunaSearch(sampler)


@pytest.mark.parametrize("seed", [True, 1.5, "1"])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ConfigError, match="seed is"):
        OptunaSearch(seed=seed)
