from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunesmith.errors import CheckpointError, MetricError, TrainableError
from tunesmith.trialside import (
    InvalidConfig,
    Session,
    Trainable,
    TrialStopped,
    check_trainable,
    checkpoint_dir,
    report,
    run_trainable,
    with_parameters,
)

Start = Callable[..., Session]


def plain(config: Any) -> None:
    report(form=1, lr=config["lr"])


def restored(config: Any, checkpoint_dir: Any = None) -> None:
    report(form=2, has_start=checkpoint_dir is not None)


def reporting(config: Any, reporter: Any) -> None:
    reporter(form=3)


def tutorial(config: Any, checkpoint_dir: Any = None, data_dir: Any = None) -> None:
    report(form=4, n=len(data_dir))


def keyword_only(config: Any, *, checkpoint_dir: Any = None, width: int = 2) -> None:
    report(form=5, width=width)


def anything(*args: Any, **kwargs: Any) -> None:
    report(form=6, n_args=len(args), n_kwargs=len(kwargs))


class Methods:
    def train(self, cfg: Any) -> None:
        report(form=7, lr=cfg["lr"])

    def __call__(self, config: Any) -> None:
        report(form=8)


async def asynchronous(config: Any) -> float:
    report(form=9)
    return 0.5


@pytest.mark.parametrize(
    ("trainable", "metrics"),
    [
        (plain, [{"form": 1, "lr": 0.1}]),
        (restored, [{"form": 2, "has_start": 0}]),
        (reporting, [{"form": 3}]),
        (functools.partial(tutorial, data_dir="abc"), [{"form": 4, "n": 3}]),
        (with_parameters(tutorial, data_dir="abcd"), [{"form": 4, "n": 4}]),
        (keyword_only, [{"form": 5, "width": 2}]),
        (functools.partial(keyword_only, width=3), [{"form": 5, "width": 3}]),
        (anything, [{"form": 6, "n_args": 1, "n_kwargs": 1}]),
        (Methods().train, [{"form": 7, "lr": 0.1}]),
        (Methods(), [{"form": 8}]),
        (asynchronous, [{"form": 9}, {"_metric": 0.5}]),
        (lambda config: config["lr"] * 2, [{"_metric": 0.2}]),
        (len, [{"_metric": 1}]),
    ],
)
def test_every_form_of_function_is_called_rightly(driver: Any, start: Start, trainable: Any, metrics: Any) -> None:
    check_trainable(trainable)
    run_trainable(trainable, start())
    assert driver.metrics == metrics


@pytest.mark.parametrize(
    ("returned", "metrics"),
    [
        (0.25, [{"_metric": 0.25}]),
        (0.0, [{"_metric": 0.0}]),
        (np.float32(0.5), [{"_metric": 0.5}]),
        ({"loss": 1.0, "val": {"acc": 2}}, [{"loss": 1.0, "val/acc": 2}]),
        ({"loss": 1.0, "done": False}, [{"loss": 1.0}]),
        ({}, []),
        (None, []),
        (True, []),
        (False, []),
    ],
)
def test_a_returned_value_is_the_last_report(driver: Any, start: Start, returned: Any, metrics: Any) -> None:
    run_trainable(lambda config: returned, start())
    assert driver.metrics == metrics
    assert all(sent["is_last"] for sent in driver.reports)


def test_a_value_returned_after_reports_is_one_report_more(driver: Any, start: Start) -> None:
    def train(config: Any) -> dict[str, float]:
        report(loss=2.0)
        return {"loss": 1.0}

    run_trainable(train, start())
    assert driver.metrics == [{"loss": 2.0}, {"loss": 1.0}]
    assert [sent["is_last"] for sent in driver.reports] == [False, True]


@pytest.mark.parametrize("returned", ["done", [0.1], (0.1, 0.2), np.zeros(2), object(), 1j])
def test_a_returned_value_that_is_no_metric_fails_a_function_that_reported_nothing(start: Start, returned: Any) -> None:
    def train(config: Any) -> Any:
        return returned

    with pytest.raises(MetricError, match=r"train\(\) returned .* Return a number or a dict of numbers"):
        run_trainable(train, start())


def test_a_model_returned_after_reports_is_left_out_with_a_warning(driver: Any, start: Start) -> None:
    def train(config: Any) -> Any:
        report(loss=1.0)
        return object()

    with pytest.warns(UserWarning, match="which is not reported"):
        run_trainable(train, start())
    assert driver.metrics == [{"loss": 1.0}]


