from __future__ import annotations

import random

import pytest

from tunesmith.errors import ConfigError
from tunesmith.events import ConcludeAttempt, StartAttempt, TrialReported, Verdict
from tunesmith.executors.simulated import SimulatedExecutor, SimulatedStep
from tunesmith.experiment.invariants import check_invariants
from tunesmith.resources import Resources
from tunesmith.schedulers import (
    ASHAScheduler,
    DistributeResources,
    DistributeResourcesToTopJob,
    ResourceChangingScheduler,
)
from tunesmith.schedulers.resource_sharing import Situation
from tunesmith.space import grid_search
from tunesmith.testing import Simulation
from tunesmith.testing.samples import LOSS, make_report, running
from tunesmith.trial import TrialStatus

from .population import Full, LimitedStore


def curve(config, first_step):
    """n steps; the loss is what the config says."""
    for _ in range(first_step, int(config["n"]) + 1):
        yield SimulatedStep(1.0, {"loss": config.get("loss", 1.0)}, True)


def simulated(lengths, scheduler=None, *, n_workers=4, capacity=None, **more):
    """Trials of these lengths, all at once."""
    executor = SimulatedExecutor(curve, n_workers=n_workers, capacity=capacity)
    different = [n + 0.001 * i for i, n in enumerate(lengths)]
    facts = {"space": {"n": grid_search(different)}, "n_trials": len(lengths), "n_ahead": len(lengths)}
    scheduler = scheduler or ResourceChangingScheduler()
    return Simulation(curve, scheduler=scheduler, executor=executor, **{**facts, **more})


def sizes(log):
    """Trial -> CPUs of each of its attempts."""
    found = {}
    for record in log:
        if isinstance(record, StartAttempt):
            found.setdefault(record.trial, []).append(record.placement.resources.cpu)
    return found


def held_cpus(log):
    """After each record: CPUs that are taken."""
    held, found = {}, []
    for record in log:
        if isinstance(record, StartAttempt):
            held[record.trial] = record.placement.resources.cpu
        elif isinstance(record, ConcludeAttempt):
            held.pop(record.trial, None)
        found.append(sum(held.values()))
    return found


# ---------------------------------------------------------------- whole experiments


def test_those_that_are_left_share_the_machine():
    run = simulated([5, 5, 20, 40]).run()
    assert sizes(run.log) == {0: [1.0], 1: [1.0], 2: [1.0, 2.0], 3: [1.0, 2.0, 4.0]}
    assert {trial.status for trial in run.trials} == {TrialStatus.COMPLETED}
    assert max(held_cpus(run.log)) <= 4.0


def test_nobody_grows_while_others_wait_for_a_slot():
    run = simulated([5] * 8).run()
    assert all(cpus == [1.0] for cpus in sizes(run.log).values())


def test_steps_go_on_and_none_is_lost():
    run = simulated([5, 5, 20, 40]).run()
    for trial, n in enumerate([5, 5, 20, 40]):
        steps = [r.step for r in run.log if isinstance(r, TrialReported) and r.trial == trial]
        assert steps == list(range(1, n + 1))


def test_a_trial_without_checkpoints_keeps_what_it_has():
    def bare(config, first_step):
        for _ in range(config["n"]):
            yield SimulatedStep(1.0, {"loss": 1.0})

    executor = SimulatedExecutor(bare, n_workers=2)
    space = {"n": grid_search([2, 9])}
    run = Simulation(bare, scheduler=ResourceChangingScheduler(), executor=executor, space=space, n_trials=2).run()
    assert sizes(run.log) == {0: [1.0], 1: [1.0]}


def test_the_base_scheduler_decides_who_goes_on():
    base = ASHAScheduler(max_t=16, grace_period=2, reduction_factor=2)
    losses = {"n": 40, "loss": grid_search([1.0, 2.0, 3.0, 4.0])}
    run = simulated([1] * 4, ResourceChangingScheduler(base), space=losses).run()
    alone = ASHAScheduler(max_t=16, grace_period=2, reduction_factor=2)
    expected = simulated([1] * 4, alone, space=losses).run()
    facts = [[(t.status, t.step) for t in one.trials] for one in (run, expected)]
    assert facts[0] == facts[1]
    assert max(sizes(run.log)[0]) > 1.0
    assert base.describe() == alone.describe()


