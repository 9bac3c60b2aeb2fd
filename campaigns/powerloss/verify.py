"""What was rebuilt after a power loss, opened with a fresh store and compared with what was acknowledged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import apsw

from campaigns.powerloss.disk import Disk, Mark, Op, Tree
from campaigns.powerloss.history import History
from campaigns.powerloss.workload import FOLDER, NODE, Plan
from tunesmith.errors import TunesmithError
from tunesmith.events import SessionStarted
from tunesmith.stores import DATABASE_NAME, connection, lease, open_store, sqlite
from tunesmith.stores.rows import SELECT_TRIALS, trial_from_row

#: The promise at the default durability.
WINDOW_S = 1.0
_ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class Loss:
    """The instant of a power loss, as the store's users saw it."""

    at: float  #: the last moment before the next operation
    n_begun: int  #: passes
    acknowledged_at: tuple[float, ...]  #: by pass


@dataclass(slots=True)
class Finding:
    """What one rebuilt disk held."""

    violations: list[str] = field(default_factory=list)
    n_lost: int = 0  #: acknowledged passes that are not there
    lost_age_s: float = 0.0  #: how long ago the oldest of them was acknowledged
    checkpoints: Counter[str] = field(default_factory=Counter)  #: of trials: old, new, half


@dataclass(frozen=True, slots=True)
class Stored:
    """What a fresh store reads."""

    records: list[str]
    trials: dict[int, str]
    checkpoints: dict[int, tuple[str, ...]]
    n_samples: int


class Losses:
    """Walks along a trace; at each prefix it knows the disk and what was acknowledged."""

    def __init__(self, trace: list[tuple[float, Op]]) -> None:
        self.disk = Disk()
        self._trace = trace
        self._n_applied = 0
        self._n_begun = 0
        self._acknowledged_at: list[float] = []

    def go_to(self, prefix: int) -> Loss:
        """The power is lost after so many operations, just before the next one."""
        while self._n_applied < prefix:
            at, op = self._trace[self._n_applied]
            self._n_applied += 1
            if isinstance(op, Mark):
                self._n_begun += op.kind == "begin"
                if op.kind == "ack":
                    self._acknowledged_at.append(at)
            else:
                self.disk.apply(op)
        at = self._trace[min(prefix, len(self._trace) - 1)][0]
        return Loss(at, self._n_begun, tuple(self._acknowledged_at))


def look(folder: Path, plan: Plan, *, is_resumed: bool) -> Stored | str | None:
    """Open the rebuilt disk: what is stored, why it cannot be opened, or None where there is no experiment.

    `is_resumed`: also go on with it, and look again.
    """
    experiment = folder / FOLDER
    if not (experiment / DATABASE_NAME).exists():
        return None
    try:
        return _read(experiment, plan, is_resumed=is_resumed)
    except (TunesmithError, apsw.Error, AssertionError) as error:
        return f"it cannot be opened: {type(error).__name__}: {error}"


def judge(seen: Stored | str | None, tree: Tree, plan: Plan, history: History, loss: Loss) -> Finding:
    """Compare what is stored, and the folders on the rebuilt disk, with the history."""
    finding = Finding()
    if seen is None:
        if loss.acknowledged_at:
            finding.violations.append("the acknowledged experiment is not there")
        return finding
    if isinstance(seen, str):
        finding.violations.append(seen)
        return finding
    found = _matching_pass(seen, history, loss.n_begun)
    if found is None:
        finding.violations.append(_mismatch(seen, history))
        return finding
    lost = loss.acknowledged_at[found + 1 :]
    if lost:
        finding.n_lost, finding.lost_age_s = len(lost), loss.at - lost[0]
        if plan.keeps_all:
            finding.violations.append(f"{len(lost)} acknowledged passes are lost though nothing may be")
        elif finding.lost_age_s > WINDOW_S + _ROUNDING_S:
            finding.violations.append(f"a pass acknowledged {finding.lost_age_s:.3f} s before is lost")
    _check_checkpoints(tree, seen, history, loss, finding)
    return finding


