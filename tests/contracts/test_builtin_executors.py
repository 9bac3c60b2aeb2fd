"""The executor suite on every executor."""

from __future__ import annotations

import os
import threading

import pytest

from tunesmith.events import AttemptStarted
from tunesmith.executors.inline import InlineExecutor
from tunesmith.executors.processes import ProcessExecutor
from tunesmith.executors.simulated import SimulatedExecutor, SimulatedStep
from tunesmith.testing import ExecutorContract


def as_script(trainable):
    """A generator function as a simulated trainable: one second for each report."""

    def script(config, first_step):
        for metrics in trainable(config):
            yield SimulatedStep(1.0, metrics)

    return script


class TestSimulatedExecutor(ExecutorContract):
    def make(self, trainable):
        return SimulatedExecutor(as_script(trainable), n_workers=4, start_s=0.5)


class TestInlineExecutor(ExecutorContract):
    can_leave_waiting = False
    quiet_s = 0.01

    def make(self, trainable):
        return InlineExecutor({"cpu": 4})


@pytest.mark.processes
class TestProcessExecutor(ExecutorContract):
    def make(self, trainable):
        return ProcessExecutor({"cpu": 4})

    def close(self, executor):
        super().close(executor)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("tunesmith")]

    def test_no_process_is_left(self, tmp_path):
        from tunesmith.testing.executor import endless

        driver = self._driver(endless, tmp_path, lambda report: None)
        try:
            self._start(driver)
            driver.run(lambda: bool(driver.of(AttemptStarted)))
        finally:
            self.close(driver.executor)
        with pytest.raises(ProcessLookupError):
            os.kill(driver.of(AttemptStarted)[0].pid, 0)
