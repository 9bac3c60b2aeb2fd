from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import pytest

from tunesmith.errors import CheckpointError, TrainableError
from tunesmith.trialside import (
    Session,
    Trainable,
    TrialStopped,
    check_trainable,
    run_trainable,
    trainable_name,
    with_parameters,
)

Start = Callable[..., Session]


class Counter(Trainable):
    """Counts up; notes what is called."""

    calls: ClassVar[list[str]] = []
    saves_as = "folder"
    done_at = 10**9

    def setup(self, config: dict[str, Any]) -> None:
        self.calls.append("setup")
        self.value = 0

    def step(self) -> dict[str, Any]:
        self.value += 1
        return {"value": self.value, "before": self.iteration, "done": self.value >= self.done_at}

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        if self.saves_as == "dict":
            return {"value": self.value}
        path = Path(checkpoint_dir, "value.txt")
        path.write_text(str(self.value))
        return {"path": str(path), "same": checkpoint_dir, "outside": "/tmp"}.get(self.saves_as)

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.calls.append(f"load {type(checkpoint).__name__}")
        if isinstance(checkpoint, dict):
            self.value = checkpoint["value"]
        else:
            path = Path(checkpoint)
            self.value = int((path if path.is_file() else path / "value.txt").read_text())

    def cleanup(self) -> None:
        self.calls.append("cleanup")


def counter(**attributes: Any) -> type[Counter]:
    return type("Counter", (Counter,), {"calls": [], **attributes})


def test_a_class_steps_until_it_is_stopped_and_is_cleaned_up(driver: Any, start: Start) -> None:
    driver.verdicts[3] = ("stop", "enough")
    kind = counter()
    with pytest.raises(TrialStopped, match="enough"):
        run_trainable(kind, start())
    assert driver.metrics == [{"value": i, "before": i - 1} for i in (1, 2, 3)]
    assert driver.checkpoints == [None] * 3
    assert kind.calls == ["setup", "cleanup"]


def test_a_class_that_says_done_returns(driver: Any, start: Start) -> None:
    kind = counter(done_at=2)
    run_trainable(kind, start())
    assert [sent["is_last"] for sent in driver.reports] == [False, True]
    assert kind.calls == ["setup", "cleanup"]


def test_a_class_that_raises_is_cleaned_up(start: Start) -> None:
    def step(self: Any) -> Any:
        raise OSError("no data")

    kind = counter(step=step)
    with pytest.raises(OSError, match="no data"):
        run_trainable(kind, start())
    assert kind.calls == ["setup", "cleanup"]


def test_checkpoints_are_saved_as_often_as_asked(driver: Any, start: Start) -> None:
    run_trainable(counter(done_at=5), start(), checkpoint_freq=2, checkpoint_at_end=True)
    names = [c and Path(c).name for c in driver.checkpoints]
    assert names == [None, "checkpoint_000002", None, "checkpoint_000004", "checkpoint_000005"]


def test_should_checkpoint_in_a_result_saves(driver: Any, start: Start) -> None:
    kind = counter(step=lambda self: {"should_checkpoint": True, "done": True})
    kind.value = 0
    run_trainable(kind, start())
    assert driver.checkpoints == ["trials/00017/checkpoint_000001"]


@pytest.mark.parametrize("verdict", ["stop", "pause", "complete"])
def test_at_the_end_means_also_where_the_driver_ends_it(driver: Any, start: Start, verdict: str) -> None:
    driver.verdicts[2] = (verdict, None)
    with pytest.raises(TrialStopped) as caught:
        run_trainable(counter(), start(), checkpoint_at_end=True)
    assert caught.value.verdict == verdict
    assert driver.steps == [1, 2, 2]
    assert driver.checkpoints == [None, None, "trials/00017/checkpoint_000002"]
    assert driver.metrics[1] == driver.metrics[2]


@pytest.mark.parametrize("is_interrupted", [True, False])
def test_an_interrupt_saves_what_nobody_asked_to_save_and_no_other_stop_does(
    driver: Any, start: Start, is_interrupted: bool
) -> None:
    driver.verdicts[2] = ("stop", "interrupted")
    driver.interrupts = {2} if is_interrupted else set()
    with pytest.raises(TrialStopped, match="interrupted"):
        run_trainable(counter(), start())
    saved = "trials/00017/checkpoint_000002"
    assert driver.checkpoints == ([None, None, saved] if is_interrupted else [None, None])


def test_what_an_interrupt_finds_saved_is_not_saved_again(driver: Any, start: Start) -> None:
    driver.verdicts[2], driver.interrupts = ("stop", "interrupted"), {2}
    with pytest.raises(TrialStopped):
        run_trainable(counter(), start(), checkpoint_freq=2)
    assert driver.checkpoints == [None, "trials/00017/checkpoint_000002"]


def test_an_interrupted_class_that_cannot_save_just_stops(driver: Any, start: Start) -> None:
    class Bare(Trainable):
        def step(self) -> dict[str, Any]:
            return {}

    driver.verdicts[1], driver.interrupts = ("stop", "interrupted"), {1}
    with pytest.raises(TrialStopped, match="interrupted"):
        run_trainable(Bare, start())
    assert driver.checkpoints == [None]


