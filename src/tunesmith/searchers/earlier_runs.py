"""Earlier runs as a help for a new one, on the same or a different space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tunesmith.errors import SpaceError
from tunesmith.models.cube import Cube
from tunesmith.models.gaussian_process import GaussianProcess, fit_theta
from tunesmith.models.warp import warp_losses
from tunesmith.searchers.given_points import completed_config
from tunesmith.space import Space
from tunesmith.trial import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: For each earlier run its configs, each with the metric's value in the user's sign.
EarlierRuns: TypeAlias = Sequence[Sequence[tuple[Mapping[str, Any], float]]]

#: Configs of earlier runs that are tried first. More would delay what the new results can say.
_N_PORTFOLIO = 5
#: Results of one earlier run that the model uses; beyond, the best and an even share of the others.
_N_USED = 200


def portfolio(
    cube: Cube, runs: EarlierRuns, objective: Objective | None, *, seed: int
) -> tuple[list[dict[str, Any]], tuple[tuple[Array, Array], ...]]:
    """The configs to try first, and each run's rows (k, d) and losses (k,).

    Parameters are matched by name. What the old config lacks, or has outside the new domain, is drawn. The runs take
    turns in giving their next best config, so that one of many does not fill the portfolio.
    """
    if objective is None or not runs:
        return [], ()
    sorted_runs: list[list[dict[str, Any]]] = []
    data: list[tuple[Array, Array]] = []
    for run in runs:
        known = [(_matching(cube.space, config, seed=seed), float(value)) for config, value in run]
        known = [(config, objective.mode.as_loss(value)) for config, value in known if config and math.isfinite(value)]
        known.sort(key=lambda pair: pair[1])
        if not known:
            continue
        sorted_runs.append([config for config, _ in known])
        used = known if len(known) <= _N_USED else known[: _N_USED // 2] + known[_N_USED // 2 :: len(known) // 100]
        rows = [_row(cube, config, i, seed=seed) for i, (config, _) in enumerate(used)]
        data.append((np.array(rows), np.array([loss for _, loss in used])))
    first: list[dict[str, Any]] = []
    for place in range(_N_PORTFOLIO):
        for configs in sorted_runs:
            if place < len(configs) and configs[place] not in first and len(first) < _N_PORTFOLIO:
                first.append(configs[place])
    return first, tuple(data)


def _row(cube: Cube, config: Mapping[str, Any], i: int, *, seed: int) -> Array:
    return cube.encode(completed_config(cube.space, config, seed=seed, index=i))


def _matching(space: Space, config: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """The part of an old config that fits the space; empty if nothing does."""
    names = {leaf.path[0] for leaf in space.leaves}
    part = {name: value for name, value in config.items() if name in names}
    try:
        completed_config(space, part, seed=seed, index=0)
        return part
    except SpaceError:
        pass
    fitting: dict[str, Any] = {}
    for name, value in part.items():
        try:
            completed_config(space, {**fitting, name: value}, seed=seed, index=0)
        except SpaceError:
            continue
        fitting[name] = value
    return fitting


class EarlierTrend:
    """What earlier runs say about the new losses: the mean of a model of each, as far as it agrees with the results.

    The weight is the slope of the new warped losses over the earlier models' mean, from 0 (no relation) to 1, drawn
    towards 0 while results are few. What is left is for the new model: stacked residuals, as in Golovin et al. 2017
    (Google Vizier), section 3.3.
    """

    def __init__(self, cube: Cube, earlier: Sequence[tuple[Array, Array]], rows: Array, y: Array) -> None:
        """Args: earlier: rows and losses of each run; rows, y: the new results, y standardised."""
        self._models = [_model(cube, *run) for run in earlier]
        known = self._means(rows)
        spread = float(np.var(known))
        slope = float(np.cov(known, y, bias=True)[0, 1]) / spread if len(y) > 1 and spread > 0.0 else 0.0
        self.weight = min(max(slope, 0.0), 1.0) * len(y) / (len(y) + _N_DOUBT)

    def predict(self, rows: Array) -> Array:
        """The trend at the rows; shape (n,)."""
        return np.asarray(self.weight * self._means(rows)) if self.weight > 0.0 else np.zeros(len(rows))

    def _means(self, rows: Array) -> Array:
        return np.asarray(np.mean([model.predict(rows)[0] for model in self._models], axis=0))


_N_DOUBT = 3.0  #: with so many results the agreement is believed by half


def _model(cube: Cube, rows: Array, losses: Array) -> GaussianProcess:
    y = warp_losses(losses)
    return GaussianProcess(cube, rows, y, fit_theta(cube, rows, y))
