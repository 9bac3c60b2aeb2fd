"""What becomes of trials that have reached a stop and cannot be paused there: they go on, or they end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.events import StopPaused, Thaw
from tunesmith.methods.curve_board import CurveBoard, Ladder, OpenTrial, is_spoilt, last_time
from tunesmith.methods.curve_model import HOPELESS
from tunesmith.protocols import History
from tunesmith.trial import Trial, TrialStatus

if TYPE_CHECKING:
    from tunesmith.methods.curve_model import CurveModel

SPOILT = "its last value is no finite number"


def reviewed(
    history: History,
    board: CurveBoard,
    ladder: Ladder,
    *,
    target_of: Callable[[Trial], float],
    model_of: Callable[[], CurveModel],
) -> list[Thaw | StopPaused]:
    """For each trial that runs, has reached its stop and had nothing saved there: to the next stop, or no further.

    Args: target_of: to where a trial is trained; model_of: called only if a trial is due.
    """
    can_pause = _can_pause(history, ladder)
    found: list[Thaw | StopPaused] = []
    for trial in board.running:
        if not _is_due(trial, history.trials[trial.index], ladder, target_of=target_of, can_pause=can_pause):
            continue
        if is_spoilt(history.curves[trial.index]):
            found.append(StopPaused(trial.index, SPOILT))
            continue
        chance = float(model_of().chance([trial])[0])
        words = f"to become the best by {ladder.max_t:g}"
        if chance < HOPELESS and not _is_among_the_best(trial, board, ladder):
            found.append(StopPaused(trial.index, f"a chance of {chance:.1%} {words}"))
        else:
            found.append(Thaw(trial.index, f"a chance of {chance:.0%} {words}", max_t=ladder.next_after(trial.time)))
    return found


def _is_due(
    here: OpenTrial, trial: Trial, ladder: Ladder, *, target_of: Callable[[Trial], float], can_pause: bool
) -> bool:
    """Where trials save at all a checkpoint is waited for; but some save their best only, and improve no more."""
    target = target_of(trial)
    if trial.status is not TrialStatus.RUNNING or trial.stop_asked is not None:
        return False
    if not target <= here.time < ladder.max_t:
        return False
    return not can_pause or here.time >= math.sqrt(target * ladder.max_t)


def _can_pause(history: History, ladder: Ladder) -> bool:
    """Whether an open trial has saved a checkpoint before its end: some save one when all is done."""
    return any(
        trial.checkpoints and not trial.status.is_over and last_time(curve) < ladder.max_t
        for trial, curve in zip(history.trials, history.curves, strict=True)
    )


def _is_among_the_best(trial: OpenTrial, board: CurveBoard, ladder: Ladder) -> bool:
    """Whether its newest loss is in the top share of all that were seen as far as it is."""
    is_before = board.tau <= ladder.tau(trial.time) + 1e-9
    own = board.losses[board.trial == trial.place][-1]
    reached = np.unique(board.trial[board.tau >= ladder.tau(trial.time) - 1e-9])
    others = [board.losses[which][-1] for place in reached if (which := (board.trial == place) & is_before).any()]
    rank = 1 + sum(other < own for other in others)
    return bool(rank <= max(1.0, len(others) / ladder.factor))
