"""BOHB's model: where configs are dense that did well when trained for as long as enough configs were."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tunesmith.errors import ConfigError, SpaceError
from tunesmith.events import Suggestion
from tunesmith.models.cube import Cube
from tunesmith.models.kernel_density import KernelDensity
from tunesmith.models.threads import one_blas_thread
from tunesmith.protocols import Curve, Exhausted, History, Wait
from tunesmith.rng import generator
from tunesmith.searchers.first_configs import FirstConfigs, Found, Task
from tunesmith.searchers.ranked_rows import first_new, in_grid
from tunesmith.trial import Mode, Trial, TrialStatus, parse_objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class BOHBSettings:
    """The constants of Falkner et al. 2018, under HpBandSter's names."""

    #: Good configs at least, and as many others; None: one more than there are hyperparameters.
    min_points_in_model: int | None = None
    top_n_percent: float = 15  #: of the results are good
    num_samples: int = 64  #: candidates of a proposal
    random_fraction: float = 1 / 3  #: of the proposals are not asked of the model
    bandwidth_factor: float = 3  #: candidates are drawn from kernels so many times as wide
    min_bandwidth: float = 1e-3  #: in widths of the cube


class Standing(NamedTuple):
    """All results at one time."""

    time: float
    rows: Array  #: best first, those that failed last; shape (n, d)
    n_finite: int  #: how many of them have a finite value there


