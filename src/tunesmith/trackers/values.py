"""Configs and results as trackers write them: flat, readable, and without passwords."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tunesmith.callbacks.text import is_secret
from tunesmith.hooks import LiveTrial
from tunesmith.space import flatten_config, label

MASK = "***"
#: Keys of a result that are no measurement of this step.
FACTS = frozenset(
    {"trial_id", "experiment_id", "experiment_tag", "hostname", "node_ip", "pid", "date", "done", "config"}
)


def masked(value: Any, name: str = "") -> Any:
    """The config as plain JSON values, with what is called like a password replaced by `***`."""
    if is_secret(name, value):
        return MASK
    if isinstance(value, Mapping):
        return {str(key): masked(entry, str(key)) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [masked(entry, name) for entry in value]
    return value if value is None or isinstance(value, bool | int | float | str) else label(value)


def flat_masked(config: dict[str, Any]) -> dict[str, Any]:
    """The same without nesting: `optimizer/lr` and its value; lists and dicts that are empty as labels."""
    flat = flatten_config(masked(config))
    return {
        name: value if isinstance(value, bool | int | float | str) else label(value) for name, value in flat.items()
    }


def measurements(result: Mapping[str, Any]) -> dict[str, float]:
    """What was reported, with step and times: all that is a number and differs from step to step."""
    return {
        name: value
        for name, value in result.items()
        if name not in FACTS and isinstance(value, int | float) and not isinstance(value, bool)
    }


def decision_words(trial: LiveTrial) -> tuple[str, str] | None:
    """The answer to the trial's last report and its reason; None for a plain go-on."""
    decision = trial.decision
    if decision.verdict.value == "continue" and decision.reason is None:
        return None
    return decision.verdict.value, decision.words() or ""


def end_facts(trial: LiveTrial) -> dict[str, str]:
    """How the trial stands and why, in words; entries without a value are left out."""
    facts = {
        "status": trial.state.value,
        "reason": trial.reason,
        "proposed_by": trial.proposed_by,
        "error": trial.error,
    }
    return {name: value for name, value in facts.items() if value}


def as_file_name(name: str) -> str:
    """The name as one harmless part of a path."""
    return re.sub(r"[^\w.-]+", "_", name).lstrip(".")[:150] or "_"
