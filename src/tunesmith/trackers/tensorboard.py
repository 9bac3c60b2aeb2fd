"""TensorBoard: scalars and the HParams view, written without TensorFlow or torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.hooks import LiveTrial
from tunesmith.trackers.tracker import Tracker
from tunesmith.trackers.values import as_file_name, decision_words, end_facts, flat_masked, measurements
from tunesmith.trial import TrialStatus

#: Of a session of the HParams view, as its protocol numbers them.
_SUCCESS, _FAILURE = "STATUS_SUCCESS", "STATUS_FAILURE"


class TBXLoggerCallback(Tracker):
    """Writes each trial into `tensorboard/<trial>` of the experiment's folder: `tensorboard --logdir <folder>`.

    The step is `training_iteration`. Steps that a later attempt takes again are hidden by TensorBoard, as it does for
    any training that was restarted.
    """

    extra = "tensorboard"
    modules: ClassVar[tuple[str, ...]] = ("tensorboardX",)

    def __init__(self, logdir: str | Path | None = None) -> None:
        """Args: logdir: instead of `tensorboard` in the experiment's folder; a trial's folder is made in it.

        Raises: MissingExtraError without the package tensorboardX.
        """
        super().__init__()
        self._logdir = None if logdir is None else str(Path(logdir).expanduser().absolute())
        self._folder = Path()
        self._writers: dict[LiveTrial, Any] = {}
        self._dirty: set[LiveTrial] = set()

    def identity(self) -> Mapping[str, Any]:
        """See Tracker."""
        return {"logdir": self._logdir}

    def setup(self, *_: Any, **info: Any) -> None:
        """See Callback."""
        self._folder = Path(self._logdir) if self._logdir else info["folder"] / "tensorboard"
        # It takes torch's tensors where torch is there, and imports all of it to know them; here are none.
        sys.modules.setdefault("torch", None)  # type: ignore[arg-type]

    def flush(self) -> Collection[int]:
        """See Tracker."""
        for trial in self._dirty:
            if trial in self._writers:
                self._writers[trial].flush()
        self._dirty.clear()
        return ()

    def log_trial_start(self, trial: LiveTrial) -> None:
        """See LoggerCallback."""
        self._close(trial)  # an attempt has a file of its own, which says from which step on it counts

    def log_trial_result(self, iteration: int, trial: LiveTrial, result: dict[str, Any]) -> None:
        """See LoggerCallback."""
        writer, at = self._writer_of(trial), trial.trial.reported_at
        for name, value in measurements(result).items():
            writer.add_scalar(name, value, trial.step, walltime=at)
        if (words := decision_words(trial)) is not None:
            writer.add_text("tunesmith/decision", ": ".join(filter(None, words)), trial.step, walltime=at)
        self._dirty.add(trial)

    def log_trial_end(self, trial: LiveTrial, failed: bool = False) -> None:
        """See LoggerCallback."""
        writer = self._writer_of(trial)
        for name, words in end_facts(trial).items():
            writer.add_text(f"tunesmith/{name}", words, trial.step)
        writer.file_writer.add_summary(_session_end(_FAILURE if failed else _SUCCESS), trial.step)
        self._close(trial)

    def on_trial_pause(self, iteration: int, trials: Sequence[LiveTrial], trial: LiveTrial, **info: Any) -> None:
        """See Callback."""
        self._close(trial)

    def on_experiment_end(self, trials: Sequence[LiveTrial], **info: Any) -> None:
        """See Callback."""
        for trial in list(self._writers):
            self._close(trial)

    def _writer_of(self, trial: LiveTrial) -> Any:
        """A new file begins with the trial's parameters, and hides what earlier files have from this step on."""
        if trial not in self._writers:
            from tensorboardX import SummaryWriter
            from tensorboardX.summary import hparams

            begins_at = trial.step if trial.state is TrialStatus.RUNNING else None
            folder = self._folder / as_file_name(trial.name)
            folder.mkdir(parents=True, exist_ok=True)
            # Files count in the order of their names, which have seconds only.
            writer = SummaryWriter(str(folder), purge_step=begins_at, filename_suffix=f".{time.time_ns()}")
            # Without a word on the whole: TensorBoard takes that of one trial for it, and then shows no parameter that
            # this one lacks. It finds out by itself what there is.
            _, session_start, _ = hparams(flat_masked(trial.config), {})
            writer.file_writer.add_summary(session_start)
            self._writers[trial] = writer
        return self._writers[trial]

    def _close(self, trial: LiveTrial) -> None:
        if (writer := self._writers.pop(trial, None)) is not None:
            writer.close()


def _session_end(status: str) -> Any:
    """What tells the HParams view how a trial ended; tensorboardX itself knows success only."""
    from tensorboardX.proto.api_pb2 import Status
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    info = HParamsPluginData(session_end_info=SessionEndInfo(status=Status.Value(status)), version=0)
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=info.SerializeToString())
    value = Summary.Value(tag="_hparams_/session_end_info", metadata=SummaryMetadata(plugin_data=plugin))
    return Summary(value=[value])


class TensorBoardLoggerCallback(TBXLoggerCallback):
    """The same, under the name that is easier to find."""
