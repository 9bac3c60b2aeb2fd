"""What each report must be answered, worked out apart from the code under test: naively, from the log alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from campaigns.simulate.plan import Plan
from campaigns.simulate.rows import Row
from tunesmith.events import TrialReported, Verdict
from tunesmith.rng import generator
from tunesmith.trial import Mode, TrialStatus


@dataclass
class _OracleRung:
    """One level of one bracket: score by trial, larger is better; the first value of a trial stands."""

    level: int
    scores: dict[int, float] = field(default_factory=dict)

    @property
    def finite(self) -> list[float]:
        return [score for score in self.scores.values() if math.isfinite(score)]


class Oracle:
    """The decisions of one experiment, report by report in the log's order."""

    def __init__(self, plan: Plan, rows: Sequence[Row]) -> None:
        self._plan, self._rows = plan, rows
        levels = []
        level = plan.grace_period
        while level <= plan.max_t:
            levels.append(level)
            level *= plan.reduction_factor
        below = [level for level in levels if level < plan.max_t]
        self._brackets = [[_OracleRung(level) for level in below[s:]] for s in range(plan.n_brackets)]
        weights = [math.exp(max(len(levels) - s, 0)) for s in range(plan.n_brackets)]
        self._cumulative = list(np.cumsum(weights) / sum(weights))

    def verdict(self, report: TrialReported) -> Verdict:
        """The answer to this report, which is recorded at its rung, of an attempt that was not told to end."""
        by_scheduler = self._by_scheduler(report)
        if report.is_last:
            return Verdict.COMPLETE
        if self._plan.stop != "none" and report.step >= self._plan.stop_at:
            return Verdict.COMPLETE
        return by_scheduler

    def _by_scheduler(self, report: TrialReported) -> Verdict:
        plan = self._plan
        if plan.scheduler == "fifo":
            return Verdict.CONTINUE
        if report.step >= plan.max_t:
            return Verdict.COMPLETE
        if plan.scheduler == "synchronous":
            is_rung = report.step % (plan.grace_period + 1) == 0 and report.checkpoint is not None
            return Verdict.PAUSE if is_rung else Verdict.CONTINUE
        if plan.thaws:
            row = self._rows[report.trial]
            target = max(row.max_t, self._next_level(row.start_step))
            return Verdict.PAUSE if report.step >= target and report.checkpoint is not None else Verdict.CONTINUE
        if plan.scheduler == "copying":
            return Verdict.CONTINUE if self.donor(report) is None else Verdict.CLONE
        return self._asha(report)

    def _next_level(self, step: int) -> float:
        """To where a trial is trained that starts at this step; the last level lies well below the end."""
        plan, level = self._plan, float(self._plan.grace_period)
        while level <= step:
            level *= plan.reduction_factor
        is_first = level == plan.grace_period
        is_level = level < plan.max_t and (is_first or level * math.sqrt(plan.reduction_factor) <= plan.max_t)
        return level if is_level else float(plan.max_t)

    def donor(self, report: TrialReported) -> int | None:
        """Whom the trial copies after this report, where trials copy each other."""
        row, value = self._rows[report.trial], report.metrics["score"]
        if report.step % (self._plan.grace_period + 1) != 0 or row.n_clones >= 3:
            return None
        losses = {}
        for index, other in enumerate(self._rows):
            is_over = other.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED)
            can_lend = other.may_lend and other.last_value is not None and math.isfinite(other.last_value)
            if index != report.trial and not is_over and can_lend:
                losses[index] = self._plan.mode.as_loss(other.last_value or 0.0)
        donor = min(losses, key=lambda index: (losses[index], index), default=None)
        is_better = donor is not None and (math.isnan(value) or losses[donor] < self._plan.mode.as_loss(value))
        return donor if is_better else None

    def _asha(self, report: TrialReported) -> Verdict:
        bracket = self._brackets[self._bracket_of(report.trial)]
        reached = [rung for rung in bracket if rung.level <= report.step]
        if not reached or any(report.trial in rung.scores for rung in bracket if rung.level >= reached[-1].level):
            return Verdict.CONTINUE
        rung, value = reached[-1], report.metrics["score"]
        score = value if self._plan.mode is Mode.MAX else -value
        is_kept = self._is_kept(rung, score)
        rung.scores[report.trial] = score
        return Verdict.CONTINUE if is_kept else Verdict.STOP

    def _is_kept(self, rung: _OracleRung, score: float) -> bool:
        factor, is_worst = self._plan.reduction_factor, not math.isfinite(score)
        if is_worst and rung.finite:
            return False
        if self._plan.scheduler == "rank":
            n_better = len(rung.finite) if is_worst else sum(other > score for other in rung.finite)
            return n_better + 1 <= (len(rung.scores) + 1) // factor
        if is_worst or not rung.finite:
            return True
        return bool(score >= np.percentile(rung.finite, (1 - 1 / factor) * 100))

    def _bracket_of(self, trial: int) -> int:
        if len(self._brackets) == 1:
            return 0
        draw = generator(0, "asha-bracket", trial).random()
        return sum(bool(draw >= share) for share in self._cumulative[:-1])
