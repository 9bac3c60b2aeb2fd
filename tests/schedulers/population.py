"""A simulated population whose checkpoints hold weights: what a clone goes on from shows in what it reports."""

from __future__ import annotations

from typing import Any

from tunesmith.events import AnswerReport, ConcludeAttempt, DeleteCheckpoint, StartAttempt, TrialReported, Verdict
from tunesmith.executors.simulated import SimulatedExecutor, SimulatedStep
from tunesmith.space import uniform
from tunesmith.stores import MemoryStore
from tunesmith.testing import Simulation

SPACE = {"lr": uniform(0.0, 1.0)}


def trained(weight: float, lr: float) -> float:
    """One step of the toy training: the weight shrinks best at lr 0.3, and grows above 0.7."""
    return weight * (0.7 + 3.0 * abs(lr - 0.3) ** 2 if lr < 0.7 else 1.3)


class WeightExecutor(SimulatedExecutor):
    """Trials start from the weight in their checkpoint. `weights`: path -> weight; give it on to a resume."""

    def __init__(
        self, *, n_steps: int = 30, saves_every: int = 1, weights: dict[str, float] | None = None, **more: Any
    ):
        super().__init__(lambda config, first: iter(()), **more)
        self.n_steps, self.saves_every = n_steps, saves_every
        self.weights = {} if weights is None else weights
        self.dies = lambda command, step: False

    def steps_of(self, command: StartAttempt) -> Any:
        weight = 1.0 if command.checkpoint is None else self.weights[command.checkpoint]
        for step in range(command.start_step + 1, self.n_steps + 1):
            weight = trained(weight, command.config["lr"])
            if self.dies(command, step):
                raise RuntimeError(f"broken at step {step}")
            is_saved = step % self.saves_every == 0
            if is_saved:
                folder = f"trials/{command.trial:05d}/checkpoint_{step:06d}_{command.attempt}"
                self.weights[folder] = weight
            yield SimulatedStep(1.0 + 0.01 * command.trial, {"loss": weight}, is_saved)


class Full(Exception):
    """The store takes no more."""


class LimitedStore(MemoryStore):
    """Dies at the append that would bring it above so many records."""

    def __init__(self, n_records: int, log: Any = ()):
        super().__init__()
        super().append(list(log), [])
        self.n_records = n_records

    def append(self, records: Any, trials: Any) -> None:
        if self.last_seq() + len(records) > self.n_records:
            raise Full
        super().append(records, trials)


def population(scheduler: Any, *, n_trials: int = 8, n_workers: int = 8, n_ahead: int = 8, **more: Any) -> Simulation:
    """The simulation, not yet run."""
    executor = more.pop("executor", None)
    if executor is None:
        facts = {name: more.pop(name) for name in ("n_steps", "saves_every", "weights") if name in more}
        executor = WeightExecutor(n_workers=n_workers, **facts)
    return Simulation(
        lambda config, first: iter(()),
        space=more.pop("space", SPACE),
        scheduler=scheduler,
        executor=executor,
        n_trials=n_trials,
        n_ahead=n_ahead,
        **more,
    )


def clones(log: Any) -> list[StartAttempt]:
    """Starts from another trial's checkpoint."""
    return [r for r in log if isinstance(r, StartAttempt) and r.donor is not None and r.donor != r.trial]


def check_lineage(log: Any, weights: dict[str, float] | None = None) -> None:
    """Raise AssertionError unless each start is from what was committed before, steps go on, and nothing is twice."""
    saved: dict[str, tuple[int, int, float]] = {}  # path -> trial, step, loss
    gone: set[str] = set()
    started: dict[int, StartAttempt] = {}
    step: dict[int, int] = {}
    seen: set[tuple[int, int, int]] = set()
    told: dict[int, Any] = {}
    for record in log:
        if isinstance(record, StartAttempt):
            started[record.trial], step[record.trial] = record, record.start_step
            if record.checkpoint is not None:
                owner, at, _ = saved[record.checkpoint]
                assert record.checkpoint not in gone, record
                assert at == record.start_step, record
                assert owner == record.trial or record.config == _config_of_clone(log, record), record
            if record.donor is not None:
                assert saved[record.checkpoint][0] == record.donor, record
                clone = told.pop(record.trial, None)
                assert clone is None or (clone.donor, clone.checkpoint, clone.config) == (
                    record.donor, record.checkpoint, record.config,
                )  # fmt: skip
        elif isinstance(record, TrialReported):
            key = (record.trial, record.attempt, record.step)
            assert key not in seen, "a result is stored twice"
            seen.add(key)
            assert record.step == step[record.trial] + 1, record
            start = started[record.trial]
            if record.step == start.start_step + 1 and start.checkpoint is not None:
                assert record.metrics["loss"] == trained(saved[start.checkpoint][2], start.config["lr"]), record
            step[record.trial] = record.step
            if record.checkpoint is not None:
                saved[record.checkpoint] = (record.trial, record.step, record.metrics["loss"])
        elif isinstance(record, AnswerReport) and record.decision.verdict is Verdict.CLONE:
            told[record.trial] = record.decision.clone
        elif isinstance(record, DeleteCheckpoint):
            gone.add(record.path)
        elif isinstance(record, ConcludeAttempt) and record.status.is_over:
            told.pop(record.trial, None)


def _config_of_clone(log: Any, start: StartAttempt) -> Any:
    """The config of the trial's last clone at or before this start."""
    found = [r for r in clones(log) if r.trial == start.trial and r.attempt <= start.attempt]
    return found[-1].config
