"""What is said where a metric was asked for and no trial reported it: a run that found nothing is not a good one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.trial import TrialStatus

if TYPE_CHECKING:
    from tunesmith.stores import Reader

_TAIL_BYTES = 64 << 10
_ENDED_WELL = (TrialStatus.COMPLETED, TrialStatus.STOPPED)


def unreported_words(reader: Reader) -> str | None:
    """The metric, what there is instead, and how one reports; None where it was reported, or trials did not end well.

    Failures are the thing to read where there are no others, and nothing is missing without a metric.
    """
    objective, counts = reader.spec.objective, reader.counts()
    if objective is None or not any(counts.get(status, 0) for status in _ENDED_WELL):
        return None
    if reader.query("SELECT 1 FROM results WHERE kind <> 'missing' LIMIT 1"):
        return None
    return f"no trial reported {objective.metric}{_instead(reader)}. {_advice(reader, objective.metric)}"


def _instead(reader: Reader) -> str:
    from tunesmith.analysis.scores import metrics_seen
    from tunesmith.callbacks.text import clean

    if seen := metrics_seen(reader):
        return f"; they reported {clean(', '.join(seen))}"
    for trial in reader.trials():
        if trial.status in _ENDED_WELL and (names := _printed_names(reader.folder / "logs" / f"{trial.index:05d}.log")):
            return f"; the last JSON line that trial {trial.index} printed has {clean(', '.join(names))}"
    return ""


def _advice(reader: Reader, metric: str) -> str:
    from tunesmith.cli.request import read_record

    request = read_record(reader.folder)
    if request is not None and request.is_program:
        line = json.dumps({metric: 0.3})
        return (
            f"A program reports by the command `tunesmith report {metric}=0.3`, by a line {line} added to the file "
            f"that TUNESMITH_REPORT_FILE names, by such a line at the end of its output, or in Python by "
            f"tunesmith.report. See `tunesmith report --help`, and `tunesmith log 0` for what was printed."
        )
    name = f"{metric}=..." if metric.isidentifier() else f"{{{metric!r}: ...}}"
    return f"Call tune.report({name}) in the function, or return {{{metric!r}: ...}} from it."


def _printed_names(log: Path) -> list[str]:
    """Names in the last line of the log that is a JSON object."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return []
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and found:
            return [str(name) for name in found]
    return []
