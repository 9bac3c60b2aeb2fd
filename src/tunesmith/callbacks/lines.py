"""The sentences about an experiment that both the live screen and the plain log use. Pure: a view in, text out."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.callbacks.choices import Choices
from tunesmith.callbacks.progress_view import Best, ProgressView, best_by_last_report, last_value
from tunesmith.callbacks.solutions import best_feasible
from tunesmith.callbacks.text import (
    ELLIPSIS,
    clean,
    format_clock,
    format_count,
    format_number,
    format_time_left,
    shorten,
)
from tunesmith.callbacks.trial_words import STATUS_WORDS, counts_words, error_words
from tunesmith.events import ConcludeAttempt, Record, TrialReported
from tunesmith.trial import Trial, TrialStatus

DOT = " · "
_MAX_LINE = 500  #: of a line in a log: an error message may be of any length
_GIB = 2**30


def count_words(view: ProgressView, choices: Choices) -> str:
    """`counts_words` of the view; while it runs, trials that are not proposed yet wait as well."""
    total, counts = n_total(view, choices), dict(view.counts)
    if total is not None and view.end_status is None:
        n_begun = sum(n for status, n in counts.items() if status is not TrialStatus.PENDING)
        counts[TrialStatus.PENDING] = max(counts.get(TrialStatus.PENDING, 0), total - n_begun)
    n_stalled = len(view.silent_for_s())
    words = counts_words(counts)
    return words.replace("running", f"running ({n_stalled} stalled)", 1) if n_stalled else words


def n_total(view: ProgressView, choices: Choices) -> int | None:
    """Trials in all: what the user told the reporter, else what the experiment says; None: endless."""
    return view.n_total if choices.total_samples is None else choices.total_samples


def progress_words(view: ProgressView, choices: Choices) -> str:
    """`137/300 trials, about 4 min left`."""
    total = n_total(view, choices)
    trials = f"{format_count(view.n_over, 'trial')} over" if total is None else f"{view.n_over}/{total} trials over"
    if view.end_status is not None:
        return trials
    seconds = view.time_left_s(choices.total_samples)
    if total is None and seconds is None and view.time_budget_s is None and view.max_total_steps is None:
        return f"{trials}, no limit set"
    return f"{trials}, {format_time_left(seconds)}"


def progress_fraction(view: ProgressView, choices: Choices) -> float | None:
    """How far it is, from 0 to 1: by trials or the time budget, whichever is further; None where neither is limited."""
    total = n_total(view, choices)
    fractions = [view.n_over / total] if total else []
    if view.time_budget_s:
        fractions.append(view.elapsed_s / view.time_budget_s)
    if view.is_complete:
        fractions.append(1.0)
    return min(1.0, max(fractions)) if fractions else None


def resource_words(view: ProgressView) -> str:
    """`CPU 16/16 · GPU 1.5/2 · memory 12.3/64 GiB`; empty where nothing is known."""
    parts = [f"{clean(use.name)} {use.used:g}/{use.total:g}" for use in view.resources]
    if view.memory_used_bytes is not None and view.memory_total_bytes is not None:
        parts.append(f"memory {view.memory_used_bytes / _GIB:.1f}/{view.memory_total_bytes / _GIB:.1f} GiB")
    return DOT.join(parts)


def best_of(view: ProgressView, choices: Choices) -> Best | None:
    """The best trial by the reporter's own metric where it has one, else by the experiment's objective.

    With constraints, by the last reports that keep them.
    """
    if choices.metric is not None and choices.mode is not None:
        return best_by_last_report(view, choices.metric, choices.mode)
    return best_feasible(view) if view.objective is not None and view.objective.constraints else view.best


def best_words(best: Best) -> str:
    """`loss 0.12345 at step 9 of trial 17`, or `loss 0.12345 over 5 folds of trial 17`."""
    where = f"over {format_count(best.n_folds, 'fold')}" if best.n_folds else f"at step {best.step}"
    return f"{clean(best.metric)} {format_number(best.value)} {where} of trial {best.trial}"


# ---------------------------------------------------------------- the plain log


def status_line(view: ProgressView, choices: Choices) -> str:
    """The whole experiment in one line of a log."""
    best = best_of(view, choices)
    parts = [progress_words(view, choices), count_words(view, choices)]
    if best is not None:
        parts.append(f"best {best_words(best)}")
    if view.resources:
        parts.append(DOT.join(f"{clean(use.name)} {use.used:g}/{use.total:g}" for use in view.resources))
    return _stamped(view, "; ".join(parts))


def record_lines(view: ProgressView, records: Sequence[Record], *, choices: Choices, verbose: int) -> list[str]:
    """One line for each trial that ended or failed (`verbose` of 2 and more) and for each result (3 and more)."""
    trials = {trial.index: trial for trial in view.trials}
    lines = []
    for record in records:
        if isinstance(record, ConcludeAttempt) and record.trial in trials and verbose >= 2:
            words = _conclusion_words(record, trials[record.trial], view, choices, verbose)
        elif isinstance(record, TrialReported) and verbose >= 3:
            words = _result_words(record, choices)
        else:
            words = None
        if words is not None:
            lines.append(_stamped(view, words))
    return lines


def _stamped(view: ProgressView, words: str) -> str:
    return shorten(f"[{format_clock(view.elapsed_s)}] {words}", _MAX_LINE)


def _conclusion_words(
    record: ConcludeAttempt, trial: Trial, view: ProgressView, choices: Choices, verbose: int
) -> str | None:
    """How an attempt ended; None for what is no news at this verbosity (a pause, a clone)."""
    if not record.status.is_over and trial.n_failures == 0 and verbose < 3:
        return None
    after = "goes back to waiting" if record.status is TrialStatus.PENDING else STATUS_WORDS[record.status]
    words = f"trial {trial.index} ({clean(view.trial_name(trial.index))}) {after} at step {trial.step}"
    reason = record.reason
    if record.status is TrialStatus.FAILED and trial.error:
        reason = error_words(trial)
    if reason and reason != "returned":
        words += f": {clean(shorten(reason, 300))}"
    metrics = _metric_words(trial, view, choices)
    return f"{words}; {metrics}" if metrics else words


def _metric_words(trial: Trial, view: ProgressView, choices: Choices) -> str:
    """The trial's last values of the objective, or of the metrics the user chose."""
    if choices.metric_columns is not None:
        headings = choices.metric_columns
    elif view.objective is not None:
        headings = {name: name for name in view.objective.metrics}
    else:
        headings = {name: name for name in list(trial.metrics or {})[: choices.infer_limit]}
    values = [(heading, last_value(trial, name)) for name, heading in headings.items()]
    return ", ".join(f"{clean(heading)} {format_number(value)}" for heading, value in values if value is not None)


def _result_words(record: TrialReported, choices: Choices) -> str:
    """The metrics of one report: those the user chose, else all."""
    chosen = choices.metric_columns or {name: name for name in record.metrics}
    values = [
        f"{clean(heading)} {format_number(record.metrics[name])}"
        for name, heading in chosen.items()
        if name in record.metrics
    ]
    return f"trial {record.trial} step {record.step}: {', '.join(values) or 'no metric'}"


def wrap_tokens(tokens: Sequence[str], width: int, *, n_lines: int) -> list[str]:
    """Tokens on at most `n_lines` lines of `width` characters; the last one ends in an ellipsis if some are left."""
    lines: list[str] = []
    for i, token in enumerate(tokens):
        if lines and len(lines[-1]) + 1 + len(token) <= width:
            lines[-1] += " " + token
        elif len(lines) < n_lines:
            lines.append(shorten(token, width))
        else:
            lines[-1] = shorten(f"{lines[-1]} {' '.join(tokens[i:])}", width)
            if not lines[-1].endswith(ELLIPSIS):
                lines[-1] = lines[-1][: width - 1] + ELLIPSIS
            break
    return lines
