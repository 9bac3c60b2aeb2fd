"""F56: whoever writes has the write lock from its first statement on, so that no read turns into a write too late."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

import tunesmith.stores
from tunesmith.events import Suggest
from tunesmith.stores import create_store
from tunesmith.stores import lease as leases

from .store_samples import make_spec


@pytest.mark.parametrize(
    "write", [lambda store: store.append([Suggest(1, 1)], []), lambda store: store.revise(make_spec(n_trials=20))]
)
def test_nobody_else_can_begin_to_write_once_the_epoch_is_being_checked(tmp_path, monkeypatch, write):
    """Regression risk: a deferred transaction reads first, and fails at once where another one wrote in between."""
    tried = []

    def check(cursor, epoch):
        other = apsw.Connection(str(tmp_path / "e" / "experiment.db"))
        with pytest.raises(apsw.BusyError):
            other.execute("BEGIN IMMEDIATE")
        other.close()
        tried.append(epoch)

    with create_store(tmp_path / "e", make_spec()) as store:
        monkeypatch.setattr(leases, "check_epoch", check)
        write(store)
    assert tried == [1]


def test_only_reading_pages_begins_a_deferred_transaction():
    found = {}
    for path in Path(tunesmith.stores.__file__).parent.glob("*.py"):
        begins = re.findall(r"[\"'](BEGIN[^\"']*)[\"']", path.read_text())
        if begins:
            found[path.name] = set(begins)
    assert found.pop("rows.py") == {"BEGIN"}
    assert set().union(*found.values()) == {"BEGIN IMMEDIATE"}
