"""What a user asked for, as plain facts: stored with the experiment and compared when it is resumed."""

from __future__ import annotations

from typing import Any

import msgspec

from tunesmith.resources import Resources
from tunesmith.trial import Mode, Objective


class CheckpointPolicy(msgspec.Struct, frozen=True):
    """Which checkpoints of a trial are kept. The newest one always is."""

    keep_num: int | None = None  #: at most so many besides the newest; None: the best one only
    keep_all: bool = False
    score_metric: str | None = None  #: None: the objective's first metric
    score_mode: Mode = Mode.MIN


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
    grace_s: float = 10.0
    checkpoint_policy: CheckpointPolicy = CheckpointPolicy()
    is_strict_metric: bool = True  #: a report without the objective's metric fails its trial
    searcher_name: str = ""
    scheduler_name: str = ""
    created_at: float = 0.0
    tunesmith_version: str = ""
