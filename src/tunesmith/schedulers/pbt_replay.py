"""Trains one trial along a schedule of configs that population based training found."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.events import CONTINUE, AnswerReport, Clone, Decision, Record, StartAttempt, TrialReported, Verdict
from tunesmith.protocols import NextAction
from tunesmith.schedulers.fifo import first_come
from tunesmith.schedulers.pbt_explore import changes_in_words
from tunesmith.trial import Objective, Trial

#: From which step on which config is used.
Schedule = Sequence[tuple[int, Mapping[str, Any]]]


class PopulationBasedTrainingReplay:
    """At the steps of a schedule a trial goes on from its own checkpoint with the schedule's next config.

    Give the experiment `config=replay.config` and `num_samples=1`. A change takes effect at the first report of its
    step or later that carries a checkpoint: save one at every step that is in `schedule`.

    Args:
        policy_file: the schedule, [(0, config), (step, config), ...]; a trial of the results, which has one; or the
            path of a pbt_policy_*.txt that Ray Tune wrote.

    On purpose unlike Ray Tune: every trial follows the schedule, not only a single one; a config of the schedule is
    laid over the trial's, so that what was not changed may be left out.
    Raises: ConfigError where this is no schedule.
    """

    def __init__(self, policy_file: Any) -> None:
        self.schedule = _schedule(policy_file)
        #: Trial -> how many of the changes it has behind it: those at or below the step that it started from.
        self._n_done: dict[int, int] = {}
        self._n_changes = 0

    @property
    def config(self) -> dict[str, Any]:
        """The config to begin with."""
        return dict(self.schedule[0][1])

    def bind(self, objective: Objective | None) -> Objective | None:
        """The experiment's objective, unchanged."""
        return objective

    def observe(self, record: Record) -> None:
        """Note which changes each trial has behind it."""
        if isinstance(record, AnswerReport):
            self._n_changes += record.decision.clone is not None
        elif isinstance(record, StartAttempt):
            n_due = self._n_due(record.start_step)
            is_change = record.donor == record.trial
            self._n_done[record.trial] = n_due if is_change else min(n_due, self._n_done.get(record.trial, 0))

    def decide(self, trial: Trial, report: TrialReported) -> Decision:
        """CLONE, of itself, where the next config is due and the report carries a checkpoint; else CONTINUE."""
        n_due = self._n_due(report.step)
        if report.checkpoint is None or n_due <= self._n_done.get(trial.index, 0):
            return CONTINUE
        step, change = self.schedule[n_due]
        config = {**trial.config, **change}
        numbers: dict[str, float | int | str] = {"step": step, "changes": changes_in_words(trial.config, config)}
        clone = Clone(trial.index, report.checkpoint, config)
        return Decision(Verdict.CLONE, "the schedule says, from step {step} on: {changes}", numbers, clone)

    def choose_next(self, paused: Sequence[Trial]) -> NextAction:
        """What was paused goes on before anything new starts."""
        return first_come(paused)

    def describe(self) -> Sequence[str]:
        """How many changes were made, of how many that the schedule has."""
        return [
            f"PopulationBasedTrainingReplay: {self._n_changes} changes made; {len(self.schedule) - 1} in a schedule"
        ]

    def _n_due(self, step: int) -> int:
        return sum(at <= step for at, _ in self.schedule[1:])


def _schedule(given: Any) -> list[tuple[int, dict[str, Any]]]:
    if isinstance(given, str | os.PathLike):
        return _checked(_from_policy_file(Path(given)), f"The policy file {os.fspath(given)!r}")
    return _checked(getattr(given, "schedule", given), "policy_file")


def _checked(found: Any, what: str) -> list[tuple[int, dict[str, Any]]]:
    advice = "Give [(0, config), (step, config), ...] with rising steps, a trial of the results, or a pbt_policy_*.txt."
    if not isinstance(found, Sequence) or isinstance(found, str) or not found:
        raise ConfigError(f"{what} is {found!r:.200}. {advice}")
    schedule = []
    for entry in found:
        is_pair = isinstance(entry, Sequence) and len(entry) == 2 and isinstance(entry[1], Mapping)
        if not is_pair or isinstance(entry[0], bool) or not isinstance(entry[0], int):
            raise ConfigError(f"{what} has the entry {entry!r:.200}. {advice}")
        schedule.append((entry[0], dict(entry[1])))
    steps = [step for step, _ in schedule]
    if steps[0] != 0 or any(a >= b for a, b in pairwise(steps)):
        raise ConfigError(f"{what} has the steps {steps}. {advice}")
    return schedule


def _from_policy_file(path: Path) -> list[tuple[int, Any]]:
    """The schedule in a file of Ray Tune.

    Each line is [tag of the trial, tag of its donor, the trial's step, the donor's step, the donor's config, the new
    config], oldest first, with the donor's own lines before that of its copy. What does not lead to the last line was
    overwritten by it.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        changes: list[tuple[int, Any]] = []
        first, wanted = None, None
        for tag, donor_tag, _, donor_step, donor_config, new_config in reversed(lines):
            if wanted is not None and tag != wanted:
                break
            wanted, first = donor_tag, donor_config
            changes.append((donor_step, new_config))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{str(path)!r} is no policy file of population based training: {error}.") from error
    if first is None:
        raise ConfigError(f"{str(path)!r} holds no change: its trial trained with one config from start to end.")
    return [(0, first), *_latest_per_step(reversed(changes))]


def _latest_per_step(changes: Any) -> list[tuple[int, Any]]:
    """A trial that was copied twice at one step trained with the later config only."""
    return list(dict(changes).items())
