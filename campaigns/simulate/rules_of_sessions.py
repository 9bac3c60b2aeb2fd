"""What may be recorded of sessions, of requests to the searcher, of nodes, and of the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from campaigns.simulate.asking import SLACK_S
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

if TYPE_CHECKING:
    from campaigns.simulate.witness import Witness


def _session_started(witness: Witness, record: SessionStarted) -> None:
    require(record.epoch > witness.epoch, "epochs do not grow", f"{record.epoch} after {witness.epoch}")
    witness.epoch, witness.ending, witness.request, witness.last_answer = record.epoch, None, None, None
    witness.interrupt_level, witness.has_success = 0, False
    witness.start_failures.clear()
    for forgotten in (witness.gone_nodes, witness.good_nodes, witness.quarantined, witness.n_strikes):
        forgotten.clear()
    witness.asking.begin_session()
    for index, row in enumerate(witness.rows):
        row.not_before, row.is_wanted = -math.inf, False
        row.forgive_losses()
        if row.status is TrialStatus.INTERRUPTED:
            witness.set_status(index, TrialStatus.PENDING)
        elif row.status is TrialStatus.RUNNING:
            told = row.status_told()
            if told in (None, TrialStatus.INTERRUPTED, TrialStatus.FAILED, TrialStatus.PENDING):
                row.forget_attempt()
                witness.set_status(index, TrialStatus.PENDING)
            else:
                row.is_left_over, row.placement = True, None


def _suggest(witness: Witness, record: Suggest) -> None:
    n_left, least = witness.plan.n_trials - len(witness.rows), 1
    if witness.plan.thaws:
        n_left += sum(row.status is TrialStatus.PAUSED for row in witness.rows)
        least = 0
    require(least <= record.n <= n_left, "too many configs asked for", f"{record}, {n_left} to go")
    missing = witness.n_missing()
    if record.instead_of is None:
        require(witness.request is None, "two requests to the searcher at a time", f"{record}")
        witness.asking.check_request(record, missing)
    else:
        witness.asking.check_stand_in(record, witness.request, n_idle=missing[0], now=witness.handled_at)
    witness.request, witness.last_answer = record, None


def _configs_suggested(witness: Witness, record: ConfigsSuggested) -> None:
    request = witness.request
    is_asked = request is not None and record.request == request.request
    require(is_asked, "an answer that nobody asked for", f"{record}")
    assert request is not None
    require(len(record.suggestions) <= request.n, "more configs than asked for", f"{record}")
    if request.instead_of is None:
        witness.asking.note_answer(record)
    witness.request, witness.last_answer = None, record
    for suggestion in record.suggestions:
        twin = next((i for i, row in enumerate(witness.rows) if row.config == suggestion.config), None)
        require(twin is None, "two trials share a config", f"{suggestion.config} is that of trial {twin}")
        witness.rows.append(Row(suggestion.config, max_t=suggestion.max_t or 0.0))
    require(len(witness.rows) <= witness.plan.n_trials, "more trials than asked for", f"{record}")
    for thaw in record.thaws:
        row = witness.rows[thaw.trial]
        _require_open(witness, row, thaw)
        row.max_t, row.is_wanted = thaw.max_t or row.max_t, row.status is TrialStatus.PAUSED
    for stop in record.stops:
        _require_open(witness, witness.rows[stop.trial], stop)
        witness.rows[stop.trial].given_up = stop.reason


def _require_open(witness: Witness, row: Row, proposal: Thaw | StopPaused) -> None:
    """The searcher may decide about it: it is paused, or runs and has not been told to end."""
    may_go_on = row.status is TrialStatus.RUNNING and row.status_told() in (
        None,
        TrialStatus.INTERRUPTED,
        TrialStatus.PENDING,
        TrialStatus.FAILED,
    )
    is_open = witness.plan.thaws and (row.status is TrialStatus.PAUSED or may_go_on)
    require(is_open, "a word about a trial that nobody can follow", f"{proposal}, {row}")


def _node_lost(witness: Witness, record: NodeLost) -> None:
    require(record.node in witness.ledger.lost_nodes, "a node that was not lost", f"{record}")
    witness.gone_nodes.add(record.node)
    for row in witness.rows:
        if row.status is TrialStatus.RUNNING and row.placement and row.placement.node == record.node:
            row.is_node_lost = True


def _quarantine_node(witness: Witness, record: QuarantineNode) -> None:
    is_due = witness.n_strikes.get(record.node, 0) >= 3 and record.node not in witness.quarantined
    require(is_due, "a node put aside without three failures there", f"{record}, {witness.n_strikes}")
    witness.quarantined.add(record.node)


def _interrupt_requested(witness: Witness, record: InterruptRequested) -> None:
    witness.interrupt_level = max(witness.interrupt_level, record.level)


def _end_experiment(witness: Witness, record: EndExperiment) -> None:
    require(witness.ending is None, "the experiment ends twice", f"{record} after {witness.ending}")
    witness.ending = record
    n_open = sum(row.status in (TrialStatus.PENDING, TrialStatus.RUNNING, TrialStatus.PAUSED) for row in witness.rows)
    spec, now = witness.plan.spec, witness.clock.now()
    is_true = {
        EndReason.FINISHED: n_open == 0 and len(witness.rows) == witness.plan.n_trials,
        EndReason.EXHAUSTED: n_open == 0 and witness.last_answer is not None and witness.last_answer.is_exhausted,
        EndReason.TIME_BUDGET: spec.time_budget_s is not None
        and now >= witness.began_at + spec.time_budget_s - SLACK_S,
        EndReason.STEP_BUDGET: spec.max_total_steps is not None and witness.n_results >= spec.max_total_steps,
        EndReason.INTERRUPTED: witness.interrupt_level > 0,
        EndReason.FAILED: _may_fail(witness),
    }.get(record.why, False)
    require(is_true, "an end without its reason", f"{record}, {n_open} open")


def _may_fail(witness: Witness) -> bool:
    n_failed = sum(row.status is TrialStatus.FAILED for row in witness.rows)
    if witness.is_tripped:
        return not any(row.status is TrialStatus.RUNNING for row in witness.rows)
    return n_failed > 0 or len(witness.ledger.lost_nodes | witness.quarantined) == witness.plan.n_nodes


RULES: dict[type, Callable[[Witness, Any], None]] = {
    SessionStarted: _session_started,
    ConfigsSuggested: _configs_suggested,
    InterruptRequested: _interrupt_requested,
    NodeLost: _node_lost,
    Suggest: _suggest,
    QuarantineNode: _quarantine_node,
    EndExperiment: _end_experiment,
}
