"""How much each parameter mattered: shares of the variance of a model of the objective (functional ANOVA).

A forest is fitted to configs and what they reached. Over the whole space, each config as likely as the space draws it,
its variance is taken apart:

    main(j)     = P(j takes part) Var(E[f | x_j]) / Var(f), the variance among configs in which j takes part
    pair(i, j)  = the same of x_i and x_j together, without their mains

Whether a conditional parameter takes part at all is thereby counted for the choice that decides it, never for the
parameter. Shares are estimated from one sample of rows sorted into bins, corrected for what bins of a finite sample
differ by chance.

A forest fits noise as well as anything, and the shares of that add up to 1 too. So each is fitted to a bootstrap sample
of the trials and predicts those that it has not seen; `fit` is how well.

Sources: Hutter et al. 2014 (ICML, fANOVA); estimation from given data: Plischke et al. 2013 (EJOR 226). Here with
extremely randomised trees, on losses whose poor half is drawn in (`models/warp.py`), so that a few diverged trials do
not decide alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.analysis.metric_choice import choose_metric
from tunesmith.analysis.model_rows import ModelRows, model_rows
from tunesmith.errors import TuneError
from tunesmith.models.cube import Cube
from tunesmith.models.forest import Forest
from tunesmith.space import Space
from tunesmith.stores import Reader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Fewer trials with a value say nothing.
MIN_TRIALS = 5
#: A model that explains no more of unseen trials may have found nothing: so do models of noise.
_LEAST_FIT = 0.1
#: Of more trials, the model is fitted to as many, drawn anew for each of its repetitions.
_MAX_ROWS = 1000
_N_REPEATS = 8
_N_SAMPLES = 2**12
_MIN_SAMPLES = 500  #: that the constraints allow
_MAX_DRAWS = 2**16  #: to find as many
_N_BINS = 16  #: of a parameter by itself
_N_PAIR_BINS = 8


@dataclass(frozen=True)
class Importance:
    """Shares of the variance of the objective, 0 to 1; with the interactions of three and more they add up to 1."""

    metric: str
    shares: dict[str, float]  #: of each parameter by itself; the largest first
    errors: dict[str, float]  #: standard deviation of each share over models of resampled trials
    pairs: dict[tuple[str, str], float]  #: what two parameters explain together beyond their own shares; largest first
    n_trials: int  #: trials that this rests on
    n_diverged: int  #: of these, that failed or reported only NaN: they count as the worst of the others
    n_left_out: int  #: trials that are not over, break a constraint, or have a config outside the space
    fit: float  #: share of the variance of unseen trials that is predicted; below 0: worse than by their mean

    @property
    def is_telling(self) -> bool:
        """Whether the model predicts unseen trials better than chance. The shares of one that does not say nothing."""
        return self.fit > _LEAST_FIT


def importance(
    reader: Reader,
    metric: str | None = None,
    mode: str | None = None,
    *,
    step: int | None = None,
    space: Mapping[str, Any] | Space | None = None,
    seed: int = 0,
) -> Importance:
    """How much of the objective's variance each parameter explains.

    Of `sample_from` leaves the values that trials had are taken for what can be drawn. Trials that failed or reported
    only NaN count as the worst of the others.

    Args:
        metric, mode: the experiment's own where left out.
        step: compare trials at this step, each by its best value so far, and leave out who did not get there. Without
            it each counts with its best value, however long it was trained: where trials were stopped early, ask for
            the importance at the first rung too.
        space: as given to `run`, where its constraints or what `sample_from` draws should count.
        seed: of the model.
    Raises: ConfigError for an unknown metric; TuneError with fewer than 5 trials, where nothing varies, or where
        constraints allow hardly any config.
    """
    chosen = choose_metric(reader, metric, mode)
    data = model_rows(reader, chosen, step=step, space=space)
    n = len(data.losses)
    if data.cube.d == 0:
        raise TuneError("Nothing varies in the space, so there is no importance.")
    if n - data.n_diverged < MIN_TRIALS:
        raise TuneError(
            f"{n - data.n_diverged} of {reader.n_trials()} trials are over and have a finite {chosen.name!r}"
            f"{'' if step is None else f' at step {step}'}. Importance needs {MIN_TRIALS} or more."
        )
    rng = np.random.default_rng(seed)
    sample = _settled_sample(data.cube, rng)
    unseen = _Unseen(data)
    shares, pairs = zip(*(_shares(data, sample, rng, unseen=unseen) for _ in range(_N_REPEATS)), strict=True)
    means, errors = np.mean(shares, axis=0), np.std(shares, axis=0, ddof=1)
    pair_means = np.mean(pairs, axis=0)
    order = np.argsort(-means, kind="stable")
    names = data.names
    found = [(a, b) for a, b in combinations(range(len(names)), 2) if pair_means[a, b] > 0.0]
    found.sort(key=lambda pair: -pair_means[pair])
    return Importance(
        metric=chosen.name,
        shares={names[j]: float(means[j]) for j in order},
        errors={names[j]: float(errors[j]) for j in order},
        pairs={(names[a], names[b]): float(pair_means[a, b]) for a, b in found},
        n_trials=n,
        n_diverged=data.n_diverged,
        n_left_out=data.n_left_out,
        fit=unseen.fit(),
    )


class _Unseen:
    """What forests predict of the trials that their bootstrap samples left out.

    Source: out-of-bag estimation, Breiman 1996.
    """

    def __init__(self, data: ModelRows) -> None:
        self._data = data
        self._sums, self._counts = np.zeros(len(data.targets)), np.zeros(len(data.targets))

    def add(self, forest: Forest, picked: Ints, rng: np.random.Generator) -> None:
        """Args: picked: rows that the forest was fitted to."""
        left_out = np.setdiff1d(np.arange(len(self._sums)), picked)
        left_out = rng.permutation(left_out)[:_MAX_ROWS]
        if len(left_out):
            self._sums[left_out] += forest.predict(self._data.rows[left_out])[0]
            self._counts[left_out] += 1.0

    def fit(self) -> float:
        """The share of their variance that is predicted; 0 where they do not differ."""
        is_known = self._counts > 0
        target = self._data.targets[is_known]
        if len(target) == 0 or np.ptp(target) == 0.0:
            return 0.0
        missed = target - self._sums[is_known] / self._counts[is_known]
        return float(1.0 - (missed**2).sum() / ((target - target.mean()) ** 2).sum())


def _settled_sample(cube: Cube, rng: np.random.Generator) -> Array:
    """Rows as likely as the space draws them; those that break a constraint left out.

    Raises: TuneError where the constraints allow hardly any.
    """
    rows = cube.sample(rng, _N_SAMPLES)
    if not (cube.has_dependents or cube.has_constraints):
        return rows
    rows = rows[: _N_SAMPLES // 2]
    n_drawn, n_kept, kept = 0, 0, []
    while n_drawn < _MAX_DRAWS and n_kept < _MIN_SAMPLES:
        settled, is_allowed = cube.settle(rows, index=0)
        kept.append(settled[is_allowed])
        n_drawn, n_kept = n_drawn + len(rows), n_kept + len(kept[-1])
        rows = cube.sample(rng, _N_SAMPLES)
    if n_kept < _MIN_SAMPLES:
        raise TuneError(
            f"The constraints allow {n_kept:,} of {n_drawn:,} configs drawn from the space, and importance needs "
            f"{_MIN_SAMPLES}. Give space= with narrower domains, or without constraints to judge by the whole space."
        )
    return np.concatenate(kept)


def _shares(data: ModelRows, sample: Array, rng: np.random.Generator, *, unseen: _Unseen) -> tuple[Array, Array]:
    """Mains (d,) and pairs (d, d) of a forest fitted to a bootstrap sample of the trials."""
    n = len(data.targets)
    picked = rng.integers(0, n, min(n, _MAX_ROWS))
    forest = Forest(data.cube, data.rows[picked], data.targets[picked], rng)
    unseen.add(forest, picked, rng)
    y, _ = forest.predict(sample)
    variance = float(y.var())
    d = sample.shape[1]
    mains, pairs = np.zeros(d), np.zeros((d, d))
    if variance <= 1e-12:
        return mains, pairs
    bins = [_binned(data.cube, sample[:, j], j, _N_BINS) for j in range(d)]
    coarse = [_binned(data.cube, sample[:, j], j, _N_PAIR_BINS) for j in range(d)]
    for j in range(d):
        mains[j] = _explained(y, bins[j]) / variance
    for a, b in combinations(range(d), 2):
        both = np.where((coarse[a] >= 0) & (coarse[b] >= 0), coarse[a] * (coarse[b].max() + 1) + coarse[b], -1)
        is_part = both >= 0
        if is_part.any():
            own = [_explained(y[is_part], codes[is_part]) * is_part.mean() for codes in (coarse[a], coarse[b])]
            pairs[a, b] = max(0.0, (_explained(y, both) - sum(own)) / variance)
    return mains, pairs


def _binned(cube: Cube, column: Array, j: int, n_bins: int) -> Ints:
    """The bin of each row, -1 where the column takes no part: equally full for places, one each for codes."""
    is_part = ~np.isnan(column)
    bins = np.full(len(column), -1, np.int64)
    values = column[is_part]
    unique, place = np.unique(values, return_inverse=True)
    if not cube.is_categorical[j] and len(unique) > n_bins:
        edges = np.quantile(values, np.linspace(0.0, 1.0, n_bins + 1)[1:-1])
        place = np.searchsorted(edges, values, side="right")
    bins[is_part] = place
    return bins


def _explained(y: Array, bins: Ints) -> float:
    """The variance of the bins' means among the rows that are in one, times their share of all rows; never below 0.

    Unbiased for equal spread within the bins: what they would differ by chance is taken off.
    """
    is_part = bins >= 0
    n = int(is_part.sum())
    target, place = y[is_part], bins[is_part]
    count = np.bincount(place)
    sums = np.bincount(place, target)
    is_used = count > 0
    k = int(is_used.sum())
    if k < 2 or n <= k:
        return 0.0
    mean = target.mean()
    between = float((sums[is_used] ** 2 / count[is_used]).sum() - n * mean**2)
    within = float((target**2).sum() - n * mean**2) - between
    corrected = between - (k - 1) * within / (n - k)
    return max(0.0, corrected) / len(y)
