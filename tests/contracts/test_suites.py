"""The callback suite on the smallest of callbacks, and what the suites import. Stores: tests/stores."""

from __future__ import annotations

import subprocess
import sys

import tunesmith as tune
from tunesmith.testing import CallbackContract


class _Counting:
    def __init__(self):
        self.calls = []

    def setup(self, folder):
        self.calls.append("setup")

    def on_records(self, records):
        self.calls.append(len(records))

    def on_end(self):
        self.calls.append("end")


class TestRecordCallback(CallbackContract):
    def make(self):
        return _Counting()


class TestCallback(CallbackContract):
    def make(self):
        return tune.Callback()


def test_the_suites_do_not_import_pytest():
    code = "import sys, tunesmith.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_imports_the_suites():
    code = "import sys, tunesmith, tunesmith.api; sys.exit('tunesmith.testing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
