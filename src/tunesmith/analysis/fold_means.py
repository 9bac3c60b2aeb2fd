"""Cross-validation in stored results: what each trial is worth over its folds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from tunesmith.stores import Reader
from tunesmith.trial import Mode, mean_over_folds

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class FoldMean(NamedTuple):
    """A trial's mean over its folds; `attempt` and `step` are of the last report that is in it."""

    trial: int
    attempt: int
    step: int
    n_folds: int
    value: float  #: NaN unless the metric was finite on every fold


def fold_means(reader: Reader, expression: str, values: tuple[object, ...]) -> dict[int, FoldMean]:
    """The means of all trials that report folds, by index; of each fold what was last reported counts.

    Args: expression, values: SQL for the metric in a row of results, NULL where it lacks it, and its parameters.
    """
    if not reader.has_folds():
        return {}
    # SQLite takes bare columns from the row of the one max().
    rows = reader.query(
        f"""SELECT trial, attempt, max(step), v FROM (SELECT trial, attempt, step, {expression} AS v,
            json_extract(metrics, '$.fold') AS fold FROM current_results)
          WHERE v IS NOT NULL AND typeof(fold) IN ('integer', 'real') AND fold >= 0 AND fold = CAST(fold AS INTEGER)
          GROUP BY trial, fold ORDER BY trial""",
        values,
    )
    by_trial: defaultdict[int, list[tuple[int, int, float]]] = defaultdict(list)
    for trial, attempt, step, v in rows:
        by_trial[trial].append((step, attempt, _WORDS[v] if isinstance(v, str) else float(v)))
    return {trial: _mean(trial, scores) for trial, scores in by_trial.items()}


def _mean(trial: int, scores: list[tuple[int, int, float]]) -> FoldMean:
    mean = mean_over_folds([value for _, _, value in scores])
    step, attempt, _ = max(scores)
    return FoldMean(trial, attempt, step, len(scores), math.nan if mean is None else mean)


def of_most_folds(means: Iterable[FoldMean]) -> list[FoldMean]:
    """Those that may be called the best: of all that are finite, the ones over the most folds."""
    finite = [mean for mean in means if math.isfinite(mean.value)]
    most = max((mean.n_folds for mean in finite), default=0)
    return [mean for mean in finite if mean.n_folds == most]


def best_mean(means: Iterable[FoldMean], mode: Mode) -> FoldMean | None:
    """The best of the most folds, the first of equals; None where none is finite."""
    return min(of_most_folds(means), key=lambda mean: (mode.as_loss(mean.value), mean.trial), default=None)
