"""F42: a used-up quota is a full disk: the write is refused, nothing is broken, and it may be tried again."""

from __future__ import annotations

import errno

import apsw
import pytest

from tunesmith.errors import DiskFullError, StoreError
from tunesmith.events import Suggest
from tunesmith.stores import create_store

from .store_samples import make_spec


class FailingVFS(apsw.VFS):
    """The system's files, where writes fail for the reason `errno` while there is one. SQLite's code hides it."""

    errno = 0

    def __init__(self):
        self.system = apsw.vfs_names()[0]
        super().__init__("no-quota", self.system, makedefault=True)

    def xOpen(self, name, flags):
        return FailingFile(self, name, flags)

    def xGetLastError(self):
        return self.errno, ""


class FailingFile(apsw.VFSFile):
    def __init__(self, vfs, name, flags):
        self.vfs = vfs
        super().__init__(vfs.system, name, flags)

    def xWrite(self, data, offset):
        if self.vfs.errno:
            error = apsw.IOError("disk I/O error")
            error.extendedresult = apsw.SQLITE_IOERR_WRITE
            raise error
        super().xWrite(data, offset)


@pytest.fixture
def vfs():
    failing = FailingVFS()
    yield failing
    failing.unregister()


@pytest.fixture
def store(vfs, tmp_path):
    with create_store(tmp_path / "e", make_spec()) as store:
        store.append([Suggest(1, 1)], [])
        yield store


@pytest.mark.parametrize("write", ["append", "revise"])
def test_a_write_beyond_the_quota_is_refused_and_the_next_one_stored(vfs, store, write):
    arguments = {"append": ([Suggest(2, 1)], []), "revise": (make_spec(n_trials=20),)}[write]
    vfs.errno = errno.EDQUOT
    with pytest.raises(DiskFullError, match="is full"):
        getattr(store, write)(*arguments)
    vfs.errno = 0
    getattr(store, write)(*arguments)
    store.append([Suggest(3, 1)], [])
    assert list(store.records())[-1] == Suggest(3, 1)


def test_a_write_that_fails_for_another_reason_is_the_last(vfs, store):
    vfs.errno = errno.EIO
    with pytest.raises(StoreError, match="could not be used"):
        store.append([Suggest(2, 1)], [])
    vfs.errno = 0
    with pytest.raises(StoreError, match="nothing more is acknowledged"):
        store.append([Suggest(2, 1)], [])
