"""Whole experiments of FreezeThaw on simulated trainings, watched while they run and looked over at their end."""

from __future__ import annotations

import math

from tunesmith.events import (
    ConcludeAttempt,
    ConfigsSuggested,
    EndExperiment,
    StartAttempt,
    StopPaused,
    Suggestion,
    Thaw,
    TrialReported,
)
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.experiment.invariants import check_invariants
from tunesmith.methods import FreezeThaw
from tunesmith.protocols import Exhausted, Wait
from tunesmith.space import uniform
from tunesmith.stores import MemoryStore
from tunesmith.testing import Simulation
from tunesmith.trial import TrialStatus

XY = {"x": uniform(0, 1), "y": uniform(0, 1)}


def valley(config, step):
    """A falling curve; the lowest ends at x = 0.3, y = 0.7."""
    return (config.get("x", 0.5) - 0.3) ** 2 + abs(config.get("y", 0.5) - 0.7) + 1 / step


def always(step):
    return True


def never(step):
    return False


def script(value=valley, *, saves=always, n_steps=40, duration_s=1.0):
    """Trainings that report `value(config, step)` as loss, where it is not None."""

    def steps(config, first_step):
        for step in range(first_step, n_steps + 1):
            loss = value(config, step)
            yield SimulatedStep(duration_s, {"other": 1.0} if loss is None else {"loss": loss}, saves(step))

    return steps


class Watched:
    """The searcher, and what it must hold to at each request."""

    def __init__(self, inner):
        self._inner = inner
        self.uses_results = self.thaws = True
        self.curves_by = inner.curves_by
        self.asked = []  #: (history, generator's state, n, answer) of each request

    def suggest(self, history, rng, n):
        assert len(self.asked) < 400, "it asks and asks"
        state = rng.bit_generator.state
        found = self._inner.suggest(history, rng, n)
        self.asked.append((history, state, n, found))
        if not isinstance(found, Exhausted | Wait):
            self._check(history, n, found)
        return found

    def _check(self, history, n, found):
        status = {trial.index: trial.status for trial in history.trials}
        thaws = [one.trial for one in found if isinstance(one, Thaw)]
        stops = [one.trial for one in found if isinstance(one, StopPaused)]
        n_new = sum(isinstance(one, Suggestion) for one in found)
        for index in (*thaws, *stops):
            assert status[index] in (TrialStatus.PAUSED, TrialStatus.RUNNING)
        assert len({*thaws, *stops}) == len(thaws) + len(stops)
        assert n_new + sum(status[index] is TrialStatus.PAUSED for index in thaws) <= n
        assert history.n_left is None or n_new <= history.n_left
        assert all(one.max_t > 0 for one in found if not isinstance(one, StopPaused))


def simulation(steps, *, make=lambda: FreezeThaw(max_t=9), space=None, store=None, watched=True, **facts):
    """An experiment with FreezeThaw, not run yet."""
    method = make()
    searcher = Watched(method) if watched else method
    facts = {"n_trials": 12, "n_workers": 3, "seed": 1, **facts}
    return Simulation(
        steps, space=XY if space is None else space, searcher=searcher, scheduler=method, store=store, **facts
    )


def played(steps, **arguments):
    """The experiment after its end, looked over."""
    run = simulation(steps, **arguments)
    run.asked = getattr(run.suggester._searcher, "asked", [])
    run.run()
    look_over(run)
    return run


def look_over(run):
    """What holds in every experiment, and is not what the searcher was asked."""
    check_invariants(run.experiment.state)
    assert run.spec.n_trials is None or len(run.trials) <= run.spec.n_trials
    notes = [record.note for record in run.log if isinstance(record, ConfigsSuggested) and record.note]
    assert not [note for note in notes if "answered instead" in note]
    paused, wanted = set(), set()
    for record in run.log:
        if isinstance(record, ConfigsSuggested):
            wanted |= {thaw.trial for thaw in record.thaws} & paused
        elif isinstance(record, StartAttempt) and record.trial in paused:
            assert record.trial in wanted, f"nobody wanted trial {record.trial} to go on"
            wanted.discard(record.trial)
            paused.discard(record.trial)
        elif isinstance(record, ConcludeAttempt):
            (paused.add if record.status is TrialStatus.PAUSED else paused.discard)(record.trial)


def ending(run):
    """The record of its end."""
    return next(record for record in reversed(run.log) if isinstance(record, EndExperiment))


def n_steps(run):
    """How much was trained."""
    return sum(isinstance(record, TrialReported) for record in run.log)


def best(run):
    values = [trial.best_value for trial in run.trials if trial.best_value is not None]
    return min((value for value in values if math.isfinite(value)), default=math.nan)


class LimitedStore(MemoryStore):
    """The driver dies at the append that would bring it above so many records."""

    class Full(Exception):
        """It takes no more."""

    def __init__(self, n_records, log=()):
        super().__init__()
        super().append(list(log), [])
        self.n_records = n_records

    def append(self, records, trials):
        if self.last_seq() + len(records) > self.n_records:
            raise self.Full
        super().append(records, trials)
