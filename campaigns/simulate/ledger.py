"""What really happened in a simulated world, noted by the world itself: nothing here comes from the state machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunesmith.events import AttemptEnded, TrialReported

AttemptKey = tuple[int, int]  #: trial, attempt
ReportKey = tuple[int, int, int]  #: trial, attempt, step


@dataclass
class Ledger:
    """The world's own notes, across all drivers."""

    #: Every report that an attempt made, as it made it; a step reported again with a new folder is in `saved`.
    reports: dict[ReportKey, TrialReported] = field(default_factory=dict)
    saved: dict[ReportKey, TrialReported] = field(default_factory=dict)
    #: Reports that were answered to a live attempt that waited: it relies on them.
    acknowledged: dict[ReportKey, TrialReported] = field(default_factory=dict)
    ended: dict[AttemptKey, AttemptEnded] = field(default_factory=dict)
    #: Attempts that run, by trial. They die with their driver.
    live: dict[int, int] = field(default_factory=dict)
    lost_nodes: set[str] = field(default_factory=set)  #: in this session
    n_failed: dict[int, int] = field(default_factory=dict)  #: attempts that failed of themselves, by trial
