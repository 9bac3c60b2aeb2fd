"""The campaign: workloads, power losses at their prefixes, and what was found."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from campaigns.powerloss import disk
from campaigns.powerloss.disk import Mark, Op, Sync, Tree, digest_tree, write_tree
from campaigns.powerloss.planted import Bug
from campaigns.powerloss.verify import Finding, Losses, Stored, judge, look
from campaigns.powerloss.workload import Plan, Recording, plan_of, record

#: Workloads that are tried for each planted bug before it counts as missed.
N_BUG_WORKLOADS = 12
_N_KEPT_VIOLATIONS = 20


@dataclass(slots=True)
class Tally:
    """What happened in some workloads."""

    n_workloads: int = 0
    n_operations: int = 0  #: recorded, marks included: as many prefixes there are, and one
    n_prefixes: int = 0  #: at which the power was lost
    n_rebuilt: int = 0  #: disks, one or more for each prefix
    n_opened: int = 0  #: of them, those that differ within a workload: each was opened once
    n_resumed: int = 0  #: of them, those on which the experiment also went on
    n_losing: int = 0  #: rebuilt disks on which something acknowledged was lost
    max_lost_age_s: float = 0.0
    checkpoints: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    n_violations: int = 0

    def add(self, other: Tally) -> None:
        """Count another one in."""
        self.n_workloads += other.n_workloads
        self.n_operations += other.n_operations
        self.n_prefixes += other.n_prefixes
        self.n_rebuilt += other.n_rebuilt
        self.n_opened += other.n_opened
        self.n_resumed += other.n_resumed
        self.n_losing += other.n_losing
        self.max_lost_age_s = max(self.max_lost_age_s, other.max_lost_age_s)
        self.checkpoints += other.checkpoints
        self.n_violations += other.n_violations
        self.violations = (self.violations + other.violations)[:_N_KEPT_VIOLATIONS]

    def count(self, finding: Finding, where: str) -> None:
        """Count one rebuilt disk in."""
        self.n_rebuilt += 1
        self.n_losing += finding.n_lost > 0
        self.max_lost_age_s = max(self.max_lost_age_s, finding.lost_age_s)
        self.checkpoints += finding.checkpoints
        self.n_violations += len(finding.violations)
        self.violations += [f"{where}\n    {violation}" for violation in finding.violations]
        del self.violations[_N_KEPT_VIOLATIONS:]


def run_workload(plan: Plan, max_prefixes: int, prefixes: Iterable[int] | None = None) -> Tally:
    """Record one workload and lose the power at its prefixes; stops at the first violation of a planted bug."""
    scratch = Path(tempfile.mkdtemp(prefix="powerloss-", dir=_memory_folder()))
    try:
        recording = record(plan, scratch)
        tally = Tally(n_workloads=1, n_operations=len(recording.trace))
        losses = Losses(recording.trace)
        seen: dict[bytes, Stored | str | None] = {}  #: by the digest of the rebuilt disk: many are alike
        for prefix in prefixes if prefixes is not None else choose_prefixes(plan, recording.trace, max_prefixes):
            tally.n_prefixes += 1
            loss = losses.go_to(prefix)
            for number, style in enumerate(_styles(plan, recording.trace, prefix, losses.disk.n_pending)):
                tree = losses.disk.rebuild(style, Random(f"loss {plan.seed} {plan.number} {prefix} {number}"))
                digest = digest_tree(tree)
                if digest not in seen:
                    is_resumed = len(seen) % 10 == 0 or prefixes is not None
                    seen[digest] = _open(tree, scratch / "lost", plan, is_resumed=is_resumed)
                    tally.n_opened += 1
                    tally.n_resumed += is_resumed
                finding = judge(seen[digest], tree, plan, recording.history, loss)
                tally.count(finding, _where(recording, prefix, style))
            if plan.bug is not None and tally.violations:
                break
        return tally
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _open(tree: Tree, target: Path, plan: Plan, *, is_resumed: bool) -> Stored | str | None:
    target.mkdir()
    write_tree(target, tree)
    try:
        return look(target, plan, is_resumed=is_resumed)
    finally:
        shutil.rmtree(target)


def choose_prefixes(plan: Plan, trace: list[tuple[float, Op]], limit: int) -> list[int]:
    """Every prefix; where there are more than `limit`, those around each sync and a seeded sample of the others."""
    everything = range(len(trace) + 1)
    if len(everything) <= limit:
        return list(everything)
    borders = {0, len(trace)}
    for index, (_, op) in enumerate(trace):
        if isinstance(op, Sync) or (isinstance(op, Mark) and op.kind == "ack"):
            borders |= {index, index + 1}
    others = [prefix for prefix in everything if prefix not in borders]
    rng = Random(f"prefixes {plan.seed} {plan.number}")
    return sorted(borders | set(rng.sample(others, min(len(others), max(0, limit - len(borders))))))


def find_bug(bug: Bug, seed: int, max_prefixes: int) -> str | None:
    """Where the planted bug was found first; None where it was not."""
    for number in range(N_BUG_WORKLOADS):
        tally = run_workload(plan_of(seed, number, bug), max_prefixes)
        if tally.violations:
            return tally.violations[0]
    return None


def run_campaign(seed: int, n_workloads: int, *, max_prefixes: int, n_jobs: int) -> Iterator[tuple[Plan, Tally]]:
    """All workloads, in order, over some processes."""
    plans = [plan_of(seed, number) for number in range(n_workloads)]
    with ProcessPoolExecutor(max_workers=n_jobs) as pool:
        yield from zip(plans, pool.map(run_workload, plans, [max_prefixes] * len(plans)), strict=True)


def find_bugs(seed: int, *, max_prefixes: int, n_jobs: int) -> Iterator[tuple[Bug, str | None]]:
    """Each planted bug, and where it was found."""
    bugs = list(Bug)
    with ProcessPoolExecutor(max_workers=n_jobs) as pool:
        n_bugs = len(bugs)
        yield from zip(bugs, pool.map(find_bug, bugs, [seed] * n_bugs, [max_prefixes] * n_bugs), strict=True)


def _styles(plan: Plan, trace: list[tuple[float, Op]], prefix: int, n_pending: int) -> list[disk.Loss]:
    """One loss at random; around a sync, where most is at stake, also the two extremes and one more."""
    rng = Random(f"style {plan.seed} {plan.number} {prefix}")
    mixed = disk.Loss("mixed", rng.choice(disk.NAME_LOSSES))
    around = [op for _, op in trace[max(0, prefix - 1) : prefix + 1]]
    if n_pending == 0 or not any(isinstance(op, Sync) for op in around):
        return [mixed if rng.random() < 0.8 else disk.Loss("drop", "drop")]
    return [
        mixed,
        disk.Loss("drop", "drop"),
        disk.Loss("keep", "keep"),
        disk.Loss("mixed", rng.choice(("keep", "drop"))),
    ]


def _where(recording: Recording, prefix: int, style: disk.Loss) -> str:
    plan = recording.plan
    kind = "network" if plan.is_network else plan.durability
    bug = f" --bug {plan.bug.name}" if plan.bug else ""
    return (
        f"python -m campaigns.powerloss --seed {plan.seed} --workload {plan.number} --prefix {prefix}{bug}"
        f"  # {kind}, data {style.data}, names {style.names}"
    )


def _memory_folder() -> str | None:
    """Where files cost no time; the model of the disk, not the disk, decides what survives."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
