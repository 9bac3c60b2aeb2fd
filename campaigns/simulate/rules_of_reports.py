"""What may be recorded of reports and checkpoints: answers are the oracle's, and nothing that is needed is deleted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from campaigns.simulate.books import Books
from campaigns.simulate.faults import require
from tunesmith.events import AnswerReport, CheckpointSaved, DeleteCheckpoint, ReportRefused, TrialReported, Verdict
from tunesmith.trial import TrialStatus


def _trial_reported(books: Books, record: TrialReported) -> None:
    row = books.require_running(record)
    require(row.told is None, "a late report became a result", f"{record}: it was told {row.told}")
    books.note_success(row)
    row.n_reports += 1
    if record.step > row.lost_at:
        row.forgive_losses()
    really = books.ledger.reports.get((record.trial, record.attempt, record.step))
    require(really is not None and _same(really, record), "a result that nobody reported", f"{record}, {really}")
    text = f"{record} after step {row.step}"
    require(record.step == row.step + 1, "a step was skipped or repeated", text)
    row.results.append((record.attempt, record.step, record.metrics))
    row.heard_at, row.has_reported = books.handled_at, True
    row.last_value = record.metrics["score"]
    if record.checkpoint is not None:
        row.add_checkpoint(record.step, record.checkpoint)
    books.n_results += 1
    books.dirty.add(record.trial)
    books.report = record


def _checkpoint_saved(books: Books, record: CheckpointSaved) -> None:
    row = books.require_running(record)
    require(record.step == row.step, "a checkpoint of another step", f"{record}, {row}")
    key = (record.trial, record.attempt, record.step)
    paths = [found[key].checkpoint for found in (books.ledger.reports, books.ledger.saved) if key in found]
    require(record.checkpoint in paths, "a checkpoint that nobody saved", f"{record}, {paths}")
    row.add_checkpoint(record.step, record.checkpoint)
    row.heard_at, row.has_reported = books.handled_at, True
    books.dirty.add(record.trial)
    books.report = record


def _report_refused(books: Books, record: ReportRefused) -> None:
    row = books.row_of(record)
    is_current = row.status is TrialStatus.RUNNING and row.attempt == record.attempt
    if is_current:
        row.heard_at, row.has_reported = books.handled_at, True
    is_due = is_current and row.told is None and record.step == row.step + 1
    require(not is_due, "a good report was refused", f"{record}, {row}")
    books.report = record


def _answer_report(books: Books, record: AnswerReport) -> None:
    report, books.report = books.report, None
    same = report is not None and _key(report) == _key(record)
    require(same, "an answer to another than who reported", f"{record}, the report was {report}")
    row, verdict = books.row_of(record), record.decision.verdict
    if isinstance(report, TrialReported):
        expected = books.oracle.verdict(report)
        row.is_told_by_stop = expected is Verdict.CONTINUE and row.stop is not None
        expected = Verdict.STOP if row.is_told_by_stop else expected
        text = f"{report} was answered {record.decision}, expected {expected}"
        require(verdict is expected, "another decision than the oracle's", text)
        if verdict is not Verdict.CONTINUE:
            row.told = verdict
        if verdict is Verdict.CLONE:
            _check_clone(books, report, record)


def _check_clone(books: Books, report: TrialReported, record: AnswerReport) -> None:
    row, clone, donor = books.row_of(record), record.decision.clone, books.oracle.donor(report)
    newest = None if donor is None else books.rows[donor].newest
    is_newest = clone is not None and newest is not None and (clone.donor, clone.checkpoint) == (donor, newest[1])
    require(is_newest, "another donor than the oracle's", f"{record}, expected trial {donor}, {newest}")
    assert newest is not None
    row.clone, row.clone_step, row.n_clones = clone, newest[0], row.n_clones + 1


def check_deletion(books: Books, record: DeleteCheckpoint) -> None:
    """Nobody needs the folder, now that it goes."""
    row = books.row_of(record)
    in_use = row.started_from if row.status is TrialStatus.RUNNING and record.trial in books.ledger.live else None
    require(record.path != in_use, "a checkpoint in use is deleted", f"{record}, {row}")
    kept = [path for _, path in row.checkpoints]
    require(record.path not in kept, "a checkpoint that is kept is deleted", f"{record}, {row}")
    _require_not_needed(books, record)


def _require_not_needed(books: Books, record: DeleteCheckpoint) -> None:
    """No trial runs from it, has it on loan, or is to start from it."""
    for index, row in enumerate(books.rows):
        is_in_use = row.status is TrialStatus.RUNNING and row.started_from == record.path
        is_lent = row.borrowed == record.path or (row.clone is not None and row.clone.checkpoint == record.path)
        text = f"{record}; trial {index} needs it: {row}"
        require(not is_in_use and not is_lent, "a checkpoint in use is deleted", text)


def _delete_checkpoint(books: Books, record: DeleteCheckpoint) -> None:
    row = books.row_of(record)
    is_newest = row.newest is not None and row.newest[1] == record.path
    require(not is_newest, "the newest checkpoint is deleted", f"{record}, {row}")
    _require_not_needed(books, record)
    row.checkpoints = [saved for saved in row.checkpoints if saved[1] != record.path]
    books.dirty.add(record.trial)


def _key(record: Any) -> tuple[int, int, int]:
    return record.trial, record.attempt, record.step


def _same(left: TrialReported, right: TrialReported) -> bool:
    a, b = left.metrics["score"], right.metrics.get("score", 0.0)
    is_equal = a == b or (math.isnan(a) and math.isnan(b))
    return is_equal and left.checkpoint == right.checkpoint and left.time_total_s == right.time_total_s


RULES: dict[type, Callable[[Books, Any], None]] = {
    TrialReported: _trial_reported,
    CheckpointSaved: _checkpoint_saved,
    ReportRefused: _report_refused,
    AnswerReport: _answer_report,
    DeleteCheckpoint: _delete_checkpoint,
}
