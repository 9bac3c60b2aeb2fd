"""What a user asked for, as plain facts: stored with the experiment and compared when it is resumed."""

from __future__ import annotations

import math
import sys
from enum import StrEnum
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from tunesmith.errors import ConfigError
from tunesmith.resources import Resources
from tunesmith.trial import Mode, Objective


class CheckpointPolicy(msgspec.Struct, frozen=True):
    """Which checkpoints of a trial are kept. The newest one always is."""

    keep_num: int | None = None  #: at most so many besides the newest; None: the best one only
    keep_all: bool = False
    score_metric: str | None = None  #: None: the objective's first metric
    score_mode: Mode = Mode.MIN


class NanPolicy(StrEnum):
    """What a report does whose objective is NaN. It is stored as it is, and ranked worst, in any case."""

    IGNORE = "ignore"  #: the trial goes on, as far as the scheduler lets it
    STOP = "stop"  #: the trial is STOPPED
    FAIL = "fail"  #: the attempt fails, and may be tried again


class ExperimentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One tuning job. Only JSON-able facts: code and objects are not here."""

    experiment_id: str
    name: str
    trainable_name: str
    source_digest: str | None = None  #: of the trainable's code, to notice a change; None where there is no source
    space: dict[str, Any]  #: Space.describe()
    space_fingerprint: str
    objective: Objective | None = None
    seed: int
    n_trials: int | None  #: samples times grid points; None is endless
    resources: Resources = Resources()
    max_concurrent_trials: int | None = None
    time_budget_s: float | None = None
    max_total_steps: int | None = None
    max_failures: int = 0  #: further attempts after failures; -1 is endless
    fail_fast: bool | Literal["raise"] = False
    n_alike_failures: int = 5  #: so many equal failures before any report stop the experiment
    first_report_timeout_s: float | None = None  #: an attempt that has not reported so long after its start fails
    report_timeout_s: float | None = None  #: so does one that has not reported for so long after a report
    nan_policy: NanPolicy = NanPolicy.IGNORE
    grace_s: float = 10.0
    checkpoint_policy: CheckpointPolicy = CheckpointPolicy()
    checkpoint_freq: int = 0  #: of class trainables: save every so many steps
    checkpoint_at_end: bool = False
    is_strict_metric: bool = True  #: a report without the objective's metric fails its trial
    searcher_name: str = ""  #: this and the next two: what cannot be stored, and must be given again to go on with it
    scheduler_name: str = ""
    stopper_name: str = ""  #: empty where there was none
    created_at: float = 0.0
    tunesmith_version: str = ""


class _Rule(NamedTuple):
    """Which numbers an argument may be."""

    lowest: float
    expected: str  #: the next step, for the message
    highest: float = math.inf
    is_whole: bool = True
    may_be_none: bool = True


_ABOVE_0 = math.ulp(0.0)
_LIMIT_S = _Rule(_ABOVE_0, "Give a positive number of seconds, or None for no limit.", is_whole=False)
#: Fields of the spec that are arguments of the same name, and others by their argument's name.
_RULES = {
    "num_samples": _Rule(1, "Give a whole number of 1 or more, or -1 for endless.", may_be_none=False),
    "seed": _Rule(0, "Give a whole number of 0 or more."),
    "max_concurrent_trials": _Rule(1, "Give a whole number of 1 or more, or None."),
    "time_budget_s": _LIMIT_S._replace(expected="Give seconds, more than 0, a timedelta, or None for no limit."),
    "max_total_steps": _Rule(1, "Give a positive whole number, or None for no limit."),
    "max_failures": _Rule(-1, "Give a whole number of 0 or more, or -1 for endless retries.", may_be_none=False),
    "first_report_timeout_s": _LIMIT_S,
    "report_timeout_s": _LIMIT_S,
    "grace_s": _Rule(0.0, "Give seconds, 0 or more.", sys.float_info.max, is_whole=False, may_be_none=False),
    "keep_checkpoints_num": _Rule(1, "Give a whole number of 1 or more, or None for the best and the last."),
    "checkpoint_freq": _Rule(0, "Give a whole number of steps, or 0 for none in between.", may_be_none=False),
}
_MAX_COUNT = 2**63 - 1  #: what a column of the store holds


def check_number(name: str, value: Any) -> Any:
    """The argument as a plain int, float or None: whole floats (1e6) and NumPy's numbers become Python's.

    Raises: ConfigError naming the argument, what was given and what is expected.
    """
    rule = _RULES[name]
    if value is None and rule.may_be_none:
        return None
    number = _plain(value, is_whole=rule.is_whole)
    if number is None or not rule.lowest <= number <= rule.highest:
        raise ConfigError(f"{name} is {value!r}. {rule.expected}")
    return number


def _plain(value: Any, *, is_whole: bool) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    if not is_whole:
        return float(value)
    if isinstance(value, Integral):
        return int(value)
    return int(float(value)) if float(value).is_integer() else None


def check_spec(spec: ExperimentSpec) -> ExperimentSpec:
    """The spec with plain numbers.

    Raises: ConfigError for an argument of a wrong type, or a budget or count that cannot be meant.
    """
    if spec.n_trials is not None and not 0 <= spec.n_trials <= _MAX_COUNT:
        raise ConfigError(
            f"num_samples gives {spec.n_trials} trials. Give a positive number of at most {_MAX_COUNT} trials, "
            "or -1 for endless."
        )
    if not isinstance(spec.name, str):
        raise ConfigError(f"name is {spec.name!r}. Give the name of a folder, or None for a new one.")
    if not isinstance(spec.fail_fast, bool) and spec.fail_fast != "raise":
        raise ConfigError(f"fail_fast is {spec.fail_fast!r}. Give True, False or 'raise'.")
    policy = spec.checkpoint_policy
    if policy.score_metric is not None and not isinstance(policy.score_metric, str):
        raise ConfigError(
            f"checkpoint_score_attr is {policy.score_metric!r}. Give the name of a metric, with 'min-' before it where "
            "small values are good, or None for the objective."
        )
    keep_num = check_number("keep_checkpoints_num", policy.keep_num)
    numbers = {name: check_number(name, getattr(spec, name)) for name in _RULES if name in spec.__struct_fields__}
    return replace(spec, checkpoint_policy=replace(policy, keep_num=keep_num), **numbers)
