"""What is said when an experiment is over: why it ended, what is best, where everything lies, and how to go on."""

from __future__ import annotations

import json
import math
import re
import shlex
import textwrap
from collections.abc import Iterable, Sequence

from tunesmith.callbacks.choices import Choices
from tunesmith.callbacks.lines import best_of, best_words
from tunesmith.callbacks.progress_view import Best, ProgressView
from tunesmith.callbacks.solutions import is_feasible, kept_words, pareto_set, pareto_table
from tunesmith.callbacks.text import (
    clean,
    clean_lines,
    config_literal,
    format_count,
    format_duration,
    shorten,
)
from tunesmith.callbacks.trial_words import counts_words, error_words
from tunesmith.events import EndReason
from tunesmith.trial import Trial, TrialStatus

#: A line and the style that a terminal gives it.
StyledLine = tuple[str, str]

_LABEL = 12
_MAX_TRACEBACK_LINES = 30
_MAX_FAILURE_KINDS = 5
_END_WORDS = {
    EndReason.FINISHED: "finished, every trial is over",
    EndReason.EXHAUSTED: "finished, the searcher has no further config",
    EndReason.TIME_BUDGET: "ended, the time budget is used up",
    EndReason.STEP_BUDGET: "ended, the step budget is used up",
    EndReason.STOPPER: "ended by a stopper",
    EndReason.FAILED: "ended by failures",
    EndReason.INTERRUPTED: "interrupted",
}
_CONFIRMABLE = (TrialStatus.COMPLETED, TrialStatus.STOPPED)
_CONFIRMING = "RepeatedConfigs"  #: the searcher of `tunesmith.confirm`


def summary_lines(view: ProgressView, choices: Choices, *, width: int = 80) -> list[StyledLine]:
    """The end of an experiment in lines of at most `width` characters; only paths and code may be longer."""
    return [
        *_ending(view, width),
        *_field("trials", counts_words(view.counts), width),
        *_field("results", _results_words(view), width),
        *_stand_ins(view, width),
        *_best_part(view, choices, width),
        *_pareto_part(view, choices, width),
        *_failures(view, choices, width),
        ("", ""),
        *_offer(view, choices, width),
        *_places(view),
    ]


def _stand_ins(view: ProgressView, width: int) -> list[StyledLine]:
    """That the searcher failed or was late, which nobody should overlook; nothing where it never did."""
    if view.n_stand_ins == 0:
        return []
    words = f"random search gave {format_count(view.n_stand_ins, 'config')} in place of the searcher; the log says why"
    return _field("searcher", words, width)


def _results_words(view: ProgressView) -> str:
    """Reports, and steps where they are not the same number: of resumed trials some steps were reported twice."""
    reports = format_count(view.n_reports, "report")
    return reports if view.n_steps == view.n_reports else f"{reports}, {format_count(view.n_steps, 'step')}"


def _ending(view: ProgressView, width: int) -> list[StyledLine]:
    words = "not over" if view.end_status is None else _END_WORDS[view.end_status]
    style = "bold green" if view.is_complete else "bold yellow"
    lines = _wrap(f"{clean(view.name)}: {words}, after {format_duration(view.elapsed_s)}", width, "", style)
    if view.end_detail and clean(view.end_detail) not in words:
        lines += _field("why", clean(view.end_detail), width)
    return lines


def _offer(view: ProgressView, choices: Choices, width: int) -> list[StyledLine]:
    """That the winner may be lucky, where there were others to win against."""
    objective = view.objective if choices.metric is None else None
    is_one_metric = objective is not None and len(objective.metrics) == 1
    n_with_value = sum(trial.status in _CONFIRMABLE and _has_value(trial) for trial in view.trials)
    if not is_one_metric or n_with_value < 2 or view.best is None or view.searcher_name == _CONFIRMING:
        return []
    return _field("confirm", "was it luck? tunesmith.confirm(result), `tunesmith confirm`", width)


def _has_value(trial: Trial) -> bool:
    return trial.best_value is not None and math.isfinite(trial.best_value)


def _best_part(view: ProgressView, choices: Choices, width: int) -> list[StyledLine]:
    if view.searcher_name == _CONFIRMING:  # its luckiest repeat is what nobody should look at
        return _field("best", "what `confirm` said is which config to take", width)
    objective = view.objective if choices.metric is None else None
    constraints = () if objective is None else objective.constraints
    best = best_of(view, choices)
    if best is None:
        return _field("best", _why_no_best(view, choices), width)
    words = f"{best_words(best)} ({clean(best.name)})"
    if constraints:
        words += f"; {kept_words(next(t for t in view.trials if t.index == best.trial), constraints)}"
    if objective is not None and len(objective.metrics) > 1:
        words += "; ranked by the first of several objectives"
    lines = _field("best", words, width, style="bold green")
    lines += [("", ""), *((line, "") for line in config_literal(best.config, width=width)), ("", "")]
    return lines + _checkpoint(best, width)


