import random

import numpy as np
import pytest

from tunesmith import choice, grid_search, randint, uniform
from tunesmith.errors import ConfigError, SpaceError
from tunesmith.protocols import Exhausted, History
from tunesmith.rng import generator
from tunesmith.searchers import AskTell
from tunesmith.space import Space
from tunesmith.trial import Mode, Objective, Trial, TrialStatus

SPACE = Space({"x": uniform(0, 1), "n": randint(1, 5)})
MIN, MAX = (Objective(("loss",), (mode,)) for mode in (Mode.MIN, Mode.MAX))


class Climber:
    """Steps away from the best it was told of; whatever it is asked and told stays in its memory."""

    def __init__(self, space, seed):
        self.rng, self.best, self.log = random.Random(seed), (0.5, 1e9), []

    def ask(self):
        x = min(max(self.best[0] + self.rng.gauss(0, 0.1), 0.0), 1.0)
        self.log.append("ask")
        return {"x": x, "n": 2}

    def tell(self, config, loss):
        self.log.append((config["x"], loss))
        self.best = min(self.best, (config["x"], loss), key=lambda pair: pair[1])


def history(trials=(), *, space=SPACE, objective=MIN, seed=1):
    return History(space, objective, seed, tuple(trials))


def trial(index, value=None, *, x=0.5, status=TrialStatus.COMPLETED):
    metrics = None if value is None else {"loss": value}
    return Trial(index, f"t{index}", {"x": x, "n": 1}, status=status, step=1, metrics=metrics, best_value=value)


def ask(searcher, history, n=1):
    return searcher.suggest(history, generator(1, "suggest", len(history.trials)), n)


def proposals_of(make, history, n=1):
    return [s.config for s in ask(AskTell(make), history, n)]


def test_one_trial_after_the_other_is_as_the_optimizer_alone():
    searcher, trials, alone = AskTell(Climber), [], None
    for i in range(12):
        (found,) = ask(searcher, history(trials))
        if alone is None:
            alone = Climber(SPACE, searcher_seed())
        config = alone.ask()
        assert found.config == config
        alone.tell(config, (config["x"] - 0.9) ** 2)
        trials.append(trial(i, (config["x"] - 0.9) ** 2, x=config["x"]))


def searcher_seed():
    seeds = []
    ask(AskTell(lambda space, seed: seeds.append(seed) or Climber(space, seed)), history())
    return seeds[0]


def test_it_is_told_what_is_known_in_the_order_of_the_trials():
    made = []

    class Kept(Climber):
        def __deepcopy__(self, memo):  # so that the one asked is the one made
            made.append(self)
            return self

    trials = [
        trial(0, 3.0, x=0.1),
        trial(1, status=TrialStatus.FAILED),
        trial(2, float("nan"), x=0.2),
        trial(3, 2.0, x=0.3, status=TrialStatus.STOPPED),
        trial(4, 1.0, x=0.4, status=TrialStatus.RUNNING),
        trial(5, 4.0, x=0.5),
    ]
    ask(AskTell(Kept), history(trials))
    assert made[0].log == ["ask", (0.1, 3.0), "ask", "ask", "ask", (0.3, 2.0), "ask", "ask", (0.5, 4.0), "ask"]


def test_mode_max_is_told_as_a_loss():
    told = []

    class Kept(Climber):
        def tell(self, config, loss):
            told.append(loss)

    ask(AskTell(Kept), history([trial(0, 3.0)], objective=MAX))
    assert told == [-3.0]


def test_results_in_another_order_give_the_same_as_a_fresh_searcher():
    used = AskTell(Climber)
    trials = [trial(i, x=i / 10, status=TrialStatus.RUNNING) for i in range(4)]
    for i in (2, 0, 3, 1):
        trials[i] = trial(i, i * 1.0, x=i / 10)
        assert ask(used, history(trials), 2) == ask(AskTell(Climber), history(trials), 2)


def test_another_space_objective_or_seed_begins_anew():
    used = AskTell(Climber)
    trials = [trial(0, 1.0, x=0.3)]
    ask(used, history(trials))
    other = Space({"x": uniform(0, 1), "n": randint(1, 9)})
    for changed in (history(trials, objective=MAX), history(trials, seed=2), history(trials, space=other)):
        assert ask(used, changed) == ask(AskTell(Climber), changed)


def test_global_generators_are_seeded_for_the_optimizer():
    class Global(Climber):
        def ask(self):
            return {"x": float(np.random.random()), "n": random.randint(1, 4)}

    assert proposals_of(Global, history(), 3) == proposals_of(Global, history(), 3)
    assert len({c["x"] for c in proposals_of(Global, history(), 3)}) == 3


def test_what_a_proposal_leaves_out_is_drawn():
    class Half(Climber):
        def ask(self):
            return {"x": 0.25}

    configs = proposals_of(Half, history(), 20)
    assert {c["x"] for c in configs} == {0.25}
    assert {c["n"] for c in configs} == {1, 2, 3, 4}


def test_cells_of_a_grid_stay():
    space = Space({"x": uniform(0, 1), "n": randint(1, 5), "g": grid_search(["a", "b"]), "c": choice([1, 2])})
    assert [c["g"] for c in proposals_of(Climber, history(space=space), 4)] == ["a", "b", "a", "b"]


def test_no_further_config_is_exhausted_after_the_last():
    class Two(Climber):
        def ask(self):
            self.log.append("ask")
            return {"x": 0.5, "n": 1} if len(self.log) <= 2 else None

    assert len(ask(AskTell(Two), history(), 4)) == 2
    found = ask(AskTell(Two), history([trial(0), trial(1)]), 4)
    assert found == Exhausted("Two has no further config")


def test_a_proposal_outside_the_space_names_the_field():
    class Wrong(Climber):
        def ask(self):
            return {"x": 7.0, "n": 2}

    with pytest.raises(SpaceError, match=r"'x' is '7' .float.; expected a value of uniform"):
        ask(AskTell(Wrong), history())


def test_proposals_keep_the_constraints_of_the_space():
    space = Space({"x": uniform(0, 1), "n": randint(1, 5)}, [lambda c: c["x"] > 0.55])
    assert all(c["x"] > 0.55 for c in proposals_of(Climber, history(space=space), 5))


def test_where_no_proposal_is_allowed_one_is_drawn_and_says_so():
    space = Space({"x": uniform(0, 1), "n": randint(1, 5)}, [lambda c: c["n"] != 2])
    (found,) = ask(AskTell(Climber), history(space=space))
    assert found.config["n"] != 2
    assert "20 proposals were not allowed" in found.reason


@pytest.mark.parametrize("objective", [None, Objective(("a", "b"), (Mode.MIN, Mode.MIN))])
def test_one_metric_is_needed(objective):
    with pytest.raises(ConfigError, match=r"AskTell tells one loss, and there are [02] metrics"):
        ask(AskTell(Climber), history(objective=objective))


def test_an_optimizer_in_place_of_its_maker_is_refused():
    with pytest.raises(ConfigError, match="Give a function of"):
        AskTell(Climber(SPACE, 1))
