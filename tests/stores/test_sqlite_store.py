"""Faults of the store's file, its owner and its process: F37 to F64, F98 and F108 of faults.md."""

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from tunesmith.clock import VirtualClock
from tunesmith.errors import ConfigError, LeaseError, StoreError
from tunesmith.events import (
    AnswerReport,
    DeleteCheckpoint,
    EndExperiment,
    EndReason,
    SessionStarted,
    StartAttempt,
    Suggest,
    Verdict,
)
from tunesmith.stores import connection as connections
from tunesmith.stores import create_store, open_reader, open_store
from tunesmith.stores import lease as leases
from tunesmith.stores.connection import connect_reader, is_network_path, lock_holders
from tunesmith.trial import TrialStatus

from .store_contract import EVERY_KIND
from .store_samples import answer, make_spec, make_trial, report, run_of, start

SAMPLE = [start(), *run_of(0, [{"loss": 2.0}, {"loss": 1.0}])]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "experiment"


@pytest.fixture
def store(folder):
    with create_store(folder, make_spec()) as store:
        store.append(SAMPLE, [make_trial()])
        yield store


def copy_files(source, target):
    """In another process: opening the database here would drop this process's locks."""
    target.mkdir()
    files = [str(path) for path in source.iterdir() if not path.name.endswith("-shm")]
    subprocess.run(["cp", *files, str(target)], check=True)


def in_child(function):
    """Exit status of a fork that calls the function: 0 if it returned true."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if function() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# ---------------------------------------------------------------- crash and reopen


def test_what_was_committed_survives_a_crash(store, folder, tmp_path):
    copy_files(folder, tmp_path / "copy")
    with open_store(tmp_path / "copy", takeover=True) as copy:
        assert list(copy.records()) == SAMPLE


def test_sequence_goes_on_after_reopening(store, folder):
    store.close()
    with open_store(folder) as again:
        again.append([Suggest(1, 1)], [])
        assert (again.epoch, again.last_seq(), list(again.records())) == (2, 6, [*SAMPLE, Suggest(1, 1)])


def test_a_failed_append_stores_nothing_of_it(store):
    with pytest.raises(StoreError, match="twice"):
        store.append([Suggest(1, 1), report(step=2)], [make_trial(step=99)])
    assert list(store.records()) == SAMPLE


def test_an_append_after_a_failed_one_is_stored(store):
    with pytest.raises(StoreError):
        store.append([report(step=2)], [])
    store.append([report(step=3)], [])
    assert list(store.records()) == [*SAMPLE, report(step=3)]


def test_a_step_beyond_64_bits_is_a_store_error(store):
    with pytest.raises(StoreError, match="64 bits"):
        store.append([report(step=2**70)], [])


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_both_durabilities_store(folder, durability):
    with create_store(folder, make_spec(), durability=durability) as store:
        store.append(SAMPLE, [])
        assert list(store.records()) == SAMPLE


def test_an_unknown_durability_is_refused(folder):
    with pytest.raises(ConfigError, match="'normal' or 'full'"):
        create_store(folder, make_spec(), durability="maybe")


def test_a_transaction_a_second_is_synced(folder, monkeypatch):
    clock = VirtualClock()
    with create_store(folder, make_spec(), clock=clock) as store:
        seen = []
        for now in (0.0, 0.5, 1.0, 1.5):
            clock.advance_to(now)
            store.append([Suggest(1, 1)], [])
            seen.append(store._synced_at)
    assert seen == [0.0, 0.0, 1.0, 1.0]


def test_the_last_commit_before_a_quiet_time_is_synced(store, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    store._sync_wal(store._synced_at)
    assert len(synced) == 1


def test_an_export_holds_what_a_plain_copy_would_miss(store, tmp_path):
    store.export(tmp_path / "copy.db")
    assert [record for _, record in open_reader(tmp_path / "copy.db").records()] == SAMPLE


def test_an_export_that_fails_half_way_leaves_nothing(store, tmp_path, monkeypatch):
    def fail(connection, target, **options):
        target.write_bytes(b"half")
        raise apsw.FullError("no room")

    monkeypatch.setattr("tunesmith.stores.schema.copy_all", fail)
    (tmp_path / "to").mkdir()
    with pytest.raises(StoreError, match="full"):
        store.export(tmp_path / "to" / "copy.db")
    assert list((tmp_path / "to").iterdir()) == []


# ---------------------------------------------------------------- lease


def test_a_second_driver_is_refused_and_told_who_the_first_is(store, folder):
    with pytest.raises(LeaseError, match=rf"process {os.getpid()} .*host {re.escape(os.uname().nodename)}, started 20"):
        open_store(folder)


def test_a_driver_that_was_taken_over_cannot_write(store, folder):
    with open_store(folder, takeover=True), pytest.raises(LeaseError, match="taken over by process"):
        store.append([Suggest(1, 1)], [])


def test_a_driver_that_was_taken_over_does_not_release_the_lease(store, folder):
    with open_store(folder, takeover=True):
        store.close()
        assert open_reader(folder).driver().epoch == 2


@pytest.mark.parametrize("change", [{"boot_id": "other"}, {"process_started": "1"}, {"pid": 2**22 + 1}])
def test_a_dead_owner_is_succeeded_without_being_asked(folder, monkeypatch, change):
    owner = leases.Owner(**{**{f: getattr(leases.this_process(), f) for f in leases.Owner.__struct_fields__}, **change})
    monkeypatch.setattr(leases, "this_process", lambda: owner)
    create_store(folder, make_spec())
    monkeypatch.undo()
    with open_store(folder) as store:
        assert store.epoch == 2


def test_an_owner_on_another_host_is_not_taken_for_dead(folder, monkeypatch):
    owner = leases.Owner(host="elsewhere", boot_id="b", pid=1, process_started="1")
    monkeypatch.setattr(leases, "this_process", lambda: owner)
    create_store(folder, make_spec())
    monkeypatch.undo()
    with pytest.raises(LeaseError, match=r"host elsewhere.*cannot be seen"):
        open_store(folder)


def test_a_killed_driver_is_succeeded_and_loses_nothing(folder):
    script = """
