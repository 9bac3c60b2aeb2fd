from tunesmith.events import CONTINUE
from tunesmith.protocols import StartNew
from tunesmith.schedulers import FIFOScheduler
from tunesmith.trial import Mode, Objective

from .drive import make_report, make_trial


def test_every_trial_goes_on_to_its_own_end():
    scheduler = FIFOScheduler()
    for step, loss in enumerate([1.0, 100.0, float("nan")], start=1):
        report = make_report(0, step, loss=loss)
        assert scheduler.decide(make_trial(report), report) is CONTINUE
        scheduler.observe(report)
    assert scheduler.choose_next([]) == StartNew()


def test_objective_is_passed_through_and_not_needed():
    objective = Objective(metrics=("loss",), modes=(Mode.MIN,))
    assert FIFOScheduler().bind(objective) is objective
    assert FIFOScheduler().bind(None) is None


def test_description_is_ray_tunes_line():
    assert FIFOScheduler().describe() == ["Using FIFO scheduling algorithm."]
