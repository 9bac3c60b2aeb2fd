"""One append as rows: which statements a batch of records and changed trials becomes.

The encoder remembers what it wrote of each trial, so that a report touches only the columns that a report changes.
What it remembers may be forgotten at any time: it is then looked up, or written again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import apsw
import msgspec

from tunesmith.clock import Clock
from tunesmith.events import (
    AnswerReport,
    CheckpointSaved,
    DeleteCheckpoint,
    EndExperiment,
    Record,
    SessionStarted,
    StartAttempt,
    TrialReported,
    Verdict,
)
from tunesmith.stores.codec import config_text, dumps, metrics_text, objective_value, plain_text, record_tree
from tunesmith.trial import Objective, Trial

INSERT_RESULT = """INSERT INTO results
  (seq, trial, attempt, step, time_total_s, at, metrics, value, kind, verdict, answer_seq, checkpoint, is_last)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_LOG = "INSERT INTO log (seq, type, trial, attempt, at, body) VALUES (?, ?, ?, ?, ?, ?)"
#: The columns that a report changes.
UPDATE_PROGRESS = """UPDATE trial_states SET n_reports = ?, step = ?, metrics = ?, value = ?, kind = ?,
  time_total_s = ?, reported_at = ?, best_value = ?, best_step = ? WHERE trial = ?"""
PUT_STATE = """INSERT OR REPLACE INTO trial_states
  (n_reports, step, metrics, value, kind, time_total_s, reported_at, best_value, best_step, trial,
   trial_id, status, attempt, n_failures, n_losses, n_preemptions, pid, started_at, ended_at, max_t,
   checkpoints, folds, placement, node, stop_asked, reason, error, proposed_by)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
PUT_CONFIG = """INSERT INTO trial_configs (trial, config) VALUES (?, ?)
  ON CONFLICT DO UPDATE SET first_config = coalesce(first_config, config), config = excluded.config
  WHERE config <> excluded.config"""
SUPERSEDE = "UPDATE results SET superseded = 1 WHERE trial = ? AND attempt < ? AND step > ? AND superseded = 0"
ANSWER_LATE = (
    "UPDATE results SET verdict = ?, answer_seq = coalesce(?, answer_seq) WHERE trial = ? AND attempt = ? AND step = ?"
)
IS_UNANSWERED = "SELECT answer_seq IS NULL FROM results WHERE trial = ? AND attempt = ? AND step = ?"
PUT_CHECKPOINT = "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, 'kept')"
DROP_CHECKPOINT = "UPDATE checkpoints SET state = 'deleted' WHERE trial = ? AND path = ?"
START_SESSION = """UPDATE experiment
  SET status = 'running', detail = NULL, started_at = coalesce(started_at, ?), ended_at = NULL"""
END_EXPERIMENT = "UPDATE experiment SET status = ?, detail = ?, ended_at = ?"
#: The config of the trial's last start at or before a place in the log: of a StartAttempt that holds one.
LAST_START_CONFIG = """SELECT json_extract(body, '$.config') FROM log WHERE trial = ? AND type = 'StartAttempt'
  AND seq <= ? AND json_type(body, '$.config') IS NOT NULL ORDER BY seq DESC LIMIT 1"""
FIRST_CONFIG = "SELECT coalesce(first_config, config) FROM trial_configs WHERE trial = ?"

MAX_SEQ = 2**63 - 1
_VERDICT, _ANSWER_SEQ = 9, 10  #: places in a row of INSERT_RESULT

#: What makes it necessary to write a trial's whole row: everything but its config and what a report changes.
_rest = attrgetter(
    "trial_id", "status", "attempt", "n_failures", "n_losses", "n_preemptions", "pid", "started_at", "ended_at",
    "max_t", "checkpoints", "folds", "placement", "node", "stop_asked", "reason", "error", "proposed_by",
)  # fmt: skip

_Metric = tuple[str, float | None, str]


class Batch:
    """The rows of one append, and what the encoder will remember once they are committed."""

    def __init__(self, next_seq: int) -> None:
        self.next_seq = next_seq
        self.results: list[list[Any]] = []
        self.log: list[tuple[Any, ...]] = []
        self.progress: list[tuple[Any, ...]] = []
        self.states: list[tuple[Any, ...]] = []
        self.configs: list[tuple[int, str]] = []
        self.others: list[tuple[str, tuple[Any, ...]]] = []  #: statements that depend on order, after all rows
        self.has_deletion = False  #: of a checkpoint's folder, once this is committed
        self.rests: dict[int, tuple[Any, ...]] = {}
        self.known_configs: dict[int, dict[str, Any]] = {}
        self.started: dict[int, bytes] = {}
        self.start_steps: dict[int, int] = {}
        self.unanswered: dict[tuple[int, int, int], list[Any]] = {}
        #: By id() of metrics (they live as long as this batch is built), step and time.
        self.encoded: dict[tuple[int, int, float], _Metric] = {}

    def write(self, cursor: apsw.Cursor) -> None:
        """Execute everything, inside a transaction of the caller's."""
        if self.results:
            cursor.executemany(INSERT_RESULT, self.results)
        if self.log:
            cursor.executemany(INSERT_LOG, self.log)
        if self.progress:
            cursor.executemany(UPDATE_PROGRESS, self.progress)
        if self.states:
            cursor.executemany(PUT_STATE, self.states)
        if self.configs:
            cursor.executemany(PUT_CONFIG, self.configs)
        for statement, values in self.others:
            cursor.execute(statement, values)


