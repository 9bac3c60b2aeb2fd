"""F84: a searcher that takes long, in the thread that a real run asks it in, holds nobody else up."""

from __future__ import annotations

import queue
import threading

import pytest

import tunesmith as tune
from tunesmith.events import Suggest, TrialReported
from tunesmith.experiment import pace
from tunesmith.protocols import History, RecordCallback, Searcher
from tunesmith.runner.suggester import ThreadSuggester
from tunesmith.searchers import RandomSearch
from tunesmith.space import Space, uniform
from tunesmith.testing.samples import LOSS

HISTORY = History(space=Space({"x": uniform(0.0, 1.0)}), objective=LOSS, seed=3, trials=())
N_STEPS = 10


class Slow(Searcher):
    """Has one config at once; thinks about the next one until it is told to stop."""

    uses_results = True

    def __init__(self, *, n_at_once=1, on_thinking=lambda: None):
        self.n_at_once, self.on_thinking = n_at_once, on_thinking
        self.is_thinking, self.may_answer = threading.Event(), threading.Event()
        self.was_told = []
        self.n_asked = 0
        self.thread = None

    def suggest(self, history, rng, n):
        self.n_asked += 1
        if len(history.trials) >= self.n_at_once:
            self.thread = threading.current_thread()
            self.is_thinking.set()
            self.on_thinking()
            self.was_told.append(self.may_answer.wait(30))
        return RandomSearch().suggest(history, rng, 1)


class Releases(RecordCallback):
    """Tells the searcher to answer when so many reports are stored: the first trial's."""

    def __init__(self, searcher, n_reports=N_STEPS):
        self.searcher, self.n_reports, self.n_seen = searcher, n_reports, 0

    def setup(self, folder):
        pass

    def on_records(self, records):
        self.n_seen += sum(isinstance(record, TrialReported) for record in records)
        if self.n_seen == self.n_reports and self.searcher.is_thinking.is_set():
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


def test_random_search_answers_beside_a_searcher_that_is_too_slow(caplog):
    """The late answer is dropped, and the searcher is asked again only after it, for what is still wanted."""
    slow, answers = Slow(n_at_once=0), queue.SimpleQueue()
    suggester = ThreadSuggester(slow, answers.put)
    try:
        suggester.ask(Suggest(1, 1), HISTORY)
        assert slow.is_thinking.wait(30)
        suggester.ask(Suggest(2, 2, instead_of=1, reason="no answer to request 1"), HISTORY)
        instead = answers.get(timeout=30)
        assert (instead.request, len(instead.suggestions)) == (2, 2)
        assert instead.note == "Slow is too slow and random search answered instead: no answer to request 1"
        suggester.ask(Suggest(3, 1), HISTORY)
        suggester.ask(Suggest(4, 1, instead_of=3, reason="no answer to request 3"), HISTORY)
        assert answers.get(timeout=30).request == 4
        suggester.ask(Suggest(5, 1), HISTORY)
        assert slow.n_asked == 1, "it thinks about request 1 still"
        slow.may_answer.set()
        assert answers.get(timeout=30).request == 5
        assert (slow.n_asked, answers.empty()) == (2, True), "requests 1 and 3 have been answered"
    finally:
        slow.may_answer.set()
        suggester.close()
    assert [message.partition(" (said once)")[0] for message in caplog.messages] == [
        "Slow is too slow and random search answers instead"
    ]


@pytest.mark.processes
def test_a_run_goes_on_with_random_configs_while_the_searcher_thinks(tmp_path, monkeypatch):
    def train(config):
        for step in range(1, N_STEPS + 1):
            tune.report(loss=config["x"] / step)

    slow = Slow(on_thinking=lambda: monkeypatch.setattr(pace, "MIN_PATIENCE_S", 0.0))
    result = tune.run(
        train, config={"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=2, search_alg=slow,
        resources_per_trial={"cpu": 0.5}, callbacks=[Releases(slow, n_reports=2 * N_STEPS)], local_dir=tmp_path,
        verbose=0,
    )  # fmt: skip
    slow.thread.join(30)
    assert slow.was_told == [True], "both trials had reported everything while the searcher was thinking"
    assert [trial.last_result["training_iteration"] for trial in result.trials] == [N_STEPS, N_STEPS]
    result.reader.close()


class Watching(Searcher):
    """Notes how many trials are open whenever it is asked."""

    uses_results = True

    def __init__(self):
        self.n_open = []

    def suggest(self, history, rng, n):
        self.n_open.append(sum(not trial.status.is_over for trial in history.trials))
        return RandomSearch().suggest(history, rng, n)


@pytest.mark.parametrize(
    ("executor", "n_open"),
    [pytest.param("processes", [0, 0, 1, 1], marks=pytest.mark.processes), ("inline", [0, 0, 0, 0])],
)
def test_configs_are_asked_for_while_all_slots_are_taken_only_where_that_holds_nothing_up(
    tmp_path, monkeypatch, executor, n_open
):
    """One slot, and as if any cost paid; the first trial must have ended to be known to be short."""
    monkeypatch.setattr(pace, "WORTHWHILE_SHARE", 0.0)
    searcher = Watching()
    result = tune.run(
        lambda config: {"loss": config["x"]}, config={"x": tune.uniform(0, 1)}, metric="loss", mode="min",
        num_samples=4, search_alg=searcher, max_concurrent_trials=1, executor=executor, local_dir=tmp_path, verbose=0,
    )  # fmt: skip
    assert searcher.n_open == n_open
    result.reader.close()
