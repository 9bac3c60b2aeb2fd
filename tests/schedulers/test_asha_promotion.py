import copy
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.errors import ConfigError
from tunesmith.events import EndReason, StartAttempt, StopPaused, Thaw, Verdict
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.experiment.invariants import check_invariants
from tunesmith.protocols import StartNew
from tunesmith.schedulers import ASHAPromotionScheduler, ASHAScheduler
from tunesmith.searchers import ConcurrencyLimiter, RandomSearch
from tunesmith.space import uniform
from tunesmith.stores import MemoryStore
from tunesmith.testing import simulate
from tunesmith.testing.simulation import Simulation
from tunesmith.trial import TrialStatus

from .floor import Floor, wasted_starts

CONTINUE, STOP, COMPLETE, PAUSE = Verdict.CONTINUE, Verdict.STOP, Verdict.COMPLETE, Verdict.PAUSE


def make(**arguments) -> ASHAPromotionScheduler:
    scheduler = ASHAPromotionScheduler(
        **{"metric": "loss", "mode": "min", "max_t": 9, "reduction_factor": 3, **arguments}
    )
    scheduler.bind(None)
    return scheduler


def named(action) -> int | None:
    return action.trial if isinstance(action, Thaw) else None


# ---------------------------------------------------------------- the rule, by hand


def test_one_in_three_is_promoted_as_soon_as_there_are_three():
    floor = Floor(make())
    said = []
    for trial, loss in enumerate([5.0, 4.0, 6.0, 1.0, 2.0, 3.0]):
        verdict = floor.report(trial, 1, loss=loss).verdict
        said.append((verdict, named(floor.scheduler.choose_next(()))))
    # Of 3 the best, trial 1, goes on; it is not started here, so it stays the next until trial 3 is better and goes on
    # itself, in its process. Of 6 two go on: trial 3 has gone, and trial 4 is next.
    assert said == [
        (PAUSE, None),
        (PAUSE, None),
        (PAUSE, 1),
        (CONTINUE, None),
        (PAUSE, None),
        (PAUSE, 4),
    ]


def test_the_highest_rung_with_a_promotable_trial_goes_first():
    floor = Floor(make(max_t=27))
    for trial, loss in enumerate([1.0, 2.0, 3.0]):  # trial 0 goes on when trial 2 has come
        floor.report(trial, 1, loss=loss)
    for trial, loss in zip(range(3, 9), [4.0, 5.0, 6.0, 7.0, 8.0, 9.0], strict=True):
        floor.report(trial, 1, loss=loss)
    for trial in (0, 1, 2):
        assert named(floor.scheduler.choose_next(())) == trial
        floor.start(trial, start_step=1)
        floor.report(trial, 3, loss=10.0 - trial)
    # Three at rung 3, of which the last is the best; nine at rung 1, of which three have gone on.
    assert (
        floor.scheduler.describe()[1]
        == "Bracket: Iter 9.000: 0 of 0 wait | Iter 3.000: 2 of 3 wait | Iter 1.000: 6 of 9 wait"
    )
    floor.report(9, 1, loss=0.0)
    assert isinstance(floor.scheduler.choose_next(()), StartNew)


def test_reasons_are_words_with_numbers():
    floor = Floor(make())
    assert floor.report(0, 1, loss=2.0).words() == "rank 1 of 1 at rung 1, of which 0 go on"
    floor.report(1, 1, loss=3.0)
    floor.report(2, 1, loss=4.0)
    assert floor.scheduler.choose_next(()) == Thaw(0, "rank 1 of 3 at rung 1, of which 1 go on")
    assert floor.report(3, 1, loss=1.0).words() == "rank 1 of 4 at rung 1, of which 1 go on: without a pause"


def test_a_trial_whose_better_waits_at_a_higher_rung_pauses_though_it_may_go_on():
    floor = Floor(make(max_t=27))
    for trial, loss in enumerate([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]):
        floor.report(trial, 1, loss=loss)
    for trial in range(3):
        floor.start(trial, start_step=1)
    for trial in (2, 1):
        floor.report(trial, 3, loss=5.0)
    floor.report(0, 3, loss=6.0)  # the best at rung 3 are 2, then 1, then 0
    decision = floor.report(9, 1, loss=0.5)
    assert decision.verdict is PAUSE
    assert decision.words() == "rank 1 of 10 at rung 1, of which 3 go on; trial 2 goes first"