class TuneBOHB(FirstConfigs):
    """Proposes where good configs are dense and others are not, judged at the longest training that says enough.

    The times that count are those at which trials paused or ended: the rungs of the scheduler, which is best
    HyperBandForBOHB; any other works. The model is made of the results at the longest of them that 2 (d + 1) trials
    have reached, d the number of hyperparameters: the best 15 %, d + 1 at least, against all others. Failed configs
    count as the worst. Two products of kernels give the densities; of 64 candidates around good configs the one with
    the best ratio is proposed. Each third proposal or so is spread evenly over the space instead, and so are all before
    there is a model. Of several metrics the first is used.

    On purpose unlike HpBandSter: (1) no config is proposed twice; (2) hyperparameters that are not active in a config
    are left out instead of being filled with those of others; (3) bandwidths of options do not depend on their order;
    (4) the evenly spread share is quasi-random. Like its code, and unlike the paper, it has no config both among the
    good and among the others, and waits for results enough for that.

    Source: Falkner et al. 2018 (arXiv 1807.01774).
    """

    uses_results = True

    def __init__(
        self,
        space: None = None,
        bohb_config: Mapping[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        seed: int | None = None,
        max_concurrent: int = 0,
        *,
        time_attr: str = "training_iteration",
    ) -> None:
        """Args:
            space: None; the space is given to the call that runs the experiment.
            bohb_config: other constants, by HpBandSter's names; see BOHBSettings.
            metric, mode: as the experiment has them, which is where to give them.
            points_to_evaluate: configs to begin with; see GivenPoints.
            seed: of the model, in place of the experiment's.
            max_concurrent: 0; ConcurrencyLimiter, or max_concurrent_trials, is for that.
            time_attr: what training is counted in, as in the scheduler.
        Raises: ConfigError, SpaceError.
        """
        super().__init__(points_to_evaluate=points_to_evaluate)
        if space is not None:
            raise ConfigError(
                f"space is {type(space).__name__}. Give the space as config= (or param_space=) of the experiment, "
                "with tunesmith's own domains; ConfigSpace is not used."
            )
        if max_concurrent != 0:
            raise ConfigError(f"max_concurrent is {max_concurrent!r}. Use max_concurrent_trials= of the experiment.")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
            raise ConfigError(f"seed is {seed!r}. Give a whole number of 0 or more, or None for the experiment's.")
        if not isinstance(time_attr, str):
            raise ConfigError(f"time_attr is {time_attr!r}. Give the name of a reported value.")
        self.curves_by = time_attr
        self._settings = parse_settings(bohb_config)
        self._objective = parse_objective(metric, mode)
        self._seed = seed

    def suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted | Wait:
        """See Searcher."""
        own, objective = self._objective, history.objective
        if own is not None and objective is not None and (own.metric, own.mode) != (objective.metric, objective.mode):
            raise ConfigError(
                f"TuneBOHB has metric={own.metric!r}, mode={own.mode.value!r}, and the experiment has "
                f"metric={objective.metric!r}, mode={objective.mode.value!r}. Give both to the experiment only."
            )
        if self._seed is not None:
            rng = generator(self._seed, "bohb", len(history.trials))
        with one_blas_thread():
            return self._suggest(history, rng, n)

    def _suggest(self, history: History, rng: np.random.Generator, n: int) -> Sequence[Suggestion] | Exhausted:
        made = self._model(history, self.prepared(history).cube)

        def model(task: Task) -> Found | None:
            if made is None or rng.random() < self._settings.random_fraction:
                return None
            return made.propose(task, rng)

        seed = history.seed if self._seed is None else self._seed
        return self.configs(history, rng, n, model=model, seed=seed)

    def _model(self, history: History, cube: Cube) -> BOHBModel | None:
        n_least = self._settings.min_points_in_model or cube.d + 1
        standing = read_standing(history, cube, n_least=n_least)
        return None if standing is None else BOHBModel(cube, standing, self._settings, n_least=n_least)


class BOHBModel:
    """Two densities of the results at one time."""

    def __init__(self, cube: Cube, standing: Standing, settings: BOHBSettings, *, n_least: int) -> None:
        """Args: n_least: good configs, and others, at least; there are twice as many results."""
        n = len(standing.rows)
        n_good = min(max(n_least, math.floor(settings.top_n_percent * n / 100)), n - n_least, standing.n_finite)
        self._time, self._n_good, self._n_others = standing.time, n_good, n - n_good
        self._settings = settings
        self._good = KernelDensity(cube, standing.rows[:n_good], min_width=settings.min_bandwidth)
        self._others = KernelDensity(cube, standing.rows[n_good:], min_width=settings.min_bandwidth)

    def propose(self, task: Task, rng: np.random.Generator) -> tuple[Array, str] | None:
        """A row and the reason; None if no candidate is new."""
        rows = self._good.sample(self._settings.num_samples, rng, stretch=self._settings.bandwidth_factor)
        rows = in_grid(task, rows, rng)
        if task.cube.has_dependents:
            rows, is_allowed = task.cube.settle(rows, index=task.index)
            rows = rows[is_allowed]
        ratios = self._good.log_density(rows) - self._others.log_density(rows)
        row = first_new(task, rows[np.argsort(-ratios, kind="stable")], rng)
        if row is None:
            return None
        return row, f"BOHB: like the {self._n_good} best at {self._time:g}, unlike the {self._n_others} others"


def read_standing(history: History, cube: Cube, *, n_least: int) -> Standing | None:
    """The results at the longest training that twice `n_least` trials have reached; None if there is none.

    Trainings count at which a trial paused or ended: a trial that is on its way would be compared with the few that
    are as far by chance. Trials outside the space, whose space was changed since, are left out.
    """
    pairs = list(zip(history.trials, history.curves, strict=False))
    ends = np.array([curve.times[curve.n - 1] if curve.n else -math.inf for _, curve in pairs])
    rests = {end for end, (trial, _) in zip(ends.tolist(), pairs, strict=True) if _rests(trial) and end > -math.inf}
    time = next((t for t in sorted(rests, reverse=True) if int((ends >= t).sum()) >= 2 * n_least), None)
    mode = history.objective.mode if history.objective is not None else Mode.MIN
    if time is None:
        return None
    losses: list[float] = []
    rows: list[Array] = []
    for end, (trial, curve) in zip(ends.tolist(), pairs, strict=True):
        loss = _loss_at(curve, time, mode) if end >= time else math.inf
        if end < time and not _has_failed(trial):
            continue
        try:
            rows.append(cube.encode(trial.config))
        except SpaceError:
            continue
        losses.append(loss)
    n_finite = sum(map(math.isfinite, losses))
    if n_finite < n_least or len(rows) < 2 * n_least:
        return None
    return Standing(time, np.array(rows)[np.argsort(losses, kind="stable")], n_finite)


def _rests(trial: Trial) -> bool:
    return trial.status is TrialStatus.PAUSED or trial.status.is_over


def _has_failed(trial: Trial) -> bool:
    """Whether it failed for what its config did: not for a process or node that was lost."""
    return trial.status is TrialStatus.INVALID or (trial.status is TrialStatus.FAILED and trial.n_failures > 0)


def _loss_at(curve: Curve, time: float, mode: Mode) -> float:
    """The loss at the first point at this time or after it; infinite for no number."""
    times, values = curve.points()
    loss = mode.as_loss(values[int(np.searchsorted(times, time))])
    return math.inf if math.isnan(loss) else loss


def parse_settings(given: Mapping[str, Any] | None) -> BOHBSettings:
    """The constants with those that were given.

    Raises: ConfigError for an unknown name, or a number out of its range.
    """
    allowed = {
        "min_points_in_model": (1, math.inf, True),
        "top_n_percent": (0, 100, False),
        "num_samples": (1, math.inf, True),
        "random_fraction": (0, 1, False),
        "bandwidth_factor": (1e-9, math.inf, False),
        "min_bandwidth": (1e-9, 1, False),
    }
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"bohb_config is {given!r}. Give a dict with some of {', '.join(allowed)}.")
    for name, value in (given or {}).items():
        if name not in allowed:
            raise ConfigError(f"bohb_config has {name!r}. Give some of {', '.join(allowed)}.")
        low, high, is_whole = allowed[name]
        kind = int if is_whole else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            what = "a whole number" if is_whole else "a number"
            raise ConfigError(f"bohb_config has {name}={value!r}. Give {what} from {low:g} to {high:g}.")
    return BOHBSettings(**(given or {}))
