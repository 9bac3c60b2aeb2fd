"""CPUs and GPUs are what the process may use, and a trial sees only its own (design.md, section 4)."""

from __future__ import annotations

import os

import pytest

import tunesmith as tune
from tunesmith.errors import ResourceError
from tunesmith.events import AttemptEnded, StartAttempt
from tunesmith.executors import machine
from tunesmith.stores import open_reader
from tunesmith.trial import TrialStatus

from .harness import output_of, start_script

pytestmark = pytest.mark.processes


def n_at_once(result):
    """The largest number of attempts that were started and had not ended."""
    reader = open_reader(result.folder)
    try:
        running, most = 0, 0
        for _, record in reader.records(0, 100_000):
            running += isinstance(record, StartAttempt) - isinstance(record, AttemptEnded)
            most = max(most, running)
        return most
    finally:
        reader.close()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs to take one away")
def test_affinity_makes_the_slots(tmp_path):
    script = f"""
import tunesmith as tune
from tunesmith.executors.machine import n_usable_cpus
result = tune.run(lambda config: 1.0, num_samples=3, verbose=0, local_dir={str(tmp_path / "r")!r})
print(n_usable_cpus(), result.folder)
"""
    process = start_script(tmp_path / "script.py", script, prefix=("taskset", "-c", "0"))
    code, out, err = output_of(process)
    assert code == 0, err
    n_cpus, folder = out.split()
    assert n_cpus == "1"
    assert n_at_once(tune.load(folder)) == 1


def cgroup_tree(tmp_path, lines, files):
    (tmp_path / "cgroup").write_text("\n".join(lines) + "\n")
    for name, text in files.items():
        file = tmp_path / "sys" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return machine._cgroup_quota(tmp_path / "cgroup", tmp_path / "sys")


@pytest.mark.parametrize(
    ("lines", "files", "quota"),
    [
        (["0::/"], {"cpu.max": "max 100000"}, None),
        (["0::/"], {"cpu.max": "150000 100000"}, 1.5),
        (["0::/a/b"], {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2.0),
        (["0::/a/b"], {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, 2.0),
        (["0::/not/mounted/here"], {"cpu.max": "300000 100000"}, 3.0),
        (["0::/../sibling"], {"cpu.max": "300000 100000"}, 3.0),
        (["4:cpu,cpuacct:/"], {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        (["4:cpu,cpuacct:/"], {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 2.5),
        (["4:cpu:/d/e"], {"cpu/d/cpu.cfs_quota_us": "50000", "cpu/d/cpu.cfs_period_us": "100000"}, 0.5),
        (["4:memory:/d", "0::/"], {"cpu.max": "100000 100000", "memory/d/x": ""}, 1.0),
        (["4:cpu:/", "0::/"], {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1.0),
        (["0::/"], {"cpu.max": "nonsense"}, None),
        (["0::/"], {}, None),
        (["5:name=a:b:/"], {}, None),
    ],
)
def test_the_cgroups_quota_is_the_smallest_up_to_the_root(tmp_path, lines, files, quota):
    assert cgroup_tree(tmp_path, lines, files) == quota


def test_without_cgroups_there_is_no_quota(tmp_path):
    assert machine._cgroup_quota(tmp_path / "missing", tmp_path) is None


@pytest.mark.parametrize(("quota", "n_cpus"), [(0.5, 1), (1.9, 1), (2.0, 2), (1000.0, None)])
def test_a_quota_cuts_the_cpus_to_whole_ones_and_at_least_one(monkeypatch, quota, n_cpus):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr(machine, "_cgroup_quota", lambda: quota)
    assert machine.n_usable_cpus() == (n_cpus or 4)


@pytest.mark.parametrize(
    ("inherited", "gpus"),
    [
        ("2,3", ("2", "3")),
        (" 2 , 3 ", ("2", "3")),
        ("", ()),
        ("-1", ()),
        ("0,-1,1", ("0",)),
        ("NoDevFiles", ()),
        ("GPU-8932f937-d72c,MIG-GPU-1/2/3", ("GPU-8932f937-d72c", "MIG-GPU-1/2/3")),
    ],
)
def test_an_inherited_cuda_visible_devices_is_what_there_is(monkeypatch, inherited, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    assert machine.usable_gpus() == gpus


def test_each_trial_sees_its_own_gpu(tune_run, monkeypatch, pids):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    folder = str(pids)

    def train(config):
        import time

        visible = os.environ["CUDA_VISIBLE_DEVICES"]
        open(f"{folder}/{config['i']}", "w").close()
        while len([name for name in os.listdir(folder) if name in "0123"]) < 2:
            time.sleep(0.01)  # two at the same time
        return {"gpu": int(visible)}

    result = tune_run(train, config={"i": tune.grid_search([0, 1])}, resources_per_trial={"cpu": 1, "gpu": 1})
    assert sorted(trial.metrics["gpu"] for trial in result.trials) == [2.0, 3.0]


def test_fractions_share_one_gpu_and_others_see_none(tune_run, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")

    def train(config):
        visible = os.environ["CUDA_VISIBLE_DEVICES"]
        return {"gpu": int(visible or -1)}

    shared = tune_run(train, num_samples=4, resources_per_trial={"cpu": 0.1, "gpu": 0.5})
    assert {trial.metrics["gpu"] for trial in shared.trials} == {5.0}
    assert n_at_once(shared) == 2
    assert {trial.metrics["gpu"] for trial in tune_run(train).trials} == {-1.0}


def test_custom_resources_and_max_concurrent_trials_bound_what_runs_at_once(tune_run):
    def train(config):
        return 1.0

    licensed = tune_run(
        train, num_samples=6, capacity={"cpu": 8, "license": 3}, resources_per_trial={"cpu": 1, "license": 1}
    )
    assert n_at_once(licensed) == 3
    assert n_at_once(tune_run(train, num_samples=6, capacity={"cpu": 8}, max_concurrent_trials=2)) == 2
    assert n_at_once(tune_run(train, num_samples=6, capacity={"cpu": 2}, resources_per_trial={"cpu": 0.5})) == 4


def test_a_trial_is_told_its_resources(tune_run):
    trial = tune_run(
        lambda config: dict(tune.get_trial_resources()),
        capacity={"cpu": 2, "license": 1},
        resources_per_trial={"cpu": 2, "license": 1},
    ).trials[0]
    assert trial.state is TrialStatus.COMPLETED, trial.error
    assert (trial.metrics["cpu"], trial.metrics["license"]) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("request_", "asked", "there"),
    [
        ({"cpu": 64}, "64 CPUs", "2 CPUs"),
        ({"cpu": 1, "gpu": 1}, "1 GPU", "2 CPUs"),
        ({"cpu": 1, "license": 2}, "2 license", "2 CPUs"),
    ],
)
def test_an_impossible_request_is_refused_at_once_with_both_amounts(
    tune_run, tmp_path, monkeypatch, request_, asked, there
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ResourceError) as caught:
        tune_run(lambda config: 1.0, capacity={"cpu": 2}, resources_per_trial=request_)
    assert asked in str(caught.value)
    assert there in str(caught.value)
    assert not list(tmp_path.glob("*/experiment.db"))
