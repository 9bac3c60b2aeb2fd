"""Rows read back into the words of the house: trials, results, and the event log in order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from operator import itemgetter
from typing import Any

import apsw
import msgspec

from tunesmith.events import CONTINUE, AnswerReport, Record, StartAttempt, TrialReported
from tunesmith.resources import Placement
from tunesmith.stores.batch import FIRST_CONFIG, LAST_START_CONFIG, MAX_SEQ
from tunesmith.stores.codec import kind_value, loads, parse_config, parse_metrics, parse_metrics_list, parse_record
from tunesmith.trial import Checkpoint, FoldScore, Trial, TrialStatus

TRIAL_FIELDS = (
    "trial", "trial_id", "config", "status", "attempt", "n_failures", "n_losses", "n_preemptions", "n_reports", "step",
    "metrics", "time_total_s", "best_value", "best_step", "checkpoints", "placement", "pid", "node", "started_at",
    "reported_at", "ended_at", "stop_asked", "reason", "error", "proposed_by", "max_t", "folds",
)  # fmt: skip
RESULT_COLUMNS = "trial, attempt, step, metrics, time_total_s, at, value, kind, verdict, checkpoint"
SELECT_TRIALS = f"SELECT {', '.join(TRIAL_FIELDS)} FROM trials"
_SELECT_TRIALS_1 = SELECT_TRIALS.replace("folds", "NULL AS folds")  #: schema version 1 has no such column

_REPORTS = """SELECT seq, answer_seq, trial, attempt, step, metrics, time_total_s, at, checkpoint, is_last
  FROM results WHERE seq >= ? ORDER BY seq LIMIT ?"""
_LATE_ANSWERS = """SELECT answer_seq, trial, attempt, step FROM results
  WHERE answer_seq > seq + 1 AND answer_seq > ? ORDER BY answer_seq LIMIT ?"""
_LOG = "SELECT seq, body FROM log WHERE seq > ? ORDER BY seq LIMIT ?"
LAST_SEQ = """SELECT max((SELECT coalesce(max(seq), 0) FROM results), (SELECT coalesce(max(seq), 0) FROM log),
  (SELECT coalesce(max(answer_seq), 0) FROM results WHERE answer_seq > seq + 1),
  (SELECT coalesce(max(answer_seq), 0) FROM (SELECT answer_seq FROM results ORDER BY seq DESC LIMIT 1)))"""
_PAGE = 5_000


class Result(msgspec.Struct, frozen=True):
    """A stored report and what was answered."""

    trial: int
    attempt: int
    step: int
    metrics: dict[str, float]
    time_total_s: float
    at: float
    value: float | None  #: of the objective's first metric; None where it is missing
    kind: str  #: finite, nan, inf, -inf or missing
    verdict: str | None  #: None while there is no answer
    checkpoint: str | None  #: relative to the experiment's folder


def result_from_row(row: tuple[Any, ...]) -> Result:
    """The result of a row of RESULT_COLUMNS."""
    trial, attempt, step, metrics, time_total_s, at, value, kind, verdict, checkpoint = row
    parsed = parse_metrics(metrics)
    exact = kind_value(value, kind)
    return Result(trial, attempt, step, parsed, _float(time_total_s), _float(at), exact, kind, verdict, checkpoint)


def select_trials(connection: apsw.Connection) -> str:
    """SELECT_TRIALS, or the same from a file that no driver has migrated yet."""
    return _SELECT_TRIALS_1 if connection.pragma("user_version") == 1 else SELECT_TRIALS


def trial_from_row(row: tuple[Any, ...], space: Any = None) -> Trial:
    """The trial of a row of SELECT_TRIALS, exactly as it was written (texts with lone surrogates excepted)."""
    values = dict(zip(TRIAL_FIELDS, row, strict=True))
    values["index"] = values.pop("trial")
    values["config"] = parse_config(values["config"], space)
    values["status"] = TrialStatus(values["status"])
    values["time_total_s"] = _float(values["time_total_s"])
    if values["metrics"] is not None:
        values["metrics"] = parse_metrics(values["metrics"])
    if values["best_value"] is None and values["best_step"] is not None:
        values["best_value"] = math.nan
    checkpoints, placement = values["checkpoints"], values["placement"]
    values["checkpoints"] = msgspec.convert(loads(checkpoints), tuple[Checkpoint, ...]) if checkpoints else ()
    values["folds"] = msgspec.convert(loads(values["folds"]), tuple[FoldScore, ...]) if values["folds"] else ()
    values["placement"] = msgspec.convert(loads(placement), Placement) if placement else None
    return Trial(**values)


class LogPages:
    """The event log of one connection, in order, page by page: each page is one short read transaction (F61)."""

    def __init__(
        self, connection: apsw.Connection, space: Any = None, *, lock: AbstractContextManager[Any] | None = None
    ) -> None:
        """Args: lock: held while a page is read, where threads share the connection."""
        self._connection = connection
        self._space = space
        self._lock = lock or nullcontext()

    def __iter__(self) -> Iterator[Record]:
        after_seq = 0
        while span := self._span(after_seq, _PAGE):
            for _, record in span:
                yield record
            after_seq = span[-1][0]

    def page(self, after_seq: int, limit: int) -> list[tuple[int, Record]]:
        """The next records after `after_seq`, each with its sequence number: `limit` of them, or as many as there are.

        One more where the last would be a report and the next is its answer: they were decided together.
        """
        span = self._span(after_seq, limit)
        if len(span) > limit and isinstance(span[limit - 1][1], TrialReported):
            limit += isinstance(span[limit][1], AnswerReport)
        return span[:limit]

    def _span(self, after_seq: int, limit: int) -> list[tuple[int, Record]]:
        """All records after `after_seq` and up to some place, `limit` of them or more where there are as many."""
        with self._lock:
            return self._span_now(after_seq, limit)

    def _span_now(self, after_seq: int, limit: int) -> list[tuple[int, Record]]:
        cursor = self._connection.cursor()
        cursor.execute("BEGIN")
        try:
            reports: list[tuple[Any, ...]] = cursor.execute(_REPORTS, (after_seq, limit + 1)).fetchall()
            late: list[tuple[Any, ...]] = cursor.execute(_LATE_ANSWERS, (after_seq, limit)).fetchall()
            others: list[tuple[Any, ...]] = cursor.execute(_LOG, (after_seq, limit)).fetchall()
            ends = [rows[-1][0] for rows, n in ((reports, limit + 1), (late, limit), (others, limit)) if len(rows) == n]
            end = min(ends, default=MAX_SEQ)  # beyond it, a source that was cut may hold records that come before
            found = self._reports(reports, after_seq, end)
            found += [
                (seq, AnswerReport(trial, attempt, step, CONTINUE)) for seq, trial, attempt, step in late if seq <= end
            ]
            found += [(seq, self._record(seq, body)) for seq, body in others if seq <= end]
        finally:
            cursor.execute("COMMIT")
        found.sort(key=itemgetter(0))
        return found

    def _reports(self, rows: list[tuple[Any, ...]], after_seq: int, end: int) -> list[tuple[int, Record]]:
        found: list[tuple[int, Record]] = []
        all_metrics = parse_metrics_list([row[5] for row in rows])
        for row, metrics in zip(rows, all_metrics, strict=True):
            seq, answer_seq, trial, attempt, step, _, time_total_s, at, checkpoint, is_last = row
            if after_seq < seq <= end:
                time_total_s = math.nan if time_total_s is None else time_total_s
                at = math.nan if at is None else at
                report = TrialReported(trial, attempt, step, metrics, time_total_s, at, checkpoint, is_last == 1)
                found.append((seq, report))
            if answer_seq == seq + 1 and answer_seq <= end:
                found.append((answer_seq, AnswerReport(trial, attempt, step, CONTINUE)))
        return found

    def _record(self, seq: int, body: str) -> Record:
        record = parse_record(body, self._space)
        if type(record) is StartAttempt and not record.config and "config" not in loads(body):
            text = start_config(self._connection, record.trial, seq)
            record = msgspec.structs.replace(record, config=parse_config(text, self._space))
        return record


def start_config(connection: apsw.Connection, trial: int, seq: int = MAX_SEQ) -> str:
    """JSON text of the config that the trial's last attempt started at or before `seq` was given."""
    row = connection.execute(LAST_START_CONFIG, (trial, seq)).fetchone()
    row = row or connection.execute(FIRST_CONFIG, (trial,)).fetchone()
    return str(row[0]) if row else "{}"


def last_seq(connection: apsw.Connection) -> int:
    """Sequence number of the newest record; 0 in an empty log."""
    return int(str(connection.execute(LAST_SEQ).fetchall()[0][0]))


def stored_spec(connection: apsw.Connection) -> str:
    """JSON text of the ExperimentSpec."""
    return str(connection.execute("SELECT spec FROM experiment").fetchall()[0][0])


def _float(value: float | None) -> float:
    return math.nan if value is None else value