import os, sys
from tunesmith.events import Suggest
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import create_store
facts = {"experiment_id": "e", "name": "n", "trainable_name": "t", "space": {}, "space_fingerprint": ""}
store = create_store(sys.argv[1], ExperimentSpec(**facts, seed=1, n_trials=1))
store.append([Suggest(1, 1)], [])
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script, str(folder)], check=False).returncode == -9
    with open_store(folder) as store:
        assert list(store.records()) == [Suggest(1, 1)]


def test_a_store_carried_across_a_fork_refuses(store):
    def refuses():
        try:
            store.append([Suggest(1, 1)], [])
        except StoreError as error:
            return "fork" in str(error)

    assert in_child(refuses) == 0


def test_closing_in_a_fork_leaves_the_parent_alone(store):
    assert in_child(lambda: store.close() is None) == 0
    store.append([Suggest(1, 1)], [])
    assert len(list(store.records())) == len(SAMPLE) + 1


def test_a_reader_opens_anew_in_a_fork(store, folder):
    reader = open_reader(folder)
    assert in_child(lambda: reader.n_results() == 2) == 0


def test_a_lock_of_another_process_is_waited_for_and_its_holder_named(store, monkeypatch):
    store._connection.set_busy_timeout(1)
    script = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print(1, flush=True)
