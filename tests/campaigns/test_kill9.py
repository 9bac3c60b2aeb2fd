"""A small sample of the kill -9 campaign, and bugs planted in its script, which it must find."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from campaigns.kill9.checks import Row, check_acknowledged
from campaigns.kill9.driver import can_trace
from campaigns.kill9.listener import Ack
from campaigns.kill9.plan import Kill, RoundPlan, Target, draw_round
from campaigns.kill9.round import RoundResult, play_round

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.processes, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

SEED = 7
QUIET = replace(
    draw_round(SEED, 0),
    n_trials=3,
    n_steps=6,
    n_parallel=3,
    is_asha=False,
    checkpoint_every=1,
    keep_num=None,
    step_s=0.02,
    has_children=False,
    max_failures=0,
    looks_between=True,
    self_kill=None,
)


def kill_plan(target: Target, *, after_n_acks: int = 7) -> RoundPlan:
    return replace(QUIET, kills=(Kill(target, after_n_acks, 0.0, choice=1),))


def sample() -> list[RoundPlan]:
    """One round per kind of kill; strace only where it is installed."""
    plans = [
        kill_plan(Target.DRIVER),
        kill_plan(Target.TEMPLATE),
        kill_plan(Target.REAPER),
        replace(kill_plan(Target.DRIVER_AND_REAPER), has_children=True),
        replace(kill_plan(Target.TRIAL), max_failures=1),
        replace(QUIET, is_asha=True, kills=(Kill(Target.ALL, 5, 0.0), Kill(Target.DRIVER, None, 0.3))),
    ]
    if can_trace():
        plans.append(replace(QUIET, kills=(Kill(Target.DRIVER_AT_CALL, None, 0.0, call="pwrite64", when=120),)))
    return plans


def test_nothing_acknowledged_is_lost_whoever_is_killed() -> None:
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(play_round, sample()))
    assert [(result.plan.words(), result.findings, result.output) for result in results if result.findings] == []
    assert all(result.is_complete for result in results)
    assert sum(len(result.kills) for result in results) >= len(results)


def test_a_round_is_the_same_for_the_same_seed_and_number() -> None:
    assert draw_round(3, 14) == draw_round(3, 14)
    assert draw_round(3, 14) != draw_round(4, 14)


# ---------------------------------------------------------------- planted bugs: the campaign can fail


@pytest.fixture
def play_planted(tmp_path: Path) -> Callable[[RoundPlan, str], RoundResult]:
    """Play a round with a script that breaks one promise."""

    def play(plan: RoundPlan, bug: str) -> RoundResult:
        script = tmp_path / "planted.py"
        head = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        head += "import cloudpickle\nfrom campaigns.kill9 import script\ncloudpickle.register_pickle_by_value(script)\n"
        script.write_text(head + textwrap.dedent(bug) + "\nscript.main()\n")
        return play_round(plan, script=(str(script),))

    return play


def kinds(result: RoundResult) -> set[str]:
    return {finding.kind for finding in result.findings}


def test_a_trial_that_acknowledges_before_it_reports_is_found(play_planted) -> None:
    bug = """
        import time

        def acknowledge_first(pipe, step, loss):
            pipe.say("ack", step=step, value=loss)
            time.sleep(0.05)
            script.tune.report(loss=loss)

        script.acknowledged_report = acknowledge_first
    """
    assert "lost" in kinds(play_planted(kill_plan(Target.DRIVER), bug))


def test_a_store_that_forgets_a_row_is_found(play_planted) -> None:
    bug = """
        from tunesmith.stores.batch import Batch

        write = Batch.write

        def forget_step_3(self, cursor):
            self.results = [row for row in self.results if row[3] != 3]
            write(self, cursor)

        Batch.write = forget_step_3
    """
    assert "lost" in kinds(play_planted(kill_plan(Target.DRIVER, after_n_acks=12), bug))


def test_a_restart_that_does_not_take_the_newest_checkpoint_is_found(play_planted) -> None:
    bug = """
        from tunesmith.trial import Trial

        Trial.checkpoint = property(lambda trial: trial.checkpoints[0] if trial.checkpoints else None)
    """
    plan = replace(kill_plan(Target.DRIVER, after_n_acks=10), keep_num=4)
    assert "resume" in kinds(play_planted(plan, bug))


def test_a_start_that_sweeps_nothing_is_found(play_planted) -> None:
    bug = """
        from tunesmith.executors.processes import reaper_link

        assert callable(reaper_link.sweep_marked)
        reaper_link.sweep_marked = lambda *args, **kwargs: 0
    """
    plan = replace(kill_plan(Target.DRIVER_AND_REAPER), has_children=True)
    assert kinds(play_planted(plan, bug)) == {"process left"}


# ---------------------------------------------------------------- the judge alone


def row(step: int, value: float, *, attempt: int = 1, superseded: int = 0) -> Row:
    return Row(step, 0, attempt, step, value, "continue", None, superseded)


def test_a_superseded_row_counts_as_stored() -> None:
    acks = [Ack(0, 1, 1, 0.5, "A"), Ack(0, 1, 2, 0.25, "A")]
    assert check_acknowledged([row(1, 0.5), row(2, 0.25, superseded=1)], acks) == []


def test_another_value_and_another_attempt_do_not_count() -> None:
    found = check_acknowledged(
        [row(1, 0.5), row(2, 0.25, attempt=2)], [Ack(0, 1, 1, 0.4, "A"), Ack(0, 1, 2, 0.25, "A")]
    )
    assert [finding.kind for finding in found] == ["lost", "lost"]


def test_a_key_that_is_stored_or_acknowledged_twice_is_a_duplicate() -> None:
    found = check_acknowledged([row(1, 0.5), row(1, 0.5)], [Ack(0, 1, 1, 0.5, "A"), Ack(0, 1, 1, 0.5, "A")])
    assert [finding.kind for finding in found] == ["duplicate", "duplicate"]
