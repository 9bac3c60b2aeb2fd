import copy
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.errors import ConfigError
from tunesmith.events import AnswerReport, Decision, Thaw, Verdict
from tunesmith.protocols import StartNew
from tunesmith.rng import generator
from tunesmith.schedulers import ASHAScheduler, AsyncHyperBandScheduler
from tunesmith.trial import Mode, Objective, Trial

from .drive import hand_over, make_report, make_trial, play
from .oracle_asha import OracleASHA

LOSS = Objective(metrics=("loss",), modes=(Mode.MIN,))
CONTINUE, STOP, COMPLETE = Verdict.CONTINUE, Verdict.STOP, Verdict.COMPLETE


def make_asha(**arguments) -> ASHAScheduler:
    scheduler = ASHAScheduler(**{"metric": "loss", "mode": "min", **arguments})
    scheduler.bind(None)
    return scheduler


def state_of(scheduler: ASHAScheduler) -> dict:
    return copy.deepcopy(vars(scheduler))


def verdicts_at_rung_1(losses, **arguments) -> list[Verdict]:
    """What trials 0, 1, ... are told that report these losses at step 1, in this order."""
    scheduler = make_asha(**arguments)
    return [hand_over(scheduler, make_report(i, 1, loss=loss))[0].verdict for i, loss in enumerate(losses)]


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("losses", "verdicts"),
    [
        ([5, 4, 3, 2, 1], [CONTINUE] * 5),  # improving order stops nobody
        ([1, 2, 3, 4, 5], [CONTINUE] + [STOP] * 4),  # worsening order stops all but the first
        ([1, 3, 2], [CONTINUE, STOP, CONTINUE]),  # the median of 1 and 3 is 2, and a tie goes on
        ([1, 3, 2.000001], [CONTINUE, STOP, STOP]),
        ([7, 7, 7, 7], [CONTINUE] * 4),  # nobody is stopped by equals
    ],
)
def test_first_arrival_goes_on_and_the_rest_are_compared_with_those_before(losses, verdicts):
    assert verdicts_at_rung_1(losses, reduction_factor=2) == verdicts


