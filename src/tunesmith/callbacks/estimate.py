"""How long an experiment will still take, said only when something is known."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

#: Trials that must be over before their durations are trusted.
MIN_TRIALS_OVER = 3


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What the estimate rests on."""

    durations_s: tuple[float, ...]  #: training time of each trial that is over, over all its attempts
    spent_s: tuple[float, ...] = ()  #: training time so far of each trial that has begun and is not over
    n_total: int | None = None  #: trials in all; None: endless
    n_parallel: int = 1  #: trials that may run at once, at least 1
    elapsed_s: float = 0.0
    time_budget_s: float | None = None
    n_steps: int = 0
    max_total_steps: int | None = None


def time_left_s(work: Workload) -> float | None:
    """Seconds until the experiment is over, or None where that is unknown yet.

    The trials that are left are taken to last as long as those that are over, early-stopped ones included as they
    come, and to share the slots evenly. A budget of time or steps caps it; an endless experiment has only that.
    """
    limits = [seconds for seconds in (_trials_left_s(work), _steps_left_s(work)) if seconds is not None]
    if work.time_budget_s is not None:
        limits.append(max(0.0, work.time_budget_s - work.elapsed_s))
    return min(limits) if limits else None


def _trials_left_s(work: Workload) -> float | None:
    if work.n_total is None:
        return None
    n_left = max(0, work.n_total - len(work.durations_s))
    if n_left == 0:
        return 0.0
    if len(work.durations_s) < MIN_TRIALS_OVER:
        return None
    mean_s = sum(work.durations_s) / len(work.durations_s)
    rests_s = [_rest_s(work.durations_s, spent_s) for spent_s in work.spent_s[:n_left]]
    n_new = n_left - len(rests_s)
    shared_s = (n_new * mean_s + sum(rests_s)) / min(max(1, work.n_parallel), n_left)
    # The last trials cannot be shared out: the longest single one is a bound of its own.
    return max([shared_s, *rests_s, *([mean_s] if n_new else [])])


def _rest_s(durations_s: Sequence[float], spent_s: float) -> float:
    """What a trial that has run for `spent_s` still needs: the mean rest of those that ran longer.

    One that has outlasted all others is taken to need the mean again: nothing better is known.
    """
    longer = [duration_s for duration_s in durations_s if duration_s > spent_s]
    if not longer:
        return sum(durations_s) / len(durations_s)
    return sum(longer) / len(longer) - spent_s


def _steps_left_s(work: Workload) -> float | None:
    if work.max_total_steps is None:
        return None
    n_left = max(0, work.max_total_steps - work.n_steps)
    if n_left == 0:
        return 0.0
    if len(work.durations_s) < MIN_TRIALS_OVER or work.n_steps == 0:
        return None
    return n_left * work.elapsed_s / work.n_steps