def test_the_top_job_gets_what_is_free():
    top = ResourceChangingScheduler(resources_allocation_function=DistributeResourcesToTopJob())
    space = {"n": 10, "loss": grid_search([3.0, 1.0, 2.0])}
    run = simulated([1] * 3, top, n_workers=8, space=space).run()
    found = sizes(run.log)
    assert found[1][:2] == [1.0, 6.0]
    assert found[0][:1] == found[2][:1] == [1.0]
    assert max(held_cpus(run.log)) <= 8.0


def test_gpus_are_shared_as_whole_ones():
    run = simulated([5, 5, 5, 20], n_workers=4, capacity={"gpu": 4}, resources=Resources(cpu=1.0, gpu=1.0)).run()
    last = [r.placement for r in run.log if isinstance(r, StartAttempt)][-1]
    assert (last.resources.cpu, last.resources.gpu, len(last.gpus)) == (4.0, 4.0, 4)


def test_a_failure_of_the_function_fails_the_trial_and_not_the_loop():
    def broken(trial, report, situation):
        raise KeyError("x")

    run = simulated([3, 3], ResourceChangingScheduler(resources_allocation_function=broken)).run()
    assert {trial.status for trial in run.trials} == {TrialStatus.FAILED}
    assert "KeyError in resources_allocation_function" in run.trials[0].error


def test_a_function_of_the_users_may_answer_a_dict_or_nothing():
    def twice(trial, report, situation):
        return {"cpu": 2} if trial.index == 0 else None

    run = simulated([6, 6], ResourceChangingScheduler(resources_allocation_function=twice)).run()
    assert sizes(run.log) == {0: [1.0, 2.0], 1: [1.0]}


def test_more_than_there_is_is_not_asked_for():
    run = simulated([6, 6], ResourceChangingScheduler(resources_allocation_function=lambda *_: {"cpu": 64})).run()
    assert sizes(run.log) == {0: [1.0], 1: [1.0]}


@pytest.mark.parametrize("seed", range(6))
def test_crashes_of_the_driver_leave_all_trials_complete(seed):
    draw, log, epoch = random.Random(seed), [], 0
    while True:
        epoch += 1
        store = LimitedStore(len(log) + draw.randint(5, 40) if epoch < 30 else 10**9, log)
        run = simulated([5, 5, 20, 40], store=store)
        try:
            run.run(epoch)
        except Full:
            log = list(store.records())
            continue
        break
    assert epoch > 2
    assert {trial.status for trial in run.trials} == {TrialStatus.COMPLETED}
    check_invariants(run.experiment.state)
    again = simulated([5, 5, 20, 40], store=LimitedStore(10**9, run.log))
    assert list(again.scheduler.describe()) == list(run.scheduler.describe())
    assert [repr(trial) for trial in again.trials] == [repr(trial) for trial in run.trials]


# ---------------------------------------------------------------- sharing


def situation(*, base=1.0, held=1.0, total=8.0, reach=8.0, n_open=2, gpu=(0.0, 0.0, 0.0), **more):
    """gpu: base, total, within reach."""
    facts = {
        "base": Resources(base, gpu[0]),
        "held": Resources(held, gpu[0]),
        "total": Resources(total, gpu[1]),
        "within_reach": Resources(reach, gpu[2]),
        "n_open": n_open,
        "objective": LOSS,
        "reports": {},
    }
    return Situation(**{**facts, **more})


