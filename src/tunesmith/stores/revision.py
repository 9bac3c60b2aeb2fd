"""A resumed experiment asks for something else than before: its row, and what follows from the objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from tunesmith.spec import ExperimentSpec
from tunesmith.stores.codec import dumps, objective_value, parse_metrics, plain_text, spec_text
from tunesmith.trial import Objective, Trial

_PAGE = 5_000
_REVISE = """UPDATE experiment SET trainable = ?, metric = ?, mode = ?, n_trials = ?, searcher = ?, scheduler = ?,
  tunesmith_version = ?, spec = ?"""
_RESULTS = "SELECT seq, step, time_total_s, metrics FROM results WHERE seq > ? ORDER BY seq LIMIT ?"
_PUT_VALUE = "UPDATE results SET value = ?, kind = ? WHERE seq = ?"
_PUT_BEST = """UPDATE trial_states SET value = ?, kind = ?, best_value = ?, best_step = ?, checkpoints = ?, folds = ?
  WHERE trial = ?"""


def write_revision(
    cursor: apsw.Cursor, *, before: ExperimentSpec, spec: ExperimentSpec, trials: Sequence[Trial]
) -> None:
    """Put the spec in the place of the one before, inside a transaction of the caller's.

    Args: trials: all of them, as the log gives them under the spec's objective; looked at only where that differs.
    """
    objective = spec.objective
    metric, mode = (objective.metric, objective.mode.value) if objective else (None, None)
    texts = map(plain_text, (spec.trainable_name, metric, mode))
    names = map(plain_text, (spec.searcher_name, spec.scheduler_name, spec.tunesmith_version))
    cursor.execute(_REVISE, (*texts, spec.n_trials, *names, spec_text(spec)))
    if objective != before.objective:
        _rank_results(cursor, objective)
        _rank_trials(cursor, objective, trials)


def _rank_results(cursor: apsw.Cursor, objective: Objective | None) -> None:
    """Page by page: a million results are never in memory at once."""
    after_seq = 0
    while True:
        page: list[tuple[Any, ...]] = cursor.execute(_RESULTS, (after_seq, _PAGE)).fetchall()
        if not page:
            return
        after_seq = page[-1][0]
        cursor.executemany(
            _PUT_VALUE,
            [
                (*objective_value(objective, parse_metrics(metrics), step=step, time_total_s=_real(time_s)), seq)
                for seq, step, time_s, metrics in page
            ],
        )


def _rank_trials(cursor: apsw.Cursor, objective: Objective | None, trials: Sequence[Trial]) -> None:
    rows = []
    for trial in trials:
        value, kind = None, "missing"
        if trial.metrics is not None:
            value, kind = objective_value(objective, trial.metrics, step=trial.step, time_total_s=trial.time_total_s)
        checkpoints = dumps(msgspec.to_builtins(trial.checkpoints)) if trial.checkpoints else None
        folds = dumps(msgspec.to_builtins(trial.folds)) if trial.folds else None
        rows.append((value, kind, trial.best_value, trial.best_step, checkpoints, folds, trial.index))
    cursor.executemany(_PUT_BEST, rows)


def _real(time_s: float | None) -> float:
    return math.nan if time_s is None else time_s
