"""One number per trial, by SQL: the scopes of Ray Tune's `get_best_trial`, and the best step.

Source: Ray 1.9.2, `ray/tune/trial.py` (`metric_analysis`); shared facts in ray-tune-2022.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from tunesmith.analysis.fold_means import FoldMean, best_mean, fold_means
from tunesmith.stores import Reader
from tunesmith.stores.codec import kind_value, parse_metrics
from tunesmith.trial import MetricConstraint, Mode, metric_value

_KINDS = """CASE kind WHEN 'finite' THEN value WHEN 'nan' THEN 'NaN'
  WHEN 'inf' THEN 'Infinity' WHEN '-inf' THEN '-Infinity' END"""
#: 9e999 overflows to infinity.
_AS_NUMBERS = "WHEN 'NaN' THEN NULL WHEN 'Infinity' THEN 9e999 WHEN '-Infinity' THEN -9e999"
#: What every report has besides what was reported, and the columns that hold it.
FILLED_IN = {"training_iteration": "step", "time_total_s": "time_total_s"}
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Scope(StrEnum):
    """Which of a trial's values stands for the trial."""

    LAST = "last"
    ALL = "all"  #: the best one
    AVG = "avg"
    LAST_5_AVG = "last-5-avg"
    LAST_10_AVG = "last-10-avg"


def scores(reader: Reader, metric: str, *, mode: Mode, scope: Scope) -> dict[int, float]:
    """The score of every trial that reported the metric, by index; NaN and infinities are scores too.

    In every scope a trial that reports folds has their mean, NaN where one is not finite.
    """
    means = {trial: mean.value for trial, mean in metric_over_folds(reader, metric).items()}
    return _scores(reader, metric, mode=mode, scope=scope) | means


def metric_over_folds(reader: Reader, metric: str) -> dict[int, FoldMean]:
    """The metric's mean over the folds of each trial that reports any, by index; of time and step there is none."""
    return {} if metric in FILLED_IN else fold_means(reader, *_value_of(reader, metric))


def _scores(reader: Reader, metric: str, *, mode: Mode, scope: Scope) -> dict[int, float]:
    source, values = points(reader, metric)
    if scope is Scope.LAST:
        return _last(reader, metric)
    if scope in (Scope.LAST_5_AVG, Scope.LAST_10_AVG):
        n_last = 5 if scope is Scope.LAST_5_AVG else 10
        place = "row_number() OVER (PARTITION BY trial ORDER BY step DESC)"
        source = f"SELECT * FROM (SELECT *, {place} AS place FROM ({source})) WHERE place <= {n_last}"
    fold = "avg" if scope is not Scope.ALL else mode.value
    rows = reader.query(
        f"""SELECT trial, {fold}(CASE WHEN typeof(v) <> 'text' THEN v END),
          total(v = 'NaN'), total(v = 'Infinity'), total(v = '-Infinity')
          FROM ({source}) GROUP BY trial ORDER BY trial""",
        values,
    )
    if scope is Scope.ALL:
        return {trial: _best_of(mode, *rest) for trial, *rest in rows}
    return {trial: _mean_of(*rest) for trial, *rest in rows}


def best_point(
    reader: Reader, metric: str, *, mode: Mode, constraints: Sequence[MetricConstraint] = ()
) -> tuple[int, int, int, float] | None:
    """Trial, attempt, step and value of the best finite value; the first of equals. None where there is none.

    Where trials report folds, of the best mean over the most folds.

    Args: constraints: bounds that the same report has to keep; with folds, the trial's last one.
    """
    if means := metric_over_folds(reader, metric):
        feasible = feasible_trials(reader, constraints)
        found = best_mean((mean for trial, mean in means.items() if trial in feasible), mode)
        return None if found is None else (found.trial, found.attempt, found.step, found.value)
    source, values = points(reader, metric, constraints=constraints)
    order = "v" if mode is Mode.MIN else "v DESC"
    rows = reader.query(
        f"""SELECT trial, attempt, step, v FROM ({source}) WHERE typeof(v) <> 'text'
          ORDER BY {order}, trial, step LIMIT 1""",
        values,
    )
    return (rows[0][0], rows[0][1], rows[0][2], float(rows[0][3])) if rows else None


class BestReport(NamedTuple):
    """The best finite value of one trial, and where it was reported."""

    trial: int
    attempt: int
    step: int  #: the first of equals; of folds, of the last one
    value: float
    n_folds: int = 0  #: that the value is the mean of; 0 where the trial reports none