def test_of_equal_values_the_first_to_come_is_promoted_and_no_more_than_the_share():
    floor = Floor(make())
    verdicts = [floor.report(trial, 1, loss=0.5).verdict for trial in range(6)]
    assert verdicts == [PAUSE] * 6
    started = []
    while named(floor.scheduler.choose_next(())) is not None:
        started.append(named(floor.scheduler.choose_next(())))
        floor.start(started[-1], start_step=1)
    assert started == [0, 1]


def test_mode_max_promotes_the_largest():
    floor = Floor(make(mode="max"))
    for trial, value in enumerate([1.0, 3.0, 2.0]):
        floor.report(trial, 1, loss=value)
    assert named(floor.scheduler.choose_next(())) == 1


def test_a_trial_is_completed_at_max_t_whatever_its_value():
    floor = Floor(make())
    assert floor.report(0, 9, loss=math.nan).verdict is COMPLETE
    assert floor.report(1, 10, other=1.0).verdict is COMPLETE


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_counts_as_seen_and_is_never_promoted(bad):
    floor = Floor(make())
    for trial in range(4):
        assert floor.report(trial, 1, loss=bad).verdict is PAUSE
    assert isinstance(floor.scheduler.choose_next(()), StartNew)
    assert floor.report(4, 1, loss=7.0).verdict is CONTINUE  # rank 1 of 5


def test_reports_between_rungs_and_without_the_metric_decide_nothing():
    floor = Floor(make(grace_period=3))
    assert floor.report(0, 1, loss=1.0).verdict is CONTINUE
    assert floor.report(0, 3, other=1.0).verdict is CONTINUE
    assert floor.report(0, 4, loss=1.0).verdict is PAUSE
    assert floor.scheduler.describe()[-1] == "1 reports without 'loss' or 'training_iteration' ignored"


def test_a_report_that_skips_rungs_counts_at_the_highest_it_crossed_only():
    floor = Floor(make(max_t=27))
    floor.report(0, 5, loss=1.0)
    assert [len(rung.seen) for rung in floor.scheduler._rungs[0]] == [0, 1, 0]


