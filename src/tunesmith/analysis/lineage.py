"""With which config a trial trained from which step on, through all the trials that it was a clone of."""

from __future__ import annotations

from typing import Any

from tunesmith.stores import Reader

_START = """SELECT seq, json_extract(body, '$.start_step'), json_extract(body, '$.checkpoint') FROM log
  WHERE trial = ? AND type = 'StartAttempt' AND attempt = ? ORDER BY seq DESC LIMIT 1"""
#: Who saved a checkpoint that was started from: a name may be used again once its folder is gone.
_SAVED_BY = """SELECT trial, attempt FROM checkpoints JOIN results USING (trial, attempt, step)
  WHERE path = ? AND step = ? AND seq < ? ORDER BY seq DESC LIMIT 1"""
_PARENT = """SELECT json_extract(body, '$.donor') AS donor FROM log
  WHERE trial = ? AND type = 'StartAttempt' AND donor IS NOT NULL AND donor <> trial ORDER BY seq DESC LIMIT 1"""


def schedule_of(reader: Reader, trial: int, attempt: int) -> list[tuple[int, dict[str, Any]]]:
    """[(0, config), (step, config), ...]: the configs that the weights of this attempt were trained with.

    The first entry is the config of whoever trained from the start, this trial or the one that it descends from; each
    further one holds for the steps above its own.
    """
    attempts: list[tuple[int, dict[str, Any]]] = []
    who: tuple[int, int] | None = (trial, attempt)
    while who is not None and (rows := reader.query(_START, who)):
        seq, step, checkpoint = rows[0]
        attempts.append((step, reader.config_of(*who)))
        saved = [] if checkpoint is None else reader.query(_SAVED_BY, (checkpoint, step, seq))
        who = saved[0] if saved else None
    schedule: list[tuple[int, dict[str, Any]]] = []
    for step, config in reversed(attempts):
        if not schedule or schedule[-1][1] != config:
            schedule.append((step, config))
    return schedule


def parent_of(reader: Reader, trial: int) -> int | None:
    """The trial that this one last became a clone of; None if it never was one."""
    rows = reader.query(_PARENT, (trial,))
    return rows[0][0] if rows else None
