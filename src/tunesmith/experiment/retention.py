"""Which checkpoints of a trial are kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from tunesmith.spec import CheckpointPolicy
from tunesmith.trial import Checkpoint


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
