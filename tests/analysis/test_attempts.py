import tunesmith
from tunesmith.analysis.attempts import attempt_bars
from tunesmith.events import SessionStarted
from tunesmith.stores import create_store

from ..stores.store_samples import make_trial
from .written import attempt, spec_of


def bars(folder, *attempts, n_trials=3):
    records = sorted((one for group in attempts for one in group), key=lambda record: getattr(record, "at", 0) or 0)
    with create_store(folder, spec_of()) as store:
        store.append([SessionStarted(1, 1e9, ()), *records], [make_trial(i) for i in range(n_trials)])
    return attempt_bars(tunesmith.load(folder).reader)


def test_each_attempt_has_the_lowest_lane_that_is_free(tmp_path):
    found = bars(
        tmp_path / "e",
        attempt(0, 1, 1, 10, "RETURNED", "COMPLETED"),
        attempt(1, 1, 2, 5, "STOPPED", "STOPPED"),
        attempt(2, 1, 5, 8, "STOPPED", "PAUSED"),
        attempt(3, 1, 9, 12, "RETURNED", "COMPLETED"),
        n_trials=4,
    )
    assert [(bar.trial, bar.lane) for bar in found] == [(0, 0), (1, 1), (2, 1), (3, 1)]
    assert [(bar.start_s, bar.end_s) for bar in found] == [(1, 10), (2, 5), (5, 8), (9, 12)]
    assert {bar.node for bar in found} == {"box"}


def test_how_an_attempt_ended(tmp_path):
    ends = [
        ("RETURNED", "COMPLETED", "completed"),
        ("STOPPED", "STOPPED", "stopped"),
        ("STOPPED", "PAUSED", "paused"),
        ("STOPPED", "PENDING", "cloned"),
        ("RAISED", "PENDING", "failed"),
        ("SIGNALLED", "FAILED", "failed"),
        ("INVALID", "INVALID", "failed"),
        ("LOST", "PENDING", "lost"),
        ("PREEMPTED", "PENDING", "lost"),
        ("STOPPED", "INTERRUPTED", "interrupted"),
    ]
    attempts = [attempt(0, i + 1, 10 * i, 10 * i + 5, how, status) for i, (how, status, _) in enumerate(ends)]
    assert [bar.outcome for bar in bars(tmp_path / "e", *attempts)] == [word for _, _, word in ends]


def test_one_that_runs_ends_where_anything_was_last_heard(tmp_path):
    found = bars(tmp_path / "e", attempt(0, 1, 1, None, None, None), attempt(1, 1, 2, 7, "RETURNED", "COMPLETED"))
    assert [(bar.end_s, bar.outcome) for bar in found] == [(7, "running"), (7, "completed")]


def test_there_are_no_bars_before_the_first_start(tmp_path):
    assert bars(tmp_path / "e") == []
