"""Synthetic experiments for the tests and the demonstration of callbacks: views without a driver or a store."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec

from tunesmith.callbacks.progress_view import Best, ProgressView, ResourceUse
from tunesmith.events import EndReason
from tunesmith.resources import Placement, Resources
from tunesmith.trial import Checkpoint, Mode, Objective, Trial, TrialStatus

LOSS = Objective(metrics=("loss",), modes=(Mode.MIN,))
ERROR = """Traceback (most recent call last):
  File "/home/ada/train.py", line 31, in train_cifar
    loss.backward()
  File "/home/ada/lib/torch/_tensor.py", line 626, in backward
    torch.autograd.backward(
RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 8.00 GiB total capacity)
"""


def trial(index: int, status: TrialStatus = TrialStatus.RUNNING, **facts: Any) -> Trial:
    """A trial of the tutorial's space that has reported five steps."""
    loss = facts.pop("loss", 1.0 / (index + 1))
    step = facts.pop("step", 5)
    defaults: dict[str, Any] = {
        "config": {"l1": 2 ** (index % 7 + 2), "l2": 16, "lr": 0.0123456789 / (index + 1), "batch_size": 4},
        "attempt": 1,
        "n_reports": step,
        "metrics": {"loss": loss, "accuracy": 1 - loss} if step else None,
        "time_total_s": 2.0 * step,
        "best_value": loss if step and not math.isnan(loss) else None,
        "best_step": step if step and not math.isnan(loss) else None,
        "started_at": 1000.0 + index,
        "reported_at": 1010.0 + index,
        "ended_at": 1020.0 + index if status.is_over else None,
        "pid": 4000 + index,
        "node": "gpu-node-7",
    }
    if status is TrialStatus.RUNNING:
        defaults["placement"] = Placement("gpu-node-7", Resources(cpu=2, gpu=0.5))
    return Trial(index=index, trial_id=f"5d9ac_{index:05d}", status=status, step=step, **{**defaults, **facts})


def view(*trials: Trial, **facts: Any) -> ProgressView:
    """A view of these trials by an objective of small loss."""
    counts: dict[TrialStatus, int] = {}
    for each in trials:
        counts[each.status] = counts.get(each.status, 0) + 1
    ranked = sorted((t for t in trials if t.best_value is not None), key=lambda t: t.best_value or 0.0)
    best = None
    if ranked:
        top = ranked[0]
        best = Best(
            trial=top.index,
            name=f"train_cifar_{top.trial_id}",
            metric="loss",
            mode="min",
            value=top.best_value or 0.0,
            step=top.best_step or 0,
            config=top.config,
            checkpoint=f"/home/ada/tunesmith/train_cifar/{top.checkpoint.path}" if top.checkpoint else None,
            checkpoint_step=top.checkpoint.step if top.checkpoint else None,
        )
    defaults: dict[str, Any] = {
        "name": "train_cifar_2025-01-31_12-00-00",
        "folder": "/home/ada/tunesmith/train_cifar",
        "names": {t.index: f"train_cifar_{t.trial_id}" for t in trials},
        "log_files": {
            t.index: f"/home/ada/tunesmith/train_cifar/train_cifar_{t.trial_id}/stderr.log" for t in trials if t.error
        },
        "counts": counts,
        "n_total": 10,
        "n_reports": sum(t.n_reports for t in trials),
        "n_steps": sum(t.step for t in trials),
        "elapsed_s": 75.0,
        "now_wall": 1030.0,
        "n_parallel": 4,
        "resources": (ResourceUse("CPU", 8, 16), ResourceUse("GPU", 2, 2)),
        "memory_used_bytes": 12 * 2**30,
        "memory_total_bytes": 64 * 2**30,
        "objective": LOSS,
        "best": best,
        "searcher_name": "random",
        "scheduler_name": "ASHA",
        "scheduler_lines": (
            "Using ASHA: num_stopped=12, rungs at 1, 2, 4, 8",
            "Bracket: Iter 8.000: -0.00034 | Iter 4.000: -0.0123 | Iter 2.000: -0.31 | Iter 1.000: -0.87",
        ),
    }
    return ProgressView(trials=trials, **{**defaults, **facts})


#: Markup, an emoji code, escape sequences, a bell, a change of direction, line ends, C1 and a lone surrogate.
HOSTILE = "[bold red]x[/] :smile: \x1b[2J\x1b]0;owned\x07 \u202e\n\r\x9b31m\ud800"


