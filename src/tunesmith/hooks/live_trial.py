"""A trial as callbacks are shown it: like one of the results, but one object that changes as the log is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.analysis import TrialView
from tunesmith.analysis.trial_view import ray_result
from tunesmith.events import CONTINUE, Decision, StartAttempt, TrialReported
from tunesmith.stores import Reader
from tunesmith.trial import Trial

_DERIVED = ("parent", "schedule")  #: what TrialView works out once for a trial that stands still


class _Reported(NamedTuple):
    """A report, and what its result is filled in from."""

    trial: Trial  #: as it stood then
    report: TrialReported
    is_last: bool
    before_s: float
    start_step: int
    start_time_s: float


class LiveTrial(TrialView):
    """A trial at the moment that a hook tells of. Compared by identity, so it can be a key of a dict.

    `values`, `parent` and `schedule` look into the experiment, as far as it has come by then; after its end they raise
    StoreError, and `tune.load` has them.
    """

    def __init__(self, trial: Trial, reader: Reader) -> None:
        super().__init__(trial, reader)
        self._reported: _Reported | None = None
        self._last_result: dict[str, Any] | None = {}
        self._decision = CONTINUE
        self._start_step, self._start_time_s, self._before_s = 0, 0.0, 0.0

    @property
    def last_result(self) -> dict[str, Any]:
        """The last report with the keys that Ray Tune fills in; {} before the first."""
        if self._last_result is None:  # nobody has asked for it: most are never asked for when a long log is folded
            assert self._reported is not None
            self._last_result = self._filled(self._reported)
        return self._last_result

    @property
    def decision(self) -> Decision:
        """What the trial was answered to its last report; `decision.words()` is the reason, None for a plain go-on."""
        return self._decision

    @property
    def n_reports(self) -> int:
        """How many reports are stored, those of attempts that were superseded included."""
        return self._trial.n_reports

    @property
    def logdir(self) -> str:
        """The directory of the trial's own files; it is made where there is none yet."""
        path = super().logdir
        Path(path).mkdir(parents=True, exist_ok=True)
        return path

    def update(self, trial: Trial) -> None:
        """The trial as it stands now."""
        if trial.config is not self._trial.config:
            self.__dict__.pop("experiment_tag", None)
        for name in _DERIVED:
            self.__dict__.pop(name, None)
        self._trial = trial
        if trial.status.is_over and self._reported is not None:
            self._last_result = None  # it is done now

    def begin(self, start: StartAttempt) -> None:
        """An attempt starts: what its reports' times and counts go on from."""
        self._start_step, self._start_time_s = start.start_step, start.start_time_s
        self._before_s, self._decision = start.start_time_s, CONTINUE

    def report(self, report: TrialReported, decision: Decision, *, is_last: bool) -> None:
        """The trial reported and was answered; `is_last`: the attempt ends the trial with it."""
        self._decision, self._last_result = decision, None
        self._reported = _Reported(self._trial, report, is_last, self._before_s, self._start_step, self._start_time_s)
        self._before_s = report.time_total_s

    def _filled(self, reported: _Reported) -> dict[str, Any]:
        filled = ray_result(
            reported.trial,
            experiment_id=self._reader.spec.experiment_id,
            experiment_tag=self.experiment_tag,
            before_s=reported.before_s,
            start_step=reported.start_step,
            start_time_s=reported.start_time_s,
        )
        metrics = reported.report.metrics
        result = {**metrics, **filled, **metrics}
        if self._trial.status.is_over:
            result["done"] = True
        elif "done" not in metrics:
            result["done"] = reported.is_last
        return result
