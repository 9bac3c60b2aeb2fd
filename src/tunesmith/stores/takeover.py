"""Becoming the driver of an existing database: what is wrong with it is looked for before anything is written."""

from __future__ import annotations

import logging
from pathlib import Path

import apsw
import msgspec

from tunesmith.errors import StoreError
from tunesmith.stores import lease as leases
from tunesmith.stores.connection import quick_check
from tunesmith.stores.mark import Beside, Mark, begin_mark, mark_path, missing_words, own_mark, stored_id_sum
from tunesmith.stores.schema import check_version, migrate

_log = logging.getLogger("tunesmith")


def take_over(
    connection: apsw.Connection, path: Path, beside: Beside, *, is_takeover: bool, wall: float
) -> leases.Lease:
    """The new lease, after damage was looked for where the last driver did not close cleanly.

    Raises: LeaseError while another driver runs it, unless `is_takeover`; StoreError if it is damaged or lacks rows.
    """
    before = leases.latest_lease(connection)
    if before is not None and before.released_at is None:
        if not is_takeover:
            leases.refuse_unless_dead(before)
        quick_check(connection, path)
    mark = own_mark(connection, beside)
    missing = missing_words(connection, path, beside)
    if missing is not None and mark is not None:
        raise StoreError(f"{missing}. It was left as it is. Put that file back, or delete {mark_path(path)} to go on.")
    if missing is not None:
        _log.warning("%s.", missing)
    migrate(connection, path, check_version(connection, path))
    begun = Mark(experiment=stored_id_sum(connection)) if mark is None else msgspec.structs.replace(mark, wal_salt=None)
    # By the owner only, since a mark may be that of a running driver; and before a new WAL can begin.
    return leases.acquire(connection, is_takeover=is_takeover, wall=wall, prepare=lambda: begin_mark(path, begun))
