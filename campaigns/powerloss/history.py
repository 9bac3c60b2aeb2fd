"""What a workload was told is stored: the passes, when each was acknowledged, and the checkpoints' contents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from campaigns.powerloss.disk import Tree
from tunesmith.events import Record
from tunesmith.trial import Trial


@dataclass(frozen=True, slots=True)
class Pass:
    """One commit: an append, a revised spec, or (the first) the creation of the store."""

    n_records: int  #: in the log after it
    trials: dict[int, str]  #: every trial as it stands after it
    checkpoints: dict[int, tuple[str, ...]]  #: kept by each trial, oldest first
    n_samples: int  #: what the spec asks for


@dataclass(slots=True)
class History:
    """All passes of a workload, whatever became of them."""

    passes: list[Pass] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    manifests: dict[str, list[Tree]] = field(default_factory=dict)

    def add(self, records: Sequence[Record], trials: Sequence[Trial], n_samples: int) -> int:
        """Note a pass that is about to be committed; returns its number."""
        before = self.passes[-1] if self.passes else Pass(0, {}, {}, n_samples)
        self.records += map(repr, records)
        changed = {trial.index: repr(trial) for trial in trials}
        kept = {trial.index: tuple(saved.path for saved in trial.checkpoints) for trial in trials}
        self.passes.append(
            Pass(len(self.records), before.trials | changed, before.checkpoints | kept, n_samples),
        )
        return len(self.passes) - 1

    def keep(self, path: str, folder: Path) -> None:
        """Note what a checkpoint holds; a name may be used again after its folder was deleted."""
        self.manifests.setdefault(path, []).append(read_tree(folder))


def read_tree(folder: Path) -> Tree:
    """Every file below the folder, and an empty entry for each folder."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[f"{name}/" if path.is_dir() else name] = b"" if path.is_dir() else path.read_bytes()
    return found
