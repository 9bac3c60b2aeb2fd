import math

import pytest

from tunesmith import choice, uniform
from tunesmith.errors import ConfigError
from tunesmith.events import Suggestion
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.rng import generator
from tunesmith.searchers import ConcurrencyLimiter, RandomSearch, Repeater
from tunesmith.space import Space
from tunesmith.trial import Mode, Objective, Trial, TrialStatus

SPACE, OBJECTIVE = Space({"x": uniform(0, 1), "layers": choice([[1, 2], [3]])}), Objective(("loss",), (Mode.MIN,))


def history(*trials):
    return History(SPACE, OBJECTIVE, 1, tuple(trials))


def trial(index, value=None, *, status=TrialStatus.COMPLETED, **facts):
    known = {} if value is None else {"metrics": {"loss": value, "epoch": index}, "best_value": value, "best_step": 3}
    config = {"x": index // 3 / 10, "layers": [3]}
    return Trial(index, f"t{index}", config, status=status, step=3 if known else 0, **known, **facts)


def ask(searcher, history, n=4):
    return searcher.suggest(history, generator(1, "suggest", len(history.trials)), n)


def shown(*trials, repeat=3):
    return Repeater(RandomSearch(), repeat).groups(history(*trials))


def test_each_config_comes_as_often_as_it_is_to_be_repeated():
    repeater, trials = Repeater(RandomSearch(), 3), []
    for n in (1, 1, 5, 2, 4, 2):
        found = ask(repeater, history(*trials), n)
        assert len(found) == n
        trials += [Trial(len(trials) + i, "", s.config, proposed_by=s.reason) for i, s in enumerate(found)]
    expected = [RandomSearch().suggest(history(), None, 5)[i].config for i in range(5) for _ in range(3)]
    assert [t.config for t in trials] == expected
    assert [t.proposed_by for t in trials[3:6]] == [f"random sample 1 (repetition {k} of 3)" for k in (1, 2, 3)]


def test_a_trial_that_changes_its_config_changes_no_repetition():
    first, second = ask(Repeater(RandomSearch(), 2), history(), 2)
    before = second.config["x"], list(second.config["layers"])
    first.config["layers"].append(9)
    del first.config["x"]
    assert (second.config["x"], second.config["layers"]) == before


def test_the_searcher_sees_the_mean():
    (seen,) = shown(trial(0, 1.0), trial(1, 2.0), trial(2, 6.0))
    assert seen.best_value == pytest.approx(3.0)
    assert seen.metrics == pytest.approx({"loss": 3.0, "epoch": 1.0})
    assert (seen.index, seen.status, seen.config) == (0, TrialStatus.COMPLETED, {"x": 0.0, "layers": [3]})


def test_groups_are_numbered_as_the_searcher_proposed_them():
    assert [seen.index for seen in shown(*(trial(i, 1.0) for i in range(7)))] == [0, 1, 2]


def test_huge_values_have_a_mean():
    (seen,) = shown(*(trial(i, 1.7e308) for i in range(3)))
    assert seen.best_value == pytest.approx(1.7e308)


@pytest.mark.parametrize("open_as", [TrialStatus.RUNNING, TrialStatus.PAUSED, TrialStatus.INTERRUPTED])
def test_a_group_is_open_until_all_are_over(open_as):
    (seen,) = shown(trial(0, 1.0), trial(1, 2.0), trial(2, 9.0, status=open_as))
    assert (seen.status, seen.best_value) == (TrialStatus.PENDING, None)


def test_a_group_is_open_until_it_is_whole():
    (seen,) = shown(trial(0, 1.0), trial(1, 2.0))
    assert (seen.status, seen.best_value) == (TrialStatus.PENDING, None)


def test_failures_and_nan_count_for_nothing_beside_a_result():
    (seen,) = shown(trial(0, 4.0), trial(1, status=TrialStatus.FAILED, n_failures=1), trial(2, math.nan))
    assert (seen.status, seen.best_value) == (TrialStatus.COMPLETED, 4.0)


@pytest.mark.parametrize("status", [TrialStatus.FAILED, TrialStatus.INVALID])
def test_a_group_without_any_result_has_failed(status):
    (seen,) = shown(*(trial(i, status=status, n_failures=1) for i in range(3)))
    assert (seen.status, seen.best_value, seen.n_failures) == (status, None, 3)


def test_a_group_was_stopped_if_all_its_results_were():
    stopped = [trial(i, 1.0, status=TrialStatus.STOPPED) for i in range(3)]
    assert shown(*stopped)[0].status is TrialStatus.STOPPED
    assert shown(*stopped[:2], trial(2, 1.0))[0].status is TrialStatus.COMPLETED


@pytest.mark.parametrize("answer", [Exhausted("done"), Wait("not now")])
def test_a_group_begun_is_completed_before_the_searcher_has_its_say(answer):
    class Silent:
        uses_results = True

        def suggest(self, history, rng, n):
            return answer

    repeater = Repeater(Silent(), 3)
    assert [s.config for s in ask(repeater, history(trial(0)))] == [{"x": 0.0, "layers": [3]}] * 2
    assert ask(repeater, history(*(trial(i) for i in range(3)))) == answer


def test_a_parent_is_named_by_the_number_of_one_of_its_trials():
    class Child:
        uses_results = True

        def suggest(self, history, rng, n):
            return [Suggestion({"x": 0.5, "layers": [3]}, parent=2)]

    assert [s.parent for s in ask(Repeater(Child(), 3), history())] == [6, 6, 6]


def test_wrappers_wrap_each_other():
    limiter = ConcurrencyLimiter(Repeater(RandomSearch(), 3), 2)
    assert [s.config for s in ask(limiter, history(trial(0, status=TrialStatus.RUNNING)))] == [trial(0).config]


@pytest.mark.parametrize("n", [0, True, 1.5])
def test_a_number_that_repeats_nothing_is_refused(n):
    with pytest.raises(ConfigError, match=r"repeat is .*whole number of 1 or more"):
        Repeater(RandomSearch(), n)
