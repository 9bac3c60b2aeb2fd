"""The config to use, where results are noisy: the best expectation rather than the luckiest result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


def recommend(
    results: ExperimentAnalysis, space: Mapping[str, Any] | Space | None = None, *, n_best: int = 300
) -> Recommendation:
    """The tried config with the best posterior mean, by a Gaussian process over the results.

    `results.best` is the best value seen: with noise it is partly luck. Here neighbours and repetitions count.

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
    pairs = sorted(results.observations(), key=lambda pair: mode.as_loss(pair[1]))
    inside = [(config, value) for config, value in pairs if _fits(known, config)]
    if not inside:
        raise TuneError("No trial with a finite objective lies in the space. Look at results.errors.")
    used = inside[:n_best] + inside[n_best:][:: max(1, (len(inside) - n_best) // n_best)]
    return _best(known, used, seed=results.reader.spec.seed, sign=mode.as_loss(1.0))


def _best(space: Space, pairs: list[tuple[dict[str, Any], float]], *, seed: int, sign: float) -> Recommendation:
    import numpy as np

    from tunesmith.models.cube import Cube
    from tunesmith.models.gaussian_process import GaussianProcess, fit_theta
    from tunesmith.models.threads import one_blas_thread
    from tunesmith.models.warp import warp_losses

    cube = Cube(space, seed=seed)
    rows = np.array([cube.encode(config) for config, _ in pairs])
    losses = np.array([sign * value for _, value in pairs])
    y = warp_losses(losses)
    with one_blas_thread():
        means, _ = GaussianProcess(cube, rows, y, fit_theta(cube, rows, y)).predict(rows)
    best = int(np.argmin(means))
    order = np.argsort(y, kind="stable")
    expected = float(np.interp(means[best], y[order], losses[order]))
    same = [value for row, (_, value) in zip(rows, pairs, strict=True) if np.array_equal(row, rows[best], True)]
    return Recommendation(pairs[best][0], sign * expected, tuple(same), len(pairs))


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
