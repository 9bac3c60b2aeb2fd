"""Results as a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tunesmith.analysis import html
from tunesmith.analysis.pareto import bound_words
from tunesmith.analysis.scores import best_of_each
from tunesmith.callbacks.text import error_headline, flat_config, format_count, format_value
from tunesmith.stores import Reader
from tunesmith.trial import Objective, Trial, TrialStatus

_N_SHOWN = 10
_ERRORS = "SELECT error, reason FROM trial_states WHERE status IN (?, ?) ORDER BY trial"


class _Row(NamedTuple):
    trial: Trial
    config: dict[str, Any]
    value: float | None = None
    step: int | None = None


def result_html(reader: Reader) -> str:
    """How the experiment stands, its best trials (the first ones where nothing is optimised), and what failed."""
    counts = ", ".join(f"{n} {state.value}" for state, n in reader.counts().items()) or "no trials"
    head = f"<b>{html.text(reader.spec.name)}</b>: {html.text(reader.status().status or 'not started')}, {counts}"
    objective, n_trials = reader.spec.objective, format_count(reader.n_trials(), "trial")
    rows = _first_rows(reader) if objective is None else _best_rows(reader, objective)
    shown = f"{_title(objective)}, {len(rows)} of {n_trials}" if rows else _why_empty(reader, objective)
    table = _table(rows) if rows else ""
    where = f"<p>{html.text(reader.folder)}</p>"
    return f"<p>{head}</p><p>{html.text(shown)}</p>{table}{''.join(_failures(reader))}{where}"


def _title(objective: Objective | None) -> str:
    if objective is None:
        return "The first trials"
    bounds = f", where {bound_words(objective.constraints)}" if objective.constraints else ""
    n = len(objective.metrics)
    several = f", the first of {n} objectives (see result.pareto)" if n > 1 else ""
    return f"The best by {objective.metric} ({objective.mode.value}){several}{bounds}"


def _why_empty(reader: Reader, objective: Objective | None) -> str:
    if objective is not None and objective.constraints and best_of_each(reader, objective.metric, mode=objective.mode):
        return f"No result keeps {bound_words(objective.constraints)}."
    return "No trial has a result."


def _first_rows(reader: Reader) -> list[_Row]:
    trials = [reader.trial(i) for i in range(min(_N_SHOWN, reader.n_trials()))]
    return [_Row(trial, trial.config) for trial in trials]


def _best_rows(reader: Reader, objective: Objective) -> list[_Row]:
    """Each trial at its best as `ExperimentAnalysis.best` ranks it, with the config of the attempt that reported it."""
    mode = objective.mode
    found = best_of_each(reader, objective.metric, mode=mode, constraints=objective.constraints)
    found.sort(key=lambda best: (-best.n_folds, mode.as_loss(best.value), best.trial))
    return [
        _Row(reader.trial(best.trial), reader.config_of(best.trial, best.attempt), best.value, best.step)
        for best in found[:_N_SHOWN]
    ]


def _table(rows: list[_Row]) -> str:
    """One row a trial, one column a parameter."""
    configs = [flat_config(row.config) for row in rows]
    names = list(dict.fromkeys(name for config in configs for name in config))
    cells = [
        [row.trial.index, row.trial.status.value, html.number(row.value), "" if row.step is None else row.step]
        + [format_value(name, config[name]) if name in config else "" for name in names]
        for row, config in zip(rows, configs, strict=True)
    ]
    return html.table(["trial", "state", "best", "step", *names], cells)


def _failures(reader: Reader) -> Iterator[str]:
    rows = reader.query(_ERRORS, (TrialStatus.FAILED.value, TrialStatus.INVALID.value))
    if rows:
        first = error_headline(rows[0][0]) if rows[0][0] else rows[0][1] or "no reason is known"
        words = f"{format_count(len(rows), 'trial')} failed, the first: {first}"
        yield f"<p>{html.text(words)}</p>"
