"""What became of trials, in few words."""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith.callbacks.text import clean, error_headline
from tunesmith.trial import Trial, TrialStatus

#: How states read in a sentence, in the order in which they are counted up.
STATUS_WORDS = {
    TrialStatus.RUNNING: "running",
    TrialStatus.PENDING: "waiting",
    TrialStatus.PAUSED: "paused",
    TrialStatus.COMPLETED: "completed",
    TrialStatus.STOPPED: "stopped early",
    TrialStatus.FAILED: "failed",
    TrialStatus.INVALID: "refused as invalid",
    TrialStatus.INTERRUPTED: "interrupted",
}


def counts_words(counts: Mapping[TrialStatus, int]) -> str:
    """`8 running, 20 completed, 4 failed`; states without a trial are left out."""
    words = [f"{counts[status]} {words}" for status, words in STATUS_WORDS.items() if counts.get(status)]
    return ", ".join(words) or "no trial yet"


def stop_words(trial: Trial) -> str:
    """`trial 12 stopped at step 4: rank 7 of 9 at rung 4, 4 kept`."""
    words = f"trial {trial.index} stopped at step {trial.step}"
    return f"{words}: {clean(trial.reason)}" if trial.reason else words


def error_words(trial: Trial) -> str:
    """What went wrong with a trial, in a line."""
    return error_headline(trial.error) if trial.error else clean(trial.reason or "no error text")


def failure_words(trial: Trial) -> str:
    """`trial 12 failed 2 times: ValueError: ...`."""
    times = f" {trial.n_failures} times" if trial.n_failures > 1 else ""
    return f"trial {trial.index} failed{times}: {error_words(trial)}"
