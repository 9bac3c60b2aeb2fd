"""A small sample of the two-driver race, and bugs planted in its script, which it must find."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from campaigns.two_drivers.race import RaceResult, play_race
from campaigns.two_drivers.scenarios import RacePlan, Scenario, draw_race

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.processes, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

QUIET = replace(draw_race(7, 0), n_trials=3, n_steps=6, n_parallel=3, step_s=0.05, after_n_acks=3, lead_s=0.0)
SAMPLE = (Scenario.CREATE, Scenario.KILLED, Scenario.RUNNING, Scenario.TAKEOVER, Scenario.TAKEOVER_BOTH)


def test_there_is_always_exactly_one_owner() -> None:
    plans = [
        replace(QUIET, number=i, scenario=scenario, n_steps=QUIET.n_steps if scenario.is_race else 30)
        for i, scenario in enumerate(SAMPLE)
    ]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(play_race, plans))
    assert [(result.plan.scenario, result.findings, result.output) for result in results if result.findings] == []
    assert [result.n_owners for result in results] == [1] * len(results)
    assert sum(result.n_refused + result.n_fenced + result.n_too_late for result in results) == len(results)


# ---------------------------------------------------------------- planted bugs: the race can fail


@pytest.fixture
def play_planted(tmp_path: Path) -> Callable[[RacePlan, str], RaceResult]:
    """Play a round with drivers that break one promise."""

    def play(plan: RacePlan, bug: str) -> RaceResult:
        script = tmp_path / "planted.py"
        head = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom campaigns.kill9 import script\n"
        script.write_text(head + textwrap.dedent(bug) + "\nscript.main()\n")
        return play_race(plan, script=(str(script),))

    return play


def test_a_driver_that_ignores_a_living_owner_is_found(play_planted) -> None:
    bug = """
        from tunesmith.stores import lease

        assert callable(lease.refuse_unless_dead)
        lease.refuse_unless_dead = lambda before: None
    """
    result = play_planted(replace(QUIET, n_steps=30, scenario=Scenario.RUNNING), bug)
    assert "owners" in {finding.kind for finding in result.findings}


def test_a_store_that_does_not_check_the_epoch_is_found(play_planted) -> None:
    bug = """
        from tunesmith.stores import lease

        assert callable(lease.check_epoch)
        lease.check_epoch = lambda cursor, epoch: None
    """
    result = play_planted(replace(QUIET, n_steps=30, scenario=Scenario.FROZEN), bug)
    assert result.findings
