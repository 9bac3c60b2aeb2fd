"""Answers are a function of the history, and a log gives the history back."""

from __future__ import annotations

import random

import pytest

from tunesmith.events import StartAttempt
from tunesmith.methods import FreezeThaw
from tunesmith.rng import generator
from tunesmith.trial import TrialStatus

from .curve_world import LimitedStore, always, look_over, never, played, script, simulation

COMPLETED, STOPPED = TrialStatus.COMPLETED, TrialStatus.STOPPED


@pytest.mark.parametrize("saves", [always, never])
def test_a_fresh_one_gives_the_answers_of_one_that_has_seen_all_before(saves):
    run = played(script(saves=saves), n_trials=12)
    assert len(run.asked) > 15
    for history, state, n, answer in run.asked[::2]:
        assert repr(answered(FreezeThaw(max_t=9), history, state, n)) == repr(answer)


def test_a_history_of_more_configs_than_the_model_sees_is_answered_alike_too(monkeypatch):
    monkeypatch.setattr("tunesmith.methods.desk._N_MAX_CONFIGS", 7)
    run = played(script(), n_trials=12)
    for history, state, n, answer in run.asked[::3]:
        assert repr(answered(FreezeThaw(max_t=9), history, state, n)) == repr(answer)
    assert any("not among the 7" in trial.reason for trial in run.trials)


def test_it_may_be_asked_about_an_older_history():
    run = played(script(), n_trials=12)
    one = FreezeThaw(max_t=9)
    for history, state, n, answer in reversed(run.asked):
        assert repr(answered(one, history, state, n)) == repr(answer)


def answered(method, history, state, n):
    """What it says to this request, with the generator as it was."""
    rng = generator(0, "any")
    rng.bit_generator.state = state
    return method.suggest(history, rng, n)


def seen(history):
    """The history in words: values and NaN alike are comparable."""
    return repr(history.trials), [curve.points() for curve in history.curves], history.n_left


@pytest.mark.parametrize("saves", [always, never, lambda step: step % 2 == 0])
def test_what_is_replayed_from_the_store_is_the_history_that_the_searcher_saw(saves):
    """So the next answer after a crash is the one that would have been given without it."""
    live = simulation(script(saves=saves), n_trials=8, n_workers=2)
    histories = {}
    live.loop._after_pass = lambda: histories.update({live.store.last_seq(): seen(live.experiment.history())})
    live.run()
    log = live.log
    assert len(histories) > 30
    for n_records in list(histories)[::4]:
        replayed = simulation(script(saves=saves), n_trials=8, n_workers=2, store=LimitedStore(10**9, log[:n_records]))
        assert seen(replayed.experiment.history()) == histories[n_records]


@pytest.mark.parametrize("saves", [always, never, lambda step: step % 5 == 0])
def test_after_any_number_of_crashes_the_experiment_is_complete(saves):
    """Seeded, so not by luck: the driver dies every 10 to 80 records."""
    draw, log, epoch = random.Random(3), [], 0
    while True:
        epoch += 1
        store = LimitedStore(len(log) + draw.randint(10, 80) if epoch < 30 else 10**9, log)
        run = simulation(script(saves=saves), store=store, n_trials=10, max_failures=1)
        try:
            run.run(epoch)
        except LimitedStore.Full:
            log = list(store.records())
            continue
        break
    assert epoch > 3
    look_over(run)
    assert len(run.trials) == 10
    assert {trial.status for trial in run.trials} <= {COMPLETED, STOPPED}
    assert len({record.trial for record in run.log if isinstance(record, StartAttempt)}) == 10
