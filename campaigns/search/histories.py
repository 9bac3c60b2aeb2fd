"""Random spaces and histories, from tame to hostile."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tunesmith as tune
from tunesmith.protocols import History
from tunesmith.space import Space
from tunesmith.trial import Mode, Objective, Trial, TrialStatus

OBJECTIVE = Objective(("loss",), (Mode.MIN,))

#: How the results of a history came out.
KINDS = ("plain", "constant", "failures", "no number", "huge", "few values", "mixed", "open")


def _domains(rng: np.random.Generator) -> list[Any]:
    """One of each domain, with bounds of any size."""
    low, width = float(rng.normal() * 10.0 ** rng.integers(-3, 4)), float(10 ** rng.uniform(-3, 4))
    positive = float(10 ** rng.uniform(-8, 3))
    first, n_steps = int(rng.integers(-50, 50)), int(rng.integers(1, 1000))
    return [
        tune.uniform(low, low + width),
        tune.loguniform(positive, positive * (1 + width)),
        tune.randint(first, first + n_steps),
        tune.lograndint(1, 1 + n_steps),
        tune.quniform(0, 1 + abs(width), 0.25),
        tune.randn(low, width),
        tune.qrandn(0, 1 + abs(low), 0.5),
        tune.choice([f"o{i}" for i in range(int(rng.integers(1, 6)))]),
        tune.choice([2.0**i for i in range(int(rng.integers(1, 7)))]),
        tune.choice([None, True, 1, 2.5, "x"]),
        tune.uniform(low, low),
    ]


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """A space of 1 to 200 leaves: flat, conditional, with drawn leaves, constraints, a grid, or many options."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    domains = _domains(rng)
    n_leaves = draw(st.sampled_from((1, 1, 2, 3, 5, 8, 8, 20)))
    tree: dict[str, Any] = {f"p{i}": domains[int(rng.integers(len(domains)))] for i in range(n_leaves)}
    extra = draw(st.sampled_from(("none", "none", "none", "branches", "drawn", "dependent", "grid", "wide", "options")))
    constraints: list[Any] = []
    if extra == "branches":
        inner = [{"kind": f"k{i}", "inner": domains[int(rng.integers(len(domains)))]} for i in range(3)]
        tree["branch"] = tune.choice([*inner, "plain"])
    elif extra == "drawn":
        tree["drawn"] = tune.sample_from(lambda _: 2 ** np.random.randint(0, 8))
        tree["word"] = tune.sample_from(lambda: "ab"[np.random.randint(0, 2)])
    elif extra == "dependent":
        tree["base"] = tune.uniform(0, 1)
        tree["double"] = tune.sample_from(lambda spec: 2 * spec.config.base)
    elif extra == "grid":
        tree["grid"] = tune.grid_search([1, 2, 3])
    elif extra == "wide" and draw(st.integers(0, 9)) == 0:
        tree |= {f"w{i}": tune.uniform(0, 1) for i in range(200 - n_leaves)}
    elif extra == "options":
        tree["many"] = tune.choice([f"option {i}" for i in range(1000)])
    if draw(st.integers(0, 9)) == 0:
        tree |= {"a": tune.uniform(0, 1), "b": tune.uniform(0, 1)}
        constraints = [lambda c: c["a"] < c["b"]]
    return Space(tree, constraints)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A history of 0 to 60 trials of such a space."""
    space = draw(spaces())
    seed, kind = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(KINDS))
    n_trials = draw(st.sampled_from((0, 1, 3, 7, 12, 25, 60)))
    has_duplicates = draw(st.booleans())
    rng = np.random.default_rng(seed)
    configs = [space.sample(seed, 0 if has_duplicates and i % 3 == 0 else i) for i in range(n_trials)]
    trials = tuple(_trial(i, config, kind, rng) for i, config in enumerate(configs))
    return History(space, OBJECTIVE, seed, trials)


def is_finite(history: History) -> bool:
    """Whether every result of the history is a finite number."""
    values = [trial.best_value for trial in history.trials if trial.best_value is not None]
    return all(math.isfinite(value) for value in values)


def _trial(i: int, config: dict[str, Any], kind: str, rng: np.random.Generator) -> Trial:
    if kind == "mixed":
        kind = KINDS[int(rng.integers(len(KINDS)))]
    facts: dict[str, Any] = {"index": i, "trial_id": f"t{i}", "config": config}
    if kind == "open":
        return Trial(**facts)
    if kind == "failures":
        return Trial(**facts, status=TrialStatus.FAILED, attempt=1, n_failures=1)
    value = {
        "constant": 1.0,
        "no number": (math.nan, math.inf, -math.inf)[i % 3],
        "huge": float(rng.normal() * 10.0 ** rng.integers(-300, 300)),
        "few values": float(rng.integers(0, 2)),
    }.get(kind, float(rng.normal()))
    status = TrialStatus.COMPLETED if i % 4 else TrialStatus.STOPPED
    metrics = {"loss": value}
    best = None if math.isnan(value) else value
    return Trial(**facts, status=status, attempt=1, step=1, n_reports=1, metrics=metrics, best_value=best, best_step=1)
