"""Which checkpoints of a trial are kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from tunesmith.events import DeleteCheckpoint
from tunesmith.experiment.cloning import Loan, own_checkpoints
from tunesmith.experiment.state import ExperimentState
from tunesmith.spec import CheckpointPolicy
from tunesmith.trial import Checkpoint


def retention_of(state: ExperimentState, index: int) -> list[DeleteCheckpoint]:
    """What the trial need not keep any more."""
    own, needed = own_checkpoints(state.trials[index]), state.needed_checkpoints()
    surplus = surplus_checkpoints(own, state.spec.checkpoint_policy, in_use=needed)
    return [DeleteCheckpoint(index, saved.path) for saved in surplus]


def retention_of_lenders(state: ExperimentState, before: Collection[Loan]) -> list[DeleteCheckpoint]:
    """What trials need not keep any more since others have given it back. Args: before: the loans there were."""
    found: dict[DeleteCheckpoint, None] = {}
    for donor, path in sorted(set(before) - state.borrowing.all_loans()):
        is_listed = any(saved.path == path for saved in state.trials[donor].checkpoints)
        found |= dict.fromkeys(retention_of(state, donor) if is_listed else superseded(state, donor, [path]))
    return list(found)


def superseded(state: ExperimentState, index: int, paths: Sequence[str]) -> list[DeleteCheckpoint]:
    """Of what the trial does not count any more, what nobody needs and nobody wants to keep."""
    if state.spec.checkpoint_policy.keep_all:
        return []
    needed = state.needed_checkpoints()
    return [DeleteCheckpoint(index, path) for path in paths if path not in needed]


def surplus_checkpoints(
    checkpoints: Sequence[Checkpoint], policy: CheckpointPolicy, *, in_use: Collection[str] = ()
) -> list[Checkpoint]:
    """Those that the policy no longer keeps. The newest always stays, and the best `keep_num` (by default 1) others.

    Args:
        checkpoints: oldest first; a smaller score is better, None and NaN are the worst, the older of equals wins.
        in_use: paths that a running attempt started from and may still be reading: they stay.
    """
    if policy.keep_all or len(checkpoints) < 2:
        return []
    keep_num = 1 if policy.keep_num is None else policy.keep_num
    ranked = sorted(checkpoints, key=_rank)
    kept = {saved.path for saved in ranked[:keep_num]} | {checkpoints[-1].path}
    return [saved for saved in checkpoints if saved.path not in kept and saved.path not in in_use]


def _rank(saved: Checkpoint) -> tuple[bool, float]:
    is_unknown = saved.score is None or math.isnan(saved.score)
    return is_unknown, 0.0 if saved.score is None or is_unknown else saved.score
