"""What every executor promises. Trials are generator functions: each dict that they yield is a report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tunesmith.events import (
    CONTINUE,
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    Command,
    ConcludeAttempt,
    Decision,
    Event,
    InterruptRequested,
    NodeOffered,
    ReportRefused,
    StartAttempt,
    StopAttempt,
    Suggest,
    TrialReported,
    Verdict,
)
from tunesmith.protocols import Executor, Launch
from tunesmith.resources import Node, Placement, Resources
from tunesmith.trial import AttemptOutcome, TrialStatus

#: (config) -> one dict of metrics for each report; returning ends the trial.
Trainable = Callable[[dict[str, Any]], Iterator[dict[str, float]]]

_STOP = Decision(Verdict.STOP, "enough")
_DEADLINE_S = 60.0  #: of everything that must happen


def three_reports(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Reports three times and returns."""
    for step in (1, 2, 3):
        yield {"loss": config.get("start", 0.0) + step}


def endless(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Reports until it is stopped."""
    step = 0
    while True:
        step += 1
        yield {"loss": float(step)}


def raises_after_one(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Reports once and raises."""
    yield {"loss": 1.0}
    raise ValueError("the data is gone")


def raises_at_once(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Raises before any report."""
    if config is not None:
        raise ValueError("the data is gone")
    yield {}


def reports_nothing(config: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Returns without a report."""
    yield from ()


class Driver:
    """The loop's side of an executor, in small: notes every event, and answers reports as `decide` says.

    Args: decide: the decision on a report; None: it is not answered now.
    """

    def __init__(
        self,
        executor: Executor,
        trainable: Trainable,
        folder: Path,
        decide: Callable[[TrialReported], Decision | None] = lambda report: CONTINUE,
    ) -> None:
        self.executor, self.decide = executor, decide
        self.events: list[Event] = []
        self.is_elastic: bool = getattr(executor, "is_elastic", False)
        self.nodes: dict[str, Node] = {}  #: by name, as an elastic executor last offered them
        launch = Launch(
            experiment_id="e" * 32,
            experiment_name="sample",
            folder=folder,
            trainable=trainable,
            trial_names=lambda index: (f"sample_{index:05d}", f"train_sample_{index:05d}"),
            seed=3,
            handle=self.handle,
            grace_s=5.0,
        )
        executor.start(launch)

    def handle(self, events: Sequence[Event]) -> None:
        """One pass."""
        for event in events:
            self.events.append(event)
            decision = self.decide(event) if isinstance(event, TrialReported) else None
            if isinstance(event, TrialReported) and decision is not None:
                self.executor.carry_out([AnswerReport(event.trial, event.attempt, event.step, decision)])

    def wait(self, timeout_s: float) -> list[Event]:
        """What happened; what is offered meanwhile is noted."""
        end = time.monotonic() + timeout_s
        while True:
            events = self.executor.wait(max(0.0, end - time.monotonic()) if self.is_elastic else timeout_s)
            self.nodes |= {event.node.name: event.node for event in events if isinstance(event, NodeOffered)}
            others = [event for event in events if not isinstance(event, NodeOffered)]
            if others or not events or not self.is_elastic:
                return others

    def node_with_room(self) -> str:
        """The name of a node for one more attempt; an elastic executor's may be to come."""
        if not self.is_elastic:
            return self.executor.nodes()[0].name
        end = time.monotonic() + _DEADLINE_S
        while not any(node.cpu >= 1 for node in self.nodes.values()):
            assert time.monotonic() < end, "no node was offered"
            self.handle(self.wait(0.1))
        return next(name for name, node in self.nodes.items() if node.cpu >= 1)

    def run(self, is_enough: Callable[[], bool]) -> None:
        """Go on until it is enough; a contract that is broken by silence fails after a minute."""
        end = time.monotonic() + _DEADLINE_S
        while not is_enough():
            assert time.monotonic() < end, f"nothing more came after {self.events}"
            self.handle(self.wait(1.0))

    def run_to_the_end(self, n_attempts: int = 1) -> None:
        """Until so many attempts have ended."""
        self.run(lambda: len(self.of(AttemptEnded)) >= n_attempts)

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of this kind so far."""
        return [event for event in self.events if isinstance(event, kind)]


class ExecutorContract:
    """Derive from it and override `make`."""

    #: Whether a report can be left unanswered while the loop goes on: not where trials run in the loop's own thread.
    can_leave_waiting = True
    #: How long nothing must happen to count as quiet, in the executor's own seconds.
    quiet_s = 0.3

    def make(self, trainable: Trainable) -> Executor:
        """A new executor with room for at least 2 attempts. It is closed by the suite."""
        raise NotImplementedError

    def close(self, executor: Executor) -> None:
        """Close it and see that nothing is left; override to look for more."""
        executor.close()
        executor.close()

    # ------------------------------------------------------------ helpers

    def _driver(
        self,
        trainable: Trainable,
        tmp_path: Path,
        decide: Callable[[TrialReported], Decision | None] = lambda report: CONTINUE,
    ) -> Driver:
        return Driver(self.make(trainable), trainable, tmp_path, decide)

    def _start(
        self, driver: Driver, trial: int = 0, *, attempt: int = 1, start_step: int = 0, start_time_s: float = 0.0
    ) -> StartAttempt:
        node = driver.node_with_room()
        placement = Placement(node=node, resources=Resources(cpu=1.0))
        config = {"start": 10.0 * trial}
        command = StartAttempt(trial, attempt, placement, config, start_step=start_step, start_time_s=start_time_s)
        driver.executor.carry_out([command])
        return command

    def test_it_says_what_the_loop_must_know_of_it(self) -> None:
        executor = self.make(three_reports)
        try:
            before = executor.clock.now()
            assert executor.clock.now() >= before
            assert executor.is_inline is not self.can_leave_waiting
            assert executor.nodes()
        finally:
            self.close(executor)

    # ------------------------------------------------------------ attempts

    def test_an_attempt_starts_reports_and_returns(self, tmp_path: Path) -> None:
        driver = self._driver(three_reports, tmp_path)
        try:
            self._start(driver)
            driver.run_to_the_end()
        finally:
            self.close(driver.executor)
        kinds = [type(event) for event in driver.events]
        assert kinds == [AttemptStarted, TrialReported, TrialReported, TrialReported, AttemptEnded]
        assert {(event.trial, event.attempt) for event in driver.events} == {(0, 1)}  # type: ignore[attr-defined]
        assert [report.step for report in driver.of(TrialReported)] == [1, 2, 3]
        assert [report.metrics for report in driver.of(TrialReported)] == [{"loss": 1.0}, {"loss": 2.0}, {"loss": 3.0}]
        assert driver.of(AttemptEnded)[0].outcome is AttemptOutcome.RETURNED

    def test_training_time_grows_from_where_the_attempt_started(self, tmp_path: Path) -> None:
        driver = self._driver(three_reports, tmp_path)
        try:
            self._start(driver, attempt=2, start_step=7, start_time_s=100.0)
            driver.run_to_the_end()
        finally:
            self.close(driver.executor)
        assert [report.step for report in driver.of(TrialReported)] == [8, 9, 10]
        times = [100.0, *(report.time_total_s for report in driver.of(TrialReported))]
        assert times == sorted(times)

    def test_each_attempt_has_its_own_config(self, tmp_path: Path) -> None:
        driver = self._driver(three_reports, tmp_path)
        try:
            self._start(driver, 0)
            self._start(driver, 1)
            driver.run_to_the_end(2)
        finally:
            self.close(driver.executor)
        for trial in (0, 1):
            losses = [report.metrics["loss"] for report in driver.of(TrialReported) if report.trial == trial]
            assert losses == [10.0 * trial + 1, 10.0 * trial + 2, 10.0 * trial + 3]

    def test_a_trial_without_reports_returns(self, tmp_path: Path) -> None:
        driver = self._driver(reports_nothing, tmp_path)
        try:
            self._start(driver)
            driver.run_to_the_end()
        finally:
            self.close(driver.executor)
        assert [type(event) for event in driver.events] == [AttemptStarted, AttemptEnded]
        assert driver.of(AttemptEnded)[0].outcome is AttemptOutcome.RETURNED

    def test_what_a_trial_raises_is_told(self, tmp_path: Path) -> None:
        for trainable, n_reports in ((raises_at_once, 0), (raises_after_one, 1)):
            folder = tmp_path / trainable.__name__
            folder.mkdir()
            driver = self._driver(trainable, folder)
            try:
                self._start(driver)
                driver.run_to_the_end()
            finally:
                self.close(driver.executor)
            assert len(driver.of(TrialReported)) == n_reports
            assert driver.of(AttemptEnded)[0].outcome is AttemptOutcome.RAISED
            assert "ValueError: the data is gone" in driver.of(AttemptEnded)[0].error

    # ------------------------------------------------------------ answers

    def test_a_trial_that_is_told_to_stop_reports_no_more(self, tmp_path: Path) -> None:
        driver = self._driver(endless, tmp_path, lambda report: _STOP if report.step == 4 else CONTINUE)
        try:
            self._start(driver)
            driver.run_to_the_end()
        finally:
            self.close(driver.executor)
        assert [report.step for report in driver.of(TrialReported)] == [1, 2, 3, 4]
        assert driver.of(AttemptEnded)[0].outcome is AttemptOutcome.STOPPED

    def test_a_refused_report_raises_in_the_trial(self, tmp_path: Path) -> None:
        refusal = Decision(Verdict.REFUSE, "{why}", {"why": "no such metric"})
        driver = self._driver(endless, tmp_path, lambda report: refusal if report.step == 2 else CONTINUE)
        try:
            self._start(driver)
            driver.run_to_the_end()
        finally:
            self.close(driver.executor)
        assert len(driver.of(TrialReported)) == 2
        assert driver.of(AttemptEnded)[0].outcome is AttemptOutcome.RAISED
        assert "no such metric" in driver.of(AttemptEnded)[0].error

    def test_a_report_waits_for_its_answer(self, tmp_path: Path) -> None:
        if not self.can_leave_waiting:
            return
        driver = self._driver(endless, tmp_path, lambda report: None)
        try:
            self._start(driver)
            driver.run(lambda: bool(driver.of(TrialReported)))
            driver.handle(driver.wait(self.quiet_s))
            assert len(driver.of(TrialReported)) == 1
            driver.executor.carry_out([AnswerReport(0, 1, 1, CONTINUE)])
            driver.run(lambda: len(driver.of(TrialReported)) == 2)
            driver.executor.carry_out([AnswerReport(0, 1, 2, _STOP)])
            driver.run_to_the_end()
        finally:
            self.close(driver.executor)

    def test_commands_about_attempts_that_do_not_run_are_ignored(self, tmp_path: Path) -> None:
        driver = self._driver(three_reports, tmp_path)
        others: list[Command] = [
            AnswerReport(99, 1, 1, CONTINUE),
            AnswerReport(0, 7, 1, _STOP),
            StopAttempt(99, 1, "why"),
            StopAttempt(0, 7, "why", is_immediate=True),
            Suggest(1, 1),
            ConcludeAttempt(5, 1, TrialStatus.STOPPED),
        ]
        try:
            driver.executor.carry_out(others)
            self._start(driver)
            driver.executor.carry_out(others)
            driver.run_to_the_end()
            driver.executor.carry_out([*others, AnswerReport(0, 1, 3, CONTINUE), StopAttempt(0, 1, "why")])
            assert driver.wait(self.quiet_s) == []
        finally:
            self.close(driver.executor)
        assert driver.of(AttemptEnded)[0].outcome is AttemptOutcome.RETURNED
        assert len(driver.of(AttemptEnded)) == 1

    # ------------------------------------------------------------ stops

    def test_an_attempt_that_is_stopped_before_its_first_event_ends(self, tmp_path: Path) -> None:
        driver = self._driver(endless, tmp_path, lambda report: _STOP)
        try:
            command = self._start(driver)
            driver.executor.carry_out([StopAttempt(command.trial, command.attempt, "why")])
            driver.run_to_the_end()
            assert driver.wait(self.quiet_s) == []
        finally:
            self.close(driver.executor)
        assert driver.of(AttemptEnded)[0].outcome is AttemptOutcome.STOPPED

    def test_an_immediate_stop_ends_a_trial_that_waits_for_an_answer(self, tmp_path: Path) -> None:
        if not self.can_leave_waiting:
            return
        driver = self._driver(endless, tmp_path, lambda report: None)
        try:
            self._start(driver)
            driver.run(lambda: bool(driver.of(TrialReported)))
            for _ in range(2):
                driver.executor.carry_out([StopAttempt(0, 1, "why", is_immediate=True)])
            driver.run_to_the_end()
            assert driver.wait(self.quiet_s) == []
        finally:
            self.close(driver.executor)
        assert len(driver.of(AttemptEnded)) == 1

    def test_an_attempt_may_follow_one_of_the_same_trial(self, tmp_path: Path) -> None:
        driver = self._driver(raises_after_one, tmp_path)
        try:
            self._start(driver)
            driver.run_to_the_end(1)
            self._start(driver, attempt=2)
            driver.run_to_the_end(2)
        finally:
            self.close(driver.executor)
        assert [ended.attempt for ended in driver.of(AttemptEnded)] == [1, 2]

    def test_closing_ends_attempts_that_run(self, tmp_path: Path) -> None:
        n_threads = threading.active_count()
        driver = self._driver(endless, tmp_path, lambda report: None if self.can_leave_waiting else _STOP)
        try:
            self._start(driver)
            self._start(driver, 1)
            driver.run(lambda: bool(driver.of(TrialReported)))
        finally:
            self.close(driver.executor)
        assert threading.active_count() <= n_threads

    # ------------------------------------------------------------ waiting

    def test_waiting_ends_when_its_time_is_over(self, tmp_path: Path) -> None:
        driver = self._driver(three_reports, tmp_path)
        try:
            assert driver.wait(0.01) == []
            assert driver.wait(0.0) == []
        finally:
            self.close(driver.executor)

    def test_posted_events_come_in_their_order(self, tmp_path: Path) -> None:
        driver = self._driver(three_reports, tmp_path)
        posted: list[Event] = [InterruptRequested(1, "SIGINT"), ReportRefused(4, 1, 1, "late")]
        try:
            for event in posted:
                driver.executor.post(event)
            driver.run(lambda: len(driver.events) == 2)
        finally:
            self.close(driver.executor)
        assert driver.events == posted

    def test_a_post_from_another_thread_ends_a_wait(self, tmp_path: Path) -> None:
        driver = self._driver(three_reports, tmp_path)
        event = InterruptRequested(1, "SIGTERM")
        thread = threading.Thread(target=driver.executor.post, args=(event,))
        try:
            thread.start()
            driver.run(lambda: bool(driver.events))
            thread.join()
        finally:
            self.close(driver.executor)
        assert driver.events == [event]

    def test_a_delayed_post_comes_after_a_later_one_without_delay(self, tmp_path: Path) -> None:
        driver = self._driver(three_reports, tmp_path)
        late, soon = InterruptRequested(1, "late"), InterruptRequested(1, "soon")
        try:
            driver.executor.post(late, 0.05)
            driver.executor.post(soon)
            driver.run(lambda: len(driver.events) == 2)
        finally:
            self.close(driver.executor)
        assert driver.events == [soon, late]

    def test_there_is_a_node_with_room(self, tmp_path: Path) -> None:
        executor = self.make(three_reports)
        try:
            assert any(node.cpu >= 1 for node in executor.nodes())
        finally:
            self.close(executor)
