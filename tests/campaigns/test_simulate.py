"""A small seeded sample of `make simulate`, and what shows that it can fail."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest
from campaigns.simulate.__main__ import digests_elsewhere, find_bug
from campaigns.simulate.campaign import play_seed
from campaigns.simulate.continuity import N_INTERRUPTIONS, compare_seed
from campaigns.simulate.planted import Bug

from tunesmith.experiment import experiment, pace, state
from tunesmith.experiment.asking import ConfigRequests
from tunesmith.experiment.pace import Pace
from tunesmith.rng import generator
from tunesmith.runner import suggester

N_SEEDS = 120
#: Twice what the latest of the bugs took to be found.
N_SEEDS_FOR_BUGS = 120


@pytest.mark.parametrize("part", range(4))
def test_no_world_violates_an_invariant(part: int) -> None:
    for seed in range(part, N_SEEDS, 4):
        played = play_seed(seed)
        assert played.violation is None, f"seed {seed}: {played.violation}\n{played.where}"
        assert played.end != "not"


def test_the_sample_has_faults_of_every_kind() -> None:
    counts = sum((play_seed(seed).counts for seed in range(60)), play_seed(60).counts)
    kinds = (
        "crashes",
        "power losses",
        "takeovers",
        "appends refused",
        "interrupts",
        "attempts with a fault",
        "nodes lost",
        "messages that came twice",
        "messages that came late",
        "stray messages",
        "reports after a stop",
        "slow appends",
        "wall clock jumps",
        "stand-ins",
    )
    assert [kind for kind in kinds if counts[kind] == 0] == []


def test_the_same_seed_gives_the_same_log_in_another_process_byte_for_byte() -> None:
    seeds = [*range(0, 60, 6), 7]  # 7 is on the real SQLite store
    assert digests_elsewhere(seeds) == {seed: play_seed(seed).digest for seed in seeds}


@pytest.mark.parametrize("bug", Bug, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    played = find_bug(bug, 0, N_SEEDS_FOR_BUGS)
    assert played is not None
    assert played.violation is not None
    assert played.violation.kind != "an exception", "it was found by an invariant, not by falling over"


@pytest.mark.parametrize("seed", range(20))
def test_ten_interruptions_change_nothing(seed: int) -> None:
    pair = compare_seed(seed)
    assert pair.difference is None
    assert pair.n_interruptions == N_INTERRUPTIONS
    assert pair.n_trials > 0


def test_draws_that_depend_on_how_often_was_asked_are_found() -> None:
    """The comparison can fail: with a stream per request, a request that a crash left open gets other configs."""
    n_asked = iter(range(1_000_000))
    with patch.object(suggester, "_stream", lambda history, purpose: generator(history.seed, purpose, next(n_asked))):
        differences = [compare_seed(seed).difference for seed in range(20)]
    assert any(differences)


def test_an_interrupt_that_keeps_the_scheduler_from_deciding_is_found() -> None:
    real = experiment.Experiment._decide

    def decide(self, trial, event):  # type: ignore[no-untyped-def]
        stop = self.state.stopping.get(trial.index)
        return real(self, trial, event) if stop is None else state.as_told(stop)

    with patch.object(experiment.Experiment, "_decide", decide):
        violations = [play_seed(seed).violation for seed in range(80)]
    kinds = {violation.kind for violation in violations if violation is not None}
    assert "another decision than the oracle's" in kinds


_further = ConfigRequests._further


@pytest.mark.parametrize(
    ("target", "name", "value", "kind"),
    [
        (Pace, "n_ahead", lambda self, n_slots: n_slots, "other configs asked for than are missing"),
        (Pace, "n_ahead", lambda self, n_slots: 0, "too few configs are held ready"),
        (Pace, "note_conclusion", lambda *conclusion: None, "too few configs are held ready"),
        (
            ConfigRequests,
            "_further",
            lambda *what, n_idle, now: _further(*what, n_idle=n_idle, now=now) if n_idle > 0 else None,
            "too few configs are held ready",
        ),
        (pace, "MIN_PATIENCE_S", 30.0, "a stand-in that is not due"),
        (pace, "MIN_PATIENCE_S", 90.0, "a deadline is slept through"),
        (ConfigRequests, "_instead_of", lambda *what: None, "the experiment does not end"),
    ],
    ids=["always ahead", "never ahead", "time forgotten", "when idle", "too early", "too late", "nobody stands in"],
)
def test_configs_that_are_asked_for_when_they_should_not_be_are_found(
    target: object, name: str, value: object, kind: str
) -> None:
    with patch.object(target, name, value):
        violations = (play_seed(seed).violation for seed in range(60))
        assert any(violation is not None and violation.kind == kind for violation in violations)


def test_a_world_is_a_function_of_its_seed() -> None:
    first, again, other = play_seed(3), play_seed(3), play_seed(4)
    assert replace(first, counts=again.counts) == again
    assert first.digest != other.digest
