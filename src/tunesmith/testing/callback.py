"""What every callback promises."""

from __future__ import annotations

from pathlib import Path

from tunesmith.events import ConfigsSuggested, EndExperiment, EndReason, Record, SessionStarted, Suggestion
from tunesmith.hooks import Callback, HookCaller
from tunesmith.protocols import RecordCallback
from tunesmith.resources import Node
from tunesmith.schedulers import FIFOScheduler
from tunesmith.stores import create_store
from tunesmith.testing.samples import interleaved, make_spec, play


class CallbackContract:
    """Derive from it and override `make`. The suite calls it as the runner does, on a folder with a finished log.

    It takes callbacks of both kinds, by hooks and by records; here, what a hook raises fails the test.
    """

    def make(self) -> Callback | RecordCallback:
        """A new callback."""
        raise NotImplementedError

    def _begin(self, folder: Path, *, after_seq: int = 0) -> RecordCallback:
        """A new callback that is set up, as one that takes records."""
        callback = self.make()
        called = HookCaller(callback, after_seq=after_seq) if isinstance(callback, Callback) else callback
        called.setup(folder)
        return called

    def _log(self) -> list[Record]:
        begin = SessionStarted(1, 1.0, (Node("here", 4.0),))
        configs = ConfigsSuggested(1, (Suggestion({"lr": 0.1}),) * 3)
        trials = play(FIFOScheduler(), interleaved(3, 4, seed=1))
        return [begin, configs, *trials, EndExperiment(EndReason.FINISHED)]

    def _folder(self, tmp_path: Path, log: list[Record]) -> Path:
        folder = tmp_path / "experiment"
        store = create_store(folder, make_spec())
        store.append(log, [])
        store.close()
        return folder

    def test_it_takes_a_whole_log_at_once(self, tmp_path: Path) -> None:
        log = self._log()
        callback = self._begin(self._folder(tmp_path, log))
        callback.on_records(log)
        callback.on_end()

    def test_it_takes_the_log_record_by_record(self, tmp_path: Path) -> None:
        log = self._log()
        callback = self._begin(self._folder(tmp_path, log))
        for record in log:
            callback.on_records([record])
        callback.on_end()

    def test_an_experiment_without_records_does_no_harm(self, tmp_path: Path) -> None:
        self._begin(self._folder(tmp_path, [])).on_end()

    def test_a_resumed_log_does_no_harm(self, tmp_path: Path) -> None:
        log = self._log()
        n_before = len(log) // 2
        callback = self._begin(self._folder(tmp_path, log), after_seq=n_before)
        callback.on_records(log[n_before:])
        callback.on_end()
