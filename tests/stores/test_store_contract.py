import pytest

from tunesmith.stores import MemoryStore, create_store

from .store_contract import StoreContract
from .store_samples import make_spec


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        store = create_store(tmp_path / "e", make_spec())
        yield store
        store.close()
