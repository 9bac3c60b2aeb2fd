"""One trial under the names that Ray Tune's users know; ray-tune-2022.md lists them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from tunesmith.analysis.lineage import parent_of, schedule_of
from tunesmith.analysis.scores import values_of
from tunesmith.executors.remote_folders import fetch_if_elsewhere
from tunesmith.stores import Reader
from tunesmith.trial import Checkpoint, Trial, TrialStatus

#: The two newest results of a trial, and what its last attempt started from.
_NEWEST = (
    "SELECT time_total_s, attempt, step FROM current_results WHERE trial = ? ORDER BY attempt DESC, step DESC LIMIT 2"
)
_START = """SELECT json_extract(body, '$.start_step'), json_extract(body, '$.start_time_s') FROM log
  WHERE trial = ? AND type = 'StartAttempt' AND attempt = ? ORDER BY seq DESC LIMIT 1"""


class CheckpointView:
    """A checkpoint, or the absence of one."""

    def __init__(self, folder: Path, checkpoint: Checkpoint | None) -> None:
        self._folder = folder
        self._checkpoint = checkpoint

    @property
    def path(self) -> str | None:
        """Absolute path of its directory, which is fetched first where the checkpoints lie at a URL."""
        return None if self._checkpoint is None else str(fetch_if_elsewhere(self._folder, self._checkpoint.path))

    @property
    def value(self) -> str | None:
        """The same ending in a slash, as Ray Tune 1 gave it."""
        return None if self.path is None else f"{self.path}/"

    @property
    def step(self) -> int | None:
        """The step it was saved at."""
        return None if self._checkpoint is None else self._checkpoint.step

    @property
    def metrics(self) -> dict[str, float]:
        """What was reported with it; {} where another trial saved it."""
        if self._checkpoint is None or self._checkpoint.donor is not None:
            return {}
        return dict(self._checkpoint.metrics or {})

    result = metrics

    def __bool__(self) -> bool:
        return self._checkpoint is not None

    def __repr__(self) -> str:
        return f"Checkpoint({None if self._checkpoint is None else self._folder / self._checkpoint.path})"


class TrialView:
    """A trial as it stood when it was read."""

    def __init__(self, trial: Trial, reader: Reader) -> None:
        self._trial = trial
        self._reader = reader

    @property
    def trial(self) -> Trial:
        """The trial in our own words."""
        return self._trial

    @property
    def trial_id(self) -> str:
        """Id of the trial, `5d9ac_00002`."""
        return self._trial.trial_id

    @property
    def index(self) -> int:
        """Number of the trial, from 0."""
        return self._trial.index

    @property
    def name(self) -> str:
        """The trainable's name and the id."""
        return f"{self._reader.spec.trainable_name}_{self._trial.trial_id}"

    @property
    def config(self) -> dict[str, Any]:
        """What the trial received, as plain nested values."""
        return self._trial.config

    @cached_property
    def parent(self) -> int | None:
        """The trial whose checkpoint it went on from when it last became a clone; None if it never was one."""
        return parent_of(self._reader, self._trial.index)

    @cached_property
    def schedule(self) -> list[tuple[int, dict[str, Any]]]:
        """[(0, config), (step, config), ...]: from which step on its weights were trained with which config.

        Of a clone that includes what its donor had done. `PopulationBasedTrainingReplay` trains along it again.
        """
        if self._trial.attempt == 0:
            return [(0, self.config)]
        return schedule_of(self._reader, self._trial.index, self._trial.attempt)

    @property
    def state(self) -> TrialStatus:
        """Where the trial stands."""
        return self._trial.status

    @property
    def status(self) -> str:
        """The same in Ray Tune's words."""
        return self._trial.status.ray_word

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the last report alone; empty where there is none."""
        return dict(self._trial.metrics or {})

    @property
    def proposed_by(self) -> str | None:
        """Why the searcher proposed this config, in its words."""
        return self._trial.proposed_by

    @property
    def reason(self) -> str | None:
        """Why the trial is in its state."""
        return self._trial.reason

    @property
    def error(self) -> str | None:
        """Traceback or description of the last failure."""
        return self._trial.error

    @property
    def step(self) -> int:
        """The last step reported; 0 before the first."""
        return self._trial.step

    @property
    def best_value(self) -> float | None:
        """Best value of the objective at any step."""
        return self._trial.best_value

    @property
    def best_step(self) -> int | None:
        """The step of that value."""
        return self._trial.best_step

    @property
    def checkpoint(self) -> CheckpointView:
        """The newest checkpoint; its `value` is None where there is none."""
        return CheckpointView(self._reader.folder, self._trial.checkpoint)

    @property
    def logdir(self) -> str:
        """The directory of the trial's own files."""
        return str(self._reader.folder / "trials" / f"{self._trial.index:05d}")

    @property
    def local_path(self) -> str:
        """The same, as Ray Tune 2 calls it."""
        return self.logdir

    @property
    def trainable_name(self) -> str:
        """The name of the function or class that it trains with."""
        return self._reader.spec.trainable_name

    @property
    def log_path(self) -> str:
        """The file with what the trial printed."""
        return str(self._reader.folder / "logs" / f"{self._trial.index:05d}.log")

    @cached_property
    def experiment_tag(self) -> str:
        """Index and varying values, `2_batch_size=4,lr=0.0012346`."""
        return experiment_tag(self._trial, self._reader.spec.space)

    @cached_property
    def last_result(self) -> dict[str, Any]:
        """The last report with the keys that Ray Tune fills in; what the user reported wins. {} before the first."""
        trial = self._trial
        if trial.metrics is None:
            return {}
        rows = self._reader.query(_NEWEST, (trial.index,))
        start = self._reader.query(_START, (trial.index, trial.attempt))
        start_step, start_time_s = ((start[0][0] or 0), (start[0][1] or 0.0)) if start else (0, 0.0)
        # The first report of an attempt goes on from its start, which for a clone is not the trial's report before.
        before_s = rows[1][0] if len(rows) > 1 and rows[1][1] == trial.attempt else start_time_s
        filled = ray_result(
            trial,
            experiment_id=self._reader.spec.experiment_id,
            experiment_tag=self.experiment_tag,
            before_s=before_s or 0.0,
            start_step=start_step,
            start_time_s=start_time_s,
        )
        if rows and rows[0][1] != trial.attempt:  # a clone that has reported nothing yet: its own last report
            filled |= {"time_total_s": rows[0][0], "training_iteration": rows[0][2]}
            filled["config"] = self._reader.config_of(trial.index, rows[0][1])
        return {**trial.metrics, **{key: value for key, value in filled.items() if key not in trial.metrics}}

    def values(self, metric: str) -> list[tuple[int, float]]:
        """Step and value of every result that has the metric."""
        return values_of(self._reader, self._trial.index, metric)

    def __repr__(self) -> str:
        return self.name

    def _repr_html_(self) -> str:
        from tunesmith.analysis.html_trial import trial_html

        return trial_html(self._trial, self.name)


