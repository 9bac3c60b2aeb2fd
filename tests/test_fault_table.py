"""The table in docs/reliability.md of where each known fault is shown: nothing is missing, nothing is made up."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEADING = "## Faults and where each is shown"
N_FAULTS = 95
TEST_ID = re.compile(r"`(tests/[\w/]+\.py)(?:::([\w:]+))?(\[[^`]*\])?`")
MAKE = re.compile(r"`make ([\w-]+)[^`]*`")


def rows() -> list[tuple[str, str, str]]:
    """Number, fault and place of each row below the heading, up to the next one."""
    text = (ROOT / "docs" / "reliability.md").read_text()
    assert text.count(HEADING) == 1, f"docs/reliability.md has no section {HEADING!r}"
    section = re.split(r"\n## ", text.split(HEADING)[1])[0]
    found = re.findall(r"^\| *(F\d+) *\|([^|]+)\|(.+)\| *$", section, re.MULTILINE)
    return [(number, fault.strip(), place.strip()) for number, fault, place in found]


@cache
def names_in(name: str) -> set[str]:
    """Functions, and methods after their class, that pytest would collect from the file."""
    path = ROOT / name
    if not path.is_file():
        return set()
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef)]
            found |= {node.name, *(f"{node.name}::{name}" for name in methods if name.startswith("test_"))}
        elif isinstance(node, ast.Assign):  # TestMachine = Machine.TestCase
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def test_every_fault_has_exactly_one_row_in_order():
    assert [number for number, _, _ in rows()] == [f"F{number}" for number in range(1, N_FAULTS + 1)]


def test_every_row_says_something():
    assert [number for number, fault, place in rows() if not fault or len(place) < 10] == []


def test_every_test_that_is_named_exists():
    named = [(number, match) for number, _, place in rows() for match in TEST_ID.finditer(place)]
    assert len(named) > N_FAULTS, "the table names tests"
    missing = []
    for number, match in named:
        path, name, _ = match.groups()
        is_there = bool(names_in(path)) if name is None else name in names_in(path)
        if not is_there:
            missing.append(f"{number}: {match.group()}")
    assert missing == []


def test_no_name_of_a_test_escapes_the_check():
    """A test is written as a whole id in backticks: otherwise nobody notices when it goes away."""
    loose = re.compile(r"test_\w+")
    left = [(number, loose.findall(TEST_ID.sub("", place))) for number, _, place in rows()]
    assert [(number, names) for number, names in left if names] == []


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = {target for _, _, place in rows() for target in MAKE.findall(place)}
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


@pytest.mark.parametrize("name", ["test_every_test_that_is_named_exists", "no_such_test"])
def test_the_collection_tells_what_exists(name):
    assert (name in names_in("tests/test_fault_table.py")) == (name != "no_such_test")