def _read(experiment: Path, plan: Plan, *, is_resumed: bool) -> Stored:
    path = experiment / DATABASE_NAME
    with (
        patch("platform.node", lambda: "machine"),
        patch.object(lease, "boot_id", lambda: "after the loss"),
        patch.object(connection, "is_network_path", lambda path: plan.is_network),
        patch.object(sqlite, "is_network_path", lambda path: plan.is_network),
    ):
        with open_store(experiment) as store:
            n_samples, epoch = store.spec.n_trials, store.epoch
            records = list(map(repr, store.records()))
        # Closed, all of it was moved into the database: this checks what recovery made of it.
        reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            integrity = reader.pragma("integrity_check")
            assert integrity == "ok", f"integrity_check: {integrity}"
            trials = [trial_from_row(row) for row in reader.execute(SELECT_TRIALS)]
        finally:
            reader.close()
        if is_resumed:
            _go_on(experiment, epoch, records)
    kept = {trial.index: tuple(saved.path for saved in trial.checkpoints) for trial in trials}
    return Stored(records, {trial.index: repr(trial) for trial in trials}, kept, n_samples or 0)


def _go_on(experiment: Path, epoch: int, records: list[str]) -> None:
    """The next session appends, and the one after that finds it."""
    started = SessionStarted(epoch + 1, 5.0, (NODE,))
    with open_store(experiment) as store:
        assert store.epoch == epoch + 1, f"epoch {store.epoch} after {epoch}"
        store.append([started], [])
    with open_store(experiment) as store:
        assert list(map(repr, store.records())) == [*records, repr(started)], "what was appended then is not there"


def _matching_pass(stored: Stored, history: History, n_begun: int) -> int | None:
    """The newest begun pass after which exactly this is stored."""
    n_records = len(stored.records)
    if stored.records != history.records[:n_records]:
        return None
    for number in reversed(range(n_begun)):
        after = history.passes[number]
        if (
            after.n_records == n_records
            and after.n_samples == stored.n_samples
            and after.trials == stored.trials
            and after.checkpoints == stored.checkpoints
        ):
            return number
    return None


def _mismatch(stored: Stored, history: History) -> str:
    n_records = len(stored.records)
    same = next(
        (i for i, (a, b) in enumerate(zip(stored.records, history.records, strict=False)) if a != b),
        min(n_records, len(history.records)),
    )
    if same < n_records:
        return f"a hole or a mix: {n_records} records are stored, the first {same} of them as they were appended"
    ends = [number for number, after in enumerate(history.passes) if after.n_records == n_records]
    if not ends:
        return f"half a pass: {n_records} records are stored, where no pass ends"
    after = history.passes[ends[-1]]
    for index in sorted(after.trials | stored.trials):
        expected, seen = after.trials.get(index), stored.trials.get(index)
        if expected != seen:
            return f"the log ends with pass {ends[-1]}, but trial {index} is {seen:.400}, not {expected:.400}"
    return f"the log ends with pass {ends[-1]}, but the spec asks for {stored.n_samples}, not {after.n_samples}"


def _check_checkpoints(tree: Tree, stored: Stored, history: History, loss: Loss, finding: Finding) -> None:
    newest = history.passes[max(loss.n_begun - 1, 0)].checkpoints
    for index, paths in stored.checkpoints.items():
        for path in paths:
            prefix = f"{FOLDER}/{path}/"
            found = {name.removeprefix(prefix): tree[name] for name in tree if name.startswith(prefix)}
            found.pop("", None)  # the folder itself
            if found not in history.manifests[path]:
                finding.checkpoints["half"] += 1
                what = "half" if found else "missing"
                finding.violations.append(f"trial {index}: the folder of the committed checkpoint {path} is {what}")
                break
        else:
            if paths:
                is_new = newest.get(index, ())[-1:] == paths[-1:]
                finding.checkpoints["new" if is_new else "old"] += 1
