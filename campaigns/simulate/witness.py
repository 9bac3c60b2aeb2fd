"""Looks at every committed record, every command that is carried out and every pass, and compares them with the ledger
of what really happened and with books of its own. What must never be is raised as a Violation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from campaigns.simulate.asking import SLACK_S, AskingBooks, n_fitting
from campaigns.simulate.faults import Violation, require
from campaigns.simulate.ledger import Ledger
from campaigns.simulate.oracle import Oracle
from campaigns.simulate.plan import Plan
from campaigns.simulate.rows import Row, status_after_end
from tunesmith.clock import Clock
from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    Command,
    ConcludeAttempt,
    ConfigsSuggested,
    DeleteCheckpoint,
    EndExperiment,
    EndReason,
    Event,
    InterruptRequested,
    NodeLost,
    QuarantineNode,
    Record,
    ReportRefused,
    SessionStarted,
    StartAttempt,
    StopAttempt,
    StopPaused,
    Suggest,
    Thaw,
    TrialReported,
    Verdict,
)
from tunesmith.trial import TrialStatus

#: The commands that somebody acts on; the others are said by being recorded.
_CARRIED_OUT = (Suggest, StartAttempt, AnswerReport, StopAttempt, DeleteCheckpoint)


def is_without_effect(answer: ConfigsSuggested) -> bool:
    """Whether the searcher had nothing to say."""
    return not (answer.suggestions or answer.thaws or answer.stops)


class Witness:
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
        self.batch_sizes: list[int] = []  #: of the commits: where the passes end in the log
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
        self._report: TrialReported | ReportRefused | CheckpointSaved | None = None  #: to be answered next
        self._to_carry_out: list[Command] = []  #: committed in the last pass, not yet carried out
        #: Attempts that the driver started and has not heard the end of: what its slots must be taken by.
        self.held: dict[int, StartAttempt] = {}
        self.check_pass: Callable[[], None] = lambda: None
        self.dirty: set[int] = set()  #: trials that changed since the last pass was checked

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
            if self._report is not None and not is_answer:
                raise Violation("a report without its answer", f"{self._report} is followed by {record}")
            _RULES[type(record)](self, record)
        require(self._report is None, "a report without its answer", f"{self._report}")
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
            self._check_deletion(command)
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

    # ------------------------------------------------------------ rules: sessions and configs

    def _session_started(self, record: SessionStarted) -> None:
        require(record.epoch > self.epoch, "epochs do not grow", f"{record.epoch} after {self.epoch}")
        self.epoch, self.ending, self.request, self.last_answer = record.epoch, None, None, None
        self.interrupt_level, self.has_success = 0, False
        self.start_failures.clear()
        for forgotten in (self.gone_nodes, self.good_nodes, self.quarantined, self.n_strikes):
            forgotten.clear()
        self.asking.begin_session()
        for index, row in enumerate(self.rows):
            row.not_before, row.is_wanted = -math.inf, False
            row.forgive_losses()
            if row.status is TrialStatus.INTERRUPTED:
                self._set(index, TrialStatus.PENDING)
            elif row.status is TrialStatus.RUNNING:
                told = row.status_told()
                if told in (None, TrialStatus.INTERRUPTED, TrialStatus.FAILED, TrialStatus.PENDING):
                    row.forget_attempt()
                    self._set(index, TrialStatus.PENDING)
                else:
                    row.is_left_over, row.placement = True, None

    @property
    def has_room(self) -> bool:
        """Whether anything is left that the searcher could be asked for."""
        is_open = any(row.status is TrialStatus.PAUSED and not row.is_wanted for row in self.rows)
        return len(self.rows) < self.plan.n_trials or (self.plan.thaws and is_open)

    def _suggest(self, record: Suggest) -> None:
        n_left, least = self.plan.n_trials - len(self.rows), 1
        if self.plan.thaws:
            n_left += sum(row.status is TrialStatus.PAUSED for row in self.rows)
            least = 0
        require(least <= record.n <= n_left, "too many configs asked for", f"{record}, {n_left} to go")
        missing = self.n_missing()
        if record.instead_of is None:
            require(self.request is None, "two requests to the searcher at a time", f"{record}")
            self.asking.check_request(record, missing)
        else:
            self.asking.check_stand_in(record, self.request, n_idle=missing[0], now=self.handled_at)
        self.request, self.last_answer = record, None

    def _configs_suggested(self, record: ConfigsSuggested) -> None:
        request = self.request
        is_asked = request is not None and record.request == request.request
        require(is_asked, "an answer that nobody asked for", f"{record}")
        assert request is not None
        require(len(record.suggestions) <= request.n, "more configs than asked for", f"{record}")
        if request.instead_of is None:
            self.asking.note_answer(record)
        self.request, self.last_answer = None, record
        for suggestion in record.suggestions:
            twin = next((i for i, row in enumerate(self.rows) if row.config == suggestion.config), None)
            require(twin is None, "two trials share a config", f"{suggestion.config} is that of trial {twin}")
            self.rows.append(Row(suggestion.config, max_t=suggestion.max_t or 0.0))
        require(len(self.rows) <= self.plan.n_trials, "more trials than asked for", f"{record}")
        for thaw in record.thaws:
            row = self.rows[thaw.trial]
            self._require_open(row, thaw)
            row.max_t, row.is_wanted = thaw.max_t or row.max_t, row.status is TrialStatus.PAUSED
        for stop in record.stops:
            self._require_open(self.rows[stop.trial], stop)
            self.rows[stop.trial].given_up = stop.reason

    def _require_open(self, row: Row, proposal: Thaw | StopPaused) -> None:
        """The searcher may decide about it: it is paused, or runs and has not been told to end."""
        may_go_on = row.status is TrialStatus.RUNNING and row.status_told() in (
            None,
            TrialStatus.INTERRUPTED,
            TrialStatus.PENDING,
            TrialStatus.FAILED,
        )
        is_open = self.plan.thaws and (row.status is TrialStatus.PAUSED or may_go_on)
        require(is_open, "a word about a trial that nobody can follow", f"{proposal}, {row}")

    # ------------------------------------------------------------ rules: attempts

    def _start_attempt(self, record: StartAttempt) -> None:
        row = self._row(record)
        is_startable = row.status in (TrialStatus.PENDING, TrialStatus.PAUSED) and self.ending is None
        require(not self.is_tripped, "a start though all fail alike", f"{record}")
        require(is_startable, "a start of a trial that cannot start", f"{record}, {row}, {self.ending}")
        require(record.attempt == row.attempt + 1, "attempts are not counted", f"{record} after {row.attempt}")
        require(row.not_before <= self.clock.now() + SLACK_S, "a start before its time", f"{record}, {row}")
        if self.plan.thaws and row.status is TrialStatus.PAUSED and not row.is_wanted:
            # A last resort: the searcher has nothing to say, and nothing runs that could change that.
            is_idle = self.last_answer is not None and is_without_effect(self.last_answer)
            is_last_resort = is_idle and all(other.status is not TrialStatus.RUNNING for other in self.rows)
            require(is_last_resort, "a thaw that nobody wanted", f"{record}, {self.last_answer}")
        row.is_wanted, row.given_up = False, None
        self._make_clone(row, record)
        step, path = row.newest or (0, None)
        is_newest = (record.checkpoint, record.start_step) == (path, step)
        text = f"trial {record.trial} starts at step {record.start_step} from {record.checkpoint}, newest: {path}"
        require(is_newest, "a start not from the newest checkpoint", f"{text} of step {step}")
        require(record.config == row.config, "a start with another config", f"{record}, {row.config}")
        row.attempt, row.placement, row.started_from = record.attempt, record.placement, path
        row.results = [result for result in row.results if result[1] <= step]
        row.start_step = step
        row.not_before = -math.inf
        row.heard_at, row.has_reported = self.handled_at, False
        self.asking.note_start(record.trial, self.handled_at)
        self._set(record.trial, TrialStatus.RUNNING)
        self._check_places()

    def _make_clone(self, row: Row, record: StartAttempt) -> None:
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

    def _check_places(self) -> None:
        running = [row.placement for row in self.rows if row.status is TrialStatus.RUNNING and row.placement]
        limit = self.plan.spec.max_concurrent_trials
        require(limit is None or len(running) <= limit, "more trials run than may", f"{len(running)} > {limit}")
        for node in self.plan.nodes:
            mine = [placement for placement in running if placement.node == node.name]
            taken = {"CPUs": (sum(p.resources.cpu for p in mine), node.cpu)}
            taken |= {f"GPU {gpu}": (sum(p.gpus.get(gpu, 0.0) for p in mine), 1.0) for gpu in node.gpus}
            for name, amount in node.custom.items():
                taken[name] = (sum(p.resources.custom.get(name, 0.0) for p in mine), amount)
            for name, (used, there_is) in taken.items():
                text = f"{used:g} {name} of {node.name} are taken, {there_is:g} there are"
                require(used <= there_is + 1e-6, "a slot given twice", text)

    def _attempt_started(self, record: AttemptStarted) -> None:
        row = self._require_running(record)
        row.heard_at, row.has_reported = self.handled_at, False

    def _attempt_ended(self, record: AttemptEnded) -> None:
        row = self._require_running(record)
        really = self.ledger.ended.get((record.trial, record.attempt))
        is_true = really is not None and really.outcome is record.outcome
        require(is_true or bool(self.ledger.lost_nodes), "an end that was none", f"{record}, really {really}")
        row.ended = record
        is_failure = row.is_given_up() or (record.outcome.is_failure and row.status_told() is None)
        row.is_node_to_blame = is_failure and not row.is_given_up() and self._blames_node(row)
        is_counted = is_failure and not row.is_node_to_blame
        row.n_failures += is_counted
        if record.outcome.value == "LOST" or (record.outcome.value == "STOPPED" and row.status_told() is None):
            row.count_loss()
        row.n_crashes += is_counted and record.outcome.value == "SIGNALLED"
        if record.outcome.value == "RETURNED" and not row.is_given_up():
            self._note_success(row)
        elif is_failure and row.n_reports == 0 and not self.has_success:
            line = row.stop.reason if row.is_given_up() and row.stop else (record.error or "").splitlines()[-1]
            self.start_failures.setdefault(line, set()).add(record.trial)
        allowed = self.plan.spec.max_failures
        text = f"trial {record.trial} failed {row.n_failures} times, allowed are {allowed} and one more"
        require(allowed < 0 or row.n_failures <= allowed + 1, "more failures than allowed", text)

    def _node_lost(self, record: NodeLost) -> None:
        require(record.node in self.ledger.lost_nodes, "a node that was not lost", f"{record}")
        self.gone_nodes.add(record.node)
        for row in self.rows:
            if row.status is TrialStatus.RUNNING and row.placement and row.placement.node == record.node:
                row.is_node_lost = True

    def _blames_node(self, row: Row) -> bool:
        assert row.placement is not None
        node = row.placement.node
        if node in self.good_nodes:
            return False
        closed = {node, *self.gone_nodes, *self.quarantined}
        if n_fitting(self.plan, [], closed) < 1:
            return False
        self.n_strikes[node] = self.n_strikes.get(node, 0) + 1
        return True

    def _quarantine_node(self, record: QuarantineNode) -> None:
        is_due = self.n_strikes.get(record.node, 0) >= 3 and record.node not in self.quarantined
        require(is_due, "a node put aside without three failures there", f"{record}, {self.n_strikes}")
        self.quarantined.add(record.node)

    def _conclude_attempt(self, record: ConcludeAttempt) -> None:
        row = self._row(record)
        require(record.attempt == row.attempt, "a conclusion about another attempt", f"{record}, {row}")
        expected = self._expected_status(row)
        require(expected is not None, "a conclusion about nothing", f"{record}, {row}")
        require(record.status is expected, "a trial in another state than its facts imply", f"{record}: {expected}")
        is_over = record.status is not TrialStatus.PENDING and record.status is not TrialStatus.PAUSED
        if is_over:
            row.forgive_losses()
        self.asking.note_conclusion(record, self.handled_at)
        row.not_before = -math.inf if record.not_before is None else record.not_before
        row.forget_attempt()
        if record.status not in (TrialStatus.PENDING, TrialStatus.INTERRUPTED):
            row.clone = None
        self._set(record.trial, record.status)

    def _expected_status(self, row: Row) -> TrialStatus | None:
        if row.status is TrialStatus.PAUSED:
            is_given_up = self.plan.scheduler == "synchronous" or row.given_up is not None
            is_by_scheduler = self.ending is None and is_given_up
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
            return status_after_end(row, self.plan.spec.max_failures)
        if told is TrialStatus.PENDING and self.ending is not None:
            return TrialStatus.INTERRUPTED  # it is a clone when the experiment goes on
        return told

    # ------------------------------------------------------------ rules: reports

    def _trial_reported(self, record: TrialReported) -> None:
        row = self._require_running(record)
        require(row.told is None, "a late report became a result", f"{record}: it was told {row.told}")
        self._note_success(row)
        row.n_reports += 1
        if record.step > row.lost_at:
            row.forgive_losses()
        really = self.ledger.reports.get((record.trial, record.attempt, record.step))
        require(really is not None and _same(really, record), "a result that nobody reported", f"{record}, {really}")
        text = f"{record} after step {row.step}"
        require(record.step == row.step + 1, "a step was skipped or repeated", text)
        row.results.append((record.attempt, record.step, record.metrics))
        row.heard_at, row.has_reported = self.handled_at, True
        row.last_value = record.metrics["score"]
        if record.checkpoint is not None:
            row.add_checkpoint(record.step, record.checkpoint)
        self.n_results += 1
        self.dirty.add(record.trial)
        self._report = record

    def _checkpoint_saved(self, record: CheckpointSaved) -> None:
        row = self._require_running(record)
        require(record.step == row.step, "a checkpoint of another step", f"{record}, {row}")
        key = (record.trial, record.attempt, record.step)
        paths = [found[key].checkpoint for found in (self.ledger.reports, self.ledger.saved) if key in found]
        require(record.checkpoint in paths, "a checkpoint that nobody saved", f"{record}, {paths}")
        row.add_checkpoint(record.step, record.checkpoint)
        row.heard_at, row.has_reported = self.handled_at, True
        self.dirty.add(record.trial)
        self._report = record

    def _report_refused(self, record: ReportRefused) -> None:
        row = self._row(record)
        is_current = row.status is TrialStatus.RUNNING and row.attempt == record.attempt
        if is_current:
            row.heard_at, row.has_reported = self.handled_at, True
        is_due = is_current and row.told is None and record.step == row.step + 1
        require(not is_due, "a good report was refused", f"{record}, {row}")
        self._report = record

    def _answer_report(self, record: AnswerReport) -> None:
        report, self._report = self._report, None
        same = report is not None and _key(report) == _key(record)
        require(same, "an answer to another than who reported", f"{record}, the report was {report}")
        row, verdict = self._row(record), record.decision.verdict
        if isinstance(report, TrialReported):
            expected = self.oracle.verdict(report)
            row.is_told_by_stop = expected is Verdict.CONTINUE and row.stop is not None
            expected = Verdict.STOP if row.is_told_by_stop else expected
            text = f"{report} was answered {record.decision}, expected {expected}"
            require(verdict is expected, "another decision than the oracle's", text)
            if verdict is not Verdict.CONTINUE:
                row.told = verdict
            if verdict is Verdict.CLONE:
                self._check_clone(report, record)

    def _check_clone(self, report: TrialReported, record: AnswerReport) -> None:
        row, clone, donor = self._row(record), record.decision.clone, self.oracle.donor(report)
        newest = None if donor is None else self.rows[donor].newest
        is_newest = clone is not None and newest is not None and (clone.donor, clone.checkpoint) == (donor, newest[1])
        require(is_newest, "another donor than the oracle's", f"{record}, expected trial {donor}, {newest}")
        assert newest is not None
        row.clone, row.clone_step, row.n_clones = clone, newest[0], row.n_clones + 1

    def _stop_attempt(self, record: StopAttempt) -> None:
        row = self._require_running(record)
        is_silent = row.silent_at(self.plan.spec) <= self.handled_at + SLACK_S
        is_given_up = record.status_after is TrialStatus.FAILED and is_silent and self.ending is None
        is_unwanted = row.given_up is not None and record.reason == row.given_up
        text = f"{record}, {row}"
        require(self.ending is not None or is_given_up or is_unwanted, "a stop without a reason", text)
        if row.told is None:
            row.stop = record
        self.n_given_up += is_given_up

    def _check_deletion(self, record: DeleteCheckpoint) -> None:
        """Nobody needs the folder, now that it goes."""
        row = self._row(record)
        in_use = row.started_from if row.status is TrialStatus.RUNNING and record.trial in self.ledger.live else None
        require(record.path != in_use, "a checkpoint in use is deleted", f"{record}, {row}")
        kept = [path for _, path in row.checkpoints]
        require(record.path not in kept, "a checkpoint that is kept is deleted", f"{record}, {row}")
        self._require_not_needed(record)

    def _require_not_needed(self, record: DeleteCheckpoint) -> None:
        """No trial runs from it, has it on loan, or is to start from it."""
        for index, row in enumerate(self.rows):
            is_in_use = row.status is TrialStatus.RUNNING and row.started_from == record.path
            is_lent = row.borrowed == record.path or (row.clone is not None and row.clone.checkpoint == record.path)
            text = f"{record}; trial {index} needs it: {row}"
            require(not is_in_use and not is_lent, "a checkpoint in use is deleted", text)

    def _delete_checkpoint(self, record: DeleteCheckpoint) -> None:
        row = self._row(record)
        is_newest = row.newest is not None and row.newest[1] == record.path
        require(not is_newest, "the newest checkpoint is deleted", f"{record}, {row}")
        self._require_not_needed(record)
        row.checkpoints = [saved for saved in row.checkpoints if saved[1] != record.path]
        self.dirty.add(record.trial)

    # ------------------------------------------------------------ rules: ends

    def _interrupt_requested(self, record: InterruptRequested) -> None:
        self.interrupt_level = max(self.interrupt_level, record.level)

    def _end_experiment(self, record: EndExperiment) -> None:
        require(self.ending is None, "the experiment ends twice", f"{record} after {self.ending}")
        self.ending = record
        n_open = sum(row.status in (TrialStatus.PENDING, TrialStatus.RUNNING, TrialStatus.PAUSED) for row in self.rows)
        spec, now = self.plan.spec, self.clock.now()
        is_true = {
            EndReason.FINISHED: n_open == 0 and len(self.rows) == self.plan.n_trials,
            EndReason.EXHAUSTED: n_open == 0 and self.last_answer is not None and self.last_answer.is_exhausted,
            EndReason.TIME_BUDGET: spec.time_budget_s is not None
            and now >= self.began_at + spec.time_budget_s - SLACK_S,
            EndReason.STEP_BUDGET: spec.max_total_steps is not None and self.n_results >= spec.max_total_steps,
            EndReason.INTERRUPTED: self.interrupt_level > 0,
            EndReason.FAILED: self._may_fail(),
        }.get(record.why, False)
        require(is_true, "an end without its reason", f"{record}, {n_open} open")

    def _may_fail(self) -> bool:
        n_failed = sum(row.status is TrialStatus.FAILED for row in self.rows)
        if self.is_tripped:
            return not any(row.status is TrialStatus.RUNNING for row in self.rows)
        return n_failed > 0 or len(self.ledger.lost_nodes | self.quarantined) == self.plan.n_nodes

    # ------------------------------------------------------------ helpers

    def n_missing(self) -> tuple[int, int, int]:
        """See AskingBooks."""
        return self.asking.n_missing(self.rows, self.gone_nodes | self.quarantined, self.handled_at)

    @property
    def is_tripped(self) -> bool:
        """Whether so many trials failed alike at their start that nothing more is started for now."""
        n_alike = max(map(len, self.start_failures.values()), default=0)
        return n_alike >= self.plan.spec.n_alike_failures

    def _note_success(self, row: Row) -> None:
        self.has_success = True
        if row.placement is not None:
            self.good_nodes.add(row.placement.node)
        self.start_failures.clear()

    def _set(self, index: int, status: TrialStatus) -> None:
        self.rows[index].status = status
        self.dirty.add(index)

    def _row(self, record: Any) -> Row:
        require(0 <= record.trial < len(self.rows), "a record of a trial that nobody suggested", f"{record}")
        return self.rows[record.trial]

    def _require_running(self, record: Any) -> Row:
        row = self._row(record)
        is_current = row.status is TrialStatus.RUNNING and row.attempt == record.attempt
        require(is_current, "a record of an attempt that does not run", f"{record}, {row}")
        return row


def _key(record: Any) -> tuple[int, int, int]:
    return record.trial, record.attempt, record.step


def _same(left: TrialReported, right: TrialReported) -> bool:
    a, b = left.metrics["score"], right.metrics.get("score", 0.0)
    is_equal = a == b or (math.isnan(a) and math.isnan(b))
    return is_equal and left.checkpoint == right.checkpoint and left.time_total_s == right.time_total_s


_RULES: dict[type, Callable[[Witness, Any], None]] = {
    SessionStarted: Witness._session_started,
    ConfigsSuggested: Witness._configs_suggested,
    AttemptStarted: Witness._attempt_started,
    TrialReported: Witness._trial_reported,
    CheckpointSaved: Witness._checkpoint_saved,
    ReportRefused: Witness._report_refused,
    AttemptEnded: Witness._attempt_ended,
    InterruptRequested: Witness._interrupt_requested,
    NodeLost: Witness._node_lost,
    Suggest: Witness._suggest,
    StartAttempt: Witness._start_attempt,
    AnswerReport: Witness._answer_report,
    StopAttempt: Witness._stop_attempt,
    ConcludeAttempt: Witness._conclude_attempt,
    DeleteCheckpoint: Witness._delete_checkpoint,
    QuarantineNode: Witness._quarantine_node,
    EndExperiment: Witness._end_experiment,
}
