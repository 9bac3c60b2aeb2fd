"""Plays one world: drivers that crash, are taken over, fail to write or are interrupted, until the experiment ends."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from campaigns.simulate import checks
from campaigns.simulate.disk import mounted
from campaigns.simulate.executor import WorldExecutor
from campaigns.simulate.faults import AppendError, DriverCrash, Violation, require
from campaigns.simulate.plan import Plan, draw_plan
from campaigns.simulate.stores import Backend, MemoryBackend, SqliteBackend, WorldStore
from campaigns.simulate.witness import Witness
from campaigns.simulate.world import World
from tunesmith.errors import LeaseError, TunesmithError
from tunesmith.events import InterruptRequested, Suggest
from tunesmith.protocols import History
from tunesmith.runner.loop import Loop
from tunesmith.runner.suggester import InlineSuggester

_MAX_SESSIONS = 60
_MAX_PASSES = 20_000
_log = logging.getLogger("tunesmith")


@dataclass
class Played:
    """What became of one world."""

    seed: int
    digest: str = ""  #: of the log as it was stored
    is_sqlite: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    end: str = "not"  #: why the experiment ended at last
    violation: Violation | None = None
    where: str = ""  #: traceback of the violation
    lines: list[str] = field(default_factory=list)  #: the log as it was stored


class _Suggester:
    """Asks the searcher inline; the answer takes its virtual time, and now and then more."""

    def __init__(self, world: World, witness: Witness, executor: WorldExecutor) -> None:
        self._world, self._witness = world, witness
        extra_s = world.plan.faults.slow_search_s
        post = lambda event, delay_s: executor.post(event, delay_s + world.rng.uniform(0.0, extra_s))  # noqa: E731
        self._inline = InlineSuggester(world.plan.make_searcher(), post, cost_s=world.plan.cost_s)

    def ask(self, command: Suggest, history: History) -> None:
        """See Suggester."""
        self._world.point("before a suggestion")
        self._witness.on_carry_out(command)
        self._world.counts["stand-ins"] += command.instead_of is not None
        self._inline.ask(command, history)

    def close(self) -> None:
        """Nothing to close."""


class _Driver:
    """The real experiment and loop, on the simulated executor and store."""

    def __init__(self, world: World, witness: Witness, backend: Backend, executor_type: type[WorldExecutor]) -> None:
        self.world, self.witness = world, witness
        self._executor_type = executor_type
        self.store = WorldStore(world, witness, backend.open())
        self.experiment = checks.new_experiment(world.plan)
        self.experiment.replay(self.store.records())
        self.executor: WorldExecutor | None = None

    def run(self, check_pass: partial[None]) -> None:
        """Run a session to its end, or to the driver's."""
        self.witness.begin_session(check_pass)
        self.executor = self._executor_type(self.world, self.witness)
        loop = Loop(
            self.experiment,
            store=self.store,
            executor=self.executor,
            suggester=_Suggester(self.world, self.witness, self.executor),
            clock=self.world.clock,
            delete_checkpoint=self.executor.delete,
            after_pass=lambda: self.world.point("after a pass"),
        )
        self._post_interrupts(self.executor)
        try:
            loop.run(self.store.epoch)
        except (AppendError, LeaseError):
            self._require_dead(loop)
            raise

    def _post_interrupts(self, executor: WorldExecutor) -> None:
        world = self.world
        if world.n_interrupts_left and world.chance(0.6):
            world.n_interrupts_left -= 1
            at = world.rng.uniform(0.0, 20.0)
            executor.post(InterruptRequested(1, world.rng.choice(("SIGINT", "SIGTERM"))), at)
            world.counts["interrupts"] += 1
            if world.chance(world.plan.faults.p_second_press):
                executor.post(InterruptRequested(2, "SIGINT"), at + world.rng.uniform(0.0, 3.0))
                world.counts["second presses"] += 1

    def _require_dead(self, loop: Loop) -> None:
        """A loop that could not commit does not go on."""
        n_before = len(self.witness.batch_sizes)
        try:
            loop.handle([])
        except TunesmithError:
            pass
        else:
            raise Violation("a loop that failed to commit goes on", "handle() did not refuse")
        require(len(self.witness.batch_sizes) == n_before, "a loop that failed to commit goes on", "it committed")