def hostile_view() -> ProgressView:
    """An experiment in which every text that somebody else wrote is hostile."""
    failed = trial(
        1, TrialStatus.FAILED, error=ERROR + HOSTILE, n_failures=1, config={HOSTILE: HOSTILE, "x": 1}, loss=0.1
    )
    stopped = trial(2, TrialStatus.STOPPED, reason=HOSTILE, metrics={HOSTILE: 1.0, "loss": 1.0}, config={HOSTILE: "y"})
    return view(
        trial(0, node=HOSTILE, stop_asked=HOSTILE, config={"lr": HOSTILE}),
        failed,
        stopped,
        name=HOSTILE,
        folder=HOSTILE,
        names=dict.fromkeys(range(3), HOSTILE),
        log_files={1: HOSTILE},
        scheduler_lines=(HOSTILE,),
        searcher_name=HOSTILE,
        scheduler_name=HOSTILE,
        resources=(ResourceUse(HOSTILE, 1, 2),),
        end_status=EndReason.STOPPER,
        end_detail=HOSTILE,
    )


class GrowingWorld:
    """An experiment of `n_total` trials that grows with each `view_at`: stops, failures, NaN and long names in it."""

    def __init__(self, n_total: int, *, seed: int = 7, n_parallel: int = 8, is_nasty: bool = True) -> None:
        self._n_total = n_total
        self._n_parallel = n_parallel
        self._seed = seed
        self._is_nasty = is_nasty

    def view_at(self, elapsed_s: float) -> ProgressView:
        """Ten seconds a trial that is not stopped, up to `n_parallel` at once; two steps a second."""
        trials = [self._trial(i, elapsed_s) for i in range(self._n_total) if self._started_s(i) <= elapsed_s]
        is_over = len(trials) == self._n_total and all(t.status.is_over for t in trials)
        now = 1000.0 + elapsed_s
        n_running = sum(t.status is TrialStatus.RUNNING for t in trials)
        return view(
            *trials,
            n_total=self._n_total,
            elapsed_s=elapsed_s,
            now_wall=now,
            n_parallel=self._n_parallel,
            resources=(ResourceUse("CPU", 2 * n_running, 16), ResourceUse("GPU", 0.5 * n_running, 4)),
            end_status=EndReason.FINISHED if is_over else None,
        )

    def _started_s(self, index: int) -> float:
        return index * 10.0 / self._n_parallel

    def _trial(self, index: int, elapsed_s: float) -> Trial:
        rng = random.Random(self._seed * 10007 + index)
        config: dict[str, Any] = {
            "l1": 2 ** rng.randint(2, 8),
            "l2": 2 ** rng.randint(2, 8),
            "lr": 10 ** rng.uniform(-4, -1),
            "batch_size": rng.choice([2, 4, 8, 16]),
        }
        if self._is_nasty:
            config["optimizer"] = {"name": rng.choice(["sgd", "adamw_with_a_rather_long_name_in_it"]), "momentum": 0.9}
            config["data_dir"] = "/home/ada/a/very/long/path/to/the/data/of/cifar"
        n_steps_max = rng.choice([1, 2, 4, 9, 18])
        step = min(n_steps_max, int((elapsed_s - self._started_s(index)) * 2))
        is_over = elapsed_s >= self._started_s(index) + 9.9 or (step >= n_steps_max and n_steps_max < 18)
        loss = math.nan if index % 11 == 3 and self._is_nasty else 2.3 * rng.random() / (1 + step / 4) + 0.05
        status, reason, error = TrialStatus.RUNNING, None, None
        if is_over and index % 13 == 5:
            status, reason, error = TrialStatus.FAILED, "RuntimeError: CUDA out of memory.", ERROR
        elif is_over and n_steps_max < 18:
            rank = rng.randint(3, 9)
            status = TrialStatus.STOPPED
            reason = f"rank {rank} of 9 at rung {n_steps_max}, {rank - 2} kept"
        elif is_over:
            status, reason = TrialStatus.COMPLETED, "reached the last rung"
        made = trial(index, status, step=step, loss=loss, config=config, reason=reason, error=error)
        started_at = 1000.0 + self._started_s(index)
        return msgspec.structs.replace(
            made,
            started_at=started_at,
            reported_at=started_at + step / 2,
            ended_at=started_at + 9.2 if is_over else None,
            n_failures=1 if error else 0,
            checkpoints=(Checkpoint(f"train_cifar_{made.trial_id}/checkpoint_{step:06d}", step, 1),) if step else (),
        )
