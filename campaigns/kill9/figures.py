"""The figures of a campaign, in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

from campaigns.kill9.plan import Target
from campaigns.kill9.round import RoundResult

#: Words in the table for the kinds of findings, in its order; the first four are the promise itself.
_KINDS = {
    "lost": "acknowledged reports lost",
    "duplicate": "duplicates of (trial, attempt, step)",
    "unreadable": "unreadable files",
    "process left": "processes left after 2 s (or the next start's sweep)",
    "half checkpoint": "half checkpoints handed out or kept",
    "wrong": "wrong values or counts",
    "steps": "broken chains of steps",
    "resume": "attempts not from the newest committed checkpoint",
    "run twice": "trials run again after their end",
    "unfinished": "runs or trials that did not end as they must",
    "epochs": "broken sequences of epochs",
    "crash": "rounds in which the campaign itself failed",
}


def table(results: Sequence[RoundResult], *, seed: int, wall_s: float) -> str:
    """The table of a campaign's rounds."""
    kills = Counter(target for result in results for target in result.kills)
    kinds = Counter(finding.kind for result in results for finding in result.findings)
    lines = [
        ("seed", f"{seed}"),
        ("rounds", f"{len(results)}"),
        ("seconds in all, and of one round (median)", f"{wall_s:.0f}, {_median([r.wall_s for r in results])}"),
        ("kills", f"{kills.total()}"),
        *((f"  {target.value}", f"{kills[target]}") for target in Target),
        ("  the run had ended before", f"{sum(result.n_too_late for result in results)}"),
        ("acknowledged reports", f"{sum(result.n_acks for result in results)}"),
        ("attempts from a checkpoint, again from scratch", f"{_n_restarted(results)}"),
        ("resumes that completed", f"{sum(result.is_complete for result in results)} of {len(results)}"),
        *((words, f"{kinds[kind]}") for kind, words in _KINDS.items()),
        ("seconds until clean, median and most", _spread([s for r in results for s in r.clean_s])),
        ("seconds to the next training, median and most", _spread([s for r in results for s in r.resume_s])),
        ("drafts and temporary files left (harmless)", f"{sum(result.n_files_left for result in results)}"),
    ]
    width = max(len(words) for words, _ in lines)
    return "\n".join(f"{words:<{width}}  {value:>12}" for words, value in lines)


def _n_restarted(results: Sequence[RoundResult]) -> str:
    return f"{sum(result.n_restarted for result in results)}, {sum(result.n_from_scratch for result in results)}"


def _median(values: Sequence[float]) -> str:
    return f"{median(values):.2f}" if values else "-"


def _spread(values: Sequence[float]) -> str:
    return f"{_median(values)}, {max(values):.2f}" if values else "-"
