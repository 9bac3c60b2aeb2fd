"""Going on with an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import ConfigError, SpaceError
from tunesmith.schedulers import ASHAScheduler


def train(config: dict[str, Any]) -> None:
    for i in range(1, 4):
        tune.report(loss=config["x"] + 1 / i)


def start(**arguments: Any) -> Any:
    given = {"config": {"x": tune.uniform(0, 1)}, "metric": "loss", "mode": "min", "num_samples": 2, "name": "mine"}
    return tune.run(train, **{**given, "verbose": 0, "executor": "inline", **arguments})


def test_a_loaded_experiment_goes_on_without_its_script(tmp_path: Path) -> None:
    first = start()
    loaded = tune.load(tmp_path / "results" / "mine")
    more = loaded.resume(train, num_samples=4, executor="inline", verbose=0)
    assert len(more) == 4
    assert [t.config for t in more][:2] == [t.config for t in first]
    assert [t.config for t in more] == [t.config for t in start(name="other", num_samples=4, seed=_seed(first))]


def _seed(result: Any) -> int:
    return int(result.reader.spec.seed)


def test_a_space_that_only_code_can_rebuild_must_be_given_again(tmp_path: Path) -> None:
    start(config={"x": tune.sample_from(lambda _: 0.5)})
    loaded = tune.load(tmp_path / "results" / "mine")
    with pytest.raises(SpaceError, match="x"):
        loaded.resume(train, num_samples=3)
    more = loaded.resume(
        train, config={"x": tune.sample_from(lambda _: 0.5)}, num_samples=3, executor="inline", verbose=0,
        on_change={"space": "allow"},
    )  # fmt: skip
    assert len(more) == 3


def test_a_scheduler_must_be_given_again(tmp_path: Path) -> None:
    scheduler = ASHAScheduler(max_t=3, metric="loss", mode="min")
    start(metric=None, mode=None, scheduler=scheduler)
    loaded = tune.load(tmp_path / "results" / "mine")
    with pytest.raises(ConfigError, match="AsyncHyperBandScheduler"):
        loaded.resume(train, num_samples=3)
    again = ASHAScheduler(max_t=3, metric="loss", mode="min")
    assert len(loaded.resume(train, num_samples=3, scheduler=again, executor="inline", verbose=0)) == 3
