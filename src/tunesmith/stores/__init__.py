"""Where the event log lives: one SQLite file per experiment folder, or a list in memory."""

from __future__ import annotations

from tunesmith.stores.connection import DATABASE_NAME
from tunesmith.stores.lease import Lease, Owner
from tunesmith.stores.memory import MemoryStore
from tunesmith.stores.reader import ExperimentStatus, Reader, open_reader
from tunesmith.stores.recovery import Recovery, recover
from tunesmith.stores.rows import Result
from tunesmith.stores.sqlite import Durability, SqliteStore, create_store, open_store

__all__ = [
    "DATABASE_NAME",
    "Durability",
    "ExperimentStatus",
    "Lease",
    "MemoryStore",
    "Owner",
    "Reader",
    "Recovery",
    "Result",
    "SqliteStore",
    "create_store",
    "open_reader",
    "open_store",
    "recover",
]
