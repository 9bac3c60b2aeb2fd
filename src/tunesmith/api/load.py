"""`tune.load`: the results of an experiment, and going on with it."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.api.run import run
from tunesmith.errors import ConfigError
from tunesmith.space import Space, count_grid_points, restore_space
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import DATABASE_NAME, open_reader
from tunesmith.trial import Mode

_BY_DEFAULT = ("", "AutoSearch", "CurveSearch", "FreezeThaw", "RandomSearch")  #: searchers that no one has to name
#: What only code can give again, by argument: where the spec names it, what needs no argument, how to go on without.
_NOT_STORED = {
    "scheduler": ("scheduler_name", ("", "FIFOScheduler"), "scheduler='fifo'"),
    "search_alg": ("searcher_name", _BY_DEFAULT, "search_alg='auto'"),
    "stop": ("stopper_name", ("",), "stop=None"),
}
_PLACES = ("name", "storage_path", "local_dir")


class LoadedExperiment(ExperimentAnalysis):
    """The results in an experiment's folder. Looking at them runs no code; `resume` runs the trainable it is given."""

    def resume(
        self, trainable: Any, *, config: Mapping[str, Any] | None = None, **run_arguments: Any
    ) -> ExperimentAnalysis:
        """Go on where the experiment was, and return the results.

        Args:
            trainable: the training function or class: code is not stored.
            config: the space, needed only where it holds `sample_from` or objects: the others come from the store.
            run_arguments: as of `run`, but for those that say where. What was given before holds unless given anew,
                the seed always; a scheduler, a searcher and a stop rule must be given again.
        Raises: ConfigError for a copy of a database, or where one of the latter is missing; SpaceError as above.
        """
        self._check_place(run_arguments)
        spec = self.reader.spec
        for argument, (field, defaults, without) in _NOT_STORED.items():
            name = getattr(spec, field)
            if name not in defaults and argument not in run_arguments:
                raise ConfigError(
                    f"The experiment was run with {argument}= ({name}), which is not stored. "
                    f"Give {argument}= as before, or {without} to go on without it."
                )
        space = restore_space(spec.space) if config is None else Space(dict(config))
        return run(
            trainable,
            config=space.tree,
            name=self.folder.name,
            storage_path=self.folder.parent,
            **{**stored_arguments(spec), **_objective(spec, run_arguments), **run_arguments},
        )

    def _check_place(self, run_arguments: Mapping[str, Any]) -> None:
        given = [name for name in _PLACES if name in run_arguments]
        if given:
            raise ConfigError(f"resume() was given {given[0]}=, but goes on where the experiment lies: {self.folder}.")
        if self.reader.path.name != DATABASE_NAME:
            raise ConfigError(
                f"{self.reader.path} is a copy: its results can be looked at, but not be added to. To go on with it, "
                f"put it into a folder of its own as {DATABASE_NAME}, with the folder trials/ of the original."
            )


def stored_arguments(spec: ExperimentSpec) -> dict[str, Any]:
    """The stored spec in the words of `run`."""
    policy = spec.checkpoint_policy
    score = policy.score_metric
    return {
        "search_alg": "random" if spec.searcher_name == "RandomSearch" else "auto",
        "num_samples": -1 if spec.n_trials is None else -(-spec.n_trials // count_grid_points(spec.space)),
        "resources_per_trial": spec.resources,
        "max_concurrent_trials": spec.max_concurrent_trials,
        "time_budget_s": spec.time_budget_s,
        "max_total_steps": spec.max_total_steps,
        "max_failures": spec.max_failures,
        "fail_fast": spec.fail_fast,
        "grace_s": spec.grace_s,
        "first_report_timeout_s": spec.first_report_timeout_s,
        "report_timeout_s": spec.report_timeout_s,
        "nan_policy": spec.nan_policy,
        "keep_checkpoints_num": policy.keep_num,
        "checkpoint_score_attr": f"min-{score}" if score is not None and policy.score_mode is Mode.MIN else score,
        "checkpoint_freq": spec.checkpoint_freq,
        "checkpoint_at_end": spec.checkpoint_at_end,
    }


def _objective(spec: ExperimentSpec, run_arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The stored objective in the words of `run`, unless the call or its scheduler has one of its own."""
    if spec.objective is None or not {"metric", "mode"}.isdisjoint(run_arguments):
        return {}
    scheduler = run_arguments.get("scheduler")
    if scheduler is not None and not isinstance(scheduler, str):
        try:
            copy.copy(scheduler).bind(spec.objective)
        except ConfigError:  # two of them
            return {}
    return {"metric": spec.objective.metrics, "mode": [mode.value for mode in spec.objective.modes]}


def load(path: str | os.PathLike[str]) -> LoadedExperiment:
    """The results in an experiment's folder or `experiment.db`, running or finished; nothing of it is executed.

    Raises: StoreError if there is no experiment, or its file is damaged, foreign, or newer than this program.
    """
    return LoadedExperiment(open_reader(path))
