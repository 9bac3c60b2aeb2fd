"""Calls a trainable: finds out what it takes, runs it to its end, and reports what it returns."""

from __future__ import annotations

import functools
import inspect
import numbers
import warnings
from collections.abc import Callable, Generator, Mapping
from enum import Enum
from typing import Any

from tunesmith.errors import CheckpointError, MetricError, TrainableError
from tunesmith.trialside.functions import ANONYMOUS_METRIC, gather
from tunesmith.trialside.metrics import clean_number, short_repr
from tunesmith.trialside.session import OnStop, ReportDecision, Session, TrialStopped
from tunesmith.trialside.trainable import Trainable, trainable_name


class InvalidConfig(Exception):  # noqa: N818 (users raise it; it says what the config is)
    """Raised by a training function that cannot train with its config: the trial is INVALID, not FAILED."""


class CallForm(Enum):
    """What a training function takes besides the config: the first of these that its signature allows."""

    CHECKPOINT_DIR = "checkpoint_dir"
    CONFIG = "config"
    REPORTER = "reporter"


def check_trainable(trainable: Any) -> None:
    """Raise TrainableError, before any trial starts, unless `run_trainable` can call this."""
    if isinstance(trainable, type):
        _check_class(trainable)
        return
    if isinstance(trainable, Trainable):
        raise TrainableError(
            f"The trainable is an object of {type(trainable).__name__}. Give the class: each trial makes its own."
        )
    if not callable(trainable):
        hint = " Was the function called? Give train, not train(...)." if trainable is None else ""
        raise TrainableError(
            f"The trainable is {short_repr(trainable)} ({type(trainable).__name__}). "
            f"Give a function f(config), or a subclass of Trainable.{hint}"
        )
    inner = _innermost(trainable)
    if isinstance(inner, type):
        raise TrainableError(
            f"The trainable is a functools.partial of the class {inner.__name__}. "
            "Bind the arguments of its setup() with tune.with_parameters(...)."
        )
    if inspect.isasyncgenfunction(inner):
        raise TrainableError(
            f"{trainable_name(inner)}() is an async generator. Report inside it instead of yielding, or drop async."
        )
    call_form(trainable)


def call_form(function: Callable[..., Any]) -> CallForm:
    """How a function is called: tried in the order of CallForm, as Ray Tune does.

    Raises: TrainableError if it takes no config, or needs more than it is given.
    """
    try:
        inspect.signature(_innermost(function))
    except (TypeError, ValueError):
        return CallForm.CONFIG  # a builtin does not say
    try:
        signature = inspect.signature(function)
    except ValueError as error:
        raise TrainableError(
            f"{trainable_name(function)}() does not take what functools.partial bound to it: {error}."
        ) from None
    first = next(iter(signature.parameters.values()), None)
    if first is not None and first.name not in ("checkpoint_dir", "reporter"):
        extras = {CallForm.CHECKPOINT_DIR: {"checkpoint_dir": None}, CallForm.REPORTER: {"reporter": None}}
        for form in CallForm:
            try:
                signature.bind({}, **extras.get(form, {}))
            except TypeError:
                continue
            return form
    raise _signature_error(function, signature)


def run_trainable(
    trainable: Any, session: Session, *, checkpoint_freq: int = 0, checkpoint_at_end: bool = False
) -> None:
    """Train to the end: returns when the trainable does, or says that it is done.

    A returned number or dict is the last report (a number as `_metric`), items of a generator are one report each.
    Args:
        checkpoint_freq: a class trainable saves every so many steps; 0: never.
        checkpoint_at_end: a class trainable saves at its end, however that comes. Where it is interrupted and can
            save, it does so in any case: the trial goes on from there.
    Raises: TrialStopped when the trial is told to end; DriverLost; and whatever the trainable raises, InvalidConfig
        among it.
    """
    check_trainable(trainable)
    start = session.facts.start_checkpoint
    if start is not None and not start.is_dir():
        raise CheckpointError(f"The checkpoint to start from, {str(start)!r}, is gone.")
    if isinstance(trainable, type):
        _run_class(trainable, session, checkpoint_freq=checkpoint_freq, checkpoint_at_end=checkpoint_at_end)
    else:
        _run_function(trainable, session)


def _run_function(function: Callable[..., Any], session: Session) -> None:
    returned = _called(function, session)
    if inspect.iscoroutine(returned):
        import asyncio

        returned = asyncio.run(returned)
    if inspect.isgenerator(returned):
        returned = _drained(returned, session)
    _report_returned(returned, session, trainable_name(function))
    if session.stop is None:
        session.add_checkpoint()  # saved after the last report