@pytest.mark.parametrize(
    ("losses", "verdicts"),
    [
        ([5, 4, 3, 2, 1], [STOP, CONTINUE, CONTINUE, CONTINUE, CONTINUE]),
        ([1, 2, 3, 4, 5], [STOP] * 5),
        ([1, 3, 2, 2], [STOP, STOP, STOP, CONTINUE]),  # rank 2 of 4, two kept; equals share the better rank
        ([7, 7, 7, 7], [STOP, CONTINUE, CONTINUE, CONTINUE]),
        ([math.nan, 1, math.nan, 2], [STOP, CONTINUE, STOP, CONTINUE]),
    ],
)
def test_rank_rule_keeps_the_top_share_of_all_seen_itself_included(losses, verdicts):
    assert verdicts_at_rung_1(losses, reduction_factor=2, first_arrivals="rank") == verdicts


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), st.sampled_from([2, 3, 4]))
def test_rank_rule_never_continues_more_than_the_top_share_of_distinct_values(losses, reduction_factor):
    verdicts = verdicts_at_rung_1(losses, reduction_factor=reduction_factor, first_arrivals="rank")
    for i, verdict in enumerate(verdicts):
        n_better = sum(loss < losses[i] for loss in losses[:i])
        assert (verdict is CONTINUE) == (n_better < (i + 1) // reduction_factor)


def test_mode_max_turns_the_comparison_round():
    assert verdicts_at_rung_1([1, 2, 0], mode="max") == [CONTINUE, CONTINUE, STOP]


def test_trial_is_completed_at_max_t_whatever_its_value():
    scheduler = make_asha(max_t=8, reduction_factor=2)
    decision, _ = hand_over(scheduler, make_report(0, 8, loss=math.nan))
    assert decision.verdict is COMPLETE
    assert decision.words() == "reached max_t"


def test_trial_beyond_max_t_is_completed_even_where_the_metric_is_missing():
    decision, _ = hand_over(make_asha(max_t=8), make_report(0, 9, accuracy=0.5))
    assert decision.verdict is COMPLETE


def test_report_at_max_t_is_recorded_at_no_rung_below_it():
    scheduler = make_asha(max_t=8, reduction_factor=2)
    hand_over(scheduler, make_report(0, 1, loss=1.0))
    hand_over(scheduler, make_report(0, 8, loss=0.1))
    assert scheduler.describe()[1] == "Bracket: Iter 4.000: None | Iter 2.000: None | Iter 1.000: -1.0"


def test_without_stop_last_trials_max_t_is_a_rung_like_the_others():
    scheduler = make_asha(max_t=4, reduction_factor=2, stop_last_trials=False)
    assert hand_over(scheduler, make_report(0, 4, loss=1.0))[0].verdict is CONTINUE
    assert hand_over(scheduler, make_report(1, 4, loss=2.0))[0].verdict is STOP
    assert hand_over(scheduler, make_report(0, 400, loss=9.0))[0].verdict is CONTINUE


def test_reason_says_rank_share_value_and_cutoff_in_the_users_sign():
    scheduler = make_asha(reduction_factor=2, grace_period=4)
    for trial, loss in enumerate([1, 2, 3, 4, 5, 6, 7, 8]):
        scheduler.observe(make_report(trial, 4, loss=loss))
    decision, _ = hand_over(scheduler, make_report(8, 4, loss=6.5))
    assert decision.words() == "rank 7 of 9 at rung 4, 4 kept: loss is 6.5, the cutoff 4.5"
    assert decision.numbers == {
        "rank": 7, "n_seen": 9, "rung": 4, "n_kept": 4, "metric": "loss", "value": 6.5, "cutoff": 4.5
    }  # fmt: skip


def test_reason_under_the_rank_rule_says_rank_share_and_value():
    scheduler = make_asha(first_arrivals="rank")
    words = [hand_over(scheduler, make_report(i, 1, loss=loss))[0].words() for i, loss in enumerate([2.5, 1.5])]
    assert words == [f"rank 1 of {n} at rung 1, 0 kept: loss is {loss}" for n, loss in ((1, 2.5), (2, 1.5))]


def test_metric_name_with_braces_does_not_break_the_reason():
    scheduler = make_asha(metric="loss{0}")
    hand_over(scheduler, make_report(0, 1, **{"loss{0}": 1.0}))
    decision, _ = hand_over(scheduler, make_report(1, 1, **{"loss{0}": 2.0}))
    assert "loss{0} is 2" in decision.words()


def test_description_reads_like_ray_tunes():
    scheduler = make_asha(max_t=10, reduction_factor=2)
    reports = [make_report(0, 1, loss=0.5), make_report(0, 2, loss=0.25), make_report(1, 1, loss=1.5)]
    play(scheduler, reports)
    assert scheduler.describe() == [
        "Using AsyncHyperBand: num_stopped=1",
        "Bracket: Iter 8.000: None | Iter 4.000: None | Iter 2.000: -0.25 | Iter 1.000: -1.0",
    ]


def test_stop_by_somebody_else_is_not_counted_as_ours():
    scheduler = make_asha()
    scheduler.observe(AnswerReport(trial=0, attempt=1, step=1, decision=Decision(Verdict.STOP, "a stopper")))
    assert scheduler.describe()[0] == "Using AsyncHyperBand: num_stopped=0"


def test_paused_trial_goes_on_before_a_new_one_starts():
    scheduler = make_asha()
    assert scheduler.choose_next([]) == StartNew()
    action = scheduler.choose_next([Trial(index=3, trial_id="c", config={}), Trial(index=1, trial_id="a", config={})])
    assert isinstance(action, Thaw) and action.trial == 1


# ---------------------------------------------------------------- faults


def test_report_that_skips_rungs_is_decided_once_and_never_written_into_a_lower_one():
    scheduler = make_asha(max_t=100, reduction_factor=2)
    for step in (8, 9, 10, 11):
        hand_over(scheduler, make_report(0, step, loss=0.1))
    assert [rung.n_seen for rung in scheduler._brackets[0]] == [0, 0, 0, 1, 0, 0, 0]
    assert hand_over(scheduler, make_report(1, 1, loss=5.0))[0].verdict is CONTINUE
    assert hand_over(scheduler, make_report(1, 9, loss=5.0))[0].verdict is STOP


def test_report_before_the_first_rung_decides_nothing():
    scheduler = make_asha(grace_period=5)
    before = state_of(scheduler)
    hand_over(scheduler, make_report(0, 4, loss=1.0))
    assert state_of(scheduler) == before


def test_rung_repeated_after_a_restart_keeps_its_first_value():
    scheduler = make_asha()
    hand_over(scheduler, make_report(0, 1, loss=1.0))
    decision, _ = hand_over(scheduler, make_report(0, 1, attempt=2, loss=9.0))
    assert decision.verdict is CONTINUE
    assert scheduler._brackets[0][0].scores == [-1.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_unusable_value_stops_its_trial_once_there_is_a_usable_one(bad):
    assert verdicts_at_rung_1([bad, bad, 1.0, bad, 0.5]) == [CONTINUE, CONTINUE, CONTINUE, STOP, CONTINUE]


def test_rung_still_stops_after_a_nan():
    assert verdicts_at_rung_1([1.0, math.nan, 2.0, 3.0]) == [CONTINUE, STOP, STOP, STOP]


def test_stop_for_nan_can_be_written_as_json():
    scheduler = make_asha()
    hand_over(scheduler, make_report(0, 1, loss=1.0))
    decision, _ = hand_over(scheduler, make_report(1, 1, loss=math.nan))
    assert decision.words() == "rank 2 of 2 at rung 1: loss is nan, and others have a number there"
    assert decision.numbers["value"] == "nan"


def test_nothing_but_nan_stops_nobody_before_max_t():
    scheduler = make_asha(max_t=4, reduction_factor=2)
    reports = [make_report(trial, step, loss=math.nan) for step in (1, 2, 3, 4) for trial in range(5)]
    decisions, _ = play(scheduler, reports)
    assert [decision.verdict for _, _, decision in decisions] == [CONTINUE] * 15 + [COMPLETE] * 5


def test_reports_without_metric_or_time_are_ignored_and_counted():
    scheduler = make_asha(time_attr="epoch")
    assert hand_over(scheduler, make_report(0, 1, epoch=1.0))[0].verdict is CONTINUE
    assert hand_over(scheduler, make_report(0, 2, loss=1.0))[0].verdict is CONTINUE
    assert hand_over(scheduler, make_report(0, 3, loss=1.0, epoch=math.nan))[0].verdict is CONTINUE
    assert hand_over(scheduler, make_report(0, 4, loss=1.0, epoch=1.5))[0].verdict is CONTINUE
    assert scheduler.describe()[-1] == "3 reports without 'loss' or 'epoch' ignored"
    assert scheduler._brackets[0][0].scores == [-1.0]


def test_time_attr_that_falls_back_decides_nothing_twice():
    scheduler = make_asha(time_attr="epoch", reduction_factor=2)
    for epoch in (4.5, 1.0, 2.0, 4.9):
        hand_over(scheduler, make_report(0, 1, loss=1.0, epoch=epoch))
    assert [rung.n_seen for rung in scheduler._brackets[0]][:4] == [0, 0, 1, 0]


def test_rungs_can_be_counted_in_seconds():
    scheduler = make_asha(time_attr="time_total_s", grace_period=0.5, max_t=60.0)
    assert hand_over(scheduler, make_report(0, 1, time_total_s=0.6, loss=1.0))[0].verdict is CONTINUE
    assert hand_over(scheduler, make_report(1, 1, time_total_s=0.4, loss=2.0))[0].verdict is CONTINUE
    assert hand_over(scheduler, make_report(1, 2, time_total_s=0.7, loss=2.0))[0].verdict is STOP
    assert hand_over(scheduler, make_report(0, 2, time_total_s=60.0, loss=1.0))[0].verdict is COMPLETE


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"max_t": 1, "grace_period": 2}, "max_t is 1. Give a number of grace_period .2. or more"),
        ({"max_t": math.inf}, "max_t is inf"),
        ({"max_t": "100"}, "max_t is '100'. Give a number"),
        ({"grace_period": 0}, "grace_period is 0. Give a number above 0"),
        ({"grace_period": math.nan}, "grace_period is nan"),
        ({"reduction_factor": 1}, "reduction_factor is 1. Give a number above 1"),
        ({"reduction_factor": True}, "reduction_factor is True"),
        ({"reduction_factor": 1.0000001}, "more than 1000 rungs"),
        ({"mode": "maximise"}, "mode is 'maximise'. Give 'min' or 'max'"),
        ({"metric": ["loss"]}, "metric is"),
        ({"time_attr": 3}, "time_attr is 3"),
        ({"brackets": 0}, "brackets is 0. Give a whole number of 1 or more"),
        ({"brackets": 1.5}, "brackets is 1.5"),
        ({"first_arrivals": "stop"}, "first_arrivals is 'stop'. Give 'pass' or 'rank'"),
    ],
)
def test_argument_that_cannot_be_meant_is_refused_with_the_values_allowed(arguments, expected):
    with pytest.raises(ConfigError, match=expected):
        ASHAScheduler(**arguments)


