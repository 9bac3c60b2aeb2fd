"""The executor suite on a cluster of three nodes."""

from __future__ import annotations

import pytest

from tunesmith.testing import ExecutorContract

pytestmark = pytest.mark.processes


@pytest.mark.usefixtures("cluster")
class TestRayExecutor(ExecutorContract):
    quiet_s = 0.5

    def make(self, trainable):
        from tunesmith.executors.ray import RayExecutor

        return RayExecutor()
