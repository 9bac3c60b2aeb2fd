"""When and where each attempt ran."""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tunesmith.analysis.reports import ActiveTime
from tunesmith.stores import Reader
from tunesmith.trial import AttemptOutcome, TrialStatus

#: How an attempt can have ended, for its trial.
OUTCOMES = ("completed", "stopped", "paused", "cloned", "failed", "lost", "interrupted", "running")
_OF_STATUS = {
    TrialStatus.COMPLETED: "completed",
    TrialStatus.STOPPED: "stopped",
    TrialStatus.PAUSED: "paused",
    TrialStatus.FAILED: "failed",
    TrialStatus.INVALID: "failed",
    TrialStatus.INTERRUPTED: "interrupted",
}
_GONE = (AttemptOutcome.LOST, AttemptOutcome.PREEMPTED, AttemptOutcome.NO_CHECKPOINT)
_RECORDS = """SELECT type, trial, attempt, at, coalesce(json_extract(body, '$.node'), ''),
    coalesce(json_extract(body, '$.placement.node'), ''), json_extract(body, '$.outcome'),
    json_extract(body, '$.status')
  FROM log WHERE type IN ('StartAttempt', 'AttemptStarted', 'AttemptEnded', 'ConcludeAttempt') ORDER BY seq"""
_LAST_AT = "SELECT max(at) FROM (SELECT max(at) AS at FROM log UNION ALL SELECT max(at) FROM results)"


@dataclass(frozen=True)
class AttemptBar:
    """One attempt on the time line; seconds the experiment was at work (see `ActiveTime`)."""

    trial: int
    attempt: int
    node: str  #: "" where it is not known
    lane: int  #: from 0: which of the node's places it had, the lowest that was free
    start_s: float
    end_s: float  #: of one that runs: when anything was last heard
    outcome: str  #: one of OUTCOMES


def attempt_bars(reader: Reader) -> list[AttemptBar]:
    """Every attempt whose process was up, in the order in which they started."""
    last_at = reader.query(_LAST_AT)[0][0]
    found: dict[tuple[int, int], dict[str, Any]] = defaultdict(dict)
    for kind, trial, attempt, at, node, placed, outcome, status in reader.query(_RECORDS):
        facts = found[trial, attempt]
        if kind == "StartAttempt":
            facts["node"] = placed
        elif kind == "AttemptStarted":
            facts |= {"start": at, "node": node or facts.get("node", "")}
        elif kind == "AttemptEnded":
            facts |= {"end": at, "ended": AttemptOutcome(outcome)}
        else:
            facts["status"] = TrialStatus(status)
    started = {key: facts for key, facts in found.items() if facts.get("start") is not None}
    active = ActiveTime(reader)
    starts = active.seconds(np.array([facts["start"] for facts in started.values()], float)).tolist()
    ends = active.seconds(np.array([facts.get("end") or last_at for facts in started.values()], float)).tolist()
    bars = [
        AttemptBar(trial, attempt, facts.get("node", ""), 0, start, max(start, end), _outcome(facts))
        for ((trial, attempt), facts), start, end in zip(started.items(), starts, ends, strict=True)
    ]
    return _in_lanes(sorted(bars, key=lambda bar: (bar.start_s, bar.trial, bar.attempt)))


def _outcome(facts: dict[str, Any]) -> str:
    if "end" not in facts:
        return "running"
    ended: AttemptOutcome = facts["ended"]
    if ended in _GONE:
        return "lost"
    if ended.is_failure:
        return "failed"
    status = facts.get("status")
    if status is TrialStatus.PENDING:
        return "cloned" if ended is AttemptOutcome.STOPPED else "interrupted"
    return _OF_STATUS.get(status, "interrupted") if status is not None else "interrupted"


def _in_lanes(bars: list[AttemptBar]) -> list[AttemptBar]:
    """Each bar in the lowest lane of its node that is free at its start."""
    free: defaultdict[str, list[int]] = defaultdict(list)
    busy: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    placed = []
    for bar in bars:
        lanes, running = free[bar.node], busy[bar.node]
        while running and running[0][0] <= bar.start_s:
            heapq.heappush(lanes, heapq.heappop(running)[1])
        lane = heapq.heappop(lanes) if lanes else len(running)
        heapq.heappush(running, (bar.end_s, lane))
        placed.append(replace(bar, lane=lane))
    return placed
