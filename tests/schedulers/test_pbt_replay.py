from __future__ import annotations

import json

import pytest

from tunesmith.errors import ConfigError
from tunesmith.events import StartAttempt, TrialReported
from tunesmith.schedulers import PopulationBasedTrainingReplay

from .population import population, trained

SCHEDULE = [(0, {"lr": 0.1}), (5, {"lr": 0.5}), (12, {"lr": 0.3})]


def expected(schedule, n_steps):
    weight, found = 1.0, []
    for step in range(1, n_steps + 1):
        weight = trained(weight, [config["lr"] for at, config in schedule if at < step][-1])
        found.append(weight)
    return found


def losses(run):
    """By step, those that are not superseded."""
    found = {}
    for record in run.log:
        if isinstance(record, TrialReported):
            found[record.step] = record.metrics["loss"]
    return [found[step] for step in sorted(found)]


def replayed(schedule=SCHEDULE, **more):
    replay = PopulationBasedTrainingReplay(schedule)
    facts = {"n_trials": 1, "n_workers": 1, "n_ahead": 0, "n_steps": 20, "space": {"lr": 0.1}}
    return population(replay, **{**facts, **more}).run()


def test_the_weights_are_trained_with_the_schedules_configs():
    run = replayed()
    assert losses(run) == expected(SCHEDULE, 20)
    assert run.trials[0].config == {"lr": 0.3}
    assert list(run.scheduler.describe()) == ["PopulationBasedTrainingReplay: 2 changes made; 2 in a schedule"]


def test_a_change_waits_for_a_checkpoint():
    run = replayed(saves_every=4)
    assert losses(run) == expected([(0, {"lr": 0.1}), (8, {"lr": 0.5}), (12, {"lr": 0.3})], 20)


def test_what_came_due_together_ends_in_the_last_config():
    run = replayed(saves_every=16)
    assert losses(run) == expected([(0, {"lr": 0.1}), (16, {"lr": 0.3})], 20)


def test_each_change_is_one_restart_from_its_own_checkpoint():
    starts = [record for record in replayed().log if isinstance(record, StartAttempt)]
    assert [(start.start_step, start.donor) for start in starts] == [(0, None), (5, 0), (12, 0)]


def test_every_trial_follows_the_schedule():
    run = replayed(n_trials=3, n_workers=2)
    assert [trial.config for trial in run.trials] == [{"lr": 0.3}] * 3


def test_what_a_config_of_the_schedule_leaves_out_stays():
    run = replayed([(0, {}), (5, {"lr": 0.5})], space={"lr": 0.1, "depth": 3})
    assert run.trials[0].config == {"lr": 0.5, "depth": 3}


# ---------------------------------------------------------------- Ray Tune's files


def policy(tmp_path, *lines):
    path = tmp_path / "pbt_policy_00003.txt"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_policy_file_is_a_schedule(tmp_path):
    """Trial 3 copied trial 2 at its step 10, which had copied trial 1 at its step 5."""
    path = policy(
        tmp_path,
        ["2", "1", 4, 5, {"lr": 0.1}, {"lr": 0.5}],
        ["3", "2", 9, 10, {"lr": 0.5}, {"lr": 0.3}],
    )
    replay = PopulationBasedTrainingReplay(str(path))
    assert replay.schedule == [(0, {"lr": 0.1}), (5, {"lr": 0.5}), (10, {"lr": 0.3})]
    assert replay.config == {"lr": 0.1}


def test_what_a_later_copy_overwrote_is_no_part_of_it(tmp_path):
    path = policy(
        tmp_path,
        ["3", "7", 5, 5, {"lr": 0.9}, {"lr": 0.8}],
        ["3", "2", 9, 10, {"lr": 0.5}, {"lr": 0.3}],
    )
    assert PopulationBasedTrainingReplay(path).schedule == [(0, {"lr": 0.5}), (10, {"lr": 0.3})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no change"),
        ("nonsense", "is no policy"),
        ('["a"]', "is no policy"),
        ("[[1]]", "is no policy"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path, content, message):
    path = tmp_path / "policy.txt"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        PopulationBasedTrainingReplay(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="is no policy file of population based training"):
        PopulationBasedTrainingReplay(tmp_path / "none.txt")


@pytest.mark.parametrize(
    "schedule",
    [[], 3, [(0, 1)], [(1, {})], [(0, {}), (5, {}), (5, {})], [(0, {}), (True, {})], [(0, {}), ("5", {})], "none.txt "],
)
def test_what_is_no_schedule_is_refused(schedule):
    with pytest.raises(ConfigError):
        PopulationBasedTrainingReplay(schedule)
