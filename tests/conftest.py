"""Shared by all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .leak_check import LeakCheck, private_temporary_folder

_has_failed = pytest.StashKey[bool]()


@pytest.fixture(scope="session", autouse=True)
def _leak_check() -> Iterator[LeakCheck]:
    with private_temporary_folder():
        yield LeakCheck()


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest, _leak_check: LeakCheck) -> Iterator[None]:
    """After every test, no process, thread, open file or temporary file is left that was not there before it.

    The first of a test's fixtures to begin and so the last to end; what fixtures of a module or session hold was there
    before. A failed test is not judged: its traceback holds what it was working with.
    """
    before = _leak_check.look()
    yield
    if request.node.stash.get(_has_failed, False):
        return
    left = _leak_check.leaks_since(before)
    if any(left):
        pytest.fail(f"The test left behind:\n{left.words()}", pytrace=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file stay in one process, those on a cluster all together: they share what is slow to make."""
    for item in items:
        path = item.path.relative_to(Path(__file__).parent)
        item.add_marker(pytest.mark.xdist_group("cluster" if path.parts[0] == "cluster" else path.as_posix()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    report = yield
    item.stash[_has_failed] = item.stash.get(_has_failed, False) or report.failed
    return report


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The paths that Python code of this process opens; what SQLite opens is not among them."""
    found: list[str] = []
    is_on = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if is_on and event == "open" and isinstance(arguments[0], str | bytes | Path):
            found.append(os.fsdecode(arguments[0]))

    sys.addaudithook(hook)  # cannot be removed again, only be made to do nothing
    yield found
    is_on = False


@pytest.fixture(autouse=True)
def results_in_tmp(leaves_nothing_behind: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test writes into the user's results."""
    monkeypatch.setenv("TUNESMITH_RESULTS", str(tmp_path / "results"))
    yield
