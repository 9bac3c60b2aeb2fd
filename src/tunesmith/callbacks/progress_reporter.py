"""The base of reporters: what the runner calls, and what a subclass may decide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunesmith.callbacks.lines import resource_words
from tunesmith.callbacks.progress_view import ProgressView
from tunesmith.callbacks.trial_words import counts_words
from tunesmith.events import Record


class ProgressReporter:
    """Shows an experiment to a person. Called from one thread that is not the loop; what it raises stops nothing.

    A subclass says when (`should_report`) and what (`report`). Iterating the view gives trials in Ray Tune's words,
    so a subclass written for Ray Tune's `should_report(trials, done)` works unchanged.
    """

    #: Seconds between views that are worth building for this reporter; read after `start`.
    interval_s: float = 1.0

    def start(self, folder: Path, verbose: int = 3) -> None:
        """Before the first view. `verbose`: 1 progress and summary, 2 and a line per trial, 3 and a line per result."""

    def update(self, view: ProgressView, records: Sequence[Record]) -> None:
        """The experiment as it stands, and the records committed since the last call: all of them, in order."""
        if self.should_report(view, done=False):
            self.report(view, False, *self._facts(view))

    def finish(self, view: ProgressView) -> None:
        """After the last update; the view is the end of the experiment."""
        if self.should_report(view, done=True):
            self.report(view, True, *self._facts(view))

    def close(self) -> None:
        """Give the terminal back, also where `finish` was never reached. Idempotent."""

    def should_report(self, view: ProgressView, done: bool = False) -> bool:
        """Whether `report` is called for this view; `done` at the end."""
        raise NotImplementedError

    def report(self, view: ProgressView, done: bool, *facts: str) -> None:
        """Show the view. `facts` are lines about the scheduler and the resources."""
        raise NotImplementedError

    @staticmethod
    def _facts(view: ProgressView) -> list[str]:
        return [*view.scheduler_lines, resource_words(view), counts_words(view.counts)]