class BatchEncoder:
    """Turns records and trials into batches, numbering the records from `next_seq`."""

    def __init__(
        self, connection: apsw.Connection, *, objective: Objective | None, space: Any, next_seq: int, clock: Clock
    ) -> None:
        self._connection = connection
        self._objective = objective
        self._space = space
        self._clock = clock
        self._next_seq = next_seq
        self._rests: dict[int, tuple[Any, ...]] = {}
        self._configs: dict[int, dict[str, Any]] = {}
        #: Digest of the config of the trial's last StartAttempt in the log.
        self._started: dict[int, bytes] = {}
        #: Where the trial's running attempt began.
        self._start_steps: dict[int, int] = {}

    def encode(self, records: Sequence[Record], trials: Sequence[Trial]) -> Batch:
        """The rows; nothing is remembered before `confirm`."""
        batch = Batch(self._next_seq)
        for record in records:
            handler = self._HANDLERS.get(type(record))
            if handler is None:
                self._log(batch, record)
            else:
                handler(self, batch, record, trials)
            batch.next_seq += 1
        for trial in trials:
            self._trial(batch, trial)
        return batch

    def confirm(self, batch: Batch) -> None:
        """The batch was committed."""
        self._next_seq = batch.next_seq
        if batch.rests:
            self._rests.update(batch.rests)
            self._configs.update(batch.known_configs)
        if batch.started:
            self._started.update(batch.started)
            self._start_steps.update(batch.start_steps)

    # ------------------------------------------------------------ trials

    def _trial(self, batch: Batch, trial: Trial) -> None:
        index = trial.index
        text, value, kind = ("", None, "missing") if trial.metrics is None else self._metrics(batch, trial)
        best = trial.best_value
        progress = (
            trial.n_reports, trial.step, text or None, value, kind, trial.time_total_s, trial.reported_at,
            None if best is None else _real(best), trial.best_step, index,
        )  # fmt: skip
        rest = _rest(trial)
        is_known = index not in batch.rests and rest == self._rests.get(index)
        if is_known and trial.config is self._configs.get(index):
            batch.progress.append(progress)
            return
        checkpoints = dumps(msgspec.to_builtins(trial.checkpoints)) if trial.checkpoints else None
        folds = dumps(msgspec.to_builtins(trial.folds)) if trial.folds else None
        placement = None if trial.placement is None else dumps(msgspec.to_builtins(trial.placement))
        texts = (trial.node, trial.stop_asked, trial.reason, trial.error, trial.proposed_by)
        plain = (plain_text(trial.trial_id), trial.status.value, *rest[2:10])
        batch.states.append((*progress, *plain, checkpoints, folds, placement, *map(plain_text, texts)))
        batch.rests[index] = rest
        if trial.config is not self._configs.get(index):
            batch.configs.append((index, config_text(trial.config, self._space)))
        batch.known_configs[index] = trial.config

    def _metrics(self, batch: Batch, report: Trial | TrialReported) -> _Metric:
        metrics = report.metrics
        assert metrics is not None
        key = (id(metrics), report.step, report.time_total_s)
        known = batch.encoded.get(key)
        if known is None:
            value, kind = objective_value(self._objective, metrics, step=report.step, time_total_s=report.time_total_s)
            known = batch.encoded[key] = (metrics_text(metrics), value, kind)
        return known

    # ------------------------------------------------------------ records

    def _reported(self, batch: Batch, record: TrialReported, trials: Sequence[Trial]) -> None:
        trial, attempt, step = record.trial, record.attempt, record.step
        text, value, kind = self._metrics(batch, record)
        row = [
            batch.next_seq, trial, attempt, step, record.time_total_s, record.at, text, value, kind,
            None, None, plain_text(record.checkpoint), record.is_last,
        ]  # fmt: skip
        batch.results.append(row)
        batch.unanswered[trial, attempt, step] = row
        if attempt > 1 and step <= batch.start_steps.get(trial, self._start_steps.get(trial, step)):
            batch.others.append((SUPERSEDE, (trial, attempt, step - 1)))
        if record.checkpoint is not None:
            self._kept(batch, record, record.checkpoint)

    def _saved(self, batch: Batch, record: CheckpointSaved, trials: Sequence[Trial]) -> None:
        self._log(batch, record)
        self._kept(batch, record, record.checkpoint)

    def _kept(self, batch: Batch, record: TrialReported | CheckpointSaved, path: str) -> None:
        text = plain_text(path)
        batch.others.append((DROP_CHECKPOINT, (record.trial, text)))  # an earlier attempt's folder of that name
        batch.others.append((PUT_CHECKPOINT, (record.trial, record.attempt, record.step, text)))

    def _answered(self, batch: Batch, record: AnswerReport, trials: Sequence[Trial]) -> None:
        decision = record.decision
        key = (record.trial, record.attempt, record.step)
        is_plain = decision.verdict is Verdict.CONTINUE and decision.reason is None and not decision.numbers
        row = batch.unanswered.pop(key, None)
        if row is not None:
            row[_VERDICT] = decision.verdict.value
            if is_plain:
                row[_ANSWER_SEQ] = batch.next_seq
        else:
            is_plain = is_plain and self._connection.execute(IS_UNANSWERED, key).fetchone() == (1,)
            batch.others.append((ANSWER_LATE, (decision.verdict.value, batch.next_seq if is_plain else None, *key)))
        if not is_plain:
            self._log(batch, record)

    def _started_attempt(self, batch: Batch, record: StartAttempt, trials: Sequence[Trial]) -> None:
        text = config_text(record.config, self._space)
        digest = _digest(text)
        tree = record_tree(msgspec.structs.replace(record, config={}), self._space)
        del tree["config"]
        is_repeated = digest == self._last_started(batch, record.trial, trials)
        body = dumps(tree) if is_repeated else f'{dumps(tree)[:-1]},"config":{text}}}'
        self._log(batch, record, body=body)
        batch.started[record.trial] = digest
        batch.start_steps[record.trial] = record.start_step
        if record.attempt > 1:
            batch.others.append((SUPERSEDE, (record.trial, record.attempt, record.start_step)))

    def _last_started(self, batch: Batch, index: int, trials: Sequence[Trial]) -> bytes | None:
        """Digest of the config that a reader takes for a StartAttempt without one; None where it knows none."""
        digest = batch.started.get(index) or self._started.get(index)
        if digest is not None:
            return digest
        found = self._connection.execute(LAST_START_CONFIG, (index, MAX_SEQ)).fetchone()
        found = found or self._connection.execute(FIRST_CONFIG, (index,)).fetchone()
        if found is not None:
            return _digest(found[0])
        return next((_digest(config_text(trial.config, self._space)) for trial in trials if trial.index == index), None)

    def _deleted(self, batch: Batch, record: DeleteCheckpoint, trials: Sequence[Trial]) -> None:
        self._log(batch, record)
        batch.has_deletion = True
        batch.others.append((DROP_CHECKPOINT, (record.trial, plain_text(record.path))))

    def _session(self, batch: Batch, record: SessionStarted, trials: Sequence[Trial]) -> None:
        self._log(batch, record)
        batch.others.append((START_SESSION, (record.at,)))

    def _ended(self, batch: Batch, record: EndExperiment, trials: Sequence[Trial]) -> None:
        self._log(batch, record)
        batch.others.append((END_EXPERIMENT, (record.why.value, plain_text(record.detail), self._clock.wall())))

    def _log(self, batch: Batch, record: Record, *, body: str | None = None) -> None:
        batch.log.append(
            (
                batch.next_seq,
                type(record).__name__,
                getattr(record, "trial", None),
                getattr(record, "attempt", None),
                getattr(record, "at", None),
                dumps(record_tree(record, self._space)) if body is None else body,
            )
        )

    _HANDLERS: dict[type, Callable[..., None]] = {  # noqa: RUF012
        TrialReported: _reported,
        AnswerReport: _answered,
        CheckpointSaved: _saved,
        StartAttempt: _started_attempt,
        DeleteCheckpoint: _deleted,
        SessionStarted: _session,
        EndExperiment: _ended,
    }


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _real(value: float) -> float:
    """As SQLite can bind it: an integer above 2**63 is a float there."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
