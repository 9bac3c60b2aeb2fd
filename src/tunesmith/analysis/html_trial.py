"""A trial as a notebook shows it."""

from __future__ import annotations

from tunesmith.analysis import html
from tunesmith.callbacks.text import flat_config, format_value
from tunesmith.trial import Trial

_N_LINES = 10  #: of a traceback, its last


def trial_html(trial: Trial, name: str) -> str:
    """Its state, config, last metrics, and its error."""
    config = [(entry, format_value(entry, value)) for entry, value in flat_config(trial.config).items()]
    metrics = [(metric, html.number(value)) for metric, value in (trial.metrics or {}).items()]
    why = f": {trial.reason}" if trial.reason else ""
    parts = [f"<p><b>{html.text(name)}</b>: {html.text(trial.status.value + why)}, step {trial.step}</p>"]
    if config:
        parts.append(html.table(("config", "value"), config))
    if metrics:
        parts.append(html.table(("last report", "value"), metrics))
    if trial.error:
        parts.append(html.lines(trial.error.splitlines()[-_N_LINES:]))
    return "".join(parts)
