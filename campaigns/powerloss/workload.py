"""Seeded random experiments through the real store, the real fold and the real checkpoint writer, recorded."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import apsw

from campaigns.powerloss.disk import Mark, Op
from campaigns.powerloss.history import History
from campaigns.powerloss.planted import Bug, plant
from campaigns.powerloss.recorder import BASE_VFS, Clock, Recorder, recording
from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    ConcludeAttempt,
    ConfigsSuggested,
    Decision,
    DeleteCheckpoint,
    Record,
    SessionStarted,
    StartAttempt,
    Suggest,
    Suggestion,
    TrialReported,
    Verdict,
)
from tunesmith.experiment.state import ExperimentState
from tunesmith.resources import Node, Placement, Resources
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import Owner, SqliteStore, connection, create_store, lease, open_store, sqlite
from tunesmith.trial import AttemptOutcome, Mode, Objective, TrialStatus
from tunesmith.trialside.checkpoint import begin_folder, copy_folder, finish_folder

FOLDER = "results/experiment"  #: below the recorded folder; both of its parts are made by the store
NODE = Node(name="here", cpu=1000.0)
PLACEMENT = Placement(node="here", resources=Resources(cpu=1.0))
_STRANGE = (math.nan, math.inf, -math.inf, 1e300, 5e-324)


@dataclass(frozen=True, slots=True)
class Plan:
    """What kind of workload a number stands for."""

    seed: int
    number: int
    durability: str
    is_network: bool  #: rollback journal with exclusive locks, as on a network file system
    checkpoint_pages: int  #: of the WAL: small ones, so that it is moved into the database and started anew often
    bug: Bug | None = None

    @property
    def keeps_all(self) -> bool:
        """Whether nothing acknowledged may be lost."""
        return self.durability == "full" or self.is_network


def plan_of(seed: int, number: int, bug: Bug | None = None) -> Plan:
    """The plan of one workload: 6 of 10 at the default, 3 with full durability, 1 with the rollback journal."""
    rng = Random(f"plan {seed} {number}")
    kind = rng.random()
    durability = "full" if 0.6 <= kind < 0.9 else "normal"
    if bug is not None and bug.durability is not None:
        durability = bug.durability
    is_network = kind >= 0.9 and bug is None
    return Plan(seed, number, durability, is_network, rng.choice((6, 25, 100, 2000)), bug)


@dataclass(frozen=True, slots=True)
class Recording:
    """One workload that ran."""

    plan: Plan
    trace: list[tuple[float, Op]]
    history: History


def record(plan: Plan, scratch: Path) -> Recording:
    """Run the workload once in the empty folder `scratch`."""
    clock, top = Clock(), scratch / "disk"
    top.mkdir()
    with _surroundings(plan), recording(top, clock, f"sqlite {plan.seed} {plan.number}") as recorder, plant(plan.bug):
        workload = Workload(plan, recorder, clock, scratch)
        workload.run()
    return Recording(plan, recorder.trace, workload.history)


@contextmanager
def _surroundings(plan: Plan) -> Iterator[None]:
    """A machine that is the same at every replay, with the file system of the plan."""
    dice = Random(f"names {plan.seed} {plan.number}")
    owner = Owner(host="machine", boot_id="before the loss", pid=4242, process_started="1")
    with ExitStack() as stack:
        stack.enter_context(patch("platform.node", lambda: "machine"))
        stack.enter_context(patch.object(lease, "this_process", lambda: owner))
        stack.enter_context(patch.object(connection, "is_network_path", lambda path: plan.is_network))
        stack.enter_context(patch.object(sqlite, "is_network_path", lambda path: plan.is_network))
        stack.enter_context(patch.object(connection, "WAL_CHECKPOINT_PAGES", plan.checkpoint_pages))
        stack.enter_context(patch("secrets.token_hex", lambda n: dice.randbytes(n).hex()))
        stack.enter_context(patch("os.urandom", dice.randbytes))
        yield


def make_spec(n_samples: int) -> ExperimentSpec:
    """What the experiment asks for."""
    return ExperimentSpec(
        experiment_id="e1",
        name="power loss",
        trainable_name="train",
        space={},
        space_fingerprint="f",
        objective=Objective(("loss",), (Mode.MIN,)),
        seed=1,
        n_trials=n_samples,
    )


class Workload:
    """One experiment: sessions of passes, with time going by between them."""

    def __init__(self, plan: Plan, recorder: Recorder, clock: Clock, scratch: Path) -> None:
        self.plan, self.history = plan, History()
        self._rng = Random(f"workload {plan.seed} {plan.number}")
        self._recorder, self._clock, self._scratch = recorder, clock, scratch
        self._folder = recorder.top / FOLDER
        self._n_samples = 10
        self._state = ExperimentState(make_spec(10), Objective(("loss",), (Mode.MIN,)))
        self._records: list[Record] = []  #: of the pass being built
        self._deletions: list[str] = []  #: folders that retention gave up in this pass
        self._unfinished: list[tuple[Path, int]] = []  #: a planted bug: committed before their rename
        self._late: list[TrialReported] = []  #: reports to be answered in a later pass

    def run(self) -> None:
        """Create, append, close, reopen."""
        number = self._begin([], [])
        store = create_store(self._folder, make_spec(10), durability=self.plan.durability, clock=self._clock)
        self._acknowledge(number)
        for session in range(self._rng.randint(1, 3)):
            if session > 0:
                store = self._reopen(store)
            self._session(store)
        self._close(store)
        self._clock.advance(3.0)

    def _reopen(self, store: SqliteStore) -> SqliteStore:
        options = {"durability": self.plan.durability, "clock": self._clock}
        if self.plan.is_network or self._rng.random() < 0.7:
            self._close(store)
            return open_store(self._folder, **options)
        successor = open_store(self._folder, takeover=True, **options)  # the first is fenced off, and still open
        store.close()
        return successor

    def _close(self, store: SqliteStore) -> None:
        if not self.plan.is_network and self._rng.random() < 0.3:  # somebody reads: SQLite leaves the WAL as it is
            # Past the recording VFS, which turns a lock that SQLite tries and does without into an exception.
            reader = apsw.Connection(str(store.path), flags=apsw.SQLITE_OPEN_READONLY, vfs=BASE_VFS)
            reader.execute("SELECT count(*) FROM results").fetchall()
            store.close()
            self._clock.advance(2.5)
            reader.close()
        else:
            store.close()
        self._clock.advance(self._rng.choice((0.0, 0.0, 2.0)))

    def _session(self, store: SqliteStore) -> None:
        if self._rng.random() < 0.4:
            self._n_samples += 1
            number = self._begin([], [])
            store.revise(make_spec(self._n_samples))
            self._acknowledge(number)
            self._clock.advance(self._rng.choice((0.0, 0.3, 2.5)))
        self._late.clear()
        self._put(SessionStarted(store.epoch, self._clock.wall(), (NODE,)))
        self._suggest()
        self._commit(store)
        for _ in range(self._rng.randint(4, 16)):
            self._build_pass()
            self._commit(store)
            self._clock.advance(self._pause_s())

    def _pause_s(self) -> float:
        kind = self._rng.random()
        if kind < 0.4:
            return self._rng.uniform(0.0, 0.1)
        if kind < 0.7:
            return self._rng.uniform(0.1, 0.99)
        return self._rng.choice((0.0, 0.5, 1.0, 1.01, 3.0))

    # ------------------------------------------------------------ commits

    def _begin(self, records: list[Record], trials: list[Any]) -> int:
        number = self.history.add(records, trials, self._n_samples)
        self._recorder.add(Mark("begin", number))
        return number

    def _acknowledge(self, number: int) -> None:
        self._recorder.add(Mark("ack", number))

    def _commit(self, store: SqliteStore) -> None:
        records, self._records = self._records, []
        trials = self._state.take_changed()
        if not records:
            return
        number = self._begin(records, trials)
        store.append(records, trials)
        self._acknowledge(number)
        for path in self._deletions:
            shutil.rmtree(self._folder / path, ignore_errors=True)  # as runner/housekeeping.py does
        self._deletions.clear()
        if Bug.ROW_BEFORE_RENAME is self.plan.bug:
            self._finish_unfinished()

    def _put(self, *records: Record) -> None:
        for item in records:
            self._state.apply(item)
            self._records.append(item)

    # ------------------------------------------------------------ passes

    def _build_pass(self) -> None:
        self._answer_late()
        running = sorted(self._state.running)
        if self._rng.random() < 0.2 or not (running or self._state.pending):
            self._suggest()
        while self._state.pending and self._rng.random() < 0.6:
            self._start(self._state.pending[0])
        for index in self._rng.sample(running, min(len(running), self._rng.randint(1, 3))):
            if self._rng.random() < 0.85:
                self._report(index)
            else:
                self._end(index)

    def _suggest(self) -> None:
        request = self._state.n_requests + 1
        suggestions = []
        for _ in range(self._rng.randint(1, 3)):
            config: dict[str, Any] = {"lr": self._rng.random(), "layers": self._rng.randint(1, 9)}
            if self._rng.random() < 0.06:
                config["large"] = self._rng.randbytes(self._rng.randint(5_000, 30_000)).hex()
            suggestions.append(Suggestion(config, "at random"))
        self._put(Suggest(request, len(suggestions)), ConfigsSuggested(request, tuple(suggestions)))

    def _start(self, index: int) -> None:
        trial = self._state.trials[index]
        start, attempt = trial.checkpoint, trial.attempt + 1
        self._put(
            StartAttempt(
                index,
                attempt,
                PLACEMENT,
                trial.config,
                start.path if start else None,
                start.step if start else 0,
                start.time_total_s if start else 0.0,
            ),
            AttemptStarted(index, attempt, self._clock.wall(), 1000 + index, "here"),
        )

    def _report(self, index: int) -> None:
        trial = self._state.trials[index]
        loss = self._rng.choice(_STRANGE) if self._rng.random() < 0.1 else self._rng.random()
        step = trial.step + 1
        path = self._save(index, step) if self._rng.random() < 0.35 else None
        report = TrialReported(
            index, trial.attempt, step, {"loss": loss, "accuracy": 0.5}, trial.time_total_s + 1.0,
            self._clock.wall(), path,
        )  # fmt: skip
        self._put(report)
        if path is not None:
            self._retain(index)
        kind = self._rng.random()
        if kind < 0.15:
            self._late.append(report)
            return
        reason = Decision(Verdict.CONTINUE, "rank {rank}", {"rank": 3}) if kind < 0.3 else CONTINUE
        self._put(AnswerReport(index, trial.attempt, step, reason))
        if path is None and trial.checkpoints and kind > 0.9:  # told to stop, a class trainable saves once more
            self._put(CheckpointSaved(index, trial.attempt, step, self._save(index, step), self._clock.wall()))
            self._retain(index)

    def _answer_late(self) -> None:
        for report in self._late:
            trial = self._state.trials[report.trial]
            if trial.attempt == report.attempt and trial.status is TrialStatus.RUNNING:
                self._put(AnswerReport(report.trial, report.attempt, report.step, CONTINUE))
        self._late.clear()

    def _end(self, index: int) -> None:
        attempt, at = self._state.trials[index].attempt, self._clock.wall()
        if self._rng.random() < 0.5:
            self._put(
                AttemptEnded(index, attempt, AttemptOutcome.RAISED, at, "Traceback:\n  ValueError: no"),
                ConcludeAttempt(index, attempt, TrialStatus.PENDING, "1 of 3 failures"),
            )
        else:
            self._put(
                AttemptEnded(index, attempt, AttemptOutcome.RETURNED, at, cpu_s=1.5),
                ConcludeAttempt(index, attempt, TrialStatus.COMPLETED),
            )

    # ------------------------------------------------------------ checkpoints

    def _save(self, index: int, step: int) -> str:
        """Save a folder as the trial's process does; returns its path as the report carries it."""
        trial_dir, attempt = self._folder / "trials" / f"{index:05d}", self._state.trials[index].attempt
        if self._rng.random() < 0.3:
            source = self._scratch / "source"
            shutil.rmtree(source, ignore_errors=True)
            source.mkdir()
            self._fill(source)
            finished = copy_folder(source, trial_dir, step, attempt)
        else:
            partial = begin_folder(trial_dir, step, attempt)
            self._fill(partial)
            finished = self._finish(partial, step)
        path = finished.relative_to(self._folder).as_posix()
        self.history.keep(path, finished if finished.exists() else partial)
        return path

    def _finish(self, partial: Path, step: int) -> Path:
        if self.plan.bug is Bug.ROW_BEFORE_RENAME:
            self._unfinished.append((partial, step))
            return partial.with_name(f"checkpoint_{step:06d}")
        return finish_folder(partial, step)

    def _finish_unfinished(self) -> None:
        for partial, step in self._unfinished:
            finish_folder(partial, step)
        self._unfinished.clear()

    def _fill(self, folder: Path) -> None:
        (folder / "model.bin").write_bytes(self._rng.randbytes(self._rng.choice((10, 600, 5_000, 20_000))))
        if self._rng.random() < 0.5:
            (folder / "optimizer").mkdir()
            (folder / "optimizer" / "state.json").write_text(f'{{"step": {self._rng.random()}}}')

    def _retain(self, index: int) -> None:
        """Keep the newest one, and mostly only that: the deletion goes into the pass of the report."""
        *older, newest = self._state.trials[index].checkpoints
        if self._rng.random() < 0.7:
            for saved in older:
                self._put(DeleteCheckpoint(index, saved.path))
                self._deletions.append(saved.path)
        assert self._state.trials[index].checkpoints[-1].path == newest.path
