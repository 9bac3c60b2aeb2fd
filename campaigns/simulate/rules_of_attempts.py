"""What may be recorded of attempts: how they start, end, and what is concluded from that."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from campaigns.simulate.asking import SLACK_S, is_without_effect, n_fitting
from campaigns.simulate.books import Books
from campaigns.simulate.faults import require
from campaigns.simulate.rows import Row, status_after_end
from tunesmith.events import AttemptEnded, AttemptStarted, ConcludeAttempt, StartAttempt, StopAttempt
from tunesmith.trial import TrialStatus


def _start_attempt(books: Books, record: StartAttempt) -> None:
    row = books.row_of(record)
    is_startable = row.status in (TrialStatus.PENDING, TrialStatus.PAUSED) and books.ending is None
    require(not books.is_tripped, "a start though all fail alike", f"{record}")
    require(is_startable, "a start of a trial that cannot start", f"{record}, {row}, {books.ending}")
    require(record.attempt == row.attempt + 1, "attempts are not counted", f"{record} after {row.attempt}")
    require(row.not_before <= books.clock.now() + SLACK_S, "a start before its time", f"{record}, {row}")
    if books.plan.thaws and row.status is TrialStatus.PAUSED and not row.is_wanted:
        # A last resort: the searcher has nothing to say, and nothing runs that could change that.
        is_idle = books.last_answer is not None and is_without_effect(books.last_answer)
        is_last_resort = is_idle and all(other.status is not TrialStatus.RUNNING for other in books.rows)
        require(is_last_resort, "a thaw that nobody wanted", f"{record}, {books.last_answer}")
    row.is_wanted, row.given_up = False, None
    _make_clone(books, row, record)
    step, path = row.newest or (0, None)
    is_newest = (record.checkpoint, record.start_step) == (path, step)
    text = f"trial {record.trial} starts at step {record.start_step} from {record.checkpoint}, newest: {path}"
    require(is_newest, "a start not from the newest checkpoint", f"{text} of step {step}")
    require(record.config == row.config, "a start with another config", f"{record}, {row.config}")
    row.attempt, row.placement, row.started_from = record.attempt, record.placement, path
    row.results = [result for result in row.results if result[1] <= step]
    row.start_step = step
    row.not_before = -math.inf
    row.heard_at, row.has_reported = books.handled_at, False
    books.asking.note_start(record.trial, books.handled_at)
    books.set_status(record.trial, TrialStatus.RUNNING)
    _check_places(books)


def _make_clone(books: Books, row: Row, record: StartAttempt) -> None:
    """A trial that was told to become a clone does, and nobody else: from what the donor keeps."""
    told, row.clone = row.clone, None
    if told is None:
        require(record.donor is None, "a clone that nobody told to be one", f"{record}, {row}")
        return
    expected = (told.donor, told.checkpoint, told.config)
    is_same = (record.donor, record.checkpoint, record.config) == expected
    require(is_same, "a clone is not what it was told to be", f"{record}, {told}")
    step = row.clone_step
    row.return_loan()
    row.has_gone_back |= step < row.step
    row.checkpoints = [saved for saved in row.checkpoints if saved[0] <= step]
    row.checkpoints.append((step, told.checkpoint))
    row.config, row.borrowed, row.may_lend = told.config, told.checkpoint, False
    row.forgive_losses()


def _check_places(books: Books) -> None:
    running = [row.placement for row in books.rows if row.status is TrialStatus.RUNNING and row.placement]
    limit = books.plan.spec.max_concurrent_trials
    require(limit is None or len(running) <= limit, "more trials run than may", f"{len(running)} > {limit}")
    for node in books.plan.nodes:
        mine = [placement for placement in running if placement.node == node.name]
        taken = {"CPUs": (sum(p.resources.cpu for p in mine), node.cpu)}
        taken |= {f"GPU {gpu}": (sum(p.gpus.get(gpu, 0.0) for p in mine), 1.0) for gpu in node.gpus}
        for name, amount in node.custom.items():
            taken[name] = (sum(p.resources.custom.get(name, 0.0) for p in mine), amount)
        for name, (used, there_is) in taken.items():
            text = f"{used:g} {name} of {node.name} are taken, {there_is:g} there are"
            require(used <= there_is + 1e-6, "a slot given twice", text)


def _attempt_started(books: Books, record: AttemptStarted) -> None:
    row = books.require_running(record)
    row.heard_at, row.has_reported = books.handled_at, False


def _attempt_ended(books: Books, record: AttemptEnded) -> None:
    row = books.require_running(record)
    really = books.ledger.ended.get((record.trial, record.attempt))
    is_true = really is not None and really.outcome is record.outcome
    require(is_true or bool(books.ledger.lost_nodes), "an end that was none", f"{record}, really {really}")
    row.ended = record
    is_failure = row.is_given_up() or (record.outcome.is_failure and row.status_told() is None)
    row.is_node_to_blame = is_failure and not row.is_given_up() and _blames_node(books, row)
    is_counted = is_failure and not row.is_node_to_blame
    row.n_failures += is_counted
    if record.outcome.value == "LOST" or (record.outcome.value == "STOPPED" and row.status_told() is None):
        row.count_loss()
    row.n_crashes += is_counted and record.outcome.value == "SIGNALLED"
    if record.outcome.value == "RETURNED" and not row.is_given_up():
        books.note_success(row)
    elif is_failure and row.n_reports == 0 and not books.has_success:
        line = row.stop.reason if row.is_given_up() and row.stop else (record.error or "").splitlines()[-1]
        books.start_failures.setdefault(line, set()).add(record.trial)
    allowed = books.plan.spec.max_failures
    text = f"trial {record.trial} failed {row.n_failures} times, allowed are {allowed} and one more"
    require(allowed < 0 or row.n_failures <= allowed + 1, "more failures than allowed", text)


def _blames_node(books: Books, row: Row) -> bool:
    assert row.placement is not None
    node = row.placement.node
    if node in books.good_nodes:
        return False
    closed = {node, *books.gone_nodes, *books.quarantined}
    if n_fitting(books.plan, [], closed) < 1:
        return False
    books.n_strikes[node] = books.n_strikes.get(node, 0) + 1
    return True


def _stop_attempt(books: Books, record: StopAttempt) -> None:
    row = books.require_running(record)
    is_silent = row.silent_at(books.plan.spec) <= books.handled_at + SLACK_S
    is_given_up = record.status_after is TrialStatus.FAILED and is_silent and books.ending is None
    is_unwanted = row.given_up is not None and record.reason == row.given_up
    text = f"{record}, {row}"
    require(books.ending is not None or is_given_up or is_unwanted, "a stop without a reason", text)
    if row.told is None:
        row.stop = record
    books.n_given_up += is_given_up


def _conclude_attempt(books: Books, record: ConcludeAttempt) -> None:
    row = books.row_of(record)
    require(record.attempt == row.attempt, "a conclusion about another attempt", f"{record}, {row}")
    expected = _expected_status(books, row)
    require(expected is not None, "a conclusion about nothing", f"{record}, {row}")
    require(record.status is expected, "a trial in another state than its facts imply", f"{record}: {expected}")
    is_over = record.status is not TrialStatus.PENDING and record.status is not TrialStatus.PAUSED
    if is_over:
        row.forgive_losses()
    books.asking.note_conclusion(record, books.handled_at)
    row.not_before = -math.inf if record.not_before is None else record.not_before
    row.forget_attempt()
    if record.status not in (TrialStatus.PENDING, TrialStatus.INTERRUPTED):
        row.clone = None
    books.set_status(record.trial, record.status)


def _expected_status(books: Books, row: Row) -> TrialStatus | None:
    if row.status is TrialStatus.PAUSED:
        is_given_up = books.plan.scheduler == "synchronous" or row.given_up is not None
        is_by_scheduler = books.ending is None and is_given_up
        return TrialStatus.STOPPED if is_by_scheduler else None
    if row.status is not TrialStatus.RUNNING:
        return None
    if row.ended is None and not row.is_node_lost and not row.is_left_over:
        return None
    if row.is_node_to_blame:
        return TrialStatus.PENDING
    returned = row.ended is not None and row.ended.outcome.value == "RETURNED"
    told = row.status_told()
    if told is None or told is TrialStatus.FAILED or (returned and row.told is None):
        return status_after_end(row, books.plan.spec.max_failures)
    if told is TrialStatus.PENDING and books.ending is not None:
        return TrialStatus.INTERRUPTED  # it is a clone when the experiment goes on
    return told


RULES: dict[type, Callable[[Books, Any], None]] = {
    AttemptStarted: _attempt_started,
    AttemptEnded: _attempt_ended,
    StartAttempt: _start_attempt,
    StopAttempt: _stop_attempt,
    ConcludeAttempt: _conclude_attempt,
}