def _called(function: Callable[..., Any], session: Session) -> Any:
    config = _copied(session.facts.config)
    form = call_form(function)
    if form is CallForm.CHECKPOINT_DIR:
        start = session.facts.start_checkpoint
        return function(config, checkpoint_dir=None if start is None else str(start))
    if form is CallForm.REPORTER:
        return function(config, reporter=functools.partial(_report_to, session))
    return function(config)


def _report_to(session: Session, _metric: Any = None, /, **metrics: Any) -> ReportDecision:
    """What a function with a `reporter` parameter calls: `report`, bound to this session."""
    on_stop: OnStop = metrics.pop("on_stop", "raise")
    step, checkpoint = metrics.pop("step", None), metrics.pop("checkpoint", None)
    return session.report(gather(_metric, metrics), step=step, checkpoint=checkpoint, on_stop=on_stop)


def _drained(generator: Generator[Any, Any, Any], session: Session) -> Any:
    """Report each item; returns what the generator returns. At a stop it is closed, so that its `finally:` runs."""
    try:
        while True:
            try:
                item = next(generator)
            except StopIteration as end:
                return end.value
            session.report(item if isinstance(item, Mapping) else {ANONYMOUS_METRIC: item})
    finally:
        generator.close()


def _report_returned(returned: Any, session: Session, name: str) -> None:
    """Report what a function returned as its last result. Nothing and truth values are no results; 0.0 is one."""
    if returned is None or isinstance(returned, bool) or session.stop is not None:
        return
    if isinstance(returned, Mapping):
        if returned:
            session.report({**returned, "done": True}, on_stop="return")
        return
    try:
        number = clean_number(ANONYMOUS_METRIC, returned)
    except MetricError:
        if session.has_reported and not isinstance(returned, numbers.Number):
            warnings.warn(f"{name}() returned {short_repr(returned)}, which is not reported.", stacklevel=2)
            return
        raise MetricError(
            f"{name}() returned {short_repr(returned)} ({type(returned).__name__}). "
            "Return a number or a dict of numbers, or report metrics and return nothing."
        ) from None
    session.report({ANONYMOUS_METRIC: number, "done": True}, on_stop="return")


def _run_class(kind: type[Trainable], session: Session, *, checkpoint_freq: int, checkpoint_at_end: bool) -> None:
    trainable = kind(_copied(session.facts.config))
    can_save = kind.save_checkpoint is not Trainable.save_checkpoint
    try:
        if session.facts.start_checkpoint is not None:
            trainable.restore(session.facts.start_checkpoint, step=session.facts.start_step)
        while True:
            result = trainable.train()
            is_last = bool(result.get("done", False))
            is_due = checkpoint_freq > 0 and trainable.iteration % checkpoint_freq == 0
            is_saved = is_due or bool(result.get("should_checkpoint", False)) or (is_last and checkpoint_at_end)
            if is_saved:
                _save(trainable, session)
            decision = session.report(result, on_stop="return")
            if not decision.should_stop:
                continue
            if not is_saved and (checkpoint_at_end or (decision.is_interrupted and can_save)):
                _save(trainable, session)
                session.add_checkpoint()
            if is_last:
                return
            raise TrialStopped(decision.reason or "told to stop", decision.verdict)
    finally:
        trainable.cleanup()


def _save(trainable: Trainable, session: Session) -> None:
    with session.saving(trainable.iteration) as folder:
        trainable.save(folder)


def _check_class(kind: type) -> None:
    if not issubclass(kind, Trainable):
        raise TrainableError(
            f"The trainable is the class {kind.__name__}, which is not a subclass of Trainable. "
            "Give a function f(config), or a subclass of Trainable with setup() and step()."
        )
    if kind.step is Trainable.step:
        raise TrainableError(f"The trainable {kind.__name__} has no step(). Add one that returns a dict of metrics.")


def _signature_error(function: Callable[..., Any], signature: inspect.Signature) -> TrainableError:
    name = trainable_name(function)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [p.name for p in signature.parameters.values() if p.default is p.empty and p.kind in kinds]
    if needed[1:] and all(signature.parameters[n].kind is not inspect.Parameter.POSITIONAL_ONLY for n in needed[1:]):
        bound = ", ".join(f"{n}=..." for n in needed[1:])
        advice = f"Bind what else it needs: tune.with_parameters({name}, {bound})."
    else:
        advice = "Its first parameter is the config: def f(config)."
    return TrainableError(
        f"{name}{signature} cannot be called with a config alone. {advice} "
        "Allowed are f(config), f(config, checkpoint_dir=None) and f(config, reporter), with defaults for the rest."
    )


def _innermost(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _copied(config: Any) -> Any:
    """A copy of the dicts and lists, so that a function that changes its config does not change the session's."""
    if isinstance(config, dict):
        return {key: _copied(value) for key, value in config.items()}
    return [_copied(value) for value in config] if type(config) is list else config
