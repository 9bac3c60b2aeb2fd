"""Looks at every committed record, every command that is carried out and every pass, and compares them with the ledger
of what really happened and with books of its own. What must never be is raised as a Violation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from campaigns.simulate import rules_of_attempts, rules_of_reports, rules_of_sessions
from campaigns.simulate.asking import SLACK_S
from campaigns.simulate.books import Books
from campaigns.simulate.faults import Violation, require
from campaigns.simulate.ledger import Ledger
from campaigns.simulate.plan import Plan
from campaigns.simulate.rules_of_reports import check_deletion
from tunesmith.clock import Clock
from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    Command,
    DeleteCheckpoint,
    Event,
    NodeLost,
    Record,
    StartAttempt,
    StopAttempt,
    Suggest,
)

#: The commands that somebody acts on; the others are said by being recorded.
_CARRIED_OUT = (Suggest, StartAttempt, AnswerReport, StopAttempt, DeleteCheckpoint)


_RULES = {**rules_of_sessions.RULES, **rules_of_attempts.RULES, **rules_of_reports.RULES}


class Witness(Books):
    """Sees all that the driver does. Args as of Books."""

    def __init__(self, plan: Plan, ledger: Ledger, clock: Clock) -> None:
        super().__init__(plan, ledger, clock)
        self.batch_sizes: list[int] = []  #: of the commits: where the passes end in the log
        self._to_carry_out: list[Command] = []  #: committed in the last pass, not yet carried out
        self.check_pass: Callable[[], None] = lambda: None

    def begin_session(self, check_pass: Callable[[], None]) -> None:
        """A new driver is about to run."""
        self.began_at = self.handled_at = self.clock.now()
        self.check_pass = check_pass
        self._to_carry_out = []
        self.held.clear()
        self.ledger.lost_nodes.clear()
        self.dirty = set(range(len(self.rows)))

    # ------------------------------------------------------------ what the driver does

    def on_commit(self, records: Sequence[Record]) -> None:
        """The records are in the store."""
        self.batch_sizes.append(len(records))
        for record in records:
            is_answer = isinstance(record, AnswerReport)
            if self.report is not None and not is_answer:
                raise Violation("a report without its answer", f"{self.report} is followed by {record}")
            _RULES[type(record)](self, record)
        require(self.report is None, "a report without its answer", f"{self.report}")
        for index, row in enumerate(self.rows):
            is_settled = row.ended is None and not row.is_node_lost and not row.is_left_over
            require(is_settled, "an end without a conclusion in its commit", f"trial {index}: {row}")
        self._to_carry_out = [record for record in records if isinstance(record, _CARRIED_OUT)]

    def on_carry_out(self, command: Command) -> None:
        """The command is about to take effect: it must be one that was just committed, and none twice."""
        for place, committed in enumerate(self._to_carry_out):
            if committed is command or committed == command:
                del self._to_carry_out[place]
                break
        else:
            raise Violation("carried out what was not committed, or twice", f"{command}")
        if isinstance(command, DeleteCheckpoint):
            check_deletion(self, command)
        elif isinstance(command, StartAttempt):
            require(command.trial not in self.held, "a trial started twice", f"{command}")
            self.held[command.trial] = command

    def on_acknowledged(self, trial: int, attempt: int, step: int) -> None:
        """A live attempt was told that its report is stored; from now on it must be."""
        report = self.ledger.reports[trial, attempt, step]
        self.ledger.acknowledged[trial, attempt, step] = report
        row = self.rows[trial]
        is_stored = any(found[:2] == (attempt, step) for found in row.results)
        require(is_stored, "an acknowledged report is not in the log", f"{report}")

    def on_wait(self, timeout_s: float | None) -> None:
        """Between two passes, before time goes by."""
        text = f"{self._to_carry_out}"
        require(not self._to_carry_out, "a committed command is not carried out", text)
        self.check_pass()
        n_idle = self.n_missing()[0]
        idle_deadline = self.asking.look(None if self.ending else self.request, n_idle=n_idle, now=self.handled_at)
        deadline = min(self._next_deadline(), idle_deadline)
        latest = math.inf if timeout_s is None else self.clock.now() + timeout_s
        text = f"it waits until {latest} and should be awake at {deadline}; it is {self.clock.now()}"
        require(latest <= max(deadline, self.clock.now()) + SLACK_S, "a deadline is slept through", text)

    def _next_deadline(self) -> float:
        if self.ending is not None:
            return math.inf
        # One that had passed when the driver last looked waits for a slot, which an event will bring.
        deadlines = [row.not_before for row in self.rows if row.not_before > self.handled_at + SLACK_S]
        deadlines += [row.silent_at(self.plan.spec) for row in self.rows]
        budget_s = self.plan.spec.time_budget_s
        return min([*deadlines, self.began_at + budget_s if budget_s is not None else math.inf])

    def on_events(self, events: Sequence[Event]) -> None:
        """What the driver is about to hear."""
        self.handled_at = self.clock.now()
        for event in events:
            if isinstance(event, AttemptEnded):
                held = self.held.get(event.trial)
                if held is not None and held.attempt == event.attempt:
                    del self.held[event.trial]
            elif isinstance(event, NodeLost):
                gone = [trial for trial, start in self.held.items() if start.placement.node == event.node]
                for trial in gone:
                    del self.held[trial]
