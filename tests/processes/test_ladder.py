"""The stop ladder by itself: what is sent when, and how one that is under way is hurried (F20, F36)."""

from __future__ import annotations

import signal

import pytest

from tunesmith.executors.processes.ladder import Ladder


def climb(ladder, until_s):
    """Every signal up to then, with its second; the ladder is looked at ten times a second."""
    return [(t / 10, rung.signal_number) for t in range(round(10 * until_s) + 1) for rung in ladder.due(t / 10)]


INT, TERM, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL


def test_half_the_grace_is_for_the_trial_itself_and_the_last_step_is_at_its_end():
    assert climb(Ladder(0.0, 20.0, is_immediate=False), 60.0) == [(10.0, INT), (15.0, TERM), (20.0, KILL)]


@pytest.mark.parametrize(
    ("at", "sent"),
    [
        (0.0, [(10.0, INT), (15.0, TERM), (20.0, KILL)]),
        (20.0, [(30.0, INT), (35.0, TERM), (40.0, KILL)]),
        (31.0, [(30.0, INT), (46.0, TERM), (51.0, KILL)]),  # no second SIGINT into the clean-up after the first
        (45.0, [(30.0, INT), (45.0, TERM), (60.0, KILL)]),  # 15 s are left of it, which is less
        (61.0, [(30.0, INT), (45.0, TERM), (60.0, KILL)]),
    ],
)
def test_a_ladder_of_a_minute_is_shortened_to_a_grace_of_20_s_from_that_moment(at, sent):
    ladder = Ladder(0.0, 60.0, is_immediate=False)
    before = climb(ladder, at)
    ladder.hurry(at, 20.0, is_immediate=False)
    assert before + [step for step in climb(ladder, 90.0) if step not in before] == sent


def test_a_shorter_ladder_is_not_made_longer():
    ladder = Ladder(0.0, 4.0, is_immediate=False)
    ladder.hurry(1.0, 20.0, is_immediate=False)
    assert climb(ladder, 60.0) == [(2.0, INT), (3.0, TERM), (4.0, KILL)]
    assert ladder.is_hopeless(9.0)


@pytest.mark.parametrize("at", [0.0, 11.0, 16.0])
def test_a_second_interrupt_kills_at_once_wherever_the_ladder_is(at):
    ladder = Ladder(0.0, 20.0, is_immediate=False)
    climb(ladder, at)
    ladder.hurry(at, 20.0, is_immediate=True)
    assert [rung.signal_number for rung in ladder.due(at)] == [KILL]
    assert ladder.is_hopeless(at + 5.0) and not ladder.is_hopeless(at + 4.9)


def test_a_shortened_ladder_is_given_up_so_much_sooner():
    ladder = Ladder(0.0, 60.0, is_immediate=False)
    ladder.hurry(0.0, 20.0, is_immediate=False)
    climb(ladder, 25.0)
    assert ladder.is_hopeless(25.0) and not ladder.is_hopeless(24.9)
