"""What the best configs of a search are worth when they are run again: by how much the search flattered them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.analysis import html
from tunesmith.analysis.claims import Claim
from tunesmith.analysis.experiment_analysis import ExperimentAnalysis
from tunesmith.analysis.intervals import mean_of, t_interval, welch_interval
from tunesmith.analysis.scores import feasible_trials, metric_over_folds, points
from tunesmith.callbacks.text import clean, config_literal, format_config, format_count
from tunesmith.errors import TuneError
from tunesmith.trial import MetricConstraint, Mode, TrialStatus

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_BY_STEP = "SELECT trial, step, v FROM ({source}) ORDER BY trial, step"
_HEADINGS = ("rank", "mean", "95 % interval", "n", "claimed", "step", "notes", "config")


@dataclass(frozen=True)
class Confirmed:
    """One config and what its repeats gave, in the metric's own unit and sign."""

    config: dict[str, Any]
    values: tuple[float, ...]  #: of the repeats that have a finite one, each at `step` or the last before it
    claimed: float  #: the best that the search had seen of it
    step: int  #: where that was: as far as each repeat is trained
    trial: int  #: which trial of the search that was
    n_failed: int = 0  #: repeats that failed
    n_no_value: int = 0  #: repeats whose value is NaN or infinite, or that reported none
    n_left: int = 0  #: repeats that are not over, or have not begun
    n_out_of_bounds: int = 0  #: of the values, those whose report breaks a constraint of the search

    @property
    def n(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Their mean; NaN where there is none."""
        return mean_of(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean; None for fewer than 2 values."""
        return t_interval(self.values)


@dataclass(frozen=True)
class Lead:
    """How much better the best config is than the second, by their means; 0 or more."""

    by: float
    interval: tuple[float, float] | None  #: Welch's, 95 %; None where either has fewer than 2 values

    @property
    def is_clear(self) -> bool:
        """Whether the interval is above 0: the two can be told apart."""
        return self.interval is not None and self.interval[0] > 0


class Confirmation:
    """The best configs of a search after each was run several times: which one to take. See `tunesmith.confirm`."""

    def __init__(
        self,
        configs: Sequence[Confirmed],
        *,
        metric: str,
        mode: Mode,
        result: ExperimentAnalysis | None = None,
        constraints: Sequence[MetricConstraint] = (),
    ) -> None:
        """Args: configs: in any order."""
        self.metric, self.mode = metric, mode
        #: The experiment with the repeats.
        self.result = result
        self._constraints = tuple(constraints)
        #: The best mean first; those that broke a constraint more often than not, and those without a value, last.
        self.configs = tuple(sorted(configs, key=self._rank))

    def _rank(self, one: Confirmed) -> tuple[bool, bool, float]:
        return one.n == 0, 2 * one.n_out_of_bounds > one.n, self.mode.as_loss(one.mean) if one.n else 0.0

    @property
    def best(self) -> Confirmed:
        """The config with the best mean. Raises: TuneError where no repeat has a finite value."""
        best = self.configs[0]
        if best.n == 0:
            where = "" if self.result is None else f" Look at tunesmith.load({str(self.result.folder)!r}).errors."
            raise TuneError(f"No repeat has a finite {self.metric!r} yet.{where}")
        return best

    @property
    def lead(self) -> Lead | None:
        """How far the best is ahead of the second; None where there is no second with a value."""
        ahead, behind = self._first_two()
        if ahead is None or behind is None:
            return None
        worse, better = (behind, ahead) if self.mode is Mode.MIN else (ahead, behind)
        return Lead(worse.mean - better.mean, welch_interval(worse.values, better.values))

    def _first_two(self) -> tuple[Confirmed | None, Confirmed | None]:
        found = [one if one.n else None for one in self.configs[:2]]
        return found[0], found[1] if len(found) > 1 else None

    def words(self) -> str:
        """The whole answer in plain text: a table, which config to take, and how sure that is."""
        rows = [_HEADINGS, *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS) - 1)]
        table = ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in rows]
        best = [] if self.configs[0].n == 0 else ["", *config_literal(self.best.config)]
        return "\n".join([self._title(), "", *table, "", *self._sentences(), *best])

    __str__ = words

    def __repr__(self) -> str:
        first = self.configs[0]
        return f"<Confirmation of {self.metric}: {_number(first.mean)} {_between(first)}, n={first.n}>"

    def _repr_html_(self) -> str:
        best = "" if self.configs[0].n == 0 else html.lines(config_literal(self.best.config))
        sentences = "".join(f"<p>{html.text(words)}</p>" for words in self._sentences())
        return f"<p><b>{html.text(self._title())}</b></p>{html.table(_HEADINGS, self._rows())}{sentences}{best}"

    def _title(self) -> str:
        n = sum(one.n + one.n_failed + one.n_no_value for one in self.configs)
        what = f"{format_count(len(self.configs), 'config')}, {format_count(n, 'repeat')}"
        name = "" if self.result is None else f" in {clean(self.result.reader.spec.name)}"
        return f"{clean(self.metric)} ({self.mode.value}) of {what}{name}"

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for rank, one in enumerate(self.configs, 1):
            notes = ", ".join(self._notes(one))
            values = (_number(one.mean), _between(one), str(one.n), _number(one.claimed), str(one.step))
            yield (str(rank), *values, notes, format_config(one.config))

    def _notes(self, one: Confirmed) -> Iterator[str]:
        if one.n_failed:
            yield f"{one.n_failed} failed"
        if one.n_no_value:
            yield f"{one.n_no_value} without a finite value"
        if one.n_left:
            yield f"{one.n_left} to come"
        if one.n_out_of_bounds:
            yield f"{one.n_out_of_bounds} broke {' or '.join(clean(str(bound)) for bound in self._constraints)}"

    def _sentences(self) -> Iterator[str]:
        """What the table says, the important first."""
        if any(one.n_left for one in self.configs):
            yield "It is not over: the same call goes on."
        first, second = self._first_two()
        if first is None:
            yield f"No repeat has a finite {clean(self.metric)}. Look at the errors of its trials."
            return
        yield f"Take the first: {_mean_words(first)}."
        if second is not None:
            yield self._lead_words()
        yield self._optimism_words(first)
        if all(len(set(one.values)) == 1 for one in self.configs if one.n) and first.n > 1:
            yield (
                "Every repeat of a config gave the same value. Either the training is deterministic, "
                "or it sets its own seed, and then this says nothing about noise."
            )

    def _lead_words(self) -> str:
        lead = self.lead
        assert lead is not None
        if lead.interval is None:
            return (
                f"It leads the second by {_number(lead.by)}, which may be luck: without two values of each there is "
                "no interval. Give a larger repeats."
            )
        difference = f"by {_number(lead.by)} (95 % interval {_number(lead.interval[0])} to {_number(lead.interval[1])})"
        if lead.is_clear:
            return f"It is better than the second {difference}."
        return f"It leads the second {difference}: these repeats cannot tell the two apart."

    def _optimism_words(self, first: Confirmed) -> str:
        worse_by = self.mode.as_loss(first.mean) - self.mode.as_loss(first.claimed)
        claim = f"The search had seen {_number(first.claimed)} of it"
        if worse_by <= 0:
            return f"{claim}: the repeats are no worse."
        return f"{claim}: {_number(worse_by)} better than the repeats are on average."


