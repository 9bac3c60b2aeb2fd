"""What a person watches: reporters, and the view of an experiment that they are given.

Importing this package does not import rich; a reporter does when it first draws.
"""

from tunesmith.callbacks.cli_reporter import CLIReporter
from tunesmith.callbacks.notebook_reporter import JupyterNotebookReporter, default_reporter
from tunesmith.callbacks.progress_reporter import ProgressReporter
from tunesmith.callbacks.progress_view import (
    Best,
    ExperimentReader,
    LiveFacts,
    ProgressView,
    ReportedTrial,
    build_view,
    memory_now,
)

__all__ = [
    "Best",
    "CLIReporter",
    "ExperimentReader",
    "JupyterNotebookReporter",
    "LiveFacts",
    "ProgressReporter",
    "ProgressView",
    "ReportedTrial",
    "build_view",
    "default_reporter",
    "memory_now",
]