def test_brackets_are_those_of_the_stopping_variant():
    promoting, stopping = make(brackets=3, max_t=81), ASHAScheduler(max_t=81, reduction_factor=3, brackets=3)
    assert promoting._ladder.levels == stopping._ladder.levels
    assert [promoting._ladder.bracket_of(t) for t in range(99)] == [stopping._ladder.bracket_of(t) for t in range(99)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"brackets": 0}, "brackets is 0. Give a whole number of 1 or more"),
        ({"max_t": 1, "grace_period": 2}, "max_t is 1. Give a number of grace_period"),
        ({"mode": "low"}, "mode is 'low'. Give 'min' or 'max'"),
        ({"reduction_factor": 1}, "reduction_factor is 1. Give a number above 1"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused(arguments, expected):
    with pytest.raises(ConfigError, match=expected):
        ASHAPromotionScheduler(**arguments)


# ---------------------------------------------------------------- checkpoints


def test_a_trial_without_any_checkpoint_is_judged_by_the_stopping_rule_and_counted():
    floor = Floor(make())
    verdicts = [floor.report(t, 1, saves=False, loss=loss).verdict for t, loss in enumerate([2.0, 3.0, 1.0])]
    assert verdicts == [CONTINUE, STOP, CONTINUE]
    assert floor.report(0, 2, loss=2.0).verdict is CONTINUE  # the rung is passed, though it saves one now
    assert "3 times a trial reached a rung without having saved a checkpoint" in floor.scheduler.describe()[-1]


def test_a_trial_that_saves_now_and_then_pauses_at_its_next_checkpoint():
    floor = Floor(make(grace_period=2, max_t=18))
    assert floor.report(0, 1, loss=1.0).verdict is CONTINUE
    assert floor.report(0, 2, saves=False, loss=1.0).verdict is CONTINUE
    assert floor.report(0, 3, saves=False, loss=1.0).verdict is CONTINUE
    decision = floor.report(0, 4, loss=1.0)
    assert (decision.verdict, decision.numbers["rung"]) == (PAUSE, 2)
    assert floor.scheduler._n_unpaused == 0


def test_a_trial_that_becomes_promotable_before_its_next_checkpoint_does_not_pause():
    floor = Floor(make(grace_period=2, max_t=18))
    floor.report(0, 1, loss=1.0)
    floor.report(0, 2, saves=False, loss=1.0)
    for trial in (1, 2):
        floor.report(trial, 2, loss=5.0)
    assert floor.report(0, 3, loss=1.0).words() == "rank 1 of 3 at rung 2, of which 1 go on: without a pause"
    assert floor.report(0, 4, loss=1.0).verdict is CONTINUE


def test_a_trial_restarted_after_a_crash_is_not_recorded_at_its_rung_again():
    floor = Floor(make(grace_period=2, max_t=18))
    floor.report(0, 1, loss=1.0)
    floor.report(0, 2, saves=False, loss=1.0)
    floor.conclude(0, TrialStatus.PENDING)
    floor.start(0, start_step=1)
    assert floor.report(0, 2, loss=9.0).verdict is PAUSE
    assert [standing.loss for standing in floor.scheduler._rungs[0][0].seen] == [1.0]


def test_a_promoted_trial_that_crashes_stays_promoted():
    floor = Floor(make())
    for trial, loss in enumerate([1.0, 2.0, 3.0]):
        floor.report(trial, 1, loss=loss)
    floor.start(0, start_step=1)
    floor.conclude(0, TrialStatus.PENDING)
    floor.start(0, start_step=1)
    assert floor.report(0, 2, loss=9.0).verdict is CONTINUE
    assert floor.report(0, 3, loss=9.0).verdict is PAUSE


def test_a_trial_paused_by_somebody_else_goes_on_first():
    floor = Floor(make(grace_period=3, max_t=27))
    floor.report(7, 1, loss=1.0)
    floor.conclude(7, TrialStatus.PAUSED)
    assert floor.scheduler.choose_next(()) == Thaw(7, "it was paused, but not by a rung")
    floor.start(7, start_step=1)
    assert isinstance(floor.scheduler.choose_next(()), StartNew)


# ---------------------------------------------------------------- the end


def test_if_no_new_trial_comes_those_that_wait_are_stopped_the_worst_of_the_lowest_rung_first():
    floor = Floor(make(max_t=27))
    for trial in range(3):
        floor.report(trial, 1, loss=float(trial))
    floor.start(0, start_step=1)
    floor.report(0, 3, loss=0.5)
    for trial, words in (
        (2, "rank 3 of 3 at rung 1, of which 1 go on"),
        (1, "rank 2 of 3 at rung 1, of which 1 go on"),
        (0, "rank 1 of 1 at rung 3, of which 0 go on"),
    ):
        action = floor.scheduler.choose_next(())
        assert action == StartNew(otherwise=StopPaused(trial, f"no new trial will come, and it is {words}"))
        floor.conclude(trial, TrialStatus.STOPPED)
    assert floor.scheduler.choose_next(()) == StartNew()


# ---------------------------------------------------------------- against the paper's algorithm


class Oracle:
    """Algorithm 2, written down naively: it sorts whole rungs for each job."""

    def __init__(self, n_rungs: int, reduction_factor: float) -> None:
        self.rungs: list[list[tuple[float, int, int]]] = [[] for _ in range(n_rungs)]  # (loss, order, trial)
        self.promoted: list[set[int]] = [set() for _ in range(n_rungs)]
        self.reduction_factor, self.n_arrivals = reduction_factor, 0

    def job_done(self, trial: int, k: int, loss: float) -> None:
        if k < len(self.rungs):
            self.rungs[k].append((loss, self.n_arrivals, trial))
            self.n_arrivals += 1

    def get_job(self) -> tuple[int, int] | None:
        """(trial, rung to train it to); None: a new trial, to rung 0."""
        for k in reversed(range(len(self.rungs))):
            n_kept = int(len(self.rungs[k]) // self.reduction_factor)
            for _, _, trial in sorted(self.rungs[k])[:n_kept]:
                if trial not in self.promoted[k]:
                    self.promoted[k].add(trial)
                    return trial, k + 1
        return None


@settings(max_examples=200)
@given(
    st.lists(st.integers(-5, 5) | st.floats(-9, 9, allow_nan=False), min_size=1, max_size=60),
    st.sampled_from([2, 3, 4]),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_every_slot_is_used_as_the_papers_algorithm_says(losses, reduction_factor, n_workers, draw):
    scheduler = make(max_t=reduction_factor**3, reduction_factor=reduction_factor)
    floor, oracle = Floor(scheduler), Oracle(3, reduction_factor)
    levels = [reduction_factor**k for k in range(4)]
    jobs: list[tuple[int, int]] = []  # running: (trial, rung it trains to)
    n_trials = 0

    def give_job() -> None:
        nonlocal n_trials
        job, action = oracle.get_job(), scheduler.choose_next(())
        if job is None:
            assert isinstance(action, StartNew)
            job, n_trials = (n_trials, 0), n_trials + 1
        else:
            assert named(action) == job[0]
        jobs.append(job)
        floor.start(job[0], start_step=0 if job[1] == 0 else levels[job[1] - 1])

    for _ in range(n_workers):
        give_job()
    for loss in losses:
        trial, k = jobs.pop(draw.randrange(len(jobs)))
        oracle.job_done(trial, k, loss)
        before = copy.deepcopy(oracle)
        decision = floor.report(trial, levels[k], loss=float(loss))
        scheduler.check_invariants()
        if decision.verdict is CONTINUE:  # its slot is its own again
            assert oracle.get_job() == (trial, k + 1)
            jobs.append((trial, k + 1))
        else:
            assert decision.verdict is (COMPLETE if k == 3 else PAUSE)
            assert before.get_job() != (trial, k + 1)
            give_job()


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=50, unique=True), st.sampled_from([2, 3, 4]))
def test_never_more_than_the_top_share_of_distinct_values_goes_on_at_any_time(losses, reduction_factor):
    floor = Floor(make(reduction_factor=reduction_factor, max_t=reduction_factor))
    for trial, loss in enumerate(losses):
        went_on = {trial} if floor.report(trial, 1, loss=loss).verdict is CONTINUE else set()
        while (promoted := named(floor.scheduler.choose_next(()))) is not None:
            went_on.add(promoted)
            floor.start(promoted, start_step=1)
        ranked = sorted(range(trial + 1), key=losses.__getitem__)
        assert went_on <= set(ranked[: (trial + 1) // reduction_factor])


# ---------------------------------------------------------------- fold


def script_of(moves, scheduler):
    """Play (trial, steps ahead, loss or None, saves) as far as the trials run; paused ones go on as they are named."""
    floor = Floor(scheduler)
    steps, over = dict.fromkeys(range(6), 0), set()
    for trial, ahead, loss, saves in moves:
        if trial in over:
            continue
        steps[trial] += ahead
        metrics = {"other": 1.0} if loss is None else {"loss": loss}
        decision = floor.report(trial, steps[trial], saves=saves, **metrics)
        over.add(trial) if decision.verdict is not CONTINUE else None
        action = scheduler.choose_next(())
        if isinstance(action, Thaw):
            floor.start(action.trial, start_step=steps[action.trial])
            over.discard(action.trial)
    return floor


VALUES = st.one_of(st.none(), st.floats(-3, 3), st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf]))
MOVES = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6), VALUES, st.booleans()), max_size=50)


