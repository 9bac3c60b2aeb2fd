"""Which checkpoints of a trial are kept."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.spec import CheckpointPolicy
from tunesmith.trial import Checkpoint


def surplus_checkpoints(checkpoints: Sequence[Checkpoint], policy: CheckpointPolicy) -> list[Checkpoint]:
    """Those that the policy no longer keeps. The newest always stays, and the best `keep_num` (by default 1) others.

    Args: checkpoints, oldest first; a smaller score is better, None is the worst, the older of equals wins.
    """
    if policy.keep_all or len(checkpoints) < 2:
        return []
    keep_num = 1 if policy.keep_num is None else policy.keep_num
    ranked = sorted(checkpoints, key=lambda saved: float("inf") if saved.score is None else saved.score)
    kept = {id(saved) for saved in ranked[:keep_num]} | {id(checkpoints[-1])}
    return [saved for saved in checkpoints if id(saved) not in kept]