def best_of_each(
    reader: Reader, metric: str, *, mode: Mode, constraints: Sequence[MetricConstraint] = ()
) -> list[BestReport]:
    """The best of each trial that has a finite value, by index; `best_point` is one of them.

    Args: constraints: bounds that the same report has to keep; of a trial with folds, its last one.
    """
    source, values = points(reader, metric, constraints=constraints)
    order = "v" if mode is Mode.MIN else "v DESC"
    place = f"row_number() OVER (PARTITION BY trial ORDER BY {order}, step)"
    rows = reader.query(
        f"""SELECT trial, attempt, step, v FROM
          (SELECT *, {place} AS place FROM ({source}) WHERE typeof(v) <> 'text') WHERE place = 1""",
        values,
    )
    found = {trial: BestReport(trial, attempt, step, float(v)) for trial, attempt, step, v in rows}
    if means := metric_over_folds(reader, metric):
        feasible = feasible_trials(reader, constraints)
        found = {trial: best for trial, best in found.items() if trial not in means}
        found |= {
            trial: BestReport(trial, mean.attempt, mean.step, mean.value, mean.n_folds)
            for trial, mean in means.items()
            if trial in feasible and math.isfinite(mean.value)
        }
    return [found[trial] for trial in sorted(found)]


def candidates(found: Sequence[BestReport]) -> list[BestReport]:
    """Those that may be called the best: the ones over the most folds."""
    most = max((best.n_folds for best in found), default=0)
    return [best for best in found if best.n_folds == most]


def best_rows(reader: Reader, metric: str, mode: Mode) -> dict[int, int]:
    """For each trial with a finite value, the sequence number of the result with its best one."""
    source, values = points(reader, metric)
    # SQLite takes bare columns from the row of the one min() or max().
    sql = f"SELECT trial, seq, {mode.value}(v) FROM ({source}) WHERE typeof(v) <> 'text' GROUP BY trial"
    return {trial: seq for trial, seq, _ in reader.query(sql, values)}


def values_of(reader: Reader, trial: int, metric: str) -> list[tuple[int, float]]:
    """Step and value of every result of a trial that has the metric, by step."""
    source, values = points(reader, metric)
    rows = reader.query(f"SELECT step, v FROM ({source}) WHERE trial = ? ORDER BY step", (*values, trial))
    return [(step, _WORDS[v] if isinstance(v, str) else float(v)) for step, v in rows]


def kept_checkpoints(reader: Reader, trial: int, metric: str) -> list[tuple[str, float]]:
    """Path and value of each checkpoint that still exists and whose step has the metric, by step."""
    source, values = points(reader, metric)
    sql = f"""SELECT path, v FROM ({source}) JOIN checkpoints USING (trial, attempt, step)
      WHERE trial = ? AND state = 'kept' ORDER BY step"""
    return [(path, _WORDS[v] if isinstance(v, str) else float(v)) for path, v in reader.query(sql, (*values, trial))]


def metrics_seen(reader: Reader) -> list[str]:
    """Names of the metrics in the last result of any trial and in the first 10,000 results."""
    rows = reader.query(
        """SELECT DISTINCT key FROM trial_states, json_each(metrics) WHERE metrics IS NOT NULL
        UNION SELECT key FROM (SELECT metrics FROM results ORDER BY seq LIMIT 10000) AS r, json_each(r.metrics)"""
    )
    return sorted(key for (key,) in rows)


def last_values(reader: Reader, metrics: Sequence[str]) -> list[tuple[int, tuple[float, ...]]]:
    """For each trial with a report, by index, what its last one says of each metric; NaN where it says nothing."""
    expressions, values = _all_as_numbers(reader, metrics)
    sql = f"SELECT trial, {', '.join(expressions)} FROM trial_states WHERE metrics IS NOT NULL ORDER BY trial"
    rows = reader.query(sql, values)
    return [(trial, tuple(math.nan if value is None else value for value in rest)) for trial, *rest in rows]


def feasible_trials(reader: Reader, constraints: Sequence[MetricConstraint]) -> set[int]:
    """The trials whose last report keeps every one of the bounds."""
    condition, values = _keeps(reader, constraints)
    rows = reader.query(f"SELECT trial FROM trial_states WHERE metrics IS NOT NULL AND {condition}", values)
    return {trial for (trial,) in rows}


