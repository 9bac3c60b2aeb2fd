"""F39: whether the last driver lives is seen by its kernel, process id, start and namespace; else it is not guessed."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from tunesmith.errors import LeaseError
from tunesmith.stores import create_store, open_reader, open_store
from tunesmith.stores import lease as leases

from .store_samples import make_spec

STARTED = leases.process_started(leases.this_process().pid)
HERE = leases.pid_namespace()


@pytest.mark.parametrize(
    ("changes", "is_alive"),
    [
        ({}, True),
        ({"host": "the name that this machine had in another network"}, True),
        ({"process_started": STARTED}, True),
        ({"process_started": f"1 {HERE}"}, False),
        ({"process_started": f"1 {HERE}", "host": "the name it had"}, False),
        ({"pid": 2**22 + 1}, False),
        ({"process_started": f"{STARTED} pid:[1]"}, None),
        ({"process_started": "1 pid:[1]"}, None),
        ({"boot_id": "before"}, False),
        ({"boot_id": "before", "process_started": "1 pid:[1]"}, False),
        ({"boot_id": "b", "host": "elsewhere"}, None),
    ],
)
def test_an_owner_is_alive_dead_or_cannot_be_seen(changes, is_alive):
    assert msgspec.structs.replace(leases.this_process(), **changes).is_alive() is is_alive


def test_the_namespace_of_process_ids_is_part_of_an_owner_where_there_is_one():
    assert leases.this_process().process_started == f"{STARTED} {HERE}".rstrip()
    assert HERE.startswith("pid:[") or not Path("/proc/self/ns/pid").is_symlink()


def test_machines_without_a_boot_id_that_started_in_the_same_second_are_not_taken_for_one(monkeypatch):
    def fail(*arguments):
        raise FileNotFoundError

    found = set()
    for host in ("a", "b"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", fail)
            patch.setattr(psutil, "boot_time", lambda: 1e9)
            patch.setattr(platform, "node", lambda host=host: host)
            found.add(leases.boot_id.__wrapped__())
    assert len(found) == 2


def test_a_dead_driver_is_succeeded_though_the_machine_has_another_name_by_now(tmp_path, monkeypatch):
    owner = msgspec.structs.replace(leases.this_process(), process_started=f"1 {HERE}")
    with monkeypatch.context() as patch:
        patch.setattr(leases, "this_process", lambda: owner)
        create_store(tmp_path / "e", make_spec())
    monkeypatch.setattr(platform, "node", lambda: "laptop-in-another-network")
    with open_store(tmp_path / "e") as store:
        assert store.epoch == 2


IN_A_CONTAINER = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]


def can_unshare():
    try:
        return subprocess.run([*IN_A_CONTAINER, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_unshare(), reason="namespaces cannot be made here")
def test_a_driver_in_another_container_of_this_machine_is_not_taken_for_dead(tmp_path):
    script = f"""
import sys
sys.path.insert(0, {sys.path[0]!r})
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import create_store
facts = dict(experiment_id="e", name="n", trainable_name="t", space={{}}, space_fingerprint="", seed=1, n_trials=1)
store = create_store(sys.argv[1], ExperimentSpec(**facts))
print(flush=True)
input()
store.close()
"""
    command = [*IN_A_CONTAINER, sys.executable, "-c", script, str(tmp_path / "e")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        driver.stdout.readline()
        reader = open_reader(tmp_path / "e")
        assert reader.driver() is not None
        with pytest.raises(LeaseError, match="cannot be seen from this machine or container"):
            open_store(tmp_path / "e")
        driver.communicate(b"\n")
    assert driver.returncode == 0
    assert reader.driver() is None
    reader.close()