def test_arguments_stand_in_ray_tunes_order():
    scheduler = ASHAScheduler("epoch", "accuracy", "max", 64, 2, 3, 2, False)
    assert scheduler.bind(None) == Objective(metrics=("accuracy",), modes=(Mode.MAX,))
    assert [[rung.level for rung in rungs] for rungs in scheduler._brackets] == [[2, 6, 18, 54], [6, 18, 54]]


# ---------------------------------------------------------------- bind


def test_objective_comes_from_either_side():
    assert ASHAScheduler().bind(LOSS) == LOSS
    assert ASHAScheduler(metric="loss", mode="min").bind(None) == LOSS


@pytest.mark.parametrize(
    ("own", "objective"),
    [
        ({"metric": "loss", "mode": "min"}, LOSS),
        ({"metric": "loss"}, LOSS),
        ({"mode": "min"}, LOSS),
        ({}, None),
        ({"metric": "loss"}, None),
        ({"mode": "min"}, None),
    ],
)
def test_objective_from_both_sides_or_from_neither_is_refused(own, objective):
    with pytest.raises(ValueError, match=r"Give"):
        ASHAScheduler(**own).bind(objective)


# ---------------------------------------------------------------- against the reference


def random_history(draw: random.Random, *, max_t: int, reduction_factor: int) -> list:
    """Interleaved reports of up to 12 trials, each at steps 1, 2, 3, ...; few distinct values, so ties are common."""
    n_trials, levels = draw.randint(1, 12), draw.choice([3, 10, 1000])
    remaining = [draw.randint(1, max_t + 1) for _ in range(n_trials)]
    steps, reports = [0] * n_trials, []
    while any(remaining):
        trial = draw.choice([i for i, n in enumerate(remaining) if n])
        remaining[trial] -= 1
        steps[trial] += 1
        reports.append(make_report(trial, steps[trial], loss=draw.randint(-levels, levels) / 8))
    return reports


