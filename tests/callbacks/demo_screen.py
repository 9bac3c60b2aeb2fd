"""Not a test: watch the live screen of a synthetic experiment. `python tests/callbacks/demo_screen.py 300 120 1`.

Arguments: number of trials, seconds of the experiment to show, seconds to wait at each tenth of them, verbosity.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from callback_worlds import GrowingWorld

from tunesmith.callbacks import CLIReporter
from tunesmith.clock import VirtualClock


def main(n_trials: int = 300, until_s: float = 120.0, pause_s: float = 0.3, verbose: int = 3) -> None:
    clock = VirtualClock()
    reporter = CLIReporter(metric_columns=["loss", "accuracy", "training_iteration"], clock=clock)
    world = GrowingWorld(n_trials)
    reporter.start(Path("/home/ada/tunesmith/train_cifar"), verbose=verbose)
    try:
        for tenth in range(11):
            clock.advance_to(until_s * tenth / 10)
            reporter.update(world.view_at(clock.now()), [])
            time.sleep(pause_s)
        reporter.finish(world.view_at(clock.now()))
    finally:
        reporter.close()


if __name__ == "__main__":
    main(*(kind(argument) for kind, argument in zip((int, float, float, int), sys.argv[1:], strict=False)))
