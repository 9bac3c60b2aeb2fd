"""What may be recorded of sessions, of requests to the searcher, of nodes, and of the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from campaigns.simulate.asking import SLACK_S
from campaigns.simulate.books import Books
from campaigns.simulate.faults import require
from campaigns.simulate.rows import Row
from tunesmith.events import (
    ConfigsSuggested,
    EndExperiment,
    EndReason,
    InterruptRequested,
    NodeLost,
    QuarantineNode,
    SessionStarted,
    StopPaused,
    Suggest,
    Thaw,
)
from tunesmith.trial import TrialStatus


def _session_started(books: Books, record: SessionStarted) -> None:
    require(record.epoch > books.epoch, "epochs do not grow", f"{record.epoch} after {books.epoch}")
    books.epoch, books.ending, books.request, books.last_answer = record.epoch, None, None, None
    books.interrupt_level, books.has_success = 0, False
    books.start_failures.clear()
    for forgotten in (books.gone_nodes, books.good_nodes, books.quarantined, books.n_strikes):
        forgotten.clear()
    books.asking.begin_session()
    for index, row in enumerate(books.rows):
        row.not_before, row.is_wanted = -math.inf, False
        row.forgive_losses()
        if row.status is TrialStatus.INTERRUPTED:
            books.set_status(index, TrialStatus.PENDING)
        elif row.status is TrialStatus.RUNNING:
            told = row.status_told()
            if told in (None, TrialStatus.INTERRUPTED, TrialStatus.FAILED, TrialStatus.PENDING):
                row.forget_attempt()
                books.set_status(index, TrialStatus.PENDING)
            else:
                row.is_left_over, row.placement = True, None


def _suggest(books: Books, record: Suggest) -> None:
    n_left, least = books.plan.n_trials - len(books.rows), 1
    if books.plan.thaws:
        n_left += sum(row.status is TrialStatus.PAUSED for row in books.rows)
        least = 0
    require(least <= record.n <= n_left, "too many configs asked for", f"{record}, {n_left} to go")
    missing = books.n_missing()
    if record.instead_of is None:
        require(books.request is None, "two requests to the searcher at a time", f"{record}")
        books.asking.check_request(record, missing)
    else:
        books.asking.check_stand_in(record, books.request, n_idle=missing[0], now=books.handled_at)
    books.request, books.last_answer = record, None


def _configs_suggested(books: Books, record: ConfigsSuggested) -> None:
    request = books.request
    is_asked = request is not None and record.request == request.request
    require(is_asked, "an answer that nobody asked for", f"{record}")
    assert request is not None
    require(len(record.suggestions) <= request.n, "more configs than asked for", f"{record}")
    if request.instead_of is None:
        books.asking.note_answer(record)
    books.request, books.last_answer = None, record
    for suggestion in record.suggestions:
        twin = next((i for i, row in enumerate(books.rows) if row.config == suggestion.config), None)
        require(twin is None, "two trials share a config", f"{suggestion.config} is that of trial {twin}")
        books.rows.append(Row(suggestion.config, max_t=suggestion.max_t or 0.0))
    require(len(books.rows) <= books.plan.n_trials, "more trials than asked for", f"{record}")
    for thaw in record.thaws:
        row = books.rows[thaw.trial]
        _require_open(books, row, thaw)
        row.max_t, row.is_wanted = thaw.max_t or row.max_t, row.status is TrialStatus.PAUSED
    for stop in record.stops:
        _require_open(books, books.rows[stop.trial], stop)
        books.rows[stop.trial].given_up = stop.reason


def _require_open(books: Books, row: Row, proposal: Thaw | StopPaused) -> None:
    """The searcher may decide about it: it is paused, or runs and has not been told to end."""
    may_go_on = row.status is TrialStatus.RUNNING and row.status_told() in (
        None,
        TrialStatus.INTERRUPTED,
        TrialStatus.PENDING,
        TrialStatus.FAILED,
    )
    is_open = books.plan.thaws and (row.status is TrialStatus.PAUSED or may_go_on)
    require(is_open, "a word about a trial that nobody can follow", f"{proposal}, {row}")


def _node_lost(books: Books, record: NodeLost) -> None:
    require(record.node in books.ledger.lost_nodes, "a node that was not lost", f"{record}")
    books.gone_nodes.add(record.node)
    for row in books.rows:
        if row.status is TrialStatus.RUNNING and row.placement and row.placement.node == record.node:
            row.is_node_lost = True


def _quarantine_node(books: Books, record: QuarantineNode) -> None:
    is_due = books.n_strikes.get(record.node, 0) >= 3 and record.node not in books.quarantined
    require(is_due, "a node put aside without three failures there", f"{record}, {books.n_strikes}")
    books.quarantined.add(record.node)


def _interrupt_requested(books: Books, record: InterruptRequested) -> None:
    books.interrupt_level = max(books.interrupt_level, record.level)


def _end_experiment(books: Books, record: EndExperiment) -> None:
    require(books.ending is None, "the experiment ends twice", f"{record} after {books.ending}")
    books.ending = record
    n_open = sum(row.status in (TrialStatus.PENDING, TrialStatus.RUNNING, TrialStatus.PAUSED) for row in books.rows)
    spec, now = books.plan.spec, books.clock.now()
    is_true = {
        EndReason.FINISHED: n_open == 0 and len(books.rows) == books.plan.n_trials,
        EndReason.EXHAUSTED: n_open == 0 and books.last_answer is not None and books.last_answer.is_exhausted,
        EndReason.TIME_BUDGET: spec.time_budget_s is not None and now >= books.began_at + spec.time_budget_s - SLACK_S,
        EndReason.STEP_BUDGET: spec.max_total_steps is not None and books.n_results >= spec.max_total_steps,
        EndReason.INTERRUPTED: books.interrupt_level > 0,
        EndReason.FAILED: _may_fail(books),
    }.get(record.why, False)
    require(is_true, "an end without its reason", f"{record}, {n_open} open")


def _may_fail(books: Books) -> bool:
    n_failed = sum(row.status is TrialStatus.FAILED for row in books.rows)
    if books.is_tripped:
        return not any(row.status is TrialStatus.RUNNING for row in books.rows)
    return n_failed > 0 or len(books.ledger.lost_nodes | books.quarantined) == books.plan.n_nodes


RULES: dict[type, Callable[[Books, Any], None]] = {
    SessionStarted: _session_started,
    ConfigsSuggested: _configs_suggested,
    InterruptRequested: _interrupt_requested,
    NodeLost: _node_lost,
    Suggest: _suggest,
    QuarantineNode: _quarantine_node,
    EndExperiment: _end_experiment,
}
