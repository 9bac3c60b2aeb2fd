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
from tunesmith.events import ConfigsSuggested, Event, StopPaused, Suggest, Suggestion, Thaw
from tunesmith.protocols import Exhausted, History, Proposal, Searcher, Wait
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

    Random search answers in place of a searcher that raises, proposes what does not fit the space, waits for news
    while nothing is open that could bring any, or is too slow (F84). Where that fails too, the space is at fault.
    """
    begin, name = time.thread_time(), type(searcher).__name__
    if command.instead_of is not None:
        note = f"{name} is too slow and random search answered instead: {command.reason}"
        return _at_random(command, history, note=note, begin=begin)
    try:
        found = _suggested(searcher, command, history)
    except Exception as error:
        note = f"{name} failed and random search answered instead: {type(error).__name__}: {error}"
        event = _at_random(command, history, note=note, begin=begin)
        if event.error is None:
            _log.warning(note, exc_info=error)
        return event
    cpu_s = time.thread_time() - begin
    if isinstance(found, Exhausted | Wait):
        is_exhausted = isinstance(found, Exhausted)
        return ConfigsSuggested(command.request, (), is_exhausted=is_exhausted, cpu_s=cpu_s, note=found.reason)
    return ConfigsSuggested(
        command.request,
        tuple(one for one in found if isinstance(one, Suggestion)),
        cpu_s=cpu_s,
        thaws=tuple(one for one in found if isinstance(one, Thaw)),
        stops=tuple(one for one in found if isinstance(one, StopPaused)),
    )


def _at_random(command: Suggest, history: History, *, note: str, begin: float) -> ConfigsSuggested:
    """What random search answers, or that the space cannot be sampled. Args: begin: of the answer, in thread time."""
    if command.n < 1:  # only trials that run were to be judged: they go on
        return ConfigsSuggested(command.request, (), cpu_s=time.thread_time() - begin, note=note)
    try:
        found = RandomSearch().suggest(history, _stream(history, "fallback"), command.n)
        assert not isinstance(found, Exhausted | Wait), found
    except Exception as fault:
        words = str(fault) if isinstance(fault, SpaceError) else f"{type(fault).__name__}: {fault}"
        _log.error("No config can be made: %s", words, exc_info=fault.__cause__ or fault)
        cpu_s = time.thread_time() - begin
        return ConfigsSuggested(command.request, (), is_exhausted=True, cpu_s=cpu_s, error=words)
    return ConfigsSuggested(command.request, tuple(found), cpu_s=time.thread_time() - begin, note=note)


def _stream(history: History, purpose: str) -> np.random.Generator:
    """A stream for the trials that are to come: the same for a request that a crash left without an answer."""
    return generator(history.seed, purpose, len(history.trials))


def _suggested(searcher: Searcher, command: Suggest, history: History) -> Sequence[Proposal] | Exhausted | Wait:
    """What the searcher says, checked: at most `n` configs, all of them in the space; trials to stop come on top."""
    found = searcher.suggest(history, _stream(history, "suggest"), command.n)
    if isinstance(found, Exhausted):
        return found
    if not isinstance(found, Wait):
        proposals: list[Proposal] = [one for one in found if isinstance(one, StopPaused)]
        thaws = [one for one in found if isinstance(one, Thaw)]
        configs = [one for one in found if isinstance(one, Suggestion)]
        proposals += [*thaws, *configs[: command.n]]
        for proposal in proposals:
            if isinstance(proposal, Suggestion):
                history.space.check(proposal.config)
        if proposals:
            return proposals
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
        """See Suggester. Random search costs nothing, where a cost is stated."""
        event = answer(self._searcher, command, history)
        if self._cost_s is None:
            self._post(event, 0.0)
        else:
            cost_s = self._cost_s if command.instead_of is None else 0.0
            self._post(msgspec.structs.replace(event, cpu_s=cost_s), cost_s)

    def close(self) -> None:
        """Nothing to close."""


class ThreadSuggester:
    """Asks in a thread of its own, so that a model fit never delays a report.

    One request at a time: a slow searcher is not asked again before it has answered, and then not what random search,
    in another thread, has answered meanwhile.
    """

    def __init__(self, searcher: Searcher, post: Callable[[Event], None]) -> None:
        self._searcher, self._post = searcher, post
        self._requests: queue.SimpleQueue[tuple[Suggest, History] | None] = queue.SimpleQueue()
        self._superseded: set[int] = set()  #: requests whose answer nobody waits for any more
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self._begin(self._run, "tunesmith-suggester")

    def ask(self, command: Suggest, history: History) -> None:
        """See Suggester."""
        if command.instead_of is None:
            self._requests.put((command, history))
            return
        if not self._superseded:
            name = type(self._searcher).__name__
            _log.warning("%s is too slow and random search answers instead (said once): %s", name, command.reason)
        self._superseded.add(command.instead_of)
        self._begin(lambda: self._post(answer(self._searcher, command, history)), "tunesmith-stand-in")

    def close(self) -> None:
        """Let the threads end; a fit under way is not waited for longer than a second."""
        self._is_closed = True
        self._requests.put(None)
        for thread in self._threads:
            thread.join(1.0)

    def _begin(self, work: Callable[[], None], name: str) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        while (request := self._requests.get()) is not None:
            command, history = request
            if self._is_wanted(command):
                event = answer(self._searcher, command, history)
                if self._is_wanted(command):
                    self._post(event)

    def _is_wanted(self, command: Suggest) -> bool:
        return not self._is_closed and command.request not in self._superseded
