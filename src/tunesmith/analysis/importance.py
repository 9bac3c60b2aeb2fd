"""How much each parameter mattered: shares of the variance of a model of the objective (functional ANOVA).

A forest is fitted to configs and what they reached. Over the whole space, each config as likely as the space draws it,
its variance is taken apart:

    main(j)     = P(j takes part) Var(E[f | x_j]) / Var(f), the variance among configs in which j takes part
    pair(i, j)  = the same of x_i and x_j together, without their mains

Whether a conditional parameter takes part at all is thereby counted for the choice that decides it, never for the
parameter. Shares are estimated from one sample of rows sorted into bins, corrected for what bins of a finite sample
differ by chance.

Sources: Hutter et al. 2014 (ICML, fANOVA); estimation from given data: Plischke et al. 2013 (EJOR 226). Here with
extremely randomised trees, on losses whose poor half is drawn in (`models/warp.py`), so that a few diverged trials do
not decide alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tunesmith.analysis.metric_choice import ChosenMetric, choose_metric
from tunesmith.analysis.parameters import display_names
from tunesmith.errors import ConfigError, SpaceError, TuneError
from tunesmith.models.cube import Cube
from tunesmith.models.forest import Forest
from tunesmith.models.warp import warp_losses
from tunesmith.space import Path, SampleFrom, Space, readable_space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tunesmith.analysis.experiment_analysis import ExperimentAnalysis

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Fewer trials say nothing.
MIN_TRIALS = 5
#: Of more trials, the model is fitted to as many, drawn anew for each of its repetitions.
_MAX_ROWS = 1000
_N_REPEATS = 8
_N_SAMPLES = 2**12
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
    n_left_out: int  #: trials that failed, are not over, or have no finite value or a config outside the space


class Observed(NamedTuple):
    """Trials as a model sees them."""

    cube: Cube
    names: tuple[str, ...]  #: by column
    rows: Array  #: (n, d)
    losses: Array  #: (n,), smaller is better
    n_left_out: int


def importance(
    result: ExperimentAnalysis,
    metric: str | None = None,
    mode: str | None = None,
    *,
    step: int | None = None,
    space: Mapping[str, Any] | Space | None = None,
    seed: int = 0,
) -> Importance:
    """How much of the objective's variance each parameter explains.

    Of `sample_from` leaves the values that trials had are taken for what can be drawn.

    Args:
        metric, mode: the experiment's own where left out.
        step: compare trials at this step, each by its best value so far, and leave out who did not get there. Without
            it each counts with its best value, however long it was trained: where trials were stopped early, ask for
            the importance at the first rung too.
        space: as given to `run`, where its constraints or what `sample_from` draws should count.
        seed: of the model.
    Raises: ConfigError for an unknown metric; TuneError with fewer than 5 trials, or where nothing varies.
    """
    chosen = choose_metric(result.reader, metric, mode)
    observed = observed_trials(result, chosen, metric, step=step, space=space)
    n = len(observed.losses)
    if observed.cube.d == 0:
        raise TuneError("Nothing varies in the space, so there is no importance.")
    if n < MIN_TRIALS:
        raise TuneError(
            f"{n} of {n + observed.n_left_out} trials are over and have a finite {chosen.name!r}"
            f"{'' if step is None else f' at step {step}'}. Importance needs {MIN_TRIALS} or more."
        )
    rng = np.random.default_rng(seed)
    sample = _settled_sample(observed.cube, rng)
    shares, pairs = zip(*(_shares(observed, sample, rng) for _ in range(_N_REPEATS)), strict=True)
    means, errors = np.mean(shares, axis=0), np.std(shares, axis=0, ddof=1)
    pair_means = np.mean(pairs, axis=0)
    order = np.argsort(-means, kind="stable")
    names = observed.names
    found = [(a, b) for a, b in combinations(range(len(names)), 2) if pair_means[a, b] > 0.0]
    found.sort(key=lambda pair: -pair_means[pair])
    return Importance(
        metric=chosen.name,
        shares={names[j]: float(means[j]) for j in order},
        errors={names[j]: float(errors[j]) for j in order},
        pairs={(names[a], names[b]): float(pair_means[a, b]) for a, b in found},
        n_trials=n,
        n_left_out=observed.n_left_out,
    )


def observed_trials(
    result: ExperimentAnalysis,
    chosen: ChosenMetric,
    metric: str | None,
    *,
    step: int | None = None,
    space: Mapping[str, Any] | Space | None = None,
) -> Observed:
    """The rows and losses of the trials that are over and did not fail.

    Raises: SpaceError where options of the space cannot be told apart by their stored labels.
    """
    reader = result.reader
    seen = result._observed(metric, chosen.mode.value)
    if step is not None:
        at_step = _best_up_to(result, chosen, step)
        seen = [(trial, at_step[trial.index]) for trial, _ in seen if trial.index in at_step]
    configs = [trial.config for trial, _ in seen]
    known = _known_space(reader.spec.space, configs, space)
    cube = Cube(known, seed=reader.spec.seed)
    rows, losses = [], []
    for config, (_, value) in zip(configs, seen, strict=True):
        try:
            rows.append(cube.encode(config))
        except SpaceError:
            continue
        losses.append(chosen.mode.as_loss(value))
    named = display_names([cube.leaf(j) for j in range(cube.d)])
    names = tuple(named[cube.leaf(j).path] for j in range(cube.d))
    table = np.array(rows, float).reshape(len(rows), cube.d)
    return Observed(cube, names, table, np.array(losses, float), len(result) - len(rows))


def _known_space(
    description: dict[str, Any], configs: list[dict[str, Any]], space: Mapping[str, Any] | Space | None
) -> Space:
    if space is not None:
        return space if isinstance(space, Space) else Space(dict(space))
    plain = readable_space(description)
    free = [leaf.path for leaf in plain.leaves if isinstance(leaf.domain, SampleFrom)]
    if not free:
        return plain
    drawn: dict[Path, list[Any]] = {path: [] for path in free}
    for config in configs:
        try:
            values = plain.values(config)
        except SpaceError:
            continue
        for path in free:
            if path in values:
                drawn[path].append(values[path])
    return readable_space(description, drawn)


def _best_up_to(result: ExperimentAnalysis, chosen: ChosenMetric, step: int) -> dict[int, float]:
    """By trial the best finite value of its first `step` steps; only of those that got there."""
    from tunesmith.analysis.curves import learning_curves

    if step < 1:
        raise ConfigError(f"step is {step}. Give a step that trials reported, 1 or more.")
    found = {}
    for curve in learning_curves(result.reader, chosen):
        values = curve.value[(curve.step <= step) & np.isfinite(curve.value)]
        if curve.step[-1] >= step and len(values):
            found[curve.trial] = chosen.mode.as_loss(float((values * chosen.mode.as_loss(1.0)).min()))
    return found


def _settled_sample(cube: Cube, rng: np.random.Generator) -> Array:
    """Rows as likely as the space draws them; those that break a constraint left out."""
    rows = cube.sample(rng, _N_SAMPLES)
    if not (cube.has_dependents or cube.has_constraints):
        return rows
    rows, is_allowed = cube.settle(rows[: _N_SAMPLES // 2], index=0)
    return np.asarray(rows[is_allowed])


def _shares(observed: Observed, sample: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Mains (d,) and pairs (d, d) of a forest fitted to a bootstrap sample of the trials."""
    n = len(observed.losses)
    picked = rng.integers(0, n, min(n, _MAX_ROWS))
    forest = Forest(observed.cube, observed.rows[picked], warp_losses(observed.losses[picked]), rng)
    y, _ = forest.predict(sample)
    variance = float(y.var())
    d = sample.shape[1]
    mains, pairs = np.zeros(d), np.zeros((d, d))
    if variance <= 1e-12:
        return mains, pairs
    bins = [_binned(observed.cube, sample[:, j], j, _N_BINS) for j in range(d)]
    coarse = [_binned(observed.cube, sample[:, j], j, _N_PAIR_BINS) for j in range(d)]
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
