"""Carries out `Suggest`: asks the searcher, off the loop where that can take time, and posts `ConfigsSuggested`."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from tunesmith.errors import ConfigError, SpaceError
from tunesmith.events import ConfigsSuggested, Event, Suggest, Suggestion
from tunesmith.protocols import Exhausted, History, Searcher, Wait
from tunesmith.rng import generator
from tunesmith.searchers import RandomSearch

if TYPE_CHECKING:
    import numpy as np

_log = logging.getLogger("tunesmith")


class Suggester(Protocol):
    """Answers `Suggest` commands by posting `ConfigsSuggested`."""

    def ask(self, command: Suggest, history: History) -> None:
        """Begin; the answer comes as an event."""

    def close(self) -> None:
        """Ask nothing more."""


def answer(searcher: Searcher, command: Suggest, history: History) -> ConfigsSuggested:
    """The searcher's answer as an event; whatever the searcher does, there is one.

    Random search answers in place of a searcher that raises, proposes what does not fit the space, or waits for news
    while nothing is open that could bring any (F84). Where that fails too, the space is at fault.
    """
    begin = time.thread_time()
    note: str | None = None
    failure: Exception | None = None
    try:
        found = _suggested(searcher, command, history)
    except Exception as error:
        failure = error
    if failure is not None:
        try:
            found = RandomSearch().suggest(history, _stream(history, "fallback"), command.n)
        except Exception as fault:
            words = str(fault) if isinstance(fault, SpaceError) else f"{type(fault).__name__}: {fault}"
            _log.error("No config can be made: %s", words, exc_info=fault.__cause__ or fault)
            cpu_s = time.thread_time() - begin
            return ConfigsSuggested(command.request, (), is_exhausted=True, cpu_s=cpu_s, error=words)
        what = f"{type(failure).__name__}: {failure}"
        note = f"{type(searcher).__name__} failed and random search answered instead: {what}"
        _log.warning(note, exc_info=failure)
    cpu_s = time.thread_time() - begin
    if isinstance(found, Exhausted | Wait):
        is_exhausted = isinstance(found, Exhausted)
        return ConfigsSuggested(command.request, (), is_exhausted=is_exhausted, cpu_s=cpu_s, note=found.reason)
    return ConfigsSuggested(command.request, tuple(found), cpu_s=cpu_s, note=note)


def _stream(history: History, purpose: str) -> np.random.Generator:
    """A stream for the trials that are to come: the same for a request that a crash left without an answer."""
    return generator(history.seed, purpose, len(history.trials))


def _suggested(searcher: Searcher, command: Suggest, history: History) -> Sequence[Suggestion] | Exhausted | Wait:
    """What the searcher says, checked: at most `n` configs, all of them in the space."""
    found = searcher.suggest(history, _stream(history, "suggest"), command.n)
    if isinstance(found, Exhausted):
        return found
    if not isinstance(found, Wait):
        suggestions = list(found)[: command.n]
        for suggestion in suggestions:
            history.space.check(suggestion.config)
        if suggestions:
            return suggestions
        found = Wait("it proposed nothing")
    if all(trial.status.is_over for trial in history.trials):
        raise ConfigError(f"It waits for news while no trial is open that could bring any: {found.reason}.")
    return found


class InlineSuggester:
    """Asks at once, in the loop: for simulations (at a stated virtual cost) and for trials that run inline."""

    def __init__(
        self, searcher: Searcher, post: Callable[[Event, float], None], *, cost_s: float | None = None
    ) -> None:
        """Args: cost_s: virtual seconds that each answer takes, recorded as its cost; None: it is measured."""
        self._searcher, self._post, self._cost_s = searcher, post, cost_s

    def ask(self, command: Suggest, history: History) -> None:
        """See Suggester."""
        event = answer(self._searcher, command, history)
        if self._cost_s is None:
            self._post(event, 0.0)
        else:
            self._post(msgspec.structs.replace(event, cpu_s=self._cost_s), self._cost_s)

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