def judge(
    claims: Sequence[Claim],
    configs: Sequence[dict[str, Any]],
    result: ExperimentAnalysis,
    *,
    repeats: int,
    constraints: Sequence[MetricConstraint] = (),
) -> Confirmation:
    """Read the repeats of the claims out of their experiment, in which trial i repeats claim i % len(claims).

    Args:
        configs: those of the claims, in their order.
        repeats: how many of each there are to be.
    """
    objective, n = result.reader.spec.objective, len(claims)
    assert objective is not None
    trials = result.reader.trials()
    values = _judged(result, objective.metric, [claims[trial.index % n].step for trial in trials], constraints)
    found = []
    for place, (claim, config) in enumerate(zip(claims, configs, strict=True)):
        own = trials[place::n]
        failed = [trial for trial in own if trial.status in (TrialStatus.FAILED, TrialStatus.INVALID)]
        over = [trial for trial in own if trial.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED)]
        seen = [values[trial.index] for trial in over if math.isfinite(values.get(trial.index, _NOTHING)[0])]
        found.append(
            Confirmed(
                config=config,
                values=tuple(value for value, _ in seen),
                claimed=claim.value,
                step=claim.step,
                trial=claim.trial,
                n_failed=len(failed),
                n_no_value=len(over) - len(seen),
                n_left=max(repeats, len(own)) - len(over) - len(failed),
                n_out_of_bounds=sum(not keeps for _, keeps in seen),
            )
        )
    return Confirmation(found, metric=objective.metric, mode=objective.mode, result=result, constraints=constraints)


_NOTHING = (math.nan, False)


def _judged(
    result: ExperimentAnalysis, metric: str, steps: Sequence[int], constraints: Sequence[MetricConstraint]
) -> dict[int, tuple[float, bool]]:
    """For each trial its value at its step, or the last before it, and whether that report keeps the constraints.

    A trial that reports folds has its mean over them, and keeps the constraints if its last report does.
    """
    reader = result.reader
    if means := metric_over_folds(reader, metric):
        feasible = feasible_trials(reader, constraints)
        return {trial: (mean.value, trial in feasible) for trial, mean in means.items()}
    source, parameters = points(reader, metric, constraints=constraints)
    keeping = {(trial, step) for trial, step, _ in reader.query(_BY_STEP.format(source=source), parameters)}
    source, parameters = points(reader, metric)
    return {
        trial: (_WORDS[v] if isinstance(v, str) else float(v), (trial, step) in keeping)
        for trial, step, v in reader.query(_BY_STEP.format(source=source), parameters)
        if step <= steps[trial]
    }


def _number(value: float) -> str:
    return f"{value:.5g}"


def _mean_words(one: Confirmed) -> str:
    if one.interval is None:
        return f"its only value is {_number(one.mean)}, and one value has no interval"
    low, high = map(_number, one.interval)
    return f"its mean over {one.n} repeats is {_number(one.mean)} (95 % interval {low} to {high})"


def _between(one: Confirmed) -> str:
    interval = one.interval
    return "" if interval is None else f"[{_number(interval[0])}, {_number(interval[1])}]"
