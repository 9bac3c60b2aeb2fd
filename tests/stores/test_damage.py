"""F51: what can be read of a damaged database is taken into a new one, and the damaged one is left as it is."""

from __future__ import annotations

import re
import subprocess

import apsw
import pytest

from tunesmith.errors import StoreError
from tunesmith.events import StartAttempt, TrialReported
from tunesmith.stores import create_store, open_reader, open_store, recover, recovery

from .store_samples import make_spec, make_trial, run_of, start

PAGE_BYTES = 4096
N_REPORTS = 3000


@pytest.fixture
def damaged(tmp_path):
    """Overwrites pages of a database that was not closed cleanly, and returns its path."""

    def damage(find_pages):
        with create_store(tmp_path / "e", make_spec()) as store:
            records = [start(), *run_of(0, [{"loss": float(n)} for n in range(N_REPORTS)])]
            store.append(records, [make_trial(n) for n in range(40)])
            store._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            pages = find_pages(store._connection)
            (tmp_path / "copy").mkdir()
            # In another process: opening the database here would drop this process's locks.
            files = [str(store.path), f"{store.path}-mark"]
            subprocess.run(["cp", *files, str(tmp_path / "copy")], check=True)
        path = tmp_path / "copy" / "experiment.db"
        content = bytearray(path.read_bytes())
        for page in pages:
            content[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = b"\xff" * PAGE_BYTES
        path.write_bytes(content)
        return path

    return damage


def leaves(table):
    """Finds the leaf pages of a table, in the order of its rows."""
    sql = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path"
    return lambda connection: [page for (page,) in connection.execute(sql, (table,))]


def some_leaves(table, *numbers):
    def find(connection):
        pages = leaves(table)(connection)
        return [pages[number] for number in numbers]

    return find


def results_in(path):
    reader = open_reader(path)
    try:
        return [result.step for result in reader.results()]
    finally:
        reader.close()


@pytest.mark.parametrize("numbers", [(10,), (0,), (-1,), (3, 20), (4, 5, 6), (0, -1)])
def test_all_rows_but_those_of_the_damaged_pages_are_recovered(damaged, tmp_path, numbers):
    path = damaged(some_leaves("results", *numbers))
    before = path.read_bytes()
    found = recover(path.parent, tmp_path / "recovered.db")
    steps = results_in(tmp_path / "recovered.db")
    lost = set(range(1, N_REPORTS + 1)) - set(steps)
    assert 0 < len(lost) < 0.03 * N_REPORTS * len(numbers)
    assert found.n_rows["results"] == len(steps)
    said = {seq for first, last in found.lost["results"] for seq in range(first, min(last, 2 * N_REPORTS) + 1)}
    assert {2 * step for step in lost} <= said, "every lost row lies in a range that is named"
    assert said.isdisjoint(2 * step for step in steps)
    assert found.n_rows["trial_states"] == 40
    assert path.read_bytes() == before


def test_a_damaged_inner_page_of_an_index_costs_no_row(damaged, tmp_path):
    path = damaged(some_leaves("sqlite_autoindex_results_1", 1))
    assert recover(path, tmp_path / "recovered.db").lost == {}
    assert len(results_in(tmp_path / "recovered.db")) == N_REPORTS


def test_the_recovered_experiment_says_what_is_missing(damaged, tmp_path):
    path = damaged(some_leaves("results", 10))
    found = recover(path, tmp_path / "recovered.db")
    reader = open_reader(tmp_path / "recovered.db")
    ((first, last),) = found.lost["results"]
    assert reader.status().detail == f"recovered from damage; not readable: results {first} to {last}"
    kinds = {type(record) for _, record in reader.records(limit=10_000)}
    reader.close()
    assert {StartAttempt, TrialReported} <= kinds


def test_a_truncated_file_is_recovered_as_far_as_it_goes(damaged, tmp_path):
    path = damaged(lambda connection: [])
    path.write_bytes(path.read_bytes()[: 60 * PAGE_BYTES])
    with pytest.raises(StoreError, match=r"damaged .*tunesmith\.stores\.recover"):
        open_store(path.parent, takeover=True)
    path.with_name("experiment.db-wal").unlink(missing_ok=True)
    assert 0 < recover(path, tmp_path / "recovered.db").n_rows["results"] < N_REPORTS


def test_nothing_is_made_where_the_experiments_own_row_is_lost(damaged, tmp_path):
    path = damaged(some_leaves("experiment", 0))
    with pytest.raises(StoreError, match="nothing could be recovered"):
        recover(path, tmp_path / "recovered.db")
    assert not (tmp_path / "recovered.db").exists()


def test_nothing_is_recovered_over_a_file(damaged, tmp_path):
    (tmp_path / "recovered.db").write_text("mine")
    with pytest.raises(StoreError, match="exists"):
        recover(damaged(leaves("results")), tmp_path / "recovered.db")
    assert (tmp_path / "recovered.db").read_text() == "mine"


def test_a_folder_that_is_not_there_is_said_so(damaged, tmp_path):
    with pytest.raises(StoreError, match=r"no/recovered\.db cannot be opened or written"):
        recover(damaged(leaves("results")), tmp_path / "no" / "recovered.db")


def test_a_link_to_nothing_is_neither_followed_nor_removed(damaged, tmp_path):
    target = tmp_path / "recovered.db"
    target.symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(StoreError, match="exists"):
        recover(damaged(leaves("results")), target)
    assert target.is_symlink() and not target.exists()


def test_a_file_that_somebody_makes_meanwhile_is_not_removed(damaged, tmp_path, monkeypatch):
    target = tmp_path / "recovered.db"
    open_damaged = recovery._open_damaged
    monkeypatch.setattr(recovery, "_open_damaged", lambda path: (target.write_text("mine"), open_damaged(path))[1])
    with pytest.raises(StoreError, match="exists"):
        recover(damaged(leaves("results")), target)
    assert target.read_text() == "mine"


def test_a_row_that_fits_no_table_any_more_is_named_as_lost(damaged, tmp_path):
    path = damaged(lambda connection: [])
    content = bytearray(path.read_bytes())
    for found in re.finditer(rb'\{"loss":7\.0\}', bytes(content)):  # the row, and what page splits left of it
        kind = content.rindex(b"%", found.start() - 25, found.start())  # in the row's header: a text of 12 bytes
        content[kind] ^= 1  # bytes that are no text
    path.write_bytes(content)
    found = recover(path, tmp_path / "recovered.db")
    assert (found.n_rows["results"], found.lost) == (N_REPORTS - 1, {"results": [(16, 16)]})
    assert 8 not in results_in(tmp_path / "recovered.db")


def test_an_undamaged_file_is_copied_whole(tmp_path):
    with create_store(tmp_path / "e", make_spec()) as store:
        store.append([start(), *run_of(0, [{"loss": 1.0}])], [make_trial()])
        records = list(store.records())
        found = recover(tmp_path / "e", tmp_path / "recovered.db")
    reader = open_reader(tmp_path / "recovered.db")
    assert [record for _, record in reader.records()] == records
    reader.close()
    assert found.lost == {}
