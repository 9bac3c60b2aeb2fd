"""F62: nobody opens the database's file but SQLite: closing any descriptor of it would drop this process's locks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import apsw

import tunesmith
import tunesmith as tune
from tunesmith.stores import DATABASE_NAME, open_reader, recover

SOURCE = Path(tunesmith.__file__).parent
#: What opens a file by its path.
OPENERS = {"open", "fdopen", "read_bytes", "read_text", "write_bytes", "write_text", "touch", "mmap"}
OPENERS |= {"copy", "copy2", "copyfile", "copytree", "copyfileobj"}
#: The places in `stores` that open a file: (module, function) -> which file, and why that one may be opened.
ALLOWED = {
    ("sqlite.py", "_sync_wal"): "the WAL: it carries no locks",
    ("mark.py", "wal_salt"): "the WAL: it carries no locks",
    ("mark.py", "read_mark"): "the mark",
    ("mark.py", "_put"): "the mark",
    ("wal_check.py", "_difference"): "the WAL, and a copy of it",
    ("wal_check.py", "_copy_database"): "the copy, before SQLite opens it, and closed by then",
    ("sqlite.py", "create_store"): "the draft, before SQLite opens it, and closed by then",
    ("schema.py", "copy_all"): "the new copy, before SQLite opens it, and closed by then",
    ("recovery.py", "_make_new"): "the new file, before SQLite opens it, and closed by then",
    ("schema.py", "sync_folder"): "the folder",
    ("connection.py", "is_network_path"): "/proc/mounts",
    ("connection.py", "lock_holders"): "/proc/locks",
    ("lease.py", "boot_id"): "/proc",
    ("lease.py", "process_started"): "/proc",
}


def opening_calls(path: Path) -> Iterator[str]:
    """The functions of a module in which a file is opened."""
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call):
                    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                    if name in OPENERS:
                        yield function.name


def test_each_place_in_the_stores_that_opens_a_file_is_known():
    found = {(path.name, name) for path in (SOURCE / "stores").glob("*.py") for name in opening_calls(path)}
    assert found == set(ALLOWED), "a new one must not be the database's file: see design.md, section 5"


def test_nothing_outside_the_stores_opens_a_file_in_a_function_that_names_the_database():
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        if path.parent.name == "stores" or not ("DATABASE_NAME" in text or DATABASE_NAME in text):
            continue
        names = set(opening_calls(path))
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef) and function.name in names:
                words = ast.unparse(function)
                assert "DATABASE_NAME" not in words and DATABASE_NAME not in words, f"{path.name}: {function.name}"


def test_a_whole_experiment_never_opens_its_database_but_through_sqlite(tmp_path, opened):
    def train(config):
        for step in range(1, 4):
            tune.report(loss=config["x"] / step)

    for num_samples in (2, 4):  # a new one, and one that is gone on with
        result = tune.run(
            train, config={"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=num_samples, name="e",
            executor="inline", verbose=1, local_dir=tmp_path,
        )  # fmt: skip
        result.dataframe()
        result.reader.close()
    reader = open_reader(tmp_path / "e")
    reader.trials()
    reader.close()
    recover(tmp_path / "e", tmp_path / "recovered.db")
    assert any(path.endswith(f"{DATABASE_NAME}-mark") for path in opened), "the hook sees what is opened"
    assert [path for path in opened if path.endswith(DATABASE_NAME)] == []


def test_the_engine_is_one_without_the_bug_that_loses_rows():
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)