def test_decisions_are_ray_tunes_one_by_one_on_a_thousand_interleaved_histories():
    n_stopped = 0
    for seed in range(1000):
        draw = random.Random(seed)
        arguments = {
            "mode": draw.choice(["min", "max"]),
            "max_t": draw.choice([1, 5, 8, 9, 20]),
            "grace_period": 1,
            "reduction_factor": draw.choice([2, 3, 4]),
            "brackets": draw.choice([1, 1, 2, 3]),
            "stop_last_trials": draw.choice([True, True, False]),
        }
        arguments["grace_period"] = draw.randint(1, min(3, arguments["max_t"]))
        ours = make_asha(**arguments)
        theirs = OracleASHA(bracket_of=ours._ladder.bracket_of, **arguments)
        ended = set()
        for report in random_history(draw, max_t=arguments["max_t"], reduction_factor=arguments["reduction_factor"]):
            if report.trial in ended:
                continue
            decision, _ = hand_over(ours, report)
            has_ended = theirs.stops(report.trial, report.step, report.metrics["loss"])
            assert (decision.verdict is not CONTINUE) == has_ended, (seed, arguments, report)
            n_stopped += decision.verdict is STOP
            if has_ended:
                ended.add(report.trial)
        ours.check_invariants()
    assert n_stopped > 1000  # the histories do reach the rule


# ---------------------------------------------------------------- brackets


