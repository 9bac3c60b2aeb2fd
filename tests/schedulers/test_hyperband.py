"""Synchronous HyperBand: brackets and rungs in whole experiments on a virtual clock, and single records by hand."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from tunesmith.errors import ConfigError
from tunesmith.events import (
    AnswerReport,
    ConcludeAttempt,
    EndExperiment,
    EndReason,
    StartAttempt,
    StopPaused,
    Thaw,
    Verdict,
)
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.experiment.invariants import check_invariants
from tunesmith.protocols import StartNew
from tunesmith.schedulers import HyperBandForBOHB, HyperBandScheduler, create_scheduler
from tunesmith.schedulers.hyperband import bracket_size
from tunesmith.searchers import ConcurrencyLimiter, RandomSearch
from tunesmith.space import uniform
from tunesmith.stores import MemoryStore
from tunesmith.testing import simulate
from tunesmith.testing.samples import LOSS, PLACEMENT, make_report, running
from tunesmith.testing.simulation import Simulation
from tunesmith.trial import TrialStatus

from .floor import wasted_starts

SPACE = {"level": uniform(0.0, 1.0)}
COMPLETED, STOPPED, FAILED = TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED
#: Li et al. 2018, algorithm 1, for R = 81 and eta = 3: how many trials are trained up to 1, 3, 9, 27, 81.
TABLE = [[81, 27, 9, 3, 1], [34, 11, 3, 1], [15, 5, 1], [8, 2], [5]]


def loss_at(config, step):
    """Curves that cross: who is good at the first step need not be good later."""
    return config["level"] + math.sin(100 * config["level"]) / step


def script(n_steps, *, saves_every=1, loss=loss_at, fails_at=lambda config, step: False, pace=lambda config: 1.0):
    def steps(config, first_step):
        for step in range(first_step, n_steps + 1):
            yield SimulatedStep(
                pace(config),
                {"loss": loss(config, step)},
                saves_checkpoint=saves_every > 0 and step % saves_every == 0,
                error="broken" if fails_at(config, step) else None,
            )

    return steps


def run(*, max_t=9, n_trials=17, scheduler=None, curve=None, **more):
    """17 trials are the three brackets of max_t=9 and reduction_factor=3: 9, 5 and 3."""
    scheduler = scheduler or HyperBandScheduler(max_t=max_t)
    facts = {"space": SPACE, "n_trials": n_trials, "n_workers": 4, **more}
    return simulate(curve or script(max_t), scheduler=scheduler, on_pass=_check, **facts)


def _check(simulation):
    simulation.scheduler.check_invariants()


def best(trials, n, step, loss=loss_at):
    """The indices of the n best at a step."""
    return {t.index for t in sorted(trials, key=lambda t: loss(t.config, step))[:n]}


def reached(trials, step):
    return {t.index for t in trials if t.step >= step}


# ---------------------------------------------------------------- brackets and rungs


def test_brackets_begin_with_as_many_trials_as_in_the_paper():
    assert [bracket_size(s, s_max=4, reduction_factor=3) for s in (4, 3, 2, 1, 0)] == [row[0] for row in TABLE]


@pytest.mark.parametrize("n_workers", [1, 7])
@pytest.mark.parametrize("made", [HyperBandScheduler, HyperBandForBOHB])
def test_every_rung_of_the_papers_table_holds_its_number_of_trials_and_the_best_of_the_one_before(made, n_workers):
    found = run(max_t=81, n_trials=143, scheduler=made(), n_workers=n_workers, curve=script(81))
    trials = list(found.trials)
    for s, row in zip((4, 3, 2, 1, 0), TABLE, strict=True):
        bracket, trials = trials[: row[0]], trials[row[0] :]
        levels = [3**k for k in range(4 - s, 5)]
        assert [len(reached(bracket, level)) for level in levels] == row
        assert {t.step for t in bracket} <= set(levels), "a trial was trained beyond its rung"
        for level, n_kept in zip(levels, row[1:], strict=False):
            there = [t for t in bracket if t.step >= level]
            assert reached(bracket, level + 1) == best(there, n_kept, level)
        assert {t.status for t in bracket if t.step == 81} == {COMPLETED}
        assert {t.status for t in bracket if t.step < 81} <= {STOPPED}


def test_rungs_that_are_no_whole_iterations_lie_at_the_first_report_beyond():
    """max_t=10: rungs at 10/9 and 10/3."""
    found = run(max_t=10, n_trials=9, curve=script(10))
    assert sorted(t.step for t in found.trials) == [2] * 6 + [4] * 2 + [10]


def test_with_endless_trials_the_widest_bracket_comes_again_after_the_narrowest():
    found = run(n_trials=None, max_total_steps=300, n_workers=1)
    trials, sizes = list(found.trials), []
    for size in [9, 5, 3] * 2:
        bracket, trials = trials[:size], trials[size:]
        sizes.append([len(reached(bracket, level)) for level in (1, 3, 9)])
    assert sizes == [[9, 3, 1], [5, 5, 1], [3, 3, 3]] * 2


def test_the_trial_that_completes_its_rung_goes_on_without_a_pause():
    found = run(n_trials=9, n_workers=1)
    last = max(found.trials, key=lambda t: t.index)
    n_pauses = sum(r.trial == last.index for r in pauses(found))
    assert n_pauses == (last.step == 3), "it paused at the first rung, whose last trial it was"
    assert len([r for r in pauses(found) if r.step == 1]) == 8


def pauses(found):
    return [r for r in found.log if isinstance(r, AnswerReport) and r.decision.verdict is Verdict.PAUSE]


def test_what_was_kept_goes_on_before_anything_new_starts():
    found = run(n_workers=1)
    starts = [r.trial for r in found.log if isinstance(r, StartAttempt)]
    assert max(starts[: starts.index(9)]) == 8
    over = [r.trial for r in found.log if isinstance(r, ConcludeAttempt) and r.status.is_over]
    began = next(k for k, r in enumerate(found.log) if isinstance(r, StartAttempt) and r.trial == 9)
    ended = [r.trial for r in found.log[:began] if isinstance(r, ConcludeAttempt) and r.status.is_over]
    assert len(over) == 17
    assert set(ended) == set(range(9)), "the second bracket began before the first had come to its end"


def test_while_a_rung_waits_for_its_last_trial_the_next_bracket_begins():
    found = run(n_workers=4, curve=script(9, pace=lambda config: 50.0 if config["level"] > 0.8 else 1.0))
    assert any(t.config["level"] > 0.8 for t in found.trials[:9])
    first_stop = next(k for k, r in enumerate(found.log) if isinstance(r, ConcludeAttempt) and r.status is STOPPED)
    assert any(isinstance(r, StartAttempt) and r.trial >= 9 for r in found.log[:first_stop])


# ---------------------------------------------------------------- what goes wrong


def test_failed_trials_block_no_rung_and_leave_their_places_to_others():
    found = run(max_t=27, n_trials=27, curve=script(27, fails_at=lambda config, step: config["level"] > 0.7))
    well = [t for t in found.trials if t.config["level"] <= 0.7]
    assert 9 < len(well) < 27
    assert [len(reached(found.trials, level)) for level in (3, 9, 27)] == [9, 3, 1]
    assert reached(found.trials, 3) == best(well, 9, 1)
    assert {t.status for t in found.trials} == {COMPLETED, STOPPED, FAILED}


def test_trials_that_fail_after_they_were_kept_end_their_bracket_too():
    found = run(n_trials=9, curve=script(9, fails_at=lambda config, step: step == 2), n_alike_failures=100)
    assert sorted(t.status for t in found.trials) == [FAILED] * 3 + [STOPPED] * 6


@pytest.mark.parametrize("n_trials", range(1, 9))
@pytest.mark.parametrize("n_workers", [1, 3, 20])
def test_an_experiment_that_fills_no_bracket_ends_with_the_best_of_its_trials(n_trials, n_workers):
    found = run(n_trials=n_trials, n_workers=n_workers)
    assert [r.why for r in found.log if isinstance(r, EndExperiment)] == [EndReason.FINISHED]
    kept = best(found.trials, max(1, n_trials // 3), 1)
    beyond = reached(found.trials, 3)
    assert beyond == kept
    assert reached(found.trials, 2) == kept
    assert wasted_starts(found) == []
    completed = {t.index for t in found.trials if t.status is COMPLETED}
    assert completed == best([t for t in found.trials if t.index in kept], 1, 3)


def test_the_last_bracket_may_be_partly_filled():
    found = run(n_trials=12)
    assert [len(reached(found.trials[:9], level)) for level in (1, 3, 9)] == [9, 3, 1]
    assert [len(reached(found.trials[9:], level)) for level in (3, 9)] == [3, 1]


def test_a_searcher_that_waits_for_paused_trials_does_not_stand_still():
    found = run(n_trials=9, searcher=ConcurrencyLimiter(RandomSearch(), 4))
    assert len(found.trials) == 9
    assert all(t.status.is_over for t in found.trials)


@pytest.mark.parametrize("seed", range(6))
def test_failures_retries_and_rare_checkpoints_in_any_mixture_leave_no_trial_open(seed):
    def fails(config, step):
        return hash((round(config["level"], 6), step, seed)) % 9 == 0

    curve = script(9, saves_every=1 + seed % 4, fails_at=fails, pace=lambda config: 0.1 + config["level"])
    found = run(n_trials=30, curve=curve, max_failures=seed % 3, seed=seed, n_workers=1 + seed, n_alike_failures=1000)
    assert len(found.trials) == 30
    assert all(t.status.is_over for t in found.trials)
    check_invariants(found.experiment.state)


class Full(Exception):
    """The store takes no more."""


class LimitedStore(MemoryStore):
    """Dies at the append that would bring it above so many records."""

    def __init__(self, n_records, log=()):
        super().__init__()
        super().append(list(log), [])
        self._n_records = n_records

    def append(self, records, trials):
        if self.last_seq() + len(records) > self._n_records:
            raise Full
        super().append(records, trials)


def test_resumed_in_the_middle_of_a_rung_it_decides_as_it_would_have():
    whole = run()
    expected = [(t.status, t.step, t.reason) for t in whole.trials]
    n_records = len(whole.log)
    for n in range(10, n_records, 23):
        store = LimitedStore(n)
        parts = {"space": SPACE, "n_trials": 17, "n_workers": 4}
        with pytest.raises(Full):
            Simulation(script(9), scheduler=HyperBandScheduler(max_t=9), store=store, **parts).run(1)
        resumed = LimitedStore(10**9, list(store.records()))
        found = Simulation(script(9), scheduler=HyperBandScheduler(max_t=9), store=resumed, **parts).run(2)
        assert [(t.status, t.step, t.reason) for t in found.trials] == expected


# ---------------------------------------------------------------- without checkpoints


def test_without_checkpoints_trials_train_on_and_are_judged_by_their_value_at_the_rung():
    found = run(n_trials=9, n_workers=9, curve=script(9, saves_every=0, pace=lambda config: 0.5 + config["level"]))
    kept = best(found.trials, 3, 1)
    assert {t.index for t in found.trials if t.status is STOPPED and "rung 1," in t.reason} == set(range(9)) - kept
    assert not pauses(found)
    at_3 = best([t for t in found.trials if t.index in kept], 1, 3)
    assert at_3 <= {t.index for t in found.trials if t.status is COMPLETED} <= kept
    assert any("for want of a checkpoint" in line for line in found.scheduler.describe())


def test_with_rare_checkpoints_trials_pause_at_the_first_one_beyond_their_rung():
    found = run(n_trials=9, curve=script(9, saves_every=2))
    assert {r.step for r in pauses(found)} <= {2, 4}
    assert reached(found.trials, 3) >= best(found.trials, 3, 1)
    assert sorted(t.step for t in found.trials)[-1] == 9
    assert len([t for t in found.trials if t.status is COMPLETED]) == 1


# ---------------------------------------------------------------- single records


def fed(scheduler, *records):
    for record in records:
        scheduler.observe(record)
    return scheduler


def bound(**arguments):
    scheduler = HyperBandScheduler(**{"max_t": 3, **arguments})
    scheduler.bind(LOSS)
    return scheduler


def started(n):
    return [StartAttempt(i, 1, PLACEMENT) for i in range(n)]


def paused(*indices):
    return [ConcludeAttempt(i, 1, TrialStatus.PAUSED) for i in indices]


def test_ties_go_to_those_who_started_first():
    scheduler = fed(bound(), *started(3), *(make_report(i, 1, loss=0.5) for i in (2, 1, 0)), *paused(0, 1, 2))
    trials = [running(make_report(i, 1, loss=0.5)) for i in range(3)]
    assert scheduler.choose_next(trials) == StopPaused(1, "rank 2 of 3 at rung 1, 1 kept")
    assert scheduler.choose_next(trials[:1]) == Thaw(0, "rank 1 of 3 at rung 1, 1 kept")


@pytest.mark.parametrize("worst", [math.nan, math.inf])
def test_what_is_no_number_or_infinitely_bad_is_not_kept_even_alone(worst):
    scheduler = fed(bound(), *started(3), *(make_report(i, 1, loss=worst) for i in range(3)), *paused(0, 1, 2))
    trials = [running(make_report(i, 1, loss=worst)) for i in range(3)]
    assert [type(scheduler.choose_next([trial])) for trial in trials] == [StopPaused] * 3


def test_an_infinitely_good_value_is_the_best():
    scheduler = fed(bound(), *started(3), *(make_report(i, 1, loss=v) for i, v in enumerate([0.0, -math.inf, 1.0])))
    assert (
        scheduler.decide(running(make_report(1, 2, loss=0.0)), make_report(1, 2, loss=0.0)).verdict is Verdict.CONTINUE
    )
    assert scheduler.decide(running(make_report(0, 2, loss=0.0)), make_report(0, 2, loss=0.0)).verdict is Verdict.STOP


def test_mode_max_keeps_the_largest():
    scheduler = HyperBandScheduler(max_t=3, metric="loss", mode="max")
    scheduler.bind(None)
    fed(scheduler, *started(3), *(make_report(i, 1, loss=float(i)) for i in range(3)), *paused(0, 1, 2))
    assert isinstance(scheduler.choose_next([running(make_report(2, 1, loss=2.0))]), Thaw)


def test_a_report_that_skips_rungs_counts_at_each_of_them():
    """9 trials; three report step 3 first, the others step 1: at rung 3 there is nothing left to wait for."""
    scheduler = fed(bound(max_t=9), *started(9))
    fed(scheduler, *(make_report(i, 3 if i < 3 else 1, loss=float(i)) for i in range(9)))
    report = make_report(0, 4, loss=0.0)
    assert scheduler.decide(running(report), report).verdict is Verdict.CONTINUE
    report = make_report(1, 4, loss=0.0)
    decision = scheduler.decide(running(report), report)
    assert (decision.verdict, decision.words()) == (Verdict.STOP, "rank 2 of 3 at rung 3, 1 kept")


def test_the_first_value_at_a_rung_stands_when_a_trial_repeats_it_after_a_restart():
    scheduler = fed(bound(), *started(3), make_report(0, 1, loss=9.0), StartAttempt(0, 2, PLACEMENT))
    fed(scheduler, make_report(0, 1, loss=0.0), make_report(1, 1, loss=1.0), make_report(2, 1, loss=2.0))
    report = make_report(0, 2, loss=0.0)
    assert scheduler.decide(running(report), report).words() == "rank 3 of 3 at rung 1, 1 kept"


def test_a_failed_trial_that_is_run_again_joins_the_bracket_that_is_open_then():
    scheduler = fed(bound(), *started(3), ConcludeAttempt(0, 1, FAILED), StartAttempt(0, 2, PLACEMENT))
    assert [line.split(":")[0] for line in scheduler.describe()[1:]] == [
        "Bracket 1 (3 of 3 trials)",
        "Bracket 2 (1 of 2 trials)",
    ]


def test_deciding_changes_nothing():
    scheduler = fed(bound(), *started(3))
    report = make_report(0, 1, loss=0.0)
    before = list(scheduler.describe())
    assert scheduler.decide(running(report), report).verdict is Verdict.PAUSE
    assert list(scheduler.describe()) == before


def test_of_two_brackets_the_older_one_goes_on_first():
    """Brackets of 3 and 2 trials, then 3 again; the first and the third have decided, and 7 ranks as high as 2."""
    scheduler = fed(bound(), *started(8))
    fed(scheduler, *(make_report(i, 1, loss=-float(i)) for i in (0, 1, 2, 5, 6, 7)), *paused(2, 7))
    trials = [running(make_report(i, 1, loss=0.0)) for i in (7, 2)]
    assert scheduler.choose_next(trials).trial == 2
    assert scheduler.choose_next(trials[:1]).trial == 7


def test_a_trial_that_starts_again_from_before_its_rung_is_not_paused_before_it():
    scheduler = fed(bound(max_t=9, reduction_factor=9), *started(9), make_report(0, 1, loss=0.0))
    fed(scheduler, StartAttempt(0, 2, PLACEMENT))
    early, late = make_report(0, 1, loss=0.0), make_report(0, 2, loss=0.0)
    assert scheduler.decide(running(late), late).verdict is Verdict.PAUSE
    half = replace(early, metrics={"loss": 0.0, "training_iteration": 0.5})
    assert scheduler.decide(running(half), half).verdict is Verdict.CONTINUE


def test_a_trial_that_comes_after_all_joins_no_bracket_that_was_closed_for_want_of_trials():
    """The best goes on where no new one comes; then the user asks for one more."""
    scheduler = fed(bound(), *started(2), make_report(0, 1, loss=0.0), make_report(1, 1, loss=1.0), *paused(0, 1))
    otherwise = scheduler.choose_next([running(make_report(i, 1, loss=0.0)) for i in range(2)]).otherwise
    assert otherwise == Thaw(0, "rank 1 of 2 at rung 1, 1 kept")
    fed(scheduler, StartAttempt(0, 2, PLACEMENT))
    assert scheduler.describe()[1] == "Bracket 1 (2 of 3 trials): 1 train to 3"
    fed(scheduler, StartAttempt(2, 1, PLACEMENT))
    assert scheduler.describe()[2] == "Bracket 2 (1 of 2 trials): 1 train to 3"


def test_where_none_of_an_unfilled_bracket_can_be_kept_they_are_stopped_the_last_first():
    scheduler = fed(bound(), *started(2), *(make_report(i, 1, loss=math.nan) for i in range(2)), *paused(0, 1))
    for left in ([0, 1], [0]):
        action = scheduler.choose_next([running(make_report(i, 1, loss=math.nan)) for i in left])
        assert action == StartNew(otherwise=StopPaused(left[-1], f"rank {len(left)} of 2 at rung 1, 1 kept"))
        fed(scheduler, ConcludeAttempt(left[-1], 1, STOPPED))


def test_an_interrupted_trial_is_waited_for():
    scheduler = fed(bound(), *started(3), make_report(0, 1, loss=0.0), make_report(1, 1, loss=1.0), *paused(0, 1))
    fed(scheduler, ConcludeAttempt(2, 1, TrialStatus.INTERRUPTED))
    assert scheduler.choose_next([running(make_report(0, 1, loss=0.0))]) == StartNew()


def test_a_pause_says_how_many_are_in():
    scheduler = fed(bound(), *started(3), make_report(0, 1, loss=0.0))
    report = make_report(1, 1, loss=0.0)
    decision = scheduler.decide(running(report), report)
    assert (decision.verdict, decision.words()) == (Verdict.PAUSE, "waits at rung 1: 2 of 3 trials are in")


def test_nothing_is_decided_of_a_trial_that_reports_no_metric():
    scheduler = fed(bound(), *started(3), make_report(0, 1, other=0.0))
    report = make_report(0, 2, other=0.0)
    assert scheduler.decide(running(report), report).verdict is Verdict.CONTINUE
    assert "1 reports without 'loss' or 'training_iteration' ignored" in scheduler.describe()


@pytest.mark.parametrize(("stops", "verdict"), [(True, Verdict.COMPLETE), (False, Verdict.CONTINUE)])
def test_max_t_is_the_end_unless_told_otherwise(stops, verdict):
    scheduler = fed(bound(stop_last_trials=stops), *started(5))
    report = make_report(4, 3, loss=0.0)
    assert scheduler.decide(running(report), report).verdict is verdict


def test_time_may_be_counted_in_seconds():
    scheduler = fed(bound(time_attr="time_total_s", max_t=30), *started(9))
    reports = [make_report(0, step, loss=0.0) for step in range(1, 4)]
    verdicts = [scheduler.decide(running(r), r).verdict for r in reports]
    assert verdicts == [Verdict.CONTINUE, Verdict.PAUSE, Verdict.PAUSE]  # the first rung lies at 30/27 s


def test_describe_says_where_each_bracket_stands():
    scheduler = fed(bound(max_t=9), *started(10), make_report(0, 1, loss=0.0))
    assert list(scheduler.describe()) == [
        "Using HyperBand: num_stopped=0 total_brackets=2",
        "Bracket 1 (9 of 9 trials): rung 1: 1 of 9 are in",
        "Bracket 2 (1 of 5 trials): rung 3: 0 of 1 are in",
    ]


def test_stopped_trials_are_counted():
    found = run()
    n_stopped = sum(t.status is STOPPED for t in found.trials)
    assert found.scheduler.describe() == [f"Using HyperBand: num_stopped={n_stopped} total_brackets=3"]


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_t": 0.5}, "max_t is 0.5. Give a number of 1 or more"),
        ({"max_t": "81"}, "max_t is '81'. Give a number of 1 or more"),
        ({"reduction_factor": 1}, "reduction_factor is 1. Give a number above 1"),
        ({"reduction_factor": 1.0001, "max_t": 10}, "makes more than 1000 rungs"),
        ({"reduction_factor": math.nan}, "reduction_factor is nan. Give a number above 1"),
        ({"mode": "least"}, "mode is 'least'. Give 'min' or 'max'"),
        ({"time_attr": 3}, "time_attr is 3. Give the name of a reported value"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(arguments, words):
    with pytest.raises(ConfigError) as caught:
        HyperBandScheduler(**arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("max_t", "factor", "s_max"), [(243, 3, 5), (242, 3, 4), (1000, 10, 3), (1, 3, 0), (8, 2.0, 3)]
)
def test_the_number_of_brackets_is_exact_for_whole_numbers(max_t, factor, s_max):
    scheduler = fed(bound(max_t=max_t, reduction_factor=factor), *started(1))
    first_line = scheduler.describe()[1]
    assert f"(1 of {math.ceil(factor**s_max)} trials)" in first_line


@pytest.mark.parametrize(("name", "made"), [("hyperband", HyperBandScheduler), ("hb_bohb", HyperBandForBOHB)])
def test_it_is_made_by_ray_tunes_names(name, made):
    scheduler = create_scheduler(
        name,
        time_attr="training_iteration",
        metric="loss",
        mode="min",
        max_t=9,
        reduction_factor=3,
        stop_last_trials=True,
    )
    assert type(scheduler) is made
    assert scheduler.bind(None) == LOSS
