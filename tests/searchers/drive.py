"""Searchers driven by hand: histories in the memory, objectives as functions."""

from __future__ import annotations

import math

from tunesmith.protocols import Exhausted, History
from tunesmith.rng import generator
from tunesmith.searchers import RandomSearch
from tunesmith.space import Space
from tunesmith.trial import Mode, Objective, Trial, TrialStatus

LOSS = Objective(("loss",), (Mode.MIN,))


def trial_of(i, config, value, reason=None):
    """Trial i of a config: completed with a value, failed (None), or still running ("open")."""
    facts = {"index": i, "trial_id": f"t{i}", "config": config, "attempt": 1, "proposed_by": reason}
    if value is None:
        return Trial(**facts, status=TrialStatus.FAILED, n_failures=1)
    if value == "open":
        return Trial(**facts, status=TrialStatus.INTERRUPTED)
    metrics = {"loss": value}
    facts |= {"step": 1, "n_reports": 1, "metrics": metrics, "best_value": value, "best_step": 1}
    return Trial(**facts, status=TrialStatus.COMPLETED)


def history_of(space, trials=(), *, seed=0, objective=LOSS):
    """A history of the trials."""
    space = space if isinstance(space, Space) else Space(space)
    return History(space, objective, seed, tuple(trials))


def ask(searcher, history, n=1):
    """What the searcher suggests next."""
    return searcher.suggest(history, generator(history.seed, "suggest", len(history.trials)), n)


def run(searcher, space, evaluate, n, *, seed=0, n_workers=1):
    """The trials of n suggestions, asked for by `n_workers` at once; fewer where the space is exhausted."""
    space = space if isinstance(space, Space) else Space(space)
    trials: list[Trial] = []
    while len(trials) < n:
        found = ask(searcher, history_of(space, trials, seed=seed), min(n_workers, n - len(trials)))
        if isinstance(found, Exhausted):
            break
        trials += [
            trial_of(len(trials) + k, suggestion.config, evaluate(suggestion.config), suggestion.reason)
            for k, suggestion in enumerate(found)
        ]
    return trials


def best(trials):
    """The smallest loss."""
    return min(trial.best_value for trial in trials if trial.best_value is not None)


def gain_over_random(make, space, evaluate, n, *, n_seeds):
    """How many decimal digits closer to 0 than random search it comes, by seed, with as many trials."""
    gains = []
    for seed in range(n_seeds):
        ours, random = (best(run(searcher, space, evaluate, n, seed=seed)) for searcher in (make(), RandomSearch()))
        gains.append(math.log10(random + 1e-12) - math.log10(ours + 1e-12))
    return gains
