"""F61: readers of ours never hold the WAL up; whoever does is named when it has grown large."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tunesmith.clock import VirtualClock
from tunesmith.stores import connection, create_store, open_reader
from tunesmith.stores.mark import wal_path

from .store_samples import make_spec, run_of, start

LIMIT_BYTES = 400_000

READS_FOR_LONG = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM log").fetchone()
print(1, flush=True)
input()
"""


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def store(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(connection, "WAL_LIMIT_BYTES", LIMIT_BYTES)
    monkeypatch.setattr(connection, "WAL_CHECKPOINT_PAGES", 10)
    with create_store(tmp_path / "e", make_spec(), clock=clock) as store:
        store.append([start()], [])
        yield store


def write(store, clock, *, first=0, n=100):
    """About 10 KB each, one a second."""
    for number in range(first, first + n):
        clock.advance_to(clock.now() + 1.0)
        store.append(run_of(number + 1, [{"loss": 1.0 + step, "x" * 200: 0.5} for step in range(20)]), [])


def wal_bytes(store):
    return wal_path(store.path).stat().st_size


def test_a_reader_of_another_program_that_does_not_end_is_named_once(store, clock, caplog):
    args = [sys.executable, "-c", READS_FOR_LONG, str(store.path)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reading:
        reading.stdout.readline()
        write(store, clock)
        assert wal_bytes(store) > LIMIT_BYTES
        (record,) = caplog.records
        assert "experiment.db-wal has grown to" in record.message
        if connection.lock_holders(store.path, kind="READ", wal_bytes=range(123, 128)):  # where /proc/locks tells
            assert f"process {reading.pid} has" in record.message
        reading.stdin.close()
    write(store, clock, first=100, n=20)
    assert wal_bytes(store) <= LIMIT_BYTES, "the file is cut when the reader has ended"
    assert len(caplog.records) == 1


def test_half_read_results_and_records_hold_nothing_up(store, clock, caplog):
    write(store, clock, n=5)
    reader = open_reader(store.path)
    results, own = reader.results(), store.records()
    next(results), next(own)
    write(store, clock, first=5)
    assert wal_bytes(store) <= LIMIT_BYTES
    assert not caplog.records
    assert len(list(results)) + 1 >= 5 * 20
    own.close()
    reader.close()


def test_the_limit_is_64_mib():
    assert connection.WAL_LIMIT_BYTES == 64 * 1024 * 1024
