"""Results as a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tunesmith.analysis import html
from tunesmith.callbacks.text import error_headline, flat_config, format_count, format_value
from tunesmith.trial import Trial, TrialStatus

if TYPE_CHECKING:
    from tunesmith.analysis.experiment_analysis import ExperimentAnalysis
    from tunesmith.analysis.trial_view import TrialView

_N_SHOWN = 10
_ERRORS = "SELECT error, reason FROM trial_states WHERE status IN (?, ?) ORDER BY trial"


def result_html(result: ExperimentAnalysis) -> str:
    """How the experiment stands, its best trials (the first ones where nothing is optimised), and what failed."""
    reader = result.reader
    objective, n_trials = reader.spec.objective, reader.n_trials()
    counts = ", ".join(f"{n} {state.value}" for state, n in reader.counts().items()) or "no trials"
    head = f"<b>{html.text(reader.spec.name)}</b>: {html.text(reader.status().status or 'not started')}, {counts}"
    if objective is None:
        title = "The first trials"
        trials = [reader.trial(i) for i in range(min(_N_SHOWN, n_trials))]
    else:
        title = f"The best by {objective.metric} ({objective.mode.value})"
        trials = list(reader.top_trials(_N_SHOWN))
    shown = f"{title}, {len(trials)} of {format_count(n_trials, 'trial')}" if trials else "No trial has a result."
    table = trials_table(trials) if trials else ""
    where = f"<p>{html.text(result.folder)}</p>"
    return f"<p>{head}</p><p>{html.text(shown)}</p>{table}{''.join(_failures(result))}{where}"


def trials_table(trials: list[Trial]) -> str:
    """One row a trial, one column a parameter."""
    configs = [flat_config(trial.config) for trial in trials]
    names = list(dict.fromkeys(name for config in configs for name in config))
    headings = ["trial", "state", "best", "step", *names]
    rows = [
        [trial.index, trial.status.value, _number(trial.best_value), "" if trial.best_step is None else trial.best_step]
        + [format_value(name, config[name]) if name in config else "" for name in names]
        for trial, config in zip(trials, configs, strict=True)
    ]
    return html.table(headings, rows)


def trial_html(view: TrialView) -> str:
    """A trial's state, config, last metrics, and its error."""
    config = [(name, format_value(name, value)) for name, value in flat_config(view.config).items()]
    metrics = [(name, _number(value)) for name, value in view.metrics.items()]
    why = f": {view.reason}" if view.reason else ""
    parts = [f"<p><b>{html.text(view.name)}</b>: {html.text(view.state.value + why)}, step {view.step}</p>"]
    if config:
        parts.append(html.table(("config", "value"), config))
    if metrics:
        parts.append(html.table(("last report", "value"), metrics))
    if view.error:
        parts.append(html.lines(view.error.splitlines()[-_N_SHOWN:]))
    return "".join(parts)


def _failures(result: ExperimentAnalysis) -> Iterator[str]:
    rows = result.reader.query(_ERRORS, (TrialStatus.FAILED.value, TrialStatus.INVALID.value))
    if rows:
        first = error_headline(rows[0][0]) if rows[0][0] else rows[0][1] or "no reason is known"
        words = f"{format_count(len(rows), 'trial')} failed, the first: {first}"
        yield f"<p>{html.text(words)}</p>"


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float | int) else "" if value is None else str(value)
