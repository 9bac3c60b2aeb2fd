"""Which early stopping is chosen for whom."""

from __future__ import annotations

import pytest

from tunesmith.errors import ConfigError
from tunesmith.methods import METHODS, AutoScheduler, FreezeThaw, create_scheduler
from tunesmith.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MultiObjectiveASHA
from tunesmith.space import Space, grid_search, uniform
from tunesmith.trial import Mode, Objective, parse_objective

LOSS = Objective(("loss",), (Mode.MIN,))
SPACE = Space({"x": uniform(0, 1)})


def chosen(space=SPACE, objective=LOSS, *, has_searcher=False, auto=None, **more):
    return (auto or AutoScheduler(27)).choose(space, objective, has_searcher=has_searcher, **more)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({}, FreezeThaw, "one model of configs and learning curves decides on both"),
        ({"objective": None}, FIFOScheduler, "there is no metric"),
        ({"objective": parse_objective(["a", "b"], ["min", "max"])}, MultiObjectiveASHA, "several metrics"),
        ({"objective": parse_objective("a", "min", {"b": "<= 1"})}, AsyncHyperBandScheduler, "a bound on a metric"),
        ({"has_searcher": True}, AsyncHyperBandScheduler, "the searcher that you named"),
        ({"space": Space({"x": grid_search([1, 2])})}, AsyncHyperBandScheduler, "the space leaves nothing to choose"),
        ({"space": Space({})}, AsyncHyperBandScheduler, "the space leaves nothing to choose"),
    ],
)
def test_the_choice_follows_from_what_there_is_to_compare(arguments, kind, words):
    found = chosen(**arguments)
    assert type(found.scheduler) is kind
    assert words in found.reason


@pytest.mark.parametrize("has_searcher", [False, True])
def test_its_arguments_are_those_of_the_chosen_scheduler(has_searcher):
    auto = AutoScheduler(81, "epoch", grace_period=5, reduction_factor=4)
    lines = " ".join(chosen(auto=auto, has_searcher=has_searcher).scheduler.describe())
    plain = " ".join(chosen(has_searcher=has_searcher).scheduler.describe())
    assert lines != plain
    assert "5" in lines


def test_arguments_of_the_search_reach_a_method_that_is_the_searcher_too():
    found = chosen(points_to_evaluate=[{"x": 0.5}])
    assert len(found.scheduler.points) == 1


def test_bad_arguments_are_answered_when_the_choice_is_made():
    with pytest.raises(ConfigError, match="max_t is -1"):
        chosen(auto=AutoScheduler(-1))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_by_name_needs_to_know_the_end_of_training(name):
    with pytest.raises(ConfigError, match=rf"how far a full training goes.*create_scheduler\('{name}', max_t=50\)"):
        create_scheduler(name)
    assert isinstance(create_scheduler(name, max_t=9), METHODS[name])


def test_unknown_keywords_and_names_are_answered_with_those_there_are():
    with pytest.raises(ConfigError, match=r"'auto' does not know max_epochs\. It takes max_t, time_attr"):
        create_scheduler("auto", max_t=9, max_epochs=9)
    with pytest.raises(ConfigError, match=r"no scheduler 'freezethaw'.*auto.*freeze_thaw.*Did you mean 'freeze_thaw'"):
        create_scheduler("freezethaw")


def test_plain_schedulers_are_made_by_the_same_function():
    assert type(create_scheduler("asha", max_t=9)) is AsyncHyperBandScheduler