def shared(function, **facts):
    report = make_report(0, 1, loss=1.0)
    found = function(running(report), report, situation(**facts))
    return found.cpu, found.gpu


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, (4.0, 0.0)),
        ({"n_open": 3}, (2.0, 0.0)),  # a third of 8, in whole ones
        ({"n_open": 8}, (1.0, 0.0)),
        ({"n_open": 99}, (1.0, 0.0)),
        ({"reach": 3.0}, (3.0, 0.0)),
        ({"base": 2.0, "n_open": 3}, (2.0, 0.0)),
        ({"base": 2.5}, (3.5, 0.0)),  # in whole steps from what it is given
        ({"base": 0.5, "n_open": 1}, (8.0, 0.0)),
        ({"base": 0.5, "n_open": 16}, (0.5, 0.0)),
        ({"gpu": (1.0, 4.0, 4.0)}, (4.0, 2.0)),
        ({"gpu": (0.5, 4.0, 4.0)}, (4.0, 2.0)),
        ({"gpu": (0.5, 4.0, 0.0)}, (4.0, 0.5)),
    ],
)
def test_equal_shares(facts, expected):
    assert shared(DistributeResources(), **facts) == expected


@pytest.mark.parametrize(
    ("arguments", "facts", "expected"),
    [
        ({"increase_by": {"cpu": 2}}, {}, (3.0, 0.0)),
        ({"increase_by": {"CPU": 1}}, {}, (4.0, 0.0)),
        ({"increase_by": {"cpu": 1}, "increase_by_times": 2}, {}, (3.0, 0.0)),
        ({"increase_by": {"cpu": 1, "gpu": 1}}, {"gpu": (1.0, 4.0, 4.0)}, (2.0, 2.0)),
        ({"increase_by_times": 1}, {}, (2.0, 0.0)),
        ({"increase_by_times": 0}, {}, (1.0, 0.0)),
        ({"reserve_resources": {"cpu": 4}}, {}, (2.0, 0.0)),
    ],
)
def test_steps_and_reserves(arguments, facts, expected):
    assert shared(DistributeResources(**arguments), **facts) == expected


def test_the_top_job_is_the_best_of_the_last_reports():
    reports = {i: make_report(i, 3, loss=loss) for i, loss in enumerate([2.0, 1.0, float("nan")])}
    function = DistributeResourcesToTopJob()
    found = [function(running(reports[i]), reports[i], situation(reports=reports, reach=6.0)).cpu for i in range(3)]
    assert found == [1.0, 6.0, 1.0]
    function = DistributeResourcesToTopJob(metric="loss", mode="max")
    assert function(running(reports[0]), reports[0], situation(reports=reports, reach=6.0)).cpu == 6.0


def test_a_top_job_needs_a_metric():
    report = make_report(0, 1, loss=1.0)
    with pytest.raises(ConfigError, match="no metric to tell the best trial by"):
        DistributeResourcesToTopJob()(running(report), report, situation(objective=None))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"add_bundles": True}, "A trial is one process"),
        ({"increase_by_times": -2}, "increase_by_times is -2"),
        ({"increase_by_times": 1.5}, "increase_by_times is 1.5"),
        ({"increase_by": {"cpu": 0}}, "Give amounts above 0"),
        ({"increase_by": 3}, "increase_by is 3"),
        ({"reserve_resources": [1]}, r"reserve_resources is \[1\]"),
    ],
)
def test_arguments_that_cannot_be_meant(arguments, message):
    with pytest.raises(ConfigError, match=message):
        DistributeResources(**arguments)


def test_what_is_no_scheduler_or_function_is_refused():
    with pytest.raises(ConfigError, match="base_scheduler is 3"):
        ResourceChangingScheduler(3)
    with pytest.raises(ConfigError, match="resources_allocation_function is 3"):
        ResourceChangingScheduler(resources_allocation_function=3)


def test_the_reason_is_in_words():
    run = simulated([5, 20], n_workers=2).run()
    [answer] = [r for r in run.log if getattr(getattr(r, "decision", None), "verdict", None) is Verdict.PAUSE]
    assert answer.decision.words() == "goes on with 2 CPUs instead of 1 CPU: 1 trials share 2 CPUs"
    assert list(run.scheduler.describe())[-1] == "ResourceChanging: 1 changes; 0 trials hold 0 CPUs"