@pytest.mark.parametrize(
    ("saves_as", "loaded"), [("folder", "str"), ("path", "str"), ("same", "str"), ("dict", "dict")]
)
def test_a_class_goes_on_from_what_it_saved(driver: Any, start: Start, saves_as: str, loaded: str) -> None:
    kind = counter(saves_as=saves_as)
    driver.verdicts[2] = ("pause", None)
    session = start()
    with pytest.raises(TrialStopped):
        run_trainable(kind, session, checkpoint_freq=2)
    driver.verdicts[3] = ("stop", None)
    with pytest.raises(TrialStopped):
        run_trainable(kind, start(attempt=2, start_checkpoint=session.checkpoint, start_step=2))
    assert kind.calls == ["setup", "cleanup", "setup", f"load {loaded}", "cleanup"]
    assert driver.steps == [1, 2, 3]
    assert driver.metrics[-1] == {"value": 3, "before": 2}


def test_a_save_outside_its_folder_is_refused_and_leaves_nothing(start: Start) -> None:
    session = start()
    with pytest.raises(CheckpointError, match="'/tmp', which is not in"):
        run_trainable(counter(saves_as="outside"), session, checkpoint_freq=1)
    assert list(session.facts.trial_dir.iterdir()) == []


def test_a_step_that_returns_no_dict_is_refused(start: Start) -> None:
    with pytest.raises(TrainableError, match=r"step\(\) returned 3\. Return a dict"):
        run_trainable(counter(step=lambda self: 3), start())


def test_a_class_without_checkpoints_says_so_when_one_is_asked_for(start: Start) -> None:
    class Bare(Trainable):
        def step(self) -> dict[str, Any]:
            return {}

    with pytest.raises(NotImplementedError, match=r"Bare has no save_checkpoint\(\)"):
        run_trainable(Bare, start(), checkpoint_freq=1)


def test_a_class_knows_its_trial(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outside = Counter({"a": 1})
    assert (outside.trial_id, outside.trial_name, outside.logdir) == ("default", "default", str(tmp_path))
    assert outside.config == {"a": 1} and outside.train() == {"value": 1, "before": 0, "done": False}
    assert outside.iteration == outside.training_iteration == 1
    start()
    inside = Counter()
    assert (inside.trial_id, inside.trial_name) == ("abcde_00017", "train_abcde_00017")
    assert inside.logdir == str(tmp_path / "trials" / "00017")
    assert inside.reset_config({}) is False and Counter.default_resource_request({}) is None


# ---------------------------------------------------------------- with_parameters, trainable_name


class WithData(Trainable):
    def setup(self, config: dict[str, Any], data: Any = None, scale: int = 1) -> None:  # type: ignore[override]
        self.total = sum(data) * scale

    def step(self) -> dict[str, Any]:
        return {"total": self.total, "done": True}


def test_parameters_reach_setup_and_may_be_added_to(driver: Any, start: Start) -> None:
    bound = with_parameters(with_parameters(WithData, data=[1, 2]), scale=10)
    check_trainable(bound)
    assert issubclass(bound, WithData) and trainable_name(bound) == "WithData"
    run_trainable(bound, start())
    assert driver.metrics == [{"total": 30}]
    assert WithData._parameters == {}


def test_bound_trainables_travel_by_cloudpickle(driver: Any, start: Start) -> None:
    data = [1, 2]
    for bound in (with_parameters(WithData, data=data), with_parameters(lambda config, data: sum(data), data=data)):
        run_trainable(cloudpickle.loads(cloudpickle.dumps(bound)), start())
    assert driver.metrics == [{"total": 3}, {"_metric": 3}]


def test_parameters_that_nobody_takes_are_refused() -> None:
    with pytest.raises(TrainableError, match=r"lambda\(config\) does not take the parameters \['data'\]"):
        with_parameters(lambda config: 1, data=[])
    with pytest.raises(TrainableError, match=r"Counter\.setup"):
        with_parameters(Counter, data=[])
    with pytest.raises(TrainableError, match="with_parameters was given 3"):
        with_parameters(3, data=[])


def train(config: Any, data: Any = None) -> None: ...


@pytest.mark.parametrize(
    ("trainable", "name"),
    [
        (train, "train"),
        (functools.partial(train, data=1), "train"),
        (functools.partial(functools.partial(train), data=1), "train"),
        (with_parameters(train, data=1), "train"),
        (lambda config: 1, "lambda"),
        (Counter, "Counter"),
        (Counter().step, "step"),
    ],
)
def test_a_trainable_is_called_by_its_innermost_name(trainable: Any, name: str) -> None:
    assert trainable_name(trainable) == name


@pytest.mark.processes
def test_importing_the_trialside_loads_only_the_standard_library() -> None:
    script = (
        "import sys; before = set(sys.modules); import tunesmith.trialside; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - sys.stdlib_module_names - {'tunesmith'}), 'asyncio' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "[] False\n"
