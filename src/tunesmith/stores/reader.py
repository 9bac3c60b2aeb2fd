"""Reading an experiment while it runs or afterwards: no lease, no user code, nothing that is unpickled."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from tunesmith.errors import StoreError
from tunesmith.events import Record
from tunesmith.spec import ExperimentSpec
from tunesmith.stores.batch import MAX_SEQ
from tunesmith.stores.codec import parse_config, parse_spec
from tunesmith.stores.connection import clear_errors, connect_reader, database_path, guard_reader
from tunesmith.stores.copies import copy_number, is_locked_for_good, open_copy
from tunesmith.stores.lease import Lease, latest_lease
from tunesmith.stores.mark import look_beside, missing_words
from tunesmith.stores.rows import (
    RESULT_COLUMNS,
    LogPages,
    Result,
    last_seq,
    result_from_row,
    select_trials,
    start_config,
    trial_from_row,
)
from tunesmith.trial import Trial, TrialStatus

_log = logging.getLogger("tunesmith")
_Found = TypeVar("_Found")
_PAGE = 5_000
_START_SEQ = "SELECT seq FROM log WHERE trial = ? AND type = 'StartAttempt' AND attempt = ? ORDER BY seq DESC LIMIT 1"
#: The bounds leave the infinities out: they are no results to be proud of.
_RANKED = """best_value BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308
  ORDER BY coalesce(json_array_length(folds), 0) DESC"""
_BY_VALUE = {"min": f"{_RANKED}, best_value, trial", "max": f"{_RANKED}, best_value DESC, trial"}


class ExperimentStatus(msgspec.Struct, frozen=True):
    """How an experiment stands. `status` stays "running" when its driver was killed: see `Reader.driver`."""

    status: str | None  #: running, an EndReason's value, or None before the first session
    detail: str | None
    started_at: float | None  #: wall time of the first session
    ended_at: float | None


class Reader:
    """A read-only view of an experiment folder; every call is one short read transaction."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = database_path(folder)
        beside = look_beside(self.path)
        #: `_copy_number`: which copy of a running driver's database is read; 0: the database itself.
        self._connection, self._copy_number = self._connect()
        self._pid = os.getpid()
        try:
            if not self._copy_number:
                with clear_errors(self.path):
                    missing = missing_words(self._connection, self.path, beside)
                if missing is not None:
                    _log.warning("%s.", missing)
            (text,) = self._one("SELECT spec FROM experiment")
            self.spec: ExperimentSpec = parse_spec(text)
        except BaseException:
            self.close()
            raise

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.path.parent

    def status(self) -> ExperimentStatus:
        """How the experiment stands."""
        return ExperimentStatus(*self._one("SELECT status, detail, started_at, ended_at FROM experiment"))

    def driver(self) -> Lease | None:
        """The lease of the driver that runs the experiment, as far as can be seen; None if it closed or is dead."""
        lease = self._read(latest_lease)
        if lease is None or lease.released_at is not None or lease.owner.is_alive() is False:
            return None
        return lease

    def counts(self) -> dict[TrialStatus, int]:
        """How many trials are in each state; states without any are left out."""
        found = dict(self.query("SELECT status, count(*) FROM trial_states GROUP BY status"))
        return {status: found[status.value] for status in TrialStatus if status.value in found}

    def n_results(self) -> int:
        """Number of results that count, without superseded ones."""
        return int(self._one("SELECT count(*) FROM current_results")[0])

    def n_trials(self) -> int:
        """Number of trials."""
        return int(self._one("SELECT count(*) FROM trial_states")[0])

    def trials(self) -> list[Trial]:
        """Every trial, by index."""
        return self._trials("ORDER BY trial")

    def trial(self, index: int) -> Trial:
        """One trial.

        Raises: KeyError if there is none of this index.
        """
        found = self._trials("WHERE trial = ?", (index,))
        if not found:
            raise KeyError(f"There is no trial {index}; there are {self.n_trials()}.")
        return found[0]

    def top_trials(self, n: int) -> list[Trial]:
        """The `n` trials with the best finite value of the objective at any step, best first; [] without objective.

        Where folds are reported, those with the best mean over them: of the most folds first.
        """
        if self.spec.objective is None:
            return []
        rank = _BY_VALUE[self.spec.objective.mode.value]
        return self._trials(f"WHERE {rank} LIMIT ?", (n,))

    def has_folds(self) -> bool:
        """Whether trials report the folds of a cross-validation, as far as their last reports tell."""
        where = "folds IS NOT NULL OR json_extract(metrics, '$.fold') IS NOT NULL"
        sql = "SELECT EXISTS (SELECT 1 FROM ({trials}) WHERE {where})"
        rows = self._read(
            lambda connection: connection.execute(sql.format(trials=select_trials(connection), where=where)).fetchall()
        )
        return bool(rows[0][0])

    def deleted_checkpoints(self) -> set[str]:
        """Paths, relative to the experiment's folder, of checkpoints that are not kept any more."""
        sql = "SELECT path FROM checkpoints GROUP BY path HAVING max(state = 'kept') = 0"
        return {path for (path,) in self.query(sql)}

    def config_of(self, trial: int, attempt: int) -> dict[str, Any]:
        """The config that one attempt of a trial was given: a clone changes it."""
        rows = self.query(_START_SEQ, (trial, attempt))
        seq = rows[0][0] if rows else MAX_SEQ
        return parse_config(self._read(lambda connection: start_config(connection, trial, seq)))

    def results(self, trial: int | None = None) -> Iterator[Result]:
        """The results that count: of one trial by step, or of all in the order in which they were stored."""
        return map(result_from_row, self.rows(RESULT_COLUMNS, trial=trial))

    def rows(self, columns: str, *, trial: int | None = None) -> Iterator[tuple[Any, ...]]:
        """The same as plain rows of some columns of `current_results`, read page by page."""
        after: tuple[int, ...] = (0,)
        keys, where = "seq", "seq > ?"
        if trial is not None:
            keys, where, after = "attempt, step", "trial = ? AND (attempt, step) > (?, ?)", (0, -1)
        fixed = () if trial is None else (trial,)
        n_keys = len(after)
        sql = f"SELECT {keys}, {columns} FROM current_results WHERE {where} ORDER BY {keys} LIMIT {_PAGE}"
        while page := self.query(sql, (*fixed, *after)):
            for row in page:
                yield row[n_keys:]
            after = page[-1][:n_keys]

    def records(self, after_seq: int = 0, limit: int = 1000) -> list[tuple[int, Record]]:
        """The next records of the event log after `after_seq`, with their sequence numbers; empty at its end."""
        return self._read(lambda connection: LogPages(connection).page(after_seq, limit))

    def last_seq(self) -> int:
        """Sequence number of the newest record; 0 in an empty log."""
        return self._read(last_seq)

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a SELECT of your own; docs/store.md names the tables.

        Raises: StoreError if the file is damaged or locked, or the statement would write.
        """
        return self._read(lambda connection: connection.execute(sql, tuple(values)).fetchall())

    def close(self) -> None:
        """Free the file. Idempotent; every later call raises."""
        self._copy_number = 0  # else a later call would connect to the next copy
        self._connection.close()

    def _trials(self, rest: str, values: Sequence[Any] = ()) -> list[Trial]:
        """Trials by the rest of a SELECT."""
        rows = self._read(lambda c: c.execute(f"{select_trials(c)} {rest}", tuple(values)).fetchall())
        return [trial_from_row(row) for row in rows]

    def _one(self, sql: str) -> tuple[Any, ...]:
        return self.query(sql)[0]

    def _read(self, read: Callable[[apsw.Connection], _Found]) -> _Found:
        """What the function finds in the database, or in its copy where a driver has meanwhile locked it (F57)."""
        try:
            with clear_errors(self.path):
                return read(self._connected())
        except StoreError as error:
            if self._copy_number or not is_locked_for_good(error, self.path):
                raise
        self._reconnect()
        with clear_errors(self.path):
            return read(self._connection)

    def _connected(self) -> apsw.Connection:
        is_replaced = self._copy_number and self._copy_number != copy_number(self.path)
        if is_replaced or os.getpid() != self._pid:
            self._reconnect()
        return self._connection

    def _reconnect(self) -> None:
        """Where that fails, the old connection stays, and the next call tries again."""
        before, pid = self._connection, self._pid
        self._connection, self._copy_number = self._connect()
        self._pid = os.getpid()
        if pid == self._pid:
            before.close()
        else:  # a fork: the parent's connection must not be used, nor closed (F63)
            _inherited.append(before)

    def _connect(self) -> tuple[apsw.Connection, int]:
        """To the database, or to the newest copy while a driver on a network file system has it locked (F57).

        Returns: the number of the copy too; 0 for the database.
        """
        for is_last in (False, False, True):
            try:
                return connect_reader(self.path), 0
            except StoreError as error:
                if not is_locked_for_good(error, self.path):
                    raise
                try:
                    connection, number = open_copy(self.path)
                    guard_reader(connection, self.path)
                    return connection, number
                except apsw.Error:  # the driver has just ended, or put another one in its place: look again
                    if is_last:
                        raise error from None
        raise AssertionError


_inherited: list[apsw.Connection] = []


def open_reader(folder: str | os.PathLike[str]) -> Reader:
    """A reader of the experiment in the folder, or of a copy of its database.

    Raises: StoreError if there is none, or it is damaged, foreign, or newer than this program.
    """
    return Reader(folder)