class Campaign:
    """One world, from its first driver to the end of its experiment."""

    executor_type = WorldExecutor

    def __init__(self, plan: Plan, backend: Backend, world: World) -> None:
        self.plan, self.world, self.backend = plan, world, backend
        self.witness = Witness(plan, world.ledger, world.clock)
        self._successor: _Driver | None = None
        self._n_passes = 0

    def play(self) -> None:
        """Run drivers until one sees the experiment's end."""
        for _ in range(_MAX_SESSIONS):
            driver = self._successor or self._new_driver()
            self._successor = None
            self._aim(driver)
            self.world.counts["drivers"] += 1
            if self._run(driver) and not self._goes_on(driver):
                checks.check_end(driver.experiment, self.witness, self.backend)
                return
        raise Violation("the experiment does not end", f"{_MAX_SESSIONS} drivers")

    def _new_driver(self) -> _Driver:
        return _Driver(self.world, self.witness, self.backend, self.executor_type)

    def _run(self, driver: _Driver) -> bool:
        """Whether the session came to its end."""
        try:
            driver.run(partial(self._check_pass, driver))
        except DriverCrash as crash:
            self._after_crash(driver, crash)
            return False
        except AppendError:
            return False
        except LeaseError as error:
            require(self._successor is not None, "fenced off by nobody", f"{error}")
            return False
        finally:
            if driver.executor is not None:
                driver.executor.close()
        self._check_pass(driver)
        return True

    def _check_pass(self, driver: _Driver) -> None:
        checks.check_pass(driver.experiment, self.witness)
        self._n_passes += 1
        if self._n_passes > _MAX_PASSES:
            raise Violation("the experiment does not end", f"{_MAX_PASSES} passes")
        self.world.counts["passes"] += 1
        if self._n_passes % 61 == self.plan.seed % 61:
            self.world.counts["replays compared"] += 1
            checks.check_replay(driver.experiment, self.witness, self.backend)

    def _after_crash(self, driver: _Driver, crash: DriverCrash) -> None:
        """What was committed is what there is; where the crash left no pass half done, a replay gives all of it."""
        if str(crash) != "before an append":
            replayed = checks.new_experiment(self.plan)
            replayed.replay(driver.store.records())
            self.world.counts["replays compared"] += 1
            checks.require_same_facts(checks.facts(driver.experiment), checks.facts(replayed))
        if crash.is_power_loss:
            self.world.disk.root.lose_power(self.world.rng)

    def _goes_on(self, driver: _Driver) -> bool:
        """Whether the experiment is resumed: after an interrupt always, after a failure or a budget a few times."""
        ending = self.witness.ending
        if ending is None or not ending.why.is_resumable:
            return False
        self.world.counts[f"sessions that ended {ending.why.value}"] += 1
        return ending.why.value == "interrupted" or self.world.counts[f"sessions that ended {ending.why.value}"] <= 2

    def _aim(self, driver: _Driver) -> None:
        """Choose how this driver ends, while there are crashes left."""
        world, faults = self.world, self.plan.faults
        world.spare()
        if world.n_crashes_left == 0:
            return
        world.n_crashes_left -= 1
        kind = world.rng.random()
        if kind < faults.p_takeover:
            driver.store.takeover_at = world.rng.randint(1, 40)
            driver.store.on_takeover = self._take_over
        elif kind < faults.p_takeover + faults.p_append:
            driver.store.failure_at = world.rng.randint(1, 40)
        else:
            world.aim_crash()

    def _take_over(self) -> None:
        self._successor = self._new_driver()


def play_seed(seed: int, *, keeps_log: bool = False) -> Played:
    """Play the world of this seed to its end, or to the first violation."""
    plan = draw_plan(seed)
    if not plan.is_sqlite:
        return play(plan, MemoryBackend(), World(plan), keeps_log=keeps_log)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    world = World(plan)
    with tempfile.TemporaryDirectory(prefix="simulate-", dir=memory) as folder:
        backend = SqliteBackend(world, Path(folder) / "experiment")
        try:
            return play(plan, backend, world, keeps_log=keeps_log)
        finally:
            backend.close()


@contextmanager
def quiet() -> Iterator[None]:
    """Within it nothing is logged: searchers that fail are part of the play."""
    level = _log.level
    _log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        _log.setLevel(level)


def play(plan: Plan, backend: Backend, world: World, *, keeps_log: bool = False) -> Played:
    """Play one world on this store."""
    played = Played(plan.seed, is_sqlite=plan.is_sqlite, counts=world.counts)
    campaign = Campaign(plan, backend, world)
    try:
        with mounted(world.disk), quiet():
            campaign.play()
    except Violation as violation:
        played.violation, played.where = violation, traceback.format_exc()
    except Exception as error:
        played.violation = Violation("an exception", f"{type(error).__name__}: {error}")
        played.where = traceback.format_exc()
    lines = backend.lines() if campaign.witness.batch_sizes else []
    if played.violation is None and campaign.witness.ending is not None:
        played.end = campaign.witness.ending.why.value
    world.counts["records"] = len(lines)
    world.counts["results acknowledged"] = len(world.ledger.acknowledged)
    world.counts["given up"] = campaign.witness.n_given_up
    world.counts["trials"] = len(campaign.witness.rows)
    world.counts["virtual seconds"] = int(world.clock.now())
    played.digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    played.lines = lines if keeps_log else []
    return played
