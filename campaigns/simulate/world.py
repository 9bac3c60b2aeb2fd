"""The part of a simulated world that outlives its drivers: time, disk, what really happened, and the faults to come."""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

from campaigns.simulate.disk import Disk, File, Folder, ModelPath
from campaigns.simulate.faults import DriverCrash, require
from campaigns.simulate.ledger import Ledger
from campaigns.simulate.plan import Plan
from tunesmith.clock import VirtualClock
from tunesmith.events import Event
from tunesmith.trialside import checkpoint


class WorldClock(VirtualClock):
    """A virtual clock whose wall time may jump while its seconds go on."""

    def __init__(self) -> None:
        super().__init__(start_wall=1_700_000_000.0)
        self.wall_jump_s = 0.0

    def wall(self) -> float:
        """Seconds since the epoch, as the machine believes."""
        return super().wall() + self.wall_jump_s


class World:
    """Args: plan: what kind of world; a plan's world is always the same."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = Random(f"faults {plan.seed}")
        self.clock = WorldClock()
        self.disk = Disk()
        self.disk.root.names["trials"] = Folder()
        self.disk.root.sync()
        self.ledger = Ledger()
        self.counts: Counter[str] = Counter()
        self.n_attempt_faults_left = plan.faults.n_attempt_faults
        self.n_node_losses_left = plan.faults.n_node_losses
        self.n_interrupts_left = plan.faults.n_interrupts
        self.n_crashes_left = plan.faults.n_crashes
        #: What attempts of drivers that are gone had sent: it may reach a later driver.
        self.stray: list[Event] = []
        self._n_points = 0
        self._crash_at: float = math.inf

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens now."""
        return probability > 0 and self.rng.random() < probability

    # ------------------------------------------------------------ drivers that die

    def aim_crash(self) -> None:
        """Have the driver die at one of its next points."""
        self._n_points, self._crash_at = 0, int(math.exp(self.rng.uniform(0.0, math.log(300.0))))

    def spare(self) -> None:
        """Let the driver live."""
        self._crash_at = math.inf

    def point(self, where: str) -> None:
        """A place at which the driver may die."""
        self._n_points += 1
        if self._n_points >= self._crash_at:
            self._crash_at = math.inf
            is_power_loss = self.chance(self.plan.faults.p_power_loss)
            self.counts["power losses" if is_power_loss else "crashes"] += 1
            self.counts[f"crashed {where}"] += 1
            raise DriverCrash(where, is_power_loss=is_power_loss)

    def jump(self) -> None:
        """Now and then the wall clock is set."""
        if self.chance(self.plan.faults.p_wall_jump):
            self.clock.wall_jump_s += self.rng.choice((-3600.0, 3600.0))
            self.counts["wall clock jumps"] += 1

    # ------------------------------------------------------------ checkpoints

    def save_checkpoint(self, trial: int, attempt: int, step: int, *, dies: bool = False) -> str | None:
        """Save a folder by the real protocol; with `dies` the process is gone in the middle."""
        partial: Any = checkpoint.begin_folder(self._trial_dir(trial), step, attempt)
        partial.write("model", _content(trial, step))
        if dies:
            return None
        partial.write("state", b"optimizer")
        return str(checkpoint.finish_folder(partial, step))

    def _trial_dir(self, trial: int) -> Any:
        return ModelPath(self.disk, f"trials/{trial:05d}")

    def check_start(self, trial: int, path: str | None, step: int) -> None:
        """A trial that starts reads its checkpoint: it must be there, whole, and of the step it is said to be of."""
        if path is None:
            require(step == 0, "start without its checkpoint", f"trial {trial} starts at step {step} from nothing")
            return
        folder = self.disk.find(path)
        require(isinstance(folder, Folder), "start from a missing checkpoint", f"trial {trial} from {path}")
        assert isinstance(folder, Folder)
        owner = int(path.split("/")[1])  # of a clone another trial
        data = {name: node.data for name, node in folder.names.items() if isinstance(node, File)}
        kind = "start from an incomplete checkpoint"
        require(set(data) == {"model", "state"} and all(data.values()), kind, f"{path} holds {data}")
        require(
            data["model"] == _content(owner, step),
            "start at another step than the checkpoint's",
            f"trial {trial} starts at step {step} from {path}, which holds {data['model']!r}",
        )


def _content(trial: int, step: int) -> bytes:
    return f"trial {trial} step {step}".encode()