def points(reader: Reader, metric: str, *, constraints: Sequence[MetricConstraint] = ()) -> tuple[str, tuple[Any, ...]]:
    """A SELECT of (seq, trial, attempt, step, v) over all results that have the metric, and its parameters.

    `v` is a number, or one of the words NaN, Infinity and -Infinity.

    Args: constraints: only results that keep all of these.
    """
    expression, values = _value_of(reader, metric)
    condition, bounds = _keeps(reader, constraints)
    inner = f"SELECT seq, trial, attempt, step, {expression} AS v FROM current_results WHERE {condition}"
    return f"SELECT * FROM ({inner}) WHERE v IS NOT NULL", (*values, *bounds)


def report_columns(
    reader: Reader, metric: str, *, constraints: Sequence[MetricConstraint] = ()
) -> tuple[str, tuple[Any, ...]]:
    """A SELECT of all reports in the order in which they were stored, and its parameters: trial, attempt, step, at,
    time_total_s, whether it counts, whether it keeps the constraints, and the metric (NULL where NaN or missing).
    """
    (value,), values = _all_as_numbers(reader, (metric,))
    condition, bounds = _keeps(reader, constraints)
    columns = "trial, attempt, step, at, time_total_s, superseded = 0"
    return f"SELECT {columns}, coalesce({condition}, 0), {value} FROM results ORDER BY seq", (*bounds, *values)


def _value_of(reader: Reader, metric: str) -> tuple[str, tuple[Any, ...]]:
    """SQL for the metric in a row of results or of trial states, and its parameters."""
    objective = reader.spec.objective
    if objective is not None and metric == objective.metric:
        return _KINDS, ()
    expression, values = "json_extract(metrics, ?)", ("$." + json.dumps(metric, ensure_ascii=False),)
    if metric in FILLED_IN:
        expression = f"coalesce({expression}, {FILLED_IN[metric]})"
    return expression, values


def _all_as_numbers(reader: Reader, metrics: Sequence[str]) -> tuple[list[str], tuple[Any, ...]]:
    """The same for several metrics, infinities as numbers and NaN as NULL."""
    expressions, values = [], []
    for metric in metrics:
        expression, its_values = _value_of(reader, metric)
        expressions.append(f"(CASE {expression} {_AS_NUMBERS} ELSE {expression} END)")
        values += [*its_values, *its_values]
    return expressions, tuple(values)


def _keeps(reader: Reader, constraints: Sequence[MetricConstraint]) -> tuple[str, tuple[Any, ...]]:
    """SQL that says whether a row keeps all bounds, and its parameters; one without the metric does not."""
    conditions, values = ["1"], []
    for bound in constraints:
        (expression,), its_values = _all_as_numbers(reader, (bound.metric,))
        conditions.append(f"{expression} {'<=' if bound.is_upper else '>='} ?")
        values += [*its_values, bound.bound]
    return " AND ".join(conditions), tuple(values)


def _last(reader: Reader, metric: str) -> dict[int, float]:
    """From the trials' own rows; only trials whose last result lacks the metric are looked up among their results."""
    objective = reader.spec.objective
    is_objective = objective is not None and metric == objective.metric
    found: dict[int, float] = {}
    rows = reader.query(
        """SELECT trial, metrics, value, kind, step, time_total_s FROM trial_states
          WHERE metrics IS NOT NULL ORDER BY trial"""
    )
    for trial, text, value, kind, step, time_total_s in rows:
        last = (
            kind_value(value, kind) if is_objective else metric_value(parse_metrics(text), step, time_total_s, metric)
        )
        if last is None and (earlier := values_of(reader, trial, metric)):
            last = earlier[-1][1]
        if last is not None:
            found[trial] = last
    return found


def _best_of(mode: Mode, best: float | None, n_nan: float, n_plus: float, n_minus: float) -> float:
    good, bad = (n_plus, n_minus) if mode is Mode.MAX else (n_minus, n_plus)
    infinity = mode.as_loss(-math.inf)
    if good:
        return infinity
    if best is not None:
        return float(best)
    return -infinity if bad else math.nan


def _mean_of(mean: float | None, n_nan: float, n_plus: float, n_minus: float) -> float:
    is_empty = mean is None and not n_plus and not n_minus
    if n_nan or is_empty or (n_plus and n_minus):
        return math.nan
    if n_plus or n_minus:
        return math.inf if n_plus else -math.inf
    return float(mean or 0.0)