def _pareto_part(view: ProgressView, choices: Choices, width: int) -> list[StyledLine]:
    """How many trials are in the Pareto set, and some of them; nothing where there is one objective."""
    objective = view.objective
    if choices.metric is not None or objective is None or len(objective.metrics) < 2:
        return []
    trials = pareto_set(view)
    if not trials:
        return []
    words = f"{format_count(len(trials), 'trial')} that no other beats in {_listed(objective.metrics)}"
    if not is_feasible(trials[0], objective):
        words = f"none keeps {_listed(objective.constraints)}; the closest:"
    lines = _field("Pareto set", words, width)
    table = pareto_table(view, trials, width=width - _LABEL)
    return [*lines, *((" " * _LABEL + line, "") for line in table)]


def _checkpoint(best: Best, width: int) -> list[StyledLine]:
    if best.checkpoint is None:
        return _field("checkpoint", "none was saved by this trial", width)
    lines: list[StyledLine] = [("checkpoint".ljust(_LABEL) + clean(best.checkpoint), "")]
    if best.checkpoint_step != best.step:
        lines += _field("", f"of step {best.checkpoint_step}: step {best.step} has no checkpoint", width)
    return lines


def _why_no_best(view: ProgressView, choices: Choices) -> str:
    """Why there is no best trial, and what to do about it."""
    if view.n_reports == 0 and view.end_status is EndReason.INTERRUPTED:
        return "none: it was interrupted before the first report"
    if view.n_reports == 0:
        return (
            "none: no trial reported anything. Call tune.report(loss=...) in the training function, "
            "or return a number or a dict from it; a program calls `tunesmith report loss=...`."
        )
    metric = choices.metric or (view.objective.metric if view.objective is not None else None)
    if metric is None:
        return 'none: no metric was named. Ask with result.get_best_trial("loss", "min"), or pass metric= and mode=.'
    objective = view.objective if choices.metric is None else None
    if objective is not None and objective.constraints and pareto_set(view):
        bounds = _listed(objective.constraints)
        return f"none: no trial's last report keeps {bounds}. result.pareto has those that come closest."
    return f"none: no trial reported a {clean(metric)} that is a number."


def _listed(words: Iterable[object]) -> str:
    return " and ".join(clean(str(word)) for word in words)


def _failures(view: ProgressView, choices: Choices, width: int) -> list[StyledLine]:
    """Failures that are alike are said once; if all are, with the traceback, which is then the thing to read."""
    kinds = _alike(view.failures())
    if not kinds:
        return []
    lines: list[StyledLine] = [("", "")]
    for trials in kinds[: min(_MAX_FAILURE_KINDS, choices.max_error_rows)]:
        numbers = ", ".join(str(trial.index) for trial in sorted(trials, key=lambda t: t.index)[:8])
        more = ", ..." if len(trials) > 8 else ""
        words = f"{format_count(len(trials), 'trial')}: {shorten(error_words(trials[0]), 300)}"
        which = "trial" if len(trials) == 1 else "trials"
        lines += _field("failed", f"{words} ({which} {numbers}{more})", width, style="red")
        log = view.log_files.get(trials[0].index)
        if log is not None:
            lines.append((" " * _LABEL + f"log of trial {trials[0].index}: {clean(log)}", ""))
    n_more = sum(map(len, kinds[min(_MAX_FAILURE_KINDS, choices.max_error_rows) :]))
    if n_more:
        lines += _field("", f"and {format_count(n_more, 'trial')} with other errors", width)
    return lines + (_traceback(kinds[0][0]) if len(kinds) == 1 else [])


def _alike(trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials grouped by what their error says, numbers aside; the largest group first."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(re.sub(r"\d+", "#", error_words(trial)), []).append(trial)
    return sorted(groups.values(), key=len, reverse=True)


def _traceback(trial: Trial) -> list[StyledLine]:
    """The error text whole, up to a limit; nothing where it has no more than the line already said."""
    lines = clean_lines(trial.error or "")
    if len(lines) < 2:
        return []
    hidden = len(lines) - _MAX_TRACEBACK_LINES
    head = [f"({format_count(hidden, 'line')} left out)"] if hidden > 0 else []
    shown = [*head, *lines[-_MAX_TRACEBACK_LINES:]]
    return [("", ""), *((line, "bright_black") for line in shown)]


def _places(view: ProgressView) -> list[StyledLine]:
    """Where everything lies. Paths are not wrapped, so that they can be copied."""
    lines = [("folder".ljust(_LABEL) + clean(view.folder), "")]
    if not view.is_complete:
        name = clean(json.dumps(view.name, ensure_ascii=False))
        lines.append(("go on".ljust(_LABEL) + f"the same call with name={name}", "bold"))
    folder = clean(json.dumps(view.folder, ensure_ascii=False))
    lines.append(("look at it".ljust(_LABEL) + f"tunesmith.load({folder})", ""))
    if view.database is not None:
        lines.append((" " * _LABEL + f"sqlite3 -readonly {clean(shlex.quote(view.database))}", ""))
    return lines


def _field(label: str, words: str, width: int, *, style: str = "") -> list[StyledLine]:
    """A label and its words, wrapped between words and indented under themselves."""
    return _wrap(label.ljust(_LABEL) + words, width, " " * _LABEL, style)


def _wrap(text: str, width: int, indent: str, style: str) -> list[StyledLine]:
    wrapped = textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
    return [(line, style) for line in wrapped]
