"""Trials in the caller's own thread."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.events import Decision, EndReason, InterruptRequested, TrialReported, Verdict
from tunesmith.schedulers import FIFOScheduler
from tunesmith.space import uniform
from tunesmith.stores import MemoryStore
from tunesmith.trial import TrialStatus

from .inline_world import Inline


class StopsAt(FIFOScheduler):
    def __init__(self, step):
        self.step = step

    def decide(self, trial, report):
        return Decision(Verdict.STOP, "enough") if report.step == self.step else Decision()


def test_the_trial_runs_in_the_callers_thread_so_breakpoints_work(tmp_path):
    seen = []

    def train(config):
        seen.append(threading.get_ident())
        tune.report(loss=1.0)

    Inline(train, tmp_path, n_trials=3).run()
    assert seen == [threading.get_ident()] * 3


def test_reports_are_committed_before_report_returns(tmp_path):
    lengths = []

    def train(config):
        for step in (1, 2, 3):
            tune.report(loss=1.0 / step)
            lengths.append(sum(isinstance(record, TrialReported) for record in run.log))

    run = Inline(train, tmp_path)
    run.run()
    assert lengths == [1, 2, 3]
    assert run.trials[0].status is TrialStatus.COMPLETED
    assert run.trials[0].best_value == pytest.approx(1 / 3)


def test_a_stop_ends_the_function_at_its_report_and_runs_finally(tmp_path):
    steps = []

    def train(config):
        try:
            for step in range(1, 10):
                tune.report(loss=float(step))
                steps.append(step)
        except Exception:
            steps.append("swallowed")
        finally:
            steps.append("finally")

    run = Inline(train, tmp_path, scheduler=StopsAt(3)).run()
    assert steps == [1, 2, "finally"]
    assert (run.trials[0].status, run.trials[0].reason) == (TrialStatus.STOPPED, "enough")


def test_an_exception_fails_its_trial_with_the_whole_traceback(tmp_path):
    def train(config):
        tune.report(loss=1.0)
        if config["x"] > 0.5:
            raise ValueError("too much")

    run = Inline(train, tmp_path, space={"x": uniform(0.0, 1.0)}, n_trials=8).run()
    for trial in run.trials:
        is_failed = trial.config["x"] > 0.5
        assert trial.status is (TrialStatus.FAILED if is_failed else TrialStatus.COMPLETED)
        assert not is_failed or ("in train" in trial.error and "ValueError: too much" in trial.error)


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit(3)])
def test_whatever_is_raised_ends_the_trial_and_not_the_experiment(tmp_path, error):
    def train(config):
        raise error

    run = Inline(train, tmp_path, n_trials=2).run()
    assert [trial.status for trial in run.trials] == [TrialStatus.FAILED] * 2
    assert run.experiment.state.ending.why is EndReason.FINISHED


def test_ctrl_c_once_ends_the_trial_at_its_next_report_and_starts_nothing_more(tmp_path):
    steps = []

    def train(config):
        for step in range(1, 10):
            if step == 3:
                run.executor.post(InterruptRequested(1, "SIGINT"))
            steps.append(step)
            tune.report(loss=1.0)

    run = Inline(train, tmp_path, n_trials=5)
    run.run()
    assert steps == [1, 2, 3]
    assert run.experiment.state.ending.why is EndReason.INTERRUPTED
    assert {trial.status for trial in run.trials} == {TrialStatus.INTERRUPTED}


def test_ctrl_c_twice_interrupts_a_trial_that_never_reports(tmp_path):
    """Regression: its end was told before the interrupts that made it, so the trial was FAILED and never resumed."""

    def train(config):
        run.executor.post(InterruptRequested(1, "SIGINT"))
        run.executor.post(InterruptRequested(2, "SIGINT"))
        raise KeyboardInterrupt

    run = Inline(train, tmp_path)
    run.run()
    assert run.trials[0].status is TrialStatus.INTERRUPTED


class FullStore(MemoryStore):
    """Takes reports up to a step."""

    def append(self, records, trials):
        if any(isinstance(record, TrialReported) and record.step >= 2 for record in records):
            raise OSError("no space left on device")
        super().append(records, trials)


@pytest.mark.parametrize("swallowed", [Exception, BaseException])
def test_a_store_that_fails_inside_a_report_ends_the_run_whatever_the_function_swallows(tmp_path, swallowed):
    went_on = []

    def train(config):
        for _ in range(5):
            try:
                tune.report(loss=1.0)
            except swallowed as error:
                went_on.append(type(error).__name__)

    run = Inline(train, tmp_path, store=FullStore(), n_trials=4)
    with pytest.raises(OSError, match="no space left"):
        run.run()
    assert len(run.trials) <= 2
    assert (swallowed is BaseException) == bool(went_on)
    assert sum(isinstance(record, TrialReported) for record in run.log) == 1


def test_a_thread_of_the_trial_may_report(tmp_path):
    def train(config):
        from tunesmith.trialside.current import get_session

        session = get_session()
        thread = threading.Thread(target=session.report, args=({"loss": 0.5},))
        thread.start()
        thread.join()
        tune.report(loss=0.25)

    run = Inline(train, tmp_path).run()
    assert run.trials[0].n_reports == 2


def test_a_thread_that_outlives_its_trial_is_told_to_stop_and_changes_nothing(tmp_path):
    answers, go_on, threads = [], threading.Event(), []

    def train(config):
        from tunesmith.trialside.current import get_session

        session = get_session()

        def later():
            go_on.wait(20)
            answers.append(session.report({"loss": -9.0}, on_stop="return").should_stop)

        threads.append(threading.Thread(target=later))
        threads[-1].start()
        tune.report(loss=1.0)

    run = Inline(train, tmp_path)
    run.run()
    n_records = len(run.log)
    go_on.set()
    threads[0].join(20)
    assert answers == [True]
    assert len(run.log) == n_records


def test_checkpoints_are_kept_and_a_retry_starts_from_the_newest(tmp_path):
    starts = []

    def train(config, checkpoint_dir=None):
        first = 1
        if checkpoint_dir:
            first = int(Path(checkpoint_dir, "step").read_text()) + 1
        starts.append(first)
        for step in range(first, 6):
            with tune.checkpoint_dir(step=step) as folder:
                Path(folder, "step").write_text(str(step))
            tune.report(loss=1.0 / step)
            if step == 3 and len(starts) == 1:
                raise RuntimeError("once")

    run = Inline(train, tmp_path, max_failures=1).run()
    trial = run.trials[0]
    assert starts == [1, 4]
    assert (trial.status, trial.step, trial.attempt) == (TrialStatus.COMPLETED, 5, 2)
    assert (tmp_path / trial.checkpoint.path / "step").read_text() == "5"
    assert {saved.step for saved in trial.checkpoints} == {5}
    assert all((tmp_path / command.path).exists() for command in run.deleted)


class Counting(tune.Trainable):
    def setup(self, config):
        self.n = 0

    def step(self):
        self.n += 1
        return {"loss": 1.0 / self.n, "done": self.n >= 6}

    def save_checkpoint(self, folder):
        Path(folder, "n").write_text(str(self.n))

    def load_checkpoint(self, folder):
        self.n = int(Path(folder, "n").read_text())


def test_class_trainables_report_save_and_end(tmp_path):
    run = Inline(Counting, tmp_path, checkpoint_freq=2).run()
    trial = run.trials[0]
    assert (trial.status, trial.step) == (TrialStatus.COMPLETED, 6)
    assert (tmp_path / trial.checkpoint.path / "n").read_text() == "6"


def test_a_class_trainable_that_is_stopped_saves_at_its_end(tmp_path):
    run = Inline(Counting, tmp_path, scheduler=StopsAt(3), at_end=True).run()
    trial = run.trials[0]
    assert (trial.status, trial.checkpoint.step) == (TrialStatus.STOPPED, 3)
    assert (tmp_path / trial.checkpoint.path / "n").read_text() == "3"


@pytest.mark.parametrize("at_end", [True, False])
def test_an_interrupted_class_trainable_goes_on_where_it_was(tmp_path, at_end):
    class Interrupting(Counting):
        def step(self):
            if self.n == 3 and len(runs) == 1:
                runs[0].executor.post(InterruptRequested(1, "SIGINT"))
            return super().step()

    runs = []
    runs.append(Inline(Interrupting, tmp_path, at_end=at_end))
    runs[0].run()
    assert runs[0].trials[0].status is TrialStatus.INTERRUPTED
    runs.append(Inline(Interrupting, tmp_path, at_end=at_end, store=runs[0].store))
    runs[1].run(epoch=2)
    trial = runs[1].trials[0]
    assert (trial.status, trial.step, trial.n_reports) == (TrialStatus.COMPLETED, 6, 6)


@pytest.mark.parametrize("comes_an_interrupt_too", [False, True])
def test_a_class_trainable_that_the_scheduler_stops_is_saved_only_on_request(tmp_path, comes_an_interrupt_too):
    class Counted(Counting):
        def step(self):
            if self.n == 2 and comes_an_interrupt_too:
                run.executor.post(InterruptRequested(1, "SIGINT"))
            return super().step()

    run = Inline(Counted, tmp_path, scheduler=StopsAt(3))
    run.run()
    assert (run.trials[0].status, run.trials[0].checkpoints) == (TrialStatus.STOPPED, ())


def test_configs_need_not_be_picklable(tmp_path):
    lock = threading.Lock()
    seen = []

    def train(config):
        seen.append(config["lock"] is lock)
        tune.report(loss=1.0)

    Inline(train, tmp_path, space={"lock": lock}).run()
    assert seen == [True]


def test_a_report_that_is_refused_raises_and_may_be_mended(tmp_path):
    def train(config):
        with contextlib.suppress(tune.errors.ReportError):
            tune.report(lossy=1.0)
        tune.report(loss=1.0)

    run = Inline(train, tmp_path).run()
    assert (run.trials[0].status, run.trials[0].n_reports) == (TrialStatus.COMPLETED, 1)


def test_a_trial_that_fails_leaves_no_session_behind(tmp_path):
    def train(config):
        raise ValueError("no")

    from tunesmith.trialside.current import get_session

    Inline(train, tmp_path).run()
    assert get_session() is None
