"""Contract suites for plug-in authors, and experiments on a virtual clock.

Each suite is a plain class of pytest tests. Derive from it, say how your part is made, and run pytest:

    from tunesmith.testing import SearcherContract

    class TestMySearcher(SearcherContract):
        def make(self):
            return MySearcher()

The same suites run on every built-in (`tests/contracts`). Nothing else in tunesmith imports this package, and it does
not import pytest.
"""

from tunesmith.testing.callback import CallbackContract
from tunesmith.testing.executor import ExecutorContract
from tunesmith.testing.scheduler import SchedulerContract
from tunesmith.testing.searcher import SearcherContract
from tunesmith.testing.simulation import Simulation, simulate
from tunesmith.testing.stopper import StopperContract
from tunesmith.testing.store import StoreContract

__all__ = [
    "CallbackContract",
    "ExecutorContract",
    "SchedulerContract",
    "SearcherContract",
    "Simulation",
    "StopperContract",
    "StoreContract",
    "simulate",
]
