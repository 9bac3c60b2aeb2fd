"""Suggest commands are answered, whatever the searcher does; in a thread too."""

from __future__ import annotations

import queue
import threading

import pytest
from msgspec.structs import replace

from tunesmith.events import Suggest, Suggestion
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.runner.suggester import InlineSuggester, ThreadSuggester, answer
from tunesmith.searchers import RandomSearch
from tunesmith.space import Space, sample_from, uniform
from tunesmith.testing.samples import LOSS
from tunesmith.trial import Trial, TrialStatus

HISTORY = History(space=Space({"x": uniform(0.0, 1.0)}), objective=LOSS, seed=3, trials=())
OPEN = replace(HISTORY, trials=(Trial(0, "t", {"x": 0.5}, status=TrialStatus.RUNNING),))


class Saying:
    uses_results = True

    def __init__(self, *answers):
        self.answers = list(answers)

    def suggest(self, history, rng, n):
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def test_the_answer_names_its_request():
    event = answer(RandomSearch(), Suggest(request=4, n=2), HISTORY)
    assert (event.request, len(event.suggestions), event.note) == (4, 2, None)


@pytest.mark.parametrize(
    "found",
    [RuntimeError("no"), None, [], [Suggestion({"x": 7.0})], [Suggestion({"y": 0.5})], Wait("for nothing"), 3],
)
def test_random_search_stands_in_and_the_note_says_why(found):
    event = answer(Saying(found), Suggest(1, 2), HISTORY)
    assert len(event.suggestions) == 2
    assert event.note.startswith("Saying failed and random search answered instead: ")


def test_more_than_asked_for_is_cut():
    event = answer(Saying([Suggestion({"x": i / 10}) for i in range(5)]), Suggest(1, 2), HISTORY)
    assert [s.config["x"] for s in event.suggestions] == [0.0, 0.1]


@pytest.mark.parametrize("found", [Wait("one runs"), []])
def test_waiting_while_a_trial_is_open_is_an_answer(found):
    event = answer(Saying(found), Suggest(1, 2), OPEN)
    assert (event.suggestions, event.is_exhausted) == ((), False)
    assert event.note in ("one runs", "it proposed nothing")


def test_exhaustion_is_told_with_its_reason():
    event = answer(Saying(Exhausted("all seen")), Suggest(1, 2), HISTORY)
    assert (event.suggestions, event.is_exhausted, event.note) == ((), True, "all seen")


def test_a_request_that_is_asked_again_has_the_same_draws_and_the_next_trials_have_others():
    """A crash may leave a request without its answer: the next driver's gets what that one would have got."""

    class Drawing:
        uses_results = True

        def suggest(self, history, rng, n):
            return [Suggestion({"x": float(rng.random())})]

    def x(request, history):
        return answer(Drawing(), Suggest(request, 1), history).suggestions[0].config["x"]

    assert x(1, HISTORY) == x(2, HISTORY) != x(2, OPEN)


def test_the_inline_suggester_posts_at_its_stated_cost():
    posted = []
    InlineSuggester(RandomSearch(), lambda *call: posted.append(call), cost_s=2.5).ask(Suggest(1, 1), HISTORY)
    [(event, delay_s)] = posted
    assert (event.cpu_s, delay_s) == (2.5, 2.5)


def test_the_thread_answers_in_the_order_of_the_requests_and_ends():
    answers = queue.SimpleQueue()
    suggester = ThreadSuggester(Saying(ValueError("no"), [Suggestion({"x": 0.5})]), answers.put)
    try:
        suggester.ask(Suggest(1, 1), HISTORY)
        suggester.ask(Suggest(2, 1), HISTORY)
        assert [answers.get(timeout=30).request for _ in range(2)] == [1, 2]
    finally:
        suggester.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "tunesmith-suggester"]


@pytest.mark.parametrize("searcher", [RandomSearch(), Saying(RuntimeError("no"))], ids=["random", "another"])
def test_a_space_that_cannot_be_sampled_is_no_fault_of_the_searcher_and_told_in_its_own_words(searcher, caplog):
    def broken(config):
        raise KeyError("oops")

    event = answer(searcher, Suggest(1, 2), replace(HISTORY, space=Space({"x": sample_from(broken)})))
    assert (event.suggestions, event.is_exhausted, event.note) == ((), True, None)
    assert event.error.startswith("sample_from of 'x' raised KeyError: 'oops'")
    assert [message.partition("'oops'")[0] for message in caplog.messages] == [
        "No config can be made: sample_from of 'x' raised KeyError: "
    ]
