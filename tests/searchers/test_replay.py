import pytest
from msgspec.structs import replace

from tunesmith.searchers.replay import Replay
from tunesmith.trial import Trial, TrialStatus


class Diary(list):
    """A state that holds which trials were applied, and how they stood."""

    n_written = 0

    def write(self, trial):
        Diary.n_written += 1
        self.append((trial.index, trial.status.value, trial.best_value))


@pytest.fixture
def replay():
    Diary.n_written = 0
    return Replay(Diary, Diary.write)


def trial(index, status=TrialStatus.COMPLETED, value=0.5):
    metrics = {"loss": value}
    return Trial(index, f"t{index}", {"x": index}, status=status, step=1, metrics=metrics, best_value=value)


def read(trials):
    return [(t.index, t.status.value, t.best_value) for t in trials]


def test_state_is_that_of_the_trials_in_their_order(replay):
    trials = [trial(0), trial(1, TrialStatus.RUNNING), trial(2), trial(3, TrialStatus.FAILED)]
    for n in (4, 2, 0, 3, 4):
        assert replay.after(trials[:n]) == read(trials[:n])


def test_a_trial_that_ended_late_is_applied_in_its_place(replay):
    trials = [trial(0), trial(1, TrialStatus.RUNNING), trial(2)]
    replay.after(trials)
    trials[1] = trial(1, value=7.0)
    assert replay.after(trials) == read(trials)


@pytest.mark.parametrize("change", [{"status": TrialStatus.FAILED}, {"best_value": 9.0}, {"config": {"x": 9}}])
def test_a_trial_that_changed_after_its_end_is_applied_anew(replay, change):
    trials = [trial(0), trial(1)]
    replay.after(trials)
    trials[0] = replace(trials[0], **change)
    assert replay.after(trials) == read(trials)
    assert Diary.n_written == 4


def test_a_history_that_grows_applies_each_trial_once(replay):
    trials = [trial(i) for i in range(50)]
    for n in range(51):
        replay.after(trials[:n])
    replay.after([replace(t, pid=1) for t in trials])  # what no searcher is told
    assert Diary.n_written == 50


def test_what_a_caller_does_to_a_state_stays_with_the_caller(replay):
    replay.after([trial(0)]).clear()
    assert replay.after([trial(0)]) == read([trial(0)])


def test_a_state_that_cannot_be_copied_is_replayed_whole(caplog):
    class Uncopied(Diary):
        def __deepcopy__(self, memo):
            raise TypeError("no copies")

    replay = Replay(Uncopied, Uncopied.write)
    for n in (2, 3):
        assert replay.after([trial(i) for i in range(n)]) == read([trial(i) for i in range(n)])
    assert [record.message for record in caplog.records] == ["Uncopied is replayed whole for each request: no copies"]


def test_an_error_leaves_no_trial_half_applied():
    failures = [ValueError("once")]

    def apply(state, t):
        state.append(t.index)
        if t.index == 1 and failures:
            raise failures.pop()

    replay = Replay(list, apply)
    with pytest.raises(ValueError, match="once"):
        replay.after([trial(0), trial(1)])
    assert replay.after([trial(0), trial(1)]) == [0, 1]
