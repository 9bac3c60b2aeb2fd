from datetime import datetime
from functools import partial

import pytest

from tunesmith.errors import ConfigError
from tunesmith.events import StartAttempt
from tunesmith.resources import Placement, Resources
from tunesmith.stoppers import (
    CombinedStopper,
    DictStopper,
    FunctionStopper,
    MaximumIterationStopper,
    NoopStopper,
    Stopper,
    StopperAdapter,
    TimeoutStopper,
    parse_stop,
    result_dict,
    shortest_timeout_s,
)

from .drive import make_report, make_trial


class StopAtTwo(Stopper):
    """In Ray Tune's form: remembers, and ends everything after two stops."""

    def __init__(self):
        self.results = []

    def __call__(self, trial_id, result):
        self.results.append((trial_id, result))
        return result["loss"] > 2

    def stop_all(self):
        return sum(result["loss"] > 2 for _, result in self.results) >= 2


def ask(stopper, report):
    """As the experiment does: one decision, then the report is observed."""
    decision = stopper.decide(make_trial(report), report)
    stopper.observe(report)
    return decision


# ---------------------------------------------------------------- the result dict


def test_result_has_the_keys_that_are_filled_in():
    report = make_report(3, 2, loss=0.5, time_total_s=7.5, at=1650000000.75)
    assert result_dict(make_trial(report), report, previous_time_s=5.0) == {
        "training_iteration": 2,
        "time_total_s": 7.5,
        "time_this_iter_s": 2.5,
        "timestamp": 1650000000,
        "date": datetime.fromtimestamp(1650000000.75).strftime("%Y-%m-%d_%H-%M-%S"),
        "trial_id": "t00003",
        "config": {"lr": 0.1},
        "done": False,
        "loss": 0.5,
    }


def test_value_that_the_user_reports_stands():
    report = make_report(0, 2, training_iteration=20.0, done=1.0)
    result = result_dict(make_trial(report), report)
    assert (result["training_iteration"], result["done"]) == (20.0, 1.0)
    assert "time_this_iter_s" not in result


# ---------------------------------------------------------------- functions and classes


def test_function_is_given_trial_id_and_result_and_stops_the_trial():
    stopper = parse_stop(lambda trial_id, result: trial_id == "t00001" and result["loss"] > 2)
    assert ask(stopper, make_report(0, 1, loss=9.0)).words() is None
    assert ask(stopper, make_report(1, 1, loss=1.0)).words() is None
    decision = ask(stopper, make_report(1, 2, loss=3.0))
    assert (decision.verdict.value, decision.words()) == ("stop", "stopped by <lambda>")
    assert stopper.should_end() is None


def test_partial_is_a_function():
    stopper = parse_stop(partial(lambda limit, trial_id, result: result["loss"] > limit, 2))
    assert ask(stopper, make_report(0, 1, loss=3.0)).words() == "stopped by partial"


def test_what_a_function_raises_is_not_swallowed():
    with pytest.raises(KeyError):
        ask(parse_stop(lambda trial_id, result: result["acc"] > 1), make_report(0, 1, loss=1.0))


def test_ray_tune_style_class_is_asked_once_for_each_report():
    own = StopAtTwo()
    stopper = parse_stop(own)
    verdicts = [ask(stopper, make_report(i, 1, loss=loss)).verdict.value for i, loss in enumerate([1.0, 3.0, 4.0])]
    assert verdicts == ["continue", "stop", "stop"]
    assert len(own.results) == 3
    assert stopper.should_end() == "StopAtTwo.stop_all() is true"


def test_replay_calls_no_code_of_the_user():
    own = StopAtTwo()
    stopper = parse_stop(own)
    for step in range(1, 4):
        stopper.observe(make_report(0, step, loss=9.0))
    assert own.results == []


def test_time_of_an_iteration_is_counted_from_the_last_report_or_the_start_of_the_attempt():
    own = StopAtTwo()
    stopper = parse_stop(own)
    ask(stopper, make_report(0, 1, loss=1.0, time_total_s=3.0))
    ask(stopper, make_report(1, 1, loss=1.0, time_total_s=8.0))
    ask(stopper, make_report(0, 2, loss=1.0, time_total_s=5.0))
    stopper.observe(StartAttempt(trial=0, attempt=2, placement=Placement("n", Resources()), start_time_s=3.0))
    ask(stopper, make_report(0, 2, loss=1.0, time_total_s=4.0))
    assert [result["time_this_iter_s"] for _, result in own.results] == [3.0, 8.0, 2.0, 1.0]


def test_stopper_without_both_methods_cannot_be_made():
    class Half(Stopper):
        def stop_all(self):
            return False

    with pytest.raises(TypeError):
        Half()


# ---------------------------------------------------------------- combined and parse_stop


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (None, NoopStopper),
        ({"acc": 0.9}, DictStopper),
        (lambda trial_id, result: False, FunctionStopper),
        (StopAtTwo(), StopperAdapter),
        (MaximumIterationStopper(3), MaximumIterationStopper),
        ([{"acc": 0.9}, None], CombinedStopper),
        ((), CombinedStopper),
    ],
)
def test_every_form_becomes_a_stopper(stop, expected):
    assert type(parse_stop(stop)) is expected


@pytest.mark.parametrize("stop", [10, "loss", StopAtTwo, NoopStopper, [3], {1, 2}])
def test_what_is_no_stopper_is_refused(stop):
    with pytest.raises(ConfigError, match="Give"):
        parse_stop(stop)


def test_first_stopper_that_does_not_continue_gives_the_reason():
    own = StopAtTwo()
    stopper = CombinedStopper(MaximumIterationStopper(2), {"loss": 5}, own)
    assert ask(stopper, make_report(0, 1, loss=1.0)).words() is None
    assert ask(stopper, make_report(0, 2, loss=9.0)).words() == "reached 2 iterations"
    assert ask(stopper, make_report(1, 1, loss=9.0)).words() == "reached loss >= 5"
    assert ask(stopper, make_report(2, 1, loss=3.0)).words() == "stopped by StopAtTwo"
    assert len(own.results) == 2


def test_combined_stoppers_end_the_experiment_when_one_of_them_does():
    class Enough(NoopStopper):
        def should_end(self):
            return "it is enough"

    assert parse_stop([NoopStopper(), [NoopStopper(), Enough()]]).should_end() == "it is enough"
    assert parse_stop([NoopStopper(), [NoopStopper()]]).should_end() is None


def test_shortest_timeout_is_found_among_combined_stoppers():
    assert shortest_timeout_s(parse_stop([{"acc": 1}, [TimeoutStopper(60), TimeoutStopper(30)]])) == 30
    assert shortest_timeout_s(parse_stop({"acc": 1})) is None
