"""Stored experiments for the tests of analysis and figures: hand-written ones, and simulations written to a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.api import load
from tunesmith.events import (
    AttemptEnded,
    AttemptStarted,
    ConcludeAttempt,
    EndExperiment,
    EndReason,
    SessionStarted,
)
from tunesmith.space import Space
from tunesmith.stores import create_store
from tunesmith.trial import AttemptOutcome, Mode, Objective, TrialStatus

from ..stores.store_samples import answer, make_spec, make_trial, report, start

NO_SPACE: dict[str, Any] = {"tree": {}, "grids": []}


def spec_of(space: Mapping[str, Any] | None = None, **changes: Any) -> Any:
    description = NO_SPACE if space is None else Space(dict(space)).describe()
    return make_spec(**{"space": description, **changes})


def objective(**modes: str) -> Objective:
    return Objective(tuple(modes), tuple(Mode(mode) for mode in modes.values()))


def write(folder: Path, series: list[Any], *, space: Any = None, configs: Any = None, states: Any = None, **spec: Any):
    """One trial for each series: a list of values of loss, or of dicts of metrics. Its steps end at 10, 20, ... s."""
    states = states or [TrialStatus.COMPLETED] * len(series)
    configs = configs or [{}] * len(series)
    with create_store(folder, spec_of(space, **spec)) as store:
        store.append([SessionStarted(1, 1e9, ())], [])
        for index, values in enumerate(series):
            metrics = [value if isinstance(value, dict) else {"loss": value} for value in values]
            records = [start(index, config=configs[index])]
            for step, one in enumerate(metrics, 1):
                told = report(index, 1, step, metrics=one)
                records += [told, answer(told)]
            facts = {"step": len(metrics), "n_reports": len(metrics), "metrics": metrics[-1] if metrics else None}
            trial = make_trial(
                index, config=configs[index], status=states[index], time_total_s=0.5 * len(metrics), **facts
            )
            store.append(records, [trial])
        store.append([EndExperiment(EndReason.FINISHED)], [])
    return load(folder)


def store_simulation(folder: Path, result: Any, space: Mapping[str, Any]):
    """The simulated experiment as if it had been run."""
    spec = spec_of(space, objective=result.objective, n_trials=len(result.trials), name=folder.name)
    with create_store(folder, spec) as store:
        store.append(result.log, result.trials)
    return load(folder)


def attempt(trial: int, number: int, begin: float, end: float | None, how: Any, status: Any) -> list[Any]:
    """The records of an attempt, at wall times counted from 1e9 s."""
    records: list[Any] = [start(trial, number), AttemptStarted(trial, number, 1e9 + begin, 7, "box")]
    if end is not None:
        records += [
            AttemptEnded(trial, number, AttemptOutcome(how), 1e9 + end),
            ConcludeAttempt(trial, number, TrialStatus(status)),
        ]
    return records