@given(MOVES, st.sampled_from([1, 3]))
def test_a_replay_of_the_log_gives_the_same_state(moves, brackets):
    arguments = {"max_t": 20, "reduction_factor": 2, "brackets": brackets}
    lived, replayed = make(**arguments), make(**arguments)
    floor = script_of(moves, lived)
    for record in floor.log:
        replayed.observe(record)
    assert repr_of(replayed) == repr_of(lived)
    assert replayed.describe() == lived.describe()
    lived.check_invariants()


def repr_of(scheduler) -> dict:
    """The whole state but the inner scheduler, whose own tests see to that."""
    return {name: repr(value) for name, value in vars(scheduler).items() if name != "_stopping"}


class AskedOften:
    """The scheduler, asked about everything twice; its state must not show it."""

    def __init__(self, inner):
        self.inner, self.observe, self.describe = inner, inner.observe, inner.describe

    def _twice(self, ask, *about):
        before = repr_of(self.inner)
        first = ask(*about)
        assert ask(*about) == first
        assert repr_of(self.inner) == before
        return first

    def decide(self, trial, report):
        return self._twice(self.inner.decide, trial, report)

    def choose_next(self, paused):
        return self._twice(self.inner.choose_next, paused)


@settings(max_examples=50)
@given(MOVES)
def test_decide_and_choose_next_leave_no_trace(moves):
    script_of(moves, AskedOften(make(max_t=20, reduction_factor=2)))


# ---------------------------------------------------------------- whole experiments


def curve(config, first_step):
    for step in range(first_step, 28):
        yield SimulatedStep(1.0 + config["level"], {"loss": config["level"] + 1 / step}, saves_checkpoint=True)


def crashing(config, first_step):
    """Every trial dies now and then; restarts go on from the last checkpoint."""
    for step in range(first_step, 28):
        died = random.Random(f"{config['level']}/{first_step}/{step}").random() < 0.1
        metrics = {"loss": config["level"] + 1 / step}
        yield SimulatedStep(1.0, metrics, saves_checkpoint=step % 2 == 1, error="killed" if died else None)


