"""Carries out `Suggest`: asks the searcher, off the loop where that can take time, and posts `ConfigsSuggested`."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

from tunesmith.events import ConfigsSuggested, Event, Suggest
from tunesmith.protocols import Exhausted, History, Searcher, Wait
from tunesmith.rng import generator
from tunesmith.searchers import RandomSearch

_log = logging.getLogger("tunesmith")


class Suggester(Protocol):
    """Answers `Suggest` commands by posting `ConfigsSuggested`."""

    def ask(self, command: Suggest, history: History) -> None:
        """Begin; the answer comes as an event."""

    def close(self) -> None:
        """Ask nothing more."""


def answer(searcher: Searcher, command: Suggest, history: History) -> ConfigsSuggested:
    """The searcher's answer as an event. A searcher that raises is replaced by random search for this request (F84)."""
    begin = time.process_time()
    note: str | None = None
    try:
        found = searcher.suggest(history, generator(history.seed, "suggest", command.request), command.n)
        if not isinstance(found, Exhausted | Wait):
            for suggestion in found:
                history.space.check(suggestion.config)
    except Exception as error:
        note = f"{type(searcher).__name__} failed and random search answered instead: {type(error).__name__}: {error}"
        _log.warning(note, exc_info=True)
        found = RandomSearch().suggest(history, generator(history.seed, "fallback", command.request), command.n)
    cpu_s = time.process_time() - begin
    if isinstance(found, Exhausted | Wait):
        is_exhausted = isinstance(found, Exhausted)
        return ConfigsSuggested(command.request, (), is_exhausted=is_exhausted, cpu_s=cpu_s, note=found.reason)
    return ConfigsSuggested(command.request, tuple(found), cpu_s=cpu_s, note=note)


class InlineSuggester:
    """Asks at once, in the loop: for simulations (at a virtual cost) and for trials that run inline."""

    def __init__(self, searcher: Searcher, post: Callable[[Event, float], None], *, cost_s: float = 0.0) -> None:
        self._searcher, self._post, self._cost_s = searcher, post, cost_s

    def ask(self, command: Suggest, history: History) -> None:
        """See Suggester."""
        self._post(answer(self._searcher, command, history), self._cost_s)

    def close(self) -> None:
        """Nothing to close."""


class ThreadSuggester:
    """Asks in a thread of its own, so that a model fit never delays a report."""

    def __init__(self, searcher: Searcher, post: Callable[[Event], None]) -> None:
        self._searcher, self._post = searcher, post
        self._requests: queue.SimpleQueue[tuple[Suggest, History] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tunesmith-suggester", daemon=True)
        self._thread.start()

    def ask(self, command: Suggest, history: History) -> None:
        """See Suggester."""
        self._requests.put((command, history))

    def close(self) -> None:
        """Let the thread end; a fit under way is not waited for longer than a second."""
        self._requests.put(None)
        self._thread.join(1.0)

    def _run(self) -> None:
        while (request := self._requests.get()) is not None:
            self._post(answer(self._searcher, *request))
