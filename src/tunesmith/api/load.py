"""`tune.load`: the results of an experiment, and going on with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.api.run import run
from tunesmith.errors import ConfigError
from tunesmith.space import Space, restore_space
from tunesmith.stores import open_reader


class LoadedExperiment(ExperimentAnalysis):
    """The results in an experiment's folder. Looking at them runs no code; `resume` runs the trainable it is given."""

    def resume(
        self, trainable: Any, *, config: Mapping[str, Any] | None = None, **run_arguments: Any
    ) -> ExperimentAnalysis:
        """Go on where the experiment was, and return the results.

        Args:
            trainable: the training function or class: code is not stored.
            config: the space, needed only where it holds `sample_from` or objects: the others come from the store.
            run_arguments: as of `run`. Metric, mode, number of samples and resources are those it had unless given;
                a scheduler or searcher must be given again.
        Raises: ConfigError if the experiment had a scheduler and none is given; SpaceError as above.
        """
        spec = self.reader.spec
        if spec.scheduler_name != "FIFOScheduler" and "scheduler" not in run_arguments:
            raise ConfigError(
                f"The experiment was run with {spec.scheduler_name}, whose arguments are not stored. "
                f"Give scheduler= as before, or scheduler='fifo' to go on without one."
            )
        space = restore_space(spec.space) if config is None else Space(dict(config))
        defaults: dict[str, Any] = {
            "num_samples": -1 if spec.n_trials is None else spec.n_trials // space.n_grid,
            "resources_per_trial": spec.resources,
            "max_concurrent_trials": spec.max_concurrent_trials,
            "max_failures": spec.max_failures,
        }
        if spec.objective is not None and run_arguments.get("scheduler", "fifo") == "fifo":
            defaults |= {"metric": spec.objective.metrics, "mode": [mode.value for mode in spec.objective.modes]}
        return run(
            trainable,
            config=space.tree,
            name=self.folder.name,
            storage_path=self.folder.parent,
            **{**defaults, **run_arguments},
        )


def load(path: str | os.PathLike[str]) -> LoadedExperiment:
    """The results in an experiment's folder or `experiment.db`, running or finished; nothing of it is executed.

    Raises: StoreError if there is no experiment, or its file is damaged, foreign, or newer than this program.
    """
    return LoadedExperiment(open_reader(path))
