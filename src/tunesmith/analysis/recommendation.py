"""The config to use, where results are noisy: the best expectation rather than the luckiest result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tunesmith.analysis.experiment_analysis import ExperimentAnalysis
from tunesmith.errors import ConfigError, SpaceError, TuneError
from tunesmith.space import Space, restore_space


@dataclass(frozen=True)
class Recommendation:
    """A config that was tried, and what its objective is expected to be."""

    config: dict[str, Any]
    value: float  #: posterior mean of the objective, in the user's sign
    seen: tuple[float, ...]  #: what its trials reached, one for each repetition
    n_results: int  #: how many results this rests on


class _Seen(NamedTuple):
    config: dict[str, Any]
    value: float
    n_folds: int


def recommend(
    results: ExperimentAnalysis, space: Mapping[str, Any] | Space | None = None, *, n_best: int = 300
) -> Recommendation:
    """The tried config with the best posterior mean, by a Gaussian process over the results.

    `results.best` is the best value seen: with noise it is partly luck. Here neighbours and repetitions count. Where
    trials report folds, it is one of those with the most.

    Args:
        space: as given to `run`; needed only where it holds `sample_from` or objects.
        n_best: the model sees so many of the best results, and as many of the others.
    Raises: ConfigError without a metric, or if the space is needed; TuneError where there is no result.
    """
    objective = results.reader.spec.objective
    if objective is None:
        raise ConfigError("The experiment was run without a metric. Run it with metric and mode to compare its trials.")
    known = _space(results, space)
    mode = objective.mode
    n_folds = {trial.index: len(trial.folds) for trial in results.reader.trials()}
    seen = [_Seen(trial.config, value, n_folds[trial.index]) for trial, value in results._observed()]
    inside = sorted((one for one in seen if _fits(known, one.config)), key=lambda one: mode.as_loss(one.value))
    if not inside:
        raise TuneError("No trial with a finite objective lies in the space. Look at results.errors.")
    used = inside[:n_best] + inside[n_best:][:: max(1, (len(inside) - n_best) // n_best)]
    return _best(known, used, seed=results.reader.spec.seed, sign=mode.as_loss(1.0))


def _best(space: Space, seen: list[_Seen], *, seed: int, sign: float) -> Recommendation:
    import numpy as np

    from tunesmith.models.cube import Cube
    from tunesmith.models.gaussian_process import GaussianProcess, fit_theta
    from tunesmith.models.threads import one_blas_thread
    from tunesmith.models.warp import warp_losses

    cube = Cube(space, seed=seed)
    rows = np.array([cube.encode(one.config) for one in seen])
    losses = np.array([sign * one.value for one in seen])
    n_folds = np.array([one.n_folds for one in seen])
    y = warp_losses(losses)
    with one_blas_thread():
        means, _ = GaussianProcess(cube, rows, y, fit_theta(cube, rows, y)).predict(rows)
    best = int(np.argmin(np.where(n_folds == n_folds.max(), means, np.inf)))
    order = np.argsort(y, kind="stable")
    expected = float(np.interp(means[best], y[order], losses[order]))
    same = [one.value for row, one in zip(rows, seen, strict=True) if np.array_equal(row, rows[best], True)]
    return Recommendation(seen[best].config, sign * expected, tuple(same), len(seen))


def _space(results: ExperimentAnalysis, space: Mapping[str, Any] | Space | None) -> Space:
    if isinstance(space, Space):
        return space
    if space is not None:
        return Space(dict(space))
    try:
        return restore_space(results.reader.spec.space)
    except SpaceError as error:
        raise ConfigError(f"recommend needs the space: {error}") from error


def _fits(space: Space, config: Mapping[str, Any]) -> bool:
    try:
        space.check(config)
    except SpaceError:
        return False
    return True
