from tunesmith.stores import MemoryStore, create_store, open_store
from tunesmith.testing import StoreContract

from .store_contract import SPEC


class TestMemoryStore(StoreContract):
    def make(self, folder):
        return MemoryStore()


class TestSqliteStore(StoreContract):
    def make(self, folder):
        return create_store(folder / "e", SPEC)

    def reopen(self, folder):
        return open_store(folder / "e")


class TestFullDurability(TestSqliteStore):
    def make(self, folder):
        return create_store(folder / "e", SPEC, durability="full")
