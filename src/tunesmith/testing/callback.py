"""What every callback promises."""

from __future__ import annotations

from pathlib import Path

from tunesmith.events import EndExperiment, EndReason, Record, SessionStarted
from tunesmith.protocols import Callback
from tunesmith.resources import Node
from tunesmith.schedulers import FIFOScheduler
from tunesmith.stores import create_store
from tunesmith.testing.samples import interleaved, make_spec, play


class CallbackContract:
    """Derive from it and override `make`. The suite calls it as the runner does, on a folder with a finished log."""

    def make(self) -> Callback:
        """A new callback."""
        raise NotImplementedError

    def _log(self) -> list[Record]:
        begin = SessionStarted(1, 1.0, (Node("here", 4.0),))
        return [begin, *play(FIFOScheduler(), interleaved(3, 4, seed=1)), EndExperiment(EndReason.FINISHED)]

    def _folder(self, tmp_path: Path, log: list[Record]) -> Path:
        folder = tmp_path / "experiment"
        store = create_store(folder, make_spec())
        store.append(log, [])
        store.close()
        return folder

    def test_it_takes_a_whole_log_at_once(self, tmp_path: Path) -> None:
        log, callback = self._log(), self.make()
        callback.setup(self._folder(tmp_path, log))
        callback.on_records(log)
        callback.on_end()

    def test_it_takes_the_log_record_by_record(self, tmp_path: Path) -> None:
        log, callback = self._log(), self.make()
        callback.setup(self._folder(tmp_path, log))
        for record in log:
            callback.on_records([record])
        callback.on_end()

    def test_an_experiment_without_records_does_no_harm(self, tmp_path: Path) -> None:
        callback = self.make()
        callback.setup(self._folder(tmp_path, []))
        callback.on_end()

    def test_a_resumed_log_does_no_harm(self, tmp_path: Path) -> None:
        log, callback = self._log(), self.make()
        callback.setup(self._folder(tmp_path, log))
        callback.on_records(log[len(log) // 2 :])
        callback.on_end()
