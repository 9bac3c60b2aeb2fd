import copy
import itertools
import math
import random
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.errors import ConfigError
from tunesmith.events import EndReason, Verdict
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.schedulers import ASHAScheduler, MultiObjectiveASHA
from tunesmith.schedulers.fronts import epsilon_net, rank_of_last
from tunesmith.space import uniform
from tunesmith.stores import MemoryStore
from tunesmith.testing.simulation import Simulation
from tunesmith.trial import Mode, Objective, TrialStatus

from .drive import hand_over, make_report, make_trial, play

CONTINUE, STOP, COMPLETE = Verdict.CONTINUE, Verdict.STOP, Verdict.COMPLETE
BOTH = Objective(("loss", "size"), (Mode.MIN, Mode.MIN))


def make(objective=BOTH, **arguments) -> MultiObjectiveASHA:
    scheduler = MultiObjectiveASHA(**{"max_t": 8, "reduction_factor": 2, **arguments})
    scheduler.bind(objective)
    return scheduler


def verdicts_at_rung_1(points, **arguments) -> list[Verdict]:
    scheduler = make(**arguments)
    return [hand_over(scheduler, make_report(i, 1, loss=a, size=b))[0].verdict for i, (a, b) in enumerate(points)]


# ---------------------------------------------------------------- the rule, by hand


def test_the_best_front_goes_on_as_far_as_the_share_reaches():
    points = [(5, 5), (6, 6), (1, 9), (9, 1), (7, 7), (4, 4)]
    # 1 of 1. 1 of 2: dominated by the first. 1 of 3: in the first front with (5, 5), and its seed. 2 of 4: the far end
    # of the net. 2 of 5: dominated. 3 of 6: the middle one of the front of three.
    assert verdicts_at_rung_1(points) == [CONTINUE, STOP, CONTINUE, CONTINUE, STOP, CONTINUE]


def test_within_the_front_that_is_cut_those_go_on_that_spread_over_it():
    # Of up to 4, one goes on: the seed of the net, lowest in the first loss; all four are in one front.
    assert verdicts_at_rung_1([(1, 9), (2, 8), (9, 1), (5, 5)], reduction_factor=4) == [CONTINUE, STOP, STOP, STOP]
    assert verdicts_at_rung_1([(2, 8), (9, 1), (5, 5), (1, 9)], reduction_factor=4) == [CONTINUE, STOP, STOP, CONTINUE]


def test_equal_results_share_the_better_rank():
    assert verdicts_at_rung_1([(1, 1)] * 4) == [CONTINUE] * 4


def test_modes_turn_the_comparison_round():
    objective = Objective(("loss", "size"), (Mode.MIN, Mode.MAX))
    assert verdicts_at_rung_1([(1, 1), (2, 0), (1, 2)], objective=objective) == [CONTINUE, STOP, CONTINUE]


def test_a_trial_is_completed_at_max_t_even_where_a_metric_is_missing():
    assert hand_over(make(), make_report(0, 8, loss=1.0))[0].verdict is COMPLETE


def test_reasons_name_all_values_in_the_users_sign():
    scheduler = make(Objective(("loss", "acc{}"), (Mode.MIN, Mode.MAX)))
    words = [
        hand_over(scheduler, make_report(trial, 1, loss=loss, **{"acc{}": acc}))[0].words()
        for trial, (loss, acc) in enumerate([(1.0, 0.9), (2.0, 0.95), (3.0, 0.8), (math.nan, 0.5)])
    ]
    assert words == [
        None,
        "rank 2 of 2 at rung 1, 1 kept: loss 2, acc{} 0.95",
        "1 of 3 at rung 1 kept, and so many or more are in better fronts: loss 3, acc{} 0.8",
        "not finite at rung 1, where others are: loss nan, acc{} 0.5",
    ]


