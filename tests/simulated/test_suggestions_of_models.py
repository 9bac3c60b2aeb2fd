"""Searchers with a model on the virtual clock: what they are told decides what they say, and slots do not wait."""

from __future__ import annotations

from tunesmith.events import ConfigsSuggested, Suggest
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.runner.suggester import answer
from tunesmith.searchers import create_searcher
from tunesmith.space import choice, loguniform, uniform
from tunesmith.stores import MemoryStore
from tunesmith.testing import Simulation

SPACE = {"x": uniform(-1.0, 1.0), "rate": loguniform(1e-3, 1.0), "kind": choice(["a", "b"])}


def train(config, first_step):
    """Two steps of a bowl; how long they take depends on the config, so that results come in another order."""
    loss = config["x"] ** 2 + (config["rate"] - 0.1) ** 2 + (config["kind"] == "b") / 4
    for _ in range(first_step, 3):
        yield SimulatedStep(1.0 + abs(config["x"]), {"loss": loss})


def experiment(store=None, **changes):
    settings = {"space": SPACE, "n_trials": 24, "n_workers": 3, "n_ahead": None, "cost_s": 0.5, "seed": 5}
    return Simulation(train, searcher=create_searcher("gp"), store=store, **{**settings, **changes})


def proposed(found):
    return [s for record in found.log if isinstance(record, ConfigsSuggested) for s in record.suggestions]


def test_the_same_seed_and_order_of_events_give_the_same_records():
    first, again, other = experiment().run(), experiment().run(), experiment(n_workers=2).run()
    assert first.log == again.log
    n_modelled = sum(s.reason.startswith("Gaussian process") for s in proposed(first))
    assert n_modelled > 10, "there is something that results could have changed"
    assert proposed(first) != proposed(other), "in another order they do"


def test_each_suggestion_is_that_of_a_new_searcher_for_the_log_up_to_its_request():
    log = experiment().run().log
    answers = {record.request: record for record in log if isinstance(record, ConfigsSuggested)}
    for place, record in enumerate(log):
        if isinstance(record, Suggest):
            store = MemoryStore()
            store.append(log[: place + 1], [])
            history = experiment(store).experiment.history()
            found = answer(create_searcher("gp"), record, history)
            assert found.suggestions == answers[record.request].suggestions


def idle_s(found):
    """How long each slot stood idle, on average, until the experiment ended."""
    return found.clock.now() - sum(trial.time_total_s for trial in found.trials) / 3


def test_a_costly_searcher_keeps_slots_waiting_less_once_it_is_known_to_be_costly():
    """A trial takes 3 s and a config half a second: each slot would stand idle for a seventh of the time."""
    ahead, on_demand = experiment(n_trials=40).run(), experiment(n_trials=40, n_ahead=0).run()
    assert len(ahead.trials) == len(on_demand.trials) == 40
    assert idle_s(ahead) < idle_s(on_demand) / 2


def test_where_the_searcher_costs_next_to_nothing_nothing_is_asked_for_ahead():
    assert experiment(cost_s=0.03).run().log == experiment(cost_s=0.03, n_ahead=0).run().log


def test_random_search_stands_in_for_a_searcher_that_takes_minutes():
    found = experiment(cost_s=100.0, n_trials=6).run()
    assert [s.reason.startswith("random sample") for s in proposed(found)] == [True] * 6
    notes = [record.note for record in found.log if isinstance(record, ConfigsSuggested)]
    assert set(notes) == {
        f"GPSearch is too slow and random search answered instead: no answer to request {n}, "
        "and a slot has stood idle for 60 s"
        for n in (1, 3)
    }
    assert 120.0 < found.clock.now() <= 128.0, "twice for as long as that, and two rounds of trials"
