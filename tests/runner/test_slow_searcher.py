"""F84: a searcher that takes long, in the thread that a real run asks it in, holds nobody else up."""

from __future__ import annotations

import queue
import threading

import pytest

import tunesmith as tune
from tunesmith.events import Suggest, TrialReported
from tunesmith.protocols import Callback, History, Searcher
from tunesmith.runner.suggester import ThreadSuggester
from tunesmith.searchers import RandomSearch
from tunesmith.space import Space, uniform
from tunesmith.testing.samples import LOSS

HISTORY = History(space=Space({"x": uniform(0.0, 1.0)}), objective=LOSS, seed=3, trials=())
N_STEPS = 10


class Slow(Searcher):
    """Has one config at once; thinks about the next one until it is told to stop."""

    uses_results = True

    def __init__(self, *, n_at_once=1):
        self.n_at_once = n_at_once
        self.is_thinking, self.may_answer = threading.Event(), threading.Event()
        self.was_told = []
        self.thread = None

    def suggest(self, history, rng, n):
        if len(history.trials) >= self.n_at_once:
            self.thread = threading.current_thread()
            self.is_thinking.set()
            self.was_told.append(self.may_answer.wait(30))
        return RandomSearch().suggest(history, rng, 1)


class Releases(Callback):
    """Tells the searcher to answer when the first trial's reports are stored."""

    def __init__(self, searcher):
        self.searcher, self.n_seen = searcher, 0

    def setup(self, folder):
        pass

    def on_records(self, records):
        self.n_seen += sum(isinstance(record, TrialReported) for record in records)
        if self.n_seen == N_STEPS and self.searcher.is_thinking.is_set():
            self.searcher.may_answer.set()

    def on_end(self):
        pass


@pytest.mark.processes
def test_reports_are_answered_while_the_searcher_thinks(tmp_path):
    def train(config):
        for step in range(1, N_STEPS + 1):
            tune.report(loss=config["x"] / step)

    slow = Slow()
    result = tune.run(
        train, config={"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=2, search_alg=slow,
        resources_per_trial={"cpu": 0.5}, callbacks=[Releases(slow)], local_dir=tmp_path, verbose=0,
    )  # fmt: skip
    assert slow.was_told == [True], "all its reports came in while the searcher was thinking"
    assert [trial.last_result["training_iteration"] for trial in result.trials] == [N_STEPS, N_STEPS]
    result.reader.close()


def test_a_fit_under_way_is_not_waited_for_at_the_end():
    slow = Slow(n_at_once=0)
    suggester = ThreadSuggester(slow, queue.SimpleQueue().put)
    suggester.ask(Suggest(1, 1), HISTORY)
    assert slow.is_thinking.wait(30)
    suggester.close()
    assert slow.thread.is_alive() and slow.thread.daemon, "it is left behind, and ends with the process"
    slow.may_answer.set()
    slow.thread.join(30)