@pytest.mark.parametrize("bad", [(math.nan, 1), (1, math.inf), (-math.inf, 0)])
def test_what_is_not_finite_ranks_last(bad):
    assert verdicts_at_rung_1([bad, bad, (1, 1), bad, (2, 2)]) == [CONTINUE, CONTINUE, CONTINUE, STOP, CONTINUE]


def test_reports_that_lack_a_metric_are_ignored_and_counted():
    scheduler = make(max_t=3)
    assert hand_over(scheduler, make_report(0, 1, loss=1.0))[0].verdict is CONTINUE
    assert scheduler.describe() == [
        "Using multi-objective ASHA: num_stopped=0",
        "Bracket: Iter 2.000: 0 of 0 not dominated | Iter 1.000: 0 of 0 not dominated",
        "1 reports without 'loss' or 'size' or 'training_iteration' ignored",
    ]


def test_metrics_and_modes_may_be_given_to_it():
    own = MultiObjectiveASHA(metric=["loss", "size"], mode=["min", "min"])
    assert own.bind(None) == BOTH
    with pytest.raises(ConfigError, match="Give both in one of the two places only"):
        MultiObjectiveASHA(metric=["loss"], mode=["min"]).bind(BOTH)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"metric": ["a", "b"], "mode": ["min"]}, "There are 2 metrics and 1 modes"),
        ({"metric": "a", "mode": "low"}, "mode is 'low'"),
        ({"brackets": 0}, "brackets is 0"),
        ({"max_t": 0}, "max_t is 0"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused(arguments, expected):
    with pytest.raises(ConfigError, match=expected):
        MultiObjectiveASHA(**arguments)


# ---------------------------------------------------------------- ranks


def test_epsilon_net_takes_the_seed_and_then_always_the_farthest_in_widths_of_the_front():
    front = np.array([[0.0, 1000.0], [1.0, 900.0], [5.0, 500.0], [10.0, 0.0]])
    assert epsilon_net(front) == [0, 3, 2, 1]
    assert epsilon_net(front[:1]) == [0]
    assert epsilon_net(np.array([[1.0, 1.0], [1.0, 2.0]])) == [0, 1]


def dominates(one, other) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def points_of(n_losses):
    return st.lists(st.tuples(*[st.integers(0, 6)] * n_losses), min_size=1, max_size=25)


POINTS = st.one_of(points_of(1), points_of(2), points_of(3))


@given(POINTS, st.integers(0, 25))
def test_ranks_go_by_fronts_and_equals_share_one(points, n_kept):
    def front_of(point):
        return 1 + max((front_of(other) for other in set(points) if dominates(other, point)), default=0)

    rank = rank_of_last(points, n_kept)
    own = front_of(points[-1])
    n_better = sum(front_of(point) < own for point in points)
    n_front = sum(front_of(point) == own for point in points)
    if rank is None:
        assert n_better >= max(n_kept, 1)
    else:
        assert n_better < rank <= n_better + n_front - points.count(points[-1]) + 1


@given(POINTS, st.sampled_from([2, 3, 4]))
def test_never_more_than_the_top_share_of_distinct_results_goes_on_once_all_are_known(points, reduction_factor):
    """Whatever comes last: of all permutations' last ones, no more than the share would go on."""
    points = sorted(set(points))
    n_kept = len(points) // reduction_factor
    ranks = [rank_of_last([*points[:i], *points[i + 1 :], points[i]], n_kept) for i in range(len(points))]
    assert sum(rank is not None and rank <= n_kept for rank in ranks) == n_kept


# ---------------------------------------------------------------- against the single-metric rule

VALUES = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.nan, math.inf, -math.inf]))


@st.composite
def histories(draw):
    moves = draw(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 4), st.one_of(st.none(), VALUES)), max_size=60))
    steps = dict.fromkeys(range(8), 0)
    reports = []
    for trial, ahead, value in moves:
        steps[trial] += ahead
        reports.append(make_report(trial, steps[trial], **({} if value is None else {"loss": value})))
    return reports