@pytest.mark.parametrize("n_workers", [1, 3, 16])
def test_an_experiment_ends_with_every_paused_trial_stopped_for_a_reason(n_workers):
    scheduler = ASHAPromotionScheduler(max_t=27, reduction_factor=3)
    found = simulate(curve, space={"level": uniform(0.0, 1.0)}, scheduler=scheduler, n_trials=30, n_workers=n_workers)
    assert found.experiment.state.ending.why is EndReason.FINISHED
    by_status = {status: [t for t in found.trials if t.status is status] for status in TrialStatus}
    assert len(by_status[TrialStatus.COMPLETED]) + len(by_status[TrialStatus.STOPPED]) == 30
    assert len(by_status[TrialStatus.COMPLETED]) >= 1
    assert all(t.reason.startswith("no new trial will come") for t in by_status[TrialStatus.STOPPED])
    scheduler.check_invariants()
    best = min(found.trials, key=lambda t: t.config["level"])
    assert best.status is TrialStatus.COMPLETED
    assert wasted_starts(found) == []


def test_a_searcher_that_waits_for_paused_trials_gets_room_by_the_end_of_the_worst():
    scheduler = ASHAPromotionScheduler(max_t=27, reduction_factor=3)
    searcher, space = ConcurrencyLimiter(RandomSearch(), 2), {"level": uniform(0.0, 1.0)}
    found = simulate(curve, space=space, searcher=searcher, scheduler=scheduler, n_trials=20)
    assert len(found.trials) == 20
    assert all(trial.status.is_over for trial in found.trials)
    assert wasted_starts(found) == []


def test_an_experiment_with_crashes_ends():
    scheduler = ASHAPromotionScheduler(max_t=27, reduction_factor=3)
    space = {"level": uniform(0.0, 1.0)}
    found = simulate(crashing, space=space, scheduler=scheduler, n_trials=40, n_workers=4, max_failures=2)
    assert all(trial.status.is_over for trial in found.trials)
    assert sum(trial.n_failures for trial in found.trials) > 10
    scheduler.check_invariants()
    check_invariants(found.experiment.state)


def test_an_experiment_without_checkpoints_ends_by_the_stopping_rule():
    def unsaved(config, first_step):
        return (SimulatedStep(1.0, {"loss": config["level"]}) for _ in range(first_step, 28))

    space, results = {"level": uniform(0.0, 1.0)}, []
    for kind in (ASHAPromotionScheduler, ASHAScheduler):
        found = simulate(unsaved, space=space, scheduler=kind(max_t=27, reduction_factor=3), n_trials=30)
        results.append([(trial.status, trial.step) for trial in found.trials])
    assert results[0] == results[1]


def test_resumed_in_the_middle_it_ends_and_its_log_replays_to_the_same_state():
    def run_from(n_records):
        scheduler = ASHAPromotionScheduler(max_t=27, reduction_factor=3)
        store = MemoryStore()
        if n_records:
            store.append(whole.log[:n_records], [])
        run = Simulation(curve, space={"level": uniform(0.0, 1.0)}, scheduler=scheduler, store=store, n_trials=30)
        run.run(epoch=2 if n_records else 1)
        scheduler.check_invariants()
        return run

    whole = run_from(0)
    for n_records in (40, 160, 300):
        resumed = run_from(n_records)
        assert {t.status for t in resumed.trials} == {TrialStatus.COMPLETED, TrialStatus.STOPPED}
        assert len(resumed.trials) == 30
        replayed = make(max_t=27, reduction_factor=3, metric="loss", mode="min")
        for record in resumed.log:
            replayed.observe(record)
        assert repr_of(replayed)["_rungs"] == repr_of(resumed.scheduler)["_rungs"]
        assert replayed.describe() == resumed.scheduler.describe()


def test_promoted_trials_start_from_the_checkpoint_of_their_pause():
    scheduler = ASHAPromotionScheduler(max_t=27, reduction_factor=3)
    found = simulate(curve, space={"level": uniform(0.0, 1.0)}, scheduler=scheduler, n_trials=30)
    starts = [record for record in found.log if isinstance(record, StartAttempt)]
    assert {start.start_step for start in starts if start.attempt > 1} == {1, 3, 9}
    assert all((start.checkpoint is None) == (start.attempt == 1) for start in starts)
