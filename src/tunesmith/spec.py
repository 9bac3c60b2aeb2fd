"""What a user asked for, as plain facts: stored with the experiment and compared when it is resumed."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

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
    source_digest: str | None = None  #: sha256 of the trainable's source text
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
    fail_fast: bool = False
    n_alike_failures: int = 5  #: so many equal failures before any report stop the experiment
    first_report_timeout_s: float | None = None  #: an attempt that has not reported so long after its start fails
    report_timeout_s: float | None = None  #: so does one that has not reported for so long after a report
    nan_policy: NanPolicy = NanPolicy.IGNORE
    grace_s: float = 10.0
    checkpoint_policy: CheckpointPolicy = CheckpointPolicy()
    is_strict_metric: bool = True  #: a report without the objective's metric fails its trial
    searcher_name: str = ""
    scheduler_name: str = ""
    created_at: float = 0.0
    tunesmith_version: str = ""


def check_spec(spec: ExperimentSpec) -> None:
    """Raise ConfigError for a budget or count that cannot be meant."""
    if spec.n_trials is not None and spec.n_trials < 0:
        raise ConfigError(f"num_samples gives {spec.n_trials} trials. Give a positive number, or -1 for endless.")
    for name in ("time_budget_s", "max_total_steps", "first_report_timeout_s", "report_timeout_s"):
        value = getattr(spec, name)
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value!r}. Give a positive number, or None for no limit.")
    if spec.max_concurrent_trials is not None and spec.max_concurrent_trials < 1:
        raise ConfigError(f"max_concurrent_trials is {spec.max_concurrent_trials}. Give 1 or more, or None.")
    if spec.max_failures < -1:
        raise ConfigError(f"max_failures is {spec.max_failures}. Give 0 or more, or -1 for endless retries.")
