"""Racing over the folds of a cross-validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import stdev

from tunesmith.errors import ConfigError
from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    ConcludeAttempt,
    Decision,
    Record,
    StartAttempt,
    TrialReported,
    Verdict,
)
from tunesmith.schedulers.arguments import number
from tunesmith.schedulers.fold_standings import FoldStandings
from tunesmith.schedulers.metric_scheduler import MetricScheduler
from tunesmith.schedulers.paired_tests import paired_t_p, signed_rank_p
from tunesmith.trial import Trial, TrialStatus, fold_of, mean_over_folds

_TESTS = {"wilcoxon": ("Wilcoxon signed-rank test", signed_rank_p), "t": ("paired t test", paired_t_p)}
_SIGNIFICANT = (
    "mean {metric} {mean:.6g} against {best:.6g} of trial {incumbent} on the same {n_folds} folds, p = {p:.3g} ({test})"
)
_FAR_WORSE = (
    "{metric} is worse than that of trial {incumbent} on all of {n_folds} folds, by {least:.6g} or more, "
    "above {spread:.6g}, the standard deviation of its {n_of_incumbent} folds"
)
_FAR_WORSE_ON_ONE = (
    "{metric} is worse than that of trial {incumbent} by {least:.6g} on fold {fold}, "
    "above 3 times {spread:.6g}, the standard deviation of its {n_of_incumbent} folds"
)
_NO_NUMBER = "{metric} is {value} on fold {fold}; trial {incumbent} has a number on each of {n_of_incumbent} folds"
_FEW = 3  #: folds, below which no spread is taken
_HUGE = 1e300  #: a difference beyond it could overflow in a sum


class FoldRacing(MetricScheduler):
    """Stops a trial whose folds so far are significantly worse than those of the best trial: racing.

    For trials that report each fold of a cross-validation: `tune.report(score=0.9, fold=k)`, k from 0, every trial on
    the same splits. The best trial is the one with the most folds and, of these, the best mean. After each fold a trial
    is compared with it on the folds that both have, so that hard folds and easy ones cancel out. Whoever has more folds
    than all others, or as many as a trial that has returned, is not stopped. Reports without `fold` are not judged.

    Args:
        metric, mode: what is compared; here or in the call that runs the experiment, not in both. Of several metrics
            the first is used.
        min_folds: the test decides from so many common folds on. n folds, all of them worse, are significant for the
            signed-rank test at 0.5**n: 0.125 for 3 and 0.0625 for 4, so below 4 it could never stop at `p` 0.1.
        p: one-sided significance level of each comparison, above 0 and below 0.5.
        test: "wilcoxon", the exact signed-rank test; or "t", the paired t test, which finds clear differences on fewer
            folds and trusts that differences are normal.

    Before the test can decide, a plain rule does: worse than the best trial on every common fold by more than the
    standard deviation of its folds (three of them, if there is one common fold only); it needs 3 folds of the best
    trial. In simulated races of 40 configs over 5 and 10 folds, with noise and folds of different difficulty, the
    winner of the whole cross-validation stayed the winner in 89 to 100 of 100 (docs/cross-validation.md). One standard
    deviation on a single fold is too little: it lost the winner in up to a third of them.

    `p` is no bound on the chance to stop the trial that would have won: each trial is tested after each fold, against
    the luckiest so far, and the training sets of folds overlap. An equal of the best trial is stopped more often than
    in a share `p` of races, a better one rarely.

    Source: Birattari et al. 2002 (GECCO, "A racing algorithm for configuring metaheuristics") and Lopez-Ibanez et al.
    2016 (Operations Research Perspectives 3, "The irace package") for racing by paired tests.
    """

    def __init__(
        self,
        metric: str | None = None,
        mode: str | None = None,
        min_folds: int = 4,
        p: float = 0.1,
        test: str = "wilcoxon",
    ) -> None:
        """Raises: ConfigError, with the values allowed."""
        super().__init__(time_attr="fold", metric=metric, mode=mode)
        if isinstance(min_folds, bool) or not isinstance(min_folds, int) or min_folds < 2:
            raise ConfigError(f"min_folds is {min_folds!r}. Give a whole number of 2 or more.")
        if not 0.0 < number("p", p, "above 0 and below 0.5") < 0.5:
            raise ConfigError(f"p is {p!r}. Give a number above 0 and below 0.5.")
        if test not in _TESTS:
            raise ConfigError(f"test is {test!r}. Give 'wilcoxon' or 't'.")
        self._p = p
        self._test_name, self._test = _TESTS[test]
        n_needed = math.ceil(-math.log2(p)) if test == "wilcoxon" else 2
        self._n_tested = max(min_folds, n_needed)  #: common folds, from which on the test decides
        self._standings = FoldStandings()
        self._n_full = 0  #: folds of the trial with the most that returned
        self._n_stopped = 0

    def observe(self, record: Record) -> None:
        """Note each fold, how many a whole trial has, and what was stopped here."""
        if isinstance(record, TrialReported):
            found = self._fold(record)
            if found is None:
                self._n_ignored += 1
            else:
                self._standings.add(record.trial, step=record.step, fold=found[0], loss=found[1])
        elif isinstance(record, AnswerReport):
            self._n_stopped += record.decision.verdict is Verdict.STOP and "incumbent" in record.decision.numbers
        elif isinstance(record, StartAttempt):
            self._standings.rewind(record.trial, record.start_step)
        elif isinstance(record, ConcludeAttempt) and record.status is TrialStatus.COMPLETED:
            self._n_full = max(self._n_full, len(self._standings.losses(record.trial)))

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """STOP where the trial is worse than the best one on the folds that both have, else CONTINUE."""
        found = self._fold(report)
        incumbent = self._standings.incumbent(but=report.trial)
        if found is None or incumbent is None:
            return CONTINUE
        mine = {**self._standings.losses(report.trial), found[0]: found[1]}
        theirs = self._standings.losses(incumbent)
        if len(mine) > len(theirs) or 0 < self._n_full <= len(mine):
            return CONTINUE
        return self._judge(incumbent, mine, theirs)

    def describe(self) -> Sequence[str]:
        """How many were stopped, who is ahead, and what was left out."""
        lines = [f"Using FoldRacing: num_stopped={self._n_stopped}"]
        incumbent = self._standings.incumbent()
        if self._objective is not None and incumbent is not None:
            losses = self._standings.losses(incumbent)
            mean = self._mean(list(losses.values()))
            lines[0] += f", best {self._objective.metric} {mean:.6g} over {len(losses)} folds of trial {incumbent}"
        if self._n_ignored and self._objective is not None:
            lines.append(f"{self._n_ignored} reports without 'fold' or {self._objective.metric!r} not judged")
        return lines

    def check_invariants(self) -> None:
        """Assert that the standings hold together."""
        self._standings.check_invariants()

    def _judge(self, incumbent: int, mine: Mapping[int, float], theirs: Mapping[int, float]) -> Decision:
        assert self._objective is not None
        numbers: dict[str, float | int | str] = {"metric": self._objective.metric, "incumbent": incumbent}
        bad = next((fold for fold in sorted(mine) if not math.isfinite(mine[fold])), None)
        if bad is not None:
            value = str(self._objective.mode.as_loss(mine[bad]))  # JSON has no NaN
            return _stop(_NO_NUMBER, {**numbers, "value": value, "fold": bad, "n_of_incumbent": len(theirs)})
        common = sorted(mine.keys() & theirs.keys())
        differences = [min(max(mine[fold] - theirs[fold], -_HUGE), _HUGE) for fold in common]
        if not common or math.fsum(differences) <= 0.0:
            return CONTINUE
        numbers["n_folds"] = len(common)
        if len(common) >= self._n_tested:
            p = self._test(differences)
            if p > self._p:
                return CONTINUE
            means = {"mean": mine, "best": theirs}
            numbers |= {name: self._mean([losses[fold] for fold in common]) for name, losses in means.items()}
            return _stop(_SIGNIFICANT, {**numbers, "p": p, "test": self._test_name})
        if len(theirs) < _FEW:
            return CONTINUE
        is_one, spread, least = len(common) == 1, stdev(theirs.values()), min(differences)
        if not 0.0 < (3.0 if is_one else 1.0) * spread < least:
            return CONTINUE
        numbers |= {"least": least, "spread": spread, "n_of_incumbent": len(theirs)}
        return _stop(_FAR_WORSE_ON_ONE, {**numbers, "fold": common[0]}) if is_one else _stop(_FAR_WORSE, numbers)

    def _mean(self, losses: Sequence[float]) -> float:
        """Of finite losses, in the user's sign."""
        mean = mean_over_folds(losses)
        assert mean is not None
        return self._bound.mode.as_loss(mean)

    def _fold(self, report: TrialReported) -> tuple[int, float] | None:
        """Fold and loss of the report; None where it has none of both."""
        fold, value = fold_of(report.metrics), self._value(report)
        return None if fold is None or value is None else (fold, self._bound.mode.as_loss(value))


def _stop(reason: str, numbers: dict[str, float | int | str]) -> Decision:
    return Decision(Verdict.STOP, reason, numbers)
