"""Trials as models of the objective see them: rows of a cube, and a loss each; those that diverged included.

A trial that failed, or reported nothing but NaN, stands at the worst loss that any other reached: what leads to failure
matters, and without these trials it would look harmless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tunesmith.analysis.curves import learning_curves
from tunesmith.analysis.metric_choice import ChosenMetric
from tunesmith.analysis.observations import diverged, observed
from tunesmith.analysis.parameters import display_names
from tunesmith.errors import ConfigError, SpaceError
from tunesmith.models.cube import Cube
from tunesmith.models.warp import warp_losses
from tunesmith.space import Path, SampleFrom, Space, readable_space
from tunesmith.stores import Reader
from tunesmith.trial import Trial, TrialStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class ModelRows(NamedTuple):
    """Trials as a model sees them; those with a value come first, then those that diverged."""

    cube: Cube
    names: tuple[str, ...]  #: by column
    rows: Array  #: (n, d)
    losses: Array  #: (n,), smaller is better; of those that diverged the worst of the others
    targets: Array  #: (n,), what a model is fitted to: the losses warped, in the same order
    n_diverged: int
    n_left_out: int  #: trials that are not over, break a constraint, or have a config outside the space


def model_rows(
    reader: Reader,
    chosen: ChosenMetric,
    *,
    step: int | None = None,
    space: Mapping[str, Any] | Space | None = None,
) -> ModelRows:
    """The rows and losses of the trials that are over.

    Args: step, space: as for `importance`.
    Raises: SpaceError where options of the space cannot be told apart by their stored labels.
    """
    seen, lost = observed(reader, chosen), diverged(reader, chosen)
    if step is not None:
        seen, lost = _at_step(reader, chosen, step, seen=seen, lost=lost)
    known = _known_space(reader.spec.space, [trial.config for trial in (*(trial for trial, _ in seen), *lost)], space)
    cube = Cube(known, seed=reader.spec.seed)
    rows, losses = [], []
    for trial, value in seen:
        if (row := _row(cube, trial)) is not None:
            rows.append(row)
            losses.append(chosen.mode.as_loss(value))
    n_known = len(rows)
    if n_known:  # else there is nothing to compare those that diverged with
        rows += [row for trial in lost if (row := _row(cube, trial)) is not None]
    n_diverged = len(rows) - n_known
    known_losses = np.array(losses, float)
    return ModelRows(
        cube=cube,
        names=_names(cube),
        rows=np.array(rows, float).reshape(len(rows), cube.d),
        losses=np.append(known_losses, [known_losses.max()] * n_diverged if n_diverged else []),
        targets=_targets(known_losses, n_diverged),
        n_diverged=n_diverged,
        n_left_out=reader.n_trials() - len(rows),
    )


def _targets(losses: Array, n_diverged: int) -> Array:
    """The losses warped, and as many more of trials that diverged: at the worst, or beyond where all are equal."""
    warped = warp_losses(losses)
    if not n_diverged:
        return warped
    worst = float(warped.max()) if np.ptp(warped) > 0.0 else float(warped.max()) + 1.0
    return np.append(warped, [worst] * n_diverged)


def _row(cube: Cube, trial: Trial) -> Array | None:
    try:
        return cube.encode(trial.config)
    except SpaceError:
        return None


def _names(cube: Cube) -> tuple[str, ...]:
    leaves = [cube.leaf(j) for j in range(cube.d)]
    named = display_names(leaves)
    return tuple(named[leaf.path] for leaf in leaves)


def _known_space(
    description: dict[str, Any], configs: Sequence[dict[str, Any]], space: Mapping[str, Any] | Space | None
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


def _at_step(
    reader: Reader,
    chosen: ChosenMetric,
    step: int,
    *,
    seen: list[tuple[Trial, float]],
    lost: list[Trial],
) -> tuple[list[tuple[Trial, float]], list[Trial]]:
    """Each at its best finite value of its first `step` steps, only those that got there; and who diverged until then.

    One that failed later is among the former.
    """
    if step < 1:
        raise ConfigError(f"step is {step}. Give a step that trials reported, 1 or more.")
    sign = chosen.mode.as_loss(1.0)
    best, arrived = {}, set()
    for curve in learning_curves(reader, chosen):
        if curve.step[-1] >= step:
            arrived.add(curve.trial)
            values = curve.value[(curve.step <= step) & np.isfinite(curve.value)]
            if len(values):
                best[curve.trial] = sign * float((sign * values).min())
    over = [*(trial for trial, _ in seen), *lost]
    return (
        [(trial, best[trial.index]) for trial in over if trial.index in best],
        [
            trial
            for trial in over
            if trial.index not in best and (trial.index in arrived or trial.status is TrialStatus.FAILED)
        ],
    )
