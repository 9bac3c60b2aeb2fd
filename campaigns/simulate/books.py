"""What the witness knows of an experiment from its records: the books that the rules keep and look into."""

from __future__ import annotations

from typing import Any

from campaigns.simulate.asking import AskingBooks
from campaigns.simulate.faults import require
from campaigns.simulate.ledger import Ledger
from campaigns.simulate.oracle import Oracle
from campaigns.simulate.plan import Plan
from campaigns.simulate.rows import Row
from tunesmith.clock import Clock
from tunesmith.events import (
    CheckpointSaved,
    ConfigsSuggested,
    EndExperiment,
    ReportRefused,
    StartAttempt,
    Suggest,
    TrialReported,
)
from tunesmith.trial import TrialStatus


class Books:
    """Args: ledger: what really happened; clock: the world's."""

    def __init__(self, plan: Plan, ledger: Ledger, clock: Clock) -> None:
        self.plan, self.ledger, self.clock = plan, ledger, clock
        self.rows: list[Row] = []
        self.oracle = Oracle(plan, self.rows)
        self.asking = AskingBooks(plan)
        self.gone_nodes: set[str] = set()  #: that the driver knows of, in this session
        self.good_nodes: set[str] = set()  #: on which an attempt reported or returned, in this session
        self.quarantined: set[str] = set()  #: in this session
        self.n_strikes: dict[str, int] = {}  #: failures that were put down to a node, in this session
        self.epoch = 0
        self.n_results = self.n_given_up = 0
        self.request: Suggest | None = None  #: without an answer yet
        self.last_answer: ConfigsSuggested | None = None
        self.ending: EndExperiment | None = None
        self.began_at = 0.0  #: of the session
        self.handled_at = 0.0  #: when the driver last looked at the time; a slow disk may have taken long since
        self.interrupt_level = 0
        self.has_success = False  #: in this session
        self.start_failures: dict[str, set[int]] = {}  #: error -> who failed with it before any report
        self.report: TrialReported | ReportRefused | CheckpointSaved | None = None  #: to be answered next
        #: Attempts that the driver started and has not heard the end of: what its slots must be taken by.
        self.held: dict[int, StartAttempt] = {}
        self.dirty: set[int] = set()  #: trials that changed since the last pass was checked

    @property
    def has_room(self) -> bool:
        """Whether anything is left that the searcher could be asked for."""
        is_open = any(row.status is TrialStatus.PAUSED and not row.is_wanted for row in self.rows)
        return len(self.rows) < self.plan.n_trials or (self.plan.thaws and is_open)

    def n_missing(self) -> tuple[int, int, int]:
        """See AskingBooks."""
        return self.asking.n_missing(self.rows, self.gone_nodes | self.quarantined, self.handled_at)

    @property
    def is_tripped(self) -> bool:
        """Whether so many trials failed alike at their start that nothing more is started for now."""
        n_alike = max(map(len, self.start_failures.values()), default=0)
        return n_alike >= self.plan.spec.n_alike_failures

    def note_success(self, row: Row) -> None:
        """An attempt reported or returned: its node is a good one, and not all fail alike."""
        self.has_success = True
        if row.placement is not None:
            self.good_nodes.add(row.placement.node)
        self.start_failures.clear()

    def set_status(self, index: int, status: TrialStatus) -> None:
        """The trial is in this state from now on."""
        self.rows[index].status = status
        self.dirty.add(index)

    def row_of(self, record: Any) -> Row:
        """The trial that the record is about."""
        require(0 <= record.trial < len(self.rows), "a record of a trial that nobody suggested", f"{record}")
        row: Row = self.rows[record.trial]
        return row

    def require_running(self, record: Any) -> Row:
        """The same, where the record is about the attempt that runs."""
        row = self.row_of(record)
        is_current = row.status is TrialStatus.RUNNING and row.attempt == record.attempt
        require(is_current, "a record of an attempt that does not run", f"{record}, {row}")
        return row
