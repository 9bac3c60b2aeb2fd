"""The base of callbacks, with the hook names and arguments that Ray Tune's users know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunesmith.analysis import CheckpointView
from tunesmith.hooks.live_trial import LiveTrial


class Callback:
    """Override what you want to hear of; pass an object of it as `tune.run(..., callbacks=[MyCallback()])`.

    The hooks are called in a thread of their own, in the order of the log, some tenths of a second after what they tell
    of was committed: nothing waits for them, and nothing that they do can delay, change or lose a result. What a hook
    raises is logged once for each callback, and the next hook is called nevertheless.

    A trial is one and the same object in all hooks, and shows the trial as it stood at that moment: `trial_id`,
    `config`, `status` (in Ray Tune's words), `last_result`, `checkpoint`, `local_path` and what else results of
    `tune.run` have. `trials` are all that there are so far, by index. `iteration` counts the looks at the log that
    found something new. Every hook takes `**info`: what is added later arrives there.

    When an experiment is resumed, what happened before is not told again.
    """

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,
    ) -> None:
        """Before all other hooks, once in each session.

        Args:
            stop: None; it is here because old code names it.
            num_samples, total_num_samples: trials in all, grids included; None where the experiment is endless.
            info: `experiment_id`, `experiment_name`, and `folder`, a `Path`.
        """

    def on_step_begin(self, iteration: int, trials: Sequence[LiveTrial], **info: Any) -> None:
        """There is news; the other hooks follow."""

    def on_step_end(self, iteration: int, trials: Sequence[LiveTrial], **info: Any) -> None:
        """All of it was told."""

    def on_trial_start(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """An attempt of the trial is started: its first, or a further one after a failure, a pause or a clone."""

    def on_trial_restore(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """The attempt just started goes on from a checkpoint."""

    def on_trial_result(
        self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """The trial reported. `result` has Ray Tune's keys; `trial.decision` is what the trial was answered."""

    def on_trial_save(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """The trial saved a checkpoint; after the `on_trial_result` that it came with."""

    def on_checkpoint(
        self,
        iteration: int,
        trials: Sequence[LiveTrial],
        trial: LiveTrial,
        checkpoint: CheckpointView,
        **info: Any,
    ) -> None:
        """The same, with the checkpoint. Its folder may be gone by now, where retention keeps only better ones."""

    def on_trial_pause(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """The trial gave up its slot; it may go on later. (Ray Tune has no such hook.)"""

    def on_trial_recover(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """An attempt failed or was lost, and the trial will be tried again."""

    def on_trial_complete(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """The trial is over: it returned, reached its last step, or was stopped (`trial.state`, `trial.reason`)."""

    def on_trial_error(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """The trial failed for good, or its config was refused; `trial.error` has the traceback."""

    def on_experiment_end(self, trials: Sequence[LiveTrial], **info: Any) -> None:
        """The session is over, also where it was interrupted: trials may go on in another one."""


class LoggerCallback(Callback):
    """A callback that writes down what trials do: five methods to override instead of many hooks."""

    def log_trial_start(self, trial: LiveTrial) -> None:
        """An attempt of the trial starts."""

    def log_trial_restore(self, trial: LiveTrial) -> None:
        """It goes on from a checkpoint."""

    def log_trial_save(self, trial: LiveTrial) -> None:
        """It saved a checkpoint, `trial.checkpoint`."""

    def log_trial_result(self, iteration: int, trial: LiveTrial, result: dict[str, Any]) -> None:
        """It reported."""

    def log_trial_end(self, trial: LiveTrial, failed: bool = False) -> None:
        """It is over."""

    def on_trial_start(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """See Callback."""
        self.log_trial_start(trial)

    def on_trial_restore(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """See Callback."""
        self.log_trial_restore(trial)

    def on_trial_result(
        self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """See Callback."""
        self.log_trial_result(iteration, trial, result)

    def on_trial_save(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """See Callback."""
        self.log_trial_save(trial)

    def on_trial_complete(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """See Callback."""
        self.log_trial_end(trial, failed=False)

    def on_trial_error(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """See Callback."""
        self.log_trial_end(trial, failed=True)