def test_bracket_is_drawn_in_proportion_to_exp_of_its_number_of_rungs():
    scheduler = make_asha(max_t=16, reduction_factor=4, brackets=3)  # 3, 2 and 1 rungs up to max_t
    drawn = [scheduler._ladder.bracket_of(trial) for trial in range(4000)]
    weights = [math.exp(3), math.exp(2), math.exp(1)]
    for bracket, weight in enumerate(weights):
        # The draws are fixed by the trials' indices: this holds always or never. 4 standard errors.
        share = weight / sum(weights)
        assert abs(drawn.count(bracket) / 4000 - share) < 4 * math.sqrt(share * (1 - share) / 4000)


def test_bracket_depends_on_nothing_but_the_trials_index():
    scheduler = make_asha(brackets=3)
    forwards = [scheduler._ladder.bracket_of(trial) for trial in range(50)]
    generator(7, "something else").random(100)
    assert [make_asha(brackets=3)._ladder.bracket_of(trial) for trial in reversed(range(50))] == forwards[::-1]


def test_bracket_above_all_rungs_stops_nobody():
    scheduler = make_asha(max_t=2, reduction_factor=4, brackets=2)
    trials = [trial for trial in range(200) if scheduler._ladder.bracket_of(trial) == 1]
    assert trials
    for n, trial in enumerate(trials):
        assert hand_over(scheduler, make_report(trial, 1, loss=float(n)))[0].verdict is CONTINUE


# ---------------------------------------------------------------- properties

VALUES = st.one_of(st.floats(-3, 3), st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf]))


@st.composite
def histories(draw):
    """Interleaved reports with growing steps that may skip rungs, with values of all kinds, some without the metric."""
    moves = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.one_of(st.none(), VALUES)), max_size=40))
    steps = dict.fromkeys(range(6), 0)
    reports = []
    for trial, ahead, value in moves:
        steps[trial] += ahead
        metrics = {"accuracy": 1.0} if value is None else {"loss": value}
        reports.append(make_report(trial, steps[trial], **metrics))
    return reports


@st.composite
def ashas(draw):
    return {
        "max_t": draw(st.sampled_from([1, 8, 20])),
        "reduction_factor": draw(st.sampled_from([2, 3, 1.5])),
        "brackets": draw(st.sampled_from([1, 3])),
        "mode": draw(st.sampled_from(["min", "max"])),
        "stop_last_trials": draw(st.booleans()),
        "first_arrivals": draw(st.sampled_from(["pass", "rank"])),
    }


@given(ashas(), histories())
def test_decide_leaves_no_trace(arguments, reports):
    scheduler = make_asha(**arguments)
    for report in reports:
        before = state_of(scheduler)
        first = scheduler.decide(make_trial(report), report)
        assert scheduler.decide(make_trial(report), report) == first
        assert state_of(scheduler) == before
        scheduler.observe(report)
        scheduler.check_invariants()


@given(ashas(), histories())
def test_replay_of_the_log_gives_the_same_state_without_a_decision(arguments, reports):
    lived, replayed = make_asha(**arguments), make_asha(**arguments)
    decisions, log = play(lived, reports)
    for record in log:
        replayed.observe(record)
    assert state_of(replayed) == state_of(lived)
    assert replayed.describe() == lived.describe()
    assert play(make_asha(**arguments), reports)[0] == decisions


@settings(max_examples=50)
@given(ashas(), histories(), st.randoms(use_true_random=False))
def test_rungs_do_not_depend_on_how_trials_are_interleaved(arguments, reports, draw):
    """Each trial's own order kept, everything observed: the same values lie at the same rungs."""
    one, other = make_asha(**arguments), make_asha(**arguments)
    queues = {trial: [r for r in reports if r.trial == trial] for trial in range(6)}
    for report in reports:
        one.observe(report)
    while any(queues.values()):
        other.observe(queues[draw.choice([trial for trial, queue in queues.items() if queue])].pop(0))
    assert state_of(one) == state_of(other)


@given(ashas(), histories())
def test_no_trial_is_stopped_below_the_grace_period_nor_goes_beyond_max_t(arguments, reports):
    arguments = {**arguments, "stop_last_trials": True, "grace_period": arguments["max_t"] / 2 + 0.5}
    for _, step, decision in play(make_asha(**arguments), reports)[0]:
        if decision.verdict is STOP:
            assert arguments["grace_period"] <= step < arguments["max_t"]
        assert (decision.verdict is COMPLETE) == (step >= arguments["max_t"])


def test_alias_is_the_same_class():
    assert ASHAScheduler is AsyncHyperBandScheduler