def test_each_item_of_a_generator_is_a_report(driver: Any, start: Start) -> None:
    def train(config: Any) -> Iterator[Any]:
        yield 0.5
        yield {"loss": 0.25}
        return {"loss": 0.125}

    run_trainable(train, start())
    assert driver.metrics == [{"_metric": 0.5}, {"loss": 0.25}, {"loss": 0.125}]


def test_a_stopped_generator_is_closed(driver: Any, start: Start) -> None:
    ran = []

    def train(config: Any) -> Iterator[float]:
        try:
            while True:
                yield 0.5
        finally:
            ran.append("finally")

    driver.verdicts[3] = ("stop", None)
    with pytest.raises(TrialStopped):
        run_trainable(train, start())
    assert ran == ["finally"]
    assert driver.steps == [1, 2, 3]


def test_a_stop_passes_through_a_coroutine(driver: Any, start: Start) -> None:
    driver.verdicts[1] = ("stop", "enough")
    with pytest.raises(TrialStopped, match="enough"):
        run_trainable(asynchronous, start())


def test_a_function_that_swallowed_its_stop_reports_nothing_more_by_returning(driver: Any, start: Start) -> None:
    def train(config: Any) -> float:
        try:
            report(loss=1.0)
        except BaseException:
            pass
        return 0.5

    driver.verdicts[1] = ("stop", None)
    session = start()
    run_trainable(train, session)
    assert driver.metrics == [{"loss": 1.0}]
    assert session.stop is not None


def test_what_the_function_raises_comes_out(start: Start) -> None:
    def train(config: Any) -> None:
        raise InvalidConfig("l1 must be smaller than l2")

    with pytest.raises(InvalidConfig, match="l1 must be smaller"):
        run_trainable(train, start())


def test_a_function_cannot_change_the_sessions_config(start: Start) -> None:
    session = start(config={"opt": {"lr": 0.1}, "layers": [1]})

    def train(config: Any) -> None:
        config["opt"]["lr"] = 5
        config["layers"].append(2)

    run_trainable(train, session)
    assert session.facts.config == {"opt": {"lr": 0.1}, "layers": [1]}


def test_the_start_checkpoint_is_handed_over_as_a_path(start: Start, tmp_path: Path) -> None:
    seen = []
    run_trainable(lambda config, checkpoint_dir=None: seen.append(checkpoint_dir), start(start_checkpoint=tmp_path))
    assert seen == [str(tmp_path)]


def test_a_start_checkpoint_that_is_gone_is_said_before_the_function_is_called(start: Start, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is gone"):
        run_trainable(lambda config: pytest.fail("called"), start(start_checkpoint=tmp_path / "gone"))


def test_a_checkpoint_saved_after_the_last_report_is_added_to_it(driver: Any, start: Start) -> None:
    def train(config: Any) -> None:
        report(loss=1.0)
        with checkpoint_dir(1) as folder:
            Path(folder, "x").write_text("x")

    run_trainable(train, start())
    assert driver.steps == [1, 1]
    assert driver.checkpoints == [None, "trials/00017/checkpoint_000001"]


# ---------------------------------------------------------------- what is refused at submit


class NotOurs:
    def step(self) -> None: ...


class NoStep(Trainable):
    pass


class Steps(Trainable):
    def step(self) -> dict[str, Any]:
        return {}


async def async_generator(config: Any) -> Any:
    yield 1


@pytest.mark.parametrize(
    ("trainable", "said"),
    [
        (None, r"The trainable is None.*Give train, not train\(\.\.\.\)"),
        (3, r"The trainable is 3 \(int\)"),
        ("train", r"\(str\)"),
        (NotOurs, "class NotOurs, which is not a subclass of Trainable"),
        (NoStep, r"NoStep has no step\(\)"),
        (Steps(), "an object of Steps. Give the class"),
        (functools.partial(Steps, 1), "functools.partial of the class Steps"),
        (async_generator, "async generator"),
        (lambda: 1, r"lambda\(\) cannot be called with a config alone. Its first parameter is the config"),
        (lambda checkpoint_dir=None: 1, "Its first parameter is the config"),
        (lambda *, config: 1, "Its first parameter is the config"),
        (lambda config, data, seed: 1, r"tune.with_parameters\(lambda, data=\.\.\., seed=\.\.\.\)"),
        (functools.partial(plain, width=3), r"plain\(\) does not take what functools.partial bound"),
    ],
)
def test_what_cannot_be_called_is_refused_with_a_way_out(trainable: Any, said: str) -> None:
    with pytest.raises(TrainableError, match=said):
        check_trainable(trainable)
