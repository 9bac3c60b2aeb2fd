"""What the processes of this machine may use: affinity, cgroup quota and an inherited CUDA_VISIBLE_DEVICES count."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from tunesmith.errors import ResourceError
from tunesmith.resources import Node


def local_node(capacity: Mapping[str, float] | None = None) -> Node:
    """This machine as a node. `capacity` overrides or adds: {"cpu": 4, "gpu": 2, "license": 1}."""
    given = dict(capacity or {})
    cpu = float(given.pop("cpu", n_usable_cpus()))
    gpus = usable_gpus()
    n_gpus = given.pop("gpu", None)
    if n_gpus is not None:
        if n_gpus > len(gpus):
            raise ResourceError(f"The capacity names {n_gpus:g} GPUs; visible are {len(gpus)}. Name that many at most.")
        gpus = gpus[: int(n_gpus)]
    return Node(name=socket.gethostname(), cpu=cpu, gpus=gpus, custom=given)


def n_usable_cpus() -> int:
    """CPUs this process may compute on: affinity, cut by the cgroup's quota, at least 1."""
    n_allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, n_allowed if quota is None else min(n_allowed, int(quota)))


def _cgroup_quota(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """CPUs' worth of time that the cgroup and its ancestors grant, or None without a limit."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            quotas += _quotas_upwards(root, path, _read_v2)
        elif "cpu" in controllers.split(","):
            quotas += _quotas_upwards(root / "cpu", path, _read_v1)
    return min(quotas, default=None)


def _quotas_upwards(root: Path, path: str, read: object) -> list[float]:
    assert callable(read)
    folder, found = root / path.lstrip("/"), []
    for candidate in (folder, *folder.parents):
        try:
            quota = read(candidate)
        except (OSError, ValueError):
            quota = None
        if quota is not None:
            found.append(quota)
        if candidate == root:
            break
    return found


def _read_v2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _read_v1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())


def usable_gpus() -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES may name for a trial: the inherited list, else the device nodes there are."""
    inherited = os.environ.get("CUDA_VISIBLE_DEVICES")
    if inherited is not None:
        devices = []
        for device in (part.strip() for part in inherited.split(",")):
            if device in ("", "-1", "NoDevFiles"):
                break  # CUDA ignores everything after the first invalid entry
            devices.append(device)
        return tuple(devices)
    try:
        nodes = [entry.name for entry in Path("/dev").iterdir()]
    except OSError:
        return ()
    return tuple(str(i) for i in range(sum(re.fullmatch(r"nvidia\d+", name) is not None for name in nodes)))