_ORDER = (
    "time_this_iter_s", "done", "training_iteration", "trial_id", "experiment_id", "date", "timestamp", "time_total_s",
    "pid", "hostname", "node_ip", "config", "time_since_restore", "iterations_since_restore", "experiment_tag",
)  # fmt: skip


def filled_in(trial: Trial, *, experiment_id: str) -> dict[str, Any]:
    """The keys of a last result that follow from the trial alone, without its other results."""
    at = trial.reported_at or 0.0
    return {
        "done": trial.status.is_over,
        "training_iteration": trial.step,
        "trial_id": trial.trial_id,
        "experiment_id": experiment_id,
        "date": time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(at)),
        "timestamp": int(at),
        "time_total_s": trial.time_total_s,
        "pid": trial.pid,
        "hostname": trial.node,
        "node_ip": trial.node or "127.0.0.1",
    }


def ray_result(
    trial: Trial,
    *,
    experiment_id: str,
    experiment_tag: str,
    before_s: float,
    start_step: int,
    start_time_s: float,
) -> dict[str, Any]:
    """All the keys that Ray Tune adds to a report, in its order.

    Args:
        before_s: training time up to the report before, or up to the attempt's start.
        start_step, start_time_s: what the attempt started from.
    """
    filled = filled_in(trial, experiment_id=experiment_id) | {
        "time_this_iter_s": trial.time_total_s - before_s,
        "time_since_restore": trial.time_total_s - start_time_s,
        "iterations_since_restore": trial.step - start_step,
        "config": trial.config,
        "experiment_tag": experiment_tag,
    }
    return {key: filled[key] for key in _ORDER}


def experiment_tag(trial: Trial, space: dict[str, Any]) -> str:
    """`<index>_<k=v,...>` of the leaves that vary, sorted by path and named by their last key; floats `{:.5g}`."""
    from tunesmith.space import flatten_config

    varying = tuple(_varying(space["tree"], "")) if "tree" in space else ("",)
    leaves = sorted((path, value) for path, value in flatten_config(trial.config).items() if _is_below(path, varying))
    words = [f"{path.rsplit('/', 1)[-1]}={_short(value)}" for path, value in leaves]
    return f"{trial.index}_{','.join(words)}" if words else str(trial.index)


def _varying(tree: Any, path: str) -> Iterator[str]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        if key in ("$domain", "$dict"):
            yield path
        else:
            yield from _varying(value, path if key == "$tuple" else f"{path}/{key}".lstrip("/"))


def _is_below(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(not prefix or path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
