"""Paused trials in order, without a sort for each question."""

from hypothesis import given
from hypothesis import strategies as st

from tunesmith.experiment.paused import OrderedIndices, TrialsAt
from tunesmith.testing.samples import make_report, running

moves = st.lists(st.tuples(st.booleans(), st.integers(0, 30)))


@given(moves)
def test_indices_are_those_of_a_set_in_ascending_order(moves):
    ours, expected = OrderedIndices(), set()
    for is_added, index in moves:
        (ours.add if is_added else ours.discard)(index)
        (expected.add if is_added else expected.discard)(index)
        assert list(ours) == sorted(expected)
        assert len(ours) == len(expected)
        assert (index in ours) == (index in expected)
    assert ours == expected
    assert OrderedIndices(expected) == ours


def test_trials_are_seen_by_place_in_slices_and_in_turn_as_they_stand_now():
    trials = [running(make_report(index, 1, loss=0.5)) for index in range(6)]
    seen = TrialsAt(trials, OrderedIndices([4, 1, 3]))
    assert [trial.index for trial in seen] == [1, 3, 4]
    assert (seen[0].index, seen[-1].index, len(seen)) == (1, 4, 3)
    assert [trial.index for trial in seen[1:]] == [3, 4]
    trials[1] = running(make_report(1, 2, loss=0.25))
    assert seen[0].step == 2
    assert trials[3] in seen
    assert trials[2] not in seen