input()
"""
    args = [sys.executable, "-c", script, str(store.path)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(StoreError, match="locked by") as caught:
            store.append([Suggest(1, 1)], [])
        holders = lock_holders(store.path)
        holder.stdin.close()
    if holders:  # systems without a readable /proc/locks do not tell
        assert f"process {holder.pid} " in str(caught.value)
    store.append([Suggest(1, 1)], [])


# ---------------------------------------------------------------- files


def test_folder_and_files_are_private(store, folder):
    modes = {path.name: path.stat().st_mode & 0o777 for path in [folder, *folder.iterdir()]}
    assert set(modes.values()) == {0o700, 0o600} and modes["experiment"] == 0o700


def test_nothing_but_the_database_and_its_mark_is_left_after_closing(store, folder):
    store.close()
    assert sorted(path.name for path in folder.iterdir()) == ["experiment.db", "experiment.db-mark"]


def test_an_experiment_is_not_created_over_another(store, folder):
    with pytest.raises(StoreError, match="exists already"):
        create_store(folder, make_spec())


@pytest.mark.parametrize("content", [b"", b"hello" * 1000, None], ids=["empty", "text", "sqlite"])
@pytest.mark.parametrize("opening", [open_store, open_reader])
def test_a_foreign_file_is_refused_and_left_as_it_is(folder, content, opening):
    folder.mkdir()
    path = folder / "experiment.db"
    if content is None:
        with sqlite3.connect(path) as foreign:
            foreign.execute("CREATE TABLE t (a)")
        foreign.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"not a tunesmith store|empty \(0 bytes\)"):
        opening(folder)
    assert path.read_bytes() == before


@pytest.mark.parametrize("opening", [open_store, open_reader])
def test_a_folder_without_an_experiment_is_said_so(tmp_path, opening):
    with pytest.raises(StoreError, match="no experiment in"):
        opening(tmp_path)


def damaged_copy(store, tmp_path):
    """A larger database, not closed cleanly, with a page overwritten in the middle."""
    store.append(run_of(5, [{"loss": float(n)} for n in range(2000)]), [])
    store._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    copy_files(store.folder, tmp_path / "copy")
    path = tmp_path / "copy" / "experiment.db"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    return path


def test_damage_is_found_after_an_unclean_end_and_the_file_left(store, tmp_path):
    path = damaged_copy(store, tmp_path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"damaged .*\.recover"):
        open_store(path.parent, takeover=True)
    assert path.read_bytes() == before


def test_a_truncated_file_is_damaged(store, tmp_path):
    path = damaged_copy(store, tmp_path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(StoreError, match="damaged"):
        open_store(path.parent, takeover=True)


def test_a_folder_that_cannot_be_made_is_named_with_the_uid(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=rf"file/e cannot be opened or written by uid {os.getuid()}"):
        create_store(tmp_path / "file" / "e", make_spec())


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named_with_the_uid(store, folder):
    store.close()
    folder.chmod(0o500)
    (folder / "experiment.db").chmod(0o400)
    with pytest.raises(StoreError, match=rf"by uid {os.getuid()}"):
        open_store(folder)


def test_a_finished_experiment_is_read_where_nothing_can_be_written(store, folder, monkeypatch):
    store.close()
    connection = connections._immutable(folder / "experiment.db")
    assert connection.execute("SELECT count(*) FROM results").fetchone() == (2,)


def test_an_unfinished_one_there_is_refused_rather_than_read_in_part(store, folder):
    with pytest.raises(StoreError, match="not closed cleanly"):
        connections._immutable(folder / "experiment.db")


def test_a_reader_cannot_write(store, folder):
    with pytest.raises(StoreError):
        open_reader(folder).query("DELETE FROM results")


def test_a_strangers_schema_runs_no_code_of_this_process(store):
    with pytest.raises(apsw.SQLError):
        connect_reader(store.path).execute("SELECT load_extension('x')")


@pytest.mark.parametrize(
    ("path", "is_network"),
    [("/home/me/x", True), ("/home/local/x", False), ("/homes/x", False), ("/s sh/x", True)],
)
def test_network_file_systems_are_known_by_their_mounts(tmp_path, path, is_network):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/a / ext4 rw\nserver:/x /home nfs4 rw\n/dev/b /home/local xfs rw\nme@h: /s\\040sh fuse.sshfs rw\n"
    )
    assert is_network_path(Path(path), str(mounts)) is is_network


def test_on_a_network_file_system_no_shared_memory_is_used(folder, monkeypatch):
    monkeypatch.setattr(connections, "is_network_path", lambda path: True)
    monkeypatch.setattr("tunesmith.stores.sqlite.is_network_path", lambda path: True)
    with create_store(folder, make_spec()) as store:
        store.append(SAMPLE, [make_trial()])
        assert not list(folder.glob("*-wal")) and not list(folder.glob("*-shm"))
    with open_store(folder) as store:
        assert list(store.records()) == SAMPLE


# ---------------------------------------------------------------- what readers see


def test_steps_repeated_after_a_crash_count_once(store, folder):
    store.append([start(0, 2, start_step=1), report(0, 2, 2, metrics={"loss": 9.0})], [])
    found = [(r.attempt, r.step, r.value) for r in open_reader(folder).results(0)]
    assert found == [(1, 1, 2.0), (2, 2, 9.0)]


def test_the_log_keeps_superseded_reports(store):
    later = [start(0, 2, start_step=0), report(0, 2, 1)]
    store.append(later, [])
    assert list(store.records()) == [*SAMPLE, *later]


def test_a_later_attempt_that_reports_below_its_start_hides_what_it_repeats(store, folder):
    store.append([start(0, 2, start_step=2), report(0, 2, 2, metrics={"loss": 9.0})], [])
    assert [(r.attempt, r.step) for r in open_reader(folder).results(0)] == [(1, 1), (2, 2)]


def test_a_config_is_in_the_log_only_where_it_changes(store):
    clone = {"lr": 5.0, "layers": 2}
    store.append([start(0, 2), start(0, 3, config=clone), start(0, 4, config=clone)], [])
    bodies = [
        row[0] for row in store._connection.execute("SELECT body FROM log WHERE type = 'StartAttempt' ORDER BY seq")
    ]
    assert ["config" in body for body in bodies] == [False, False, True, False]
    assert [r.config["lr"] for r in store.records() if isinstance(r, StartAttempt)] == [0.1, 0.1, 5.0, 5.0]


def test_a_reader_knows_the_config_of_each_attempt(store, folder):
    store.append([start(0, 2, config={"lr": 5.0})], [make_trial(attempt=2, config={"lr": 5.0})])
    reader = open_reader(folder)
    assert (reader.config_of(0, 1)["lr"], reader.config_of(0, 2)["lr"], reader.trial(0).config["lr"]) == (0.1, 5.0, 5.0)


def test_records_can_be_followed_by_cursor(store, folder):
    reader, seen, cursor = open_reader(folder), [], 0
    late = report(1)
    for addition in ([], [late], [Suggest(1, 1)], [answer(late)]):
        store.append(addition, [])
        while page := reader.records(after_seq=cursor, limit=2):
            seen += [record for _, record in page]
            cursor = page[-1][0]
    assert seen == list(store.records()) and cursor == reader.last_seq() == store.last_seq()


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_report_and_its_answer_are_on_one_page(store, folder, limit):
    store.append([*run_of(2, [{"loss": 1.0}] * 9), report(1), answer(report(1), Verdict.STOP, "why")], [])
    reader, seen, cursor = open_reader(folder), [], 0
    while page := reader.records(after_seq=cursor, limit=limit):
        records = [record for _, record in page]
        assert len(records) in (limit, limit + 1) or page[-1][0] == reader.last_seq()
        assert not isinstance(records[0], AnswerReport)
        seen += records
        cursor = page[-1][0]
    assert seen == list(store.records())


@pytest.mark.parametrize("page", [1, 2, 3, 7])
def test_the_log_is_in_order_across_pages(store, monkeypatch, page):
    monkeypatch.setattr("tunesmith.stores.rows._PAGE", page)
    late = report(1)
    log = [late, *EVERY_KIND[6:8], *run_of(2, [{"loss": 1.0}] * 9), answer(late), *[Suggest(n, n) for n in range(9)]]
    store.append(log, [])
    assert list(store.records()) == [*SAMPLE, *log]


def test_verdicts_stand_beside_results(store, folder):
    store.append([report(1), answer(report(1), Verdict.STOP, "why"), report(2)], [])
    assert [r.verdict for r in open_reader(folder).results()] == ["continue", "continue", "stop", None]


def test_nan_and_infinities_are_stored_with_their_kind(store, folder):
    values = [float("nan"), float("inf"), float("-inf")]
    store.append(run_of(1, [*({"loss": value} for value in values), {"other": 1.0}]), [])
    rows = list(open_reader(folder).results(1))
    assert [r.kind for r in rows] == ["nan", "inf", "-inf", "missing"]
    assert repr([r.value for r in rows]) == repr([*values, None])


def test_checkpoints_are_kept_until_they_are_deleted(store, folder):
    path = "trials/00001/checkpoint_000001"
    store.append([report(1, checkpoint=path)], [])
    states = [open_reader(folder).query("SELECT path, state FROM checkpoints")]
    store.append([DeleteCheckpoint(1, path)], [])
    states.append(open_reader(folder).query("SELECT path, state FROM checkpoints"))
    assert states == [[(path, "kept")], [(path, "deleted")]]


def test_status_follows_sessions_and_ends(store, folder):
    reader = open_reader(folder)
    seen = [reader.status().status]
    for record in (SessionStarted(1, 5.0, ()), EndExperiment(EndReason.INTERRUPTED, "x"), SessionStarted(2, 9.0, ())):
        store.append([record], [])
        seen.append(reader.status().status)
    assert seen == [None, "running", "interrupted", "running"] and reader.status().started_at == 5.0


def test_top_trials_leave_out_infinities_and_nan(store, folder):
    values = [float("-inf"), 3.0, float("nan"), 2.0, None]
    trials = [make_trial(i, best_value=v, best_step=None if v is None else 1) for i, v in enumerate(values)]
    store.append([], trials)
    assert [trial.index for trial in open_reader(folder).top_trials(9)] == [3, 1]


def test_counts_name_the_states_there_are(store, folder):
    store.append([], [make_trial(1, status=TrialStatus.FAILED), make_trial(2, status=TrialStatus.FAILED)])
    assert open_reader(folder).counts() == {TrialStatus.RUNNING: 1, TrialStatus.FAILED: 2}


def test_a_spec_comes_back_exactly(store, folder):
    assert open_reader(folder).spec == make_spec()


def test_a_reader_sees_that_the_driver_lives_or_not(store, folder):
    before = open_reader(folder).driver()
    store.close()
    assert (before.owner, open_reader(folder).driver()) == (leases.this_process(), None)


def test_a_large_config_is_not_rewritten_by_a_report(store):
    trial = make_trial(1, config={f"k{n}": n for n in range(20_000)})
    store.append([start(1, config=trial.config)], [trial])
    wal = Path(f"{store.path}-wal")
    store._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    store.append(run_of(1, [{"loss": 1.0}]), [make_trial(1, config=trial.config, step=1, metrics={"loss": 1.0})])
    assert wal.stat().st_size < 100_000


def test_every_column_is_documented(store):
    text = (Path(__file__).parents[2] / "docs" / "store.md").read_text()
    tables = [
        row[0] for row in store._connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
    ]
    columns = {f"{t}.{row[1]}" for t in tables for row in store._connection.execute(f"PRAGMA table_info({t})")}
    names = {column.split(".")[1] for column in columns} | set(tables)
    assert {name for name in names if f"`{name}`" not in text} == set()
