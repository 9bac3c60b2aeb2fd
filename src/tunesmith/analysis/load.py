"""An experiment opened for looking at it."""

from __future__ import annotations

import os

from tunesmith.analysis.experiment_analysis import ExperimentAnalysis
from tunesmith.stores import open_reader


def load(path: str | os.PathLike[str]) -> ExperimentAnalysis:
    """The results in an experiment's folder or `experiment.db`, running or finished; nothing of it is executed.

    Raises: StoreError if there is no experiment, or its file is damaged, foreign, or newer than this program.
    """
    return ExperimentAnalysis(open_reader(path))