@settings(max_examples=200)
@given(histories(), st.sampled_from([2, 3, 1.5]), st.sampled_from([1, 2]), st.sampled_from(["min", "max"]))
def test_with_one_metric_it_decides_as_asha_by_rank_but_always_keeps_one(reports, reduction_factor, brackets, mode):
    arguments = {
        "metric": "loss",
        "mode": mode,
        "max_t": 20,
        "reduction_factor": reduction_factor,
        "brackets": brackets,
    }
    several, one = MultiObjectiveASHA(**arguments), ASHAScheduler(**arguments, first_arrivals="rank")
    verdicts = []
    for scheduler in (several, one):
        scheduler.bind(None)
        with patch("tunesmith.schedulers.asha.keep_count", lambda n_seen, factor: max(1, int(n_seen // factor))):
            decisions, _ = play(scheduler, reports)
        verdicts.append([(trial, step, decision.verdict) for trial, step, decision in decisions])
    assert verdicts[0] == verdicts[1]


# ---------------------------------------------------------------- properties of the fold


def two_metric_reports(seed):
    draw = random.Random(seed)
    for step, trial in itertools.product(range(1, 9), range(12)):
        yield make_report(trial, step, loss=float(draw.randint(0, 5)), size=float(draw.randint(0, 5)))


@pytest.mark.parametrize("seed", range(5))
def test_a_replay_of_the_log_gives_the_same_state_and_deciding_leaves_no_trace(seed):
    lived, replayed = make(), make()
    decisions, log = play(lived, two_metric_reports(seed))
    for record in log:
        replayed.observe(record)
    assert vars(replayed) == vars(lived)
    before, report = copy.deepcopy(vars(lived)), make_report(99, 1, loss=2.0, size=2.0)
    assert lived.decide(make_trial(report), report) == lived.decide(make_trial(report), report)
    assert vars(lived) == before
    assert {decision.verdict for _, _, decision in decisions} >= {STOP, CONTINUE}


# ---------------------------------------------------------------- whole experiments


def curve(config, first_step):
    for step in range(first_step, 28):
        died = random.Random(f"{config['level']}/{first_step}/{step}").random() < 0.02
        metrics = {"loss": config["level"] + 1 / step, "size": 1.0 - config["level"]}
        yield SimulatedStep(1.0, metrics, saves_checkpoint=True, error="killed" if died else None)


def run(store=None, epoch=1, *, n_trials=150, reduction_factor=2):
    return Simulation(
        curve,
        space={"level": uniform(0.0, 1.0)},
        scheduler=MultiObjectiveASHA(max_t=27, reduction_factor=reduction_factor),
        store=store,
        n_trials=n_trials,
        objective=BOTH,
        max_failures=2,
    ).run(epoch)


def test_an_experiment_with_crashes_ends_with_trials_from_all_over_the_front():
    found = run()
    assert found.experiment.state.ending.why is EndReason.FINISHED
    done = [t.config["level"] for t in found.trials if t.status is TrialStatus.COMPLETED]
    assert min(done) < 0.3 and max(done) > 0.7
    assert sum(t.status is TrialStatus.STOPPED for t in found.trials) > 30
    assert any(t.n_failures for t in found.trials)


def test_a_small_experiment_completes_trials_too():
    found = run(n_trials=12, reduction_factor=4)
    assert TrialStatus.COMPLETED in {trial.status for trial in found.trials}


def test_resumed_in_the_middle_it_ends_and_its_log_replays_to_the_same_state():
    whole = run()
    store = MemoryStore()
    store.append(whole.log[: len(whole.log) // 2], [])
    resumed = run(store, epoch=2)
    assert all(trial.status.is_over for trial in resumed.trials)
    replayed = make(max_t=27)
    for record in resumed.log:
        replayed.observe(record)
    assert vars(replayed) == vars(resumed.scheduler)
