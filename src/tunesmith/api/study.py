"""`tune.Study`: ask for configs and tell results, for people who own their loop. docs/ask-and-tell.md has the whole."""

from __future__ import annotations

import copy
import dataclasses
import logging
import operator
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from msgspec.structs import replace

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.analysis.experiment_analysis import Best
from tunesmith.api.changes import continued_spec, parse_on_change
from tunesmith.api.folder import existing, new_folder
from tunesmith.api.plan import Plan, make_plan
from tunesmith.clock import SystemClock
from tunesmith.errors import ConfigError, ExperimentExistsError, LeaseError, StoreError, StudyExhausted, TunesmithError
from tunesmith.events import Verdict
from tunesmith.methods import AutoScheduler
from tunesmith.protocols import Scheduler, Searcher
from tunesmith.runner.study_experiment import StudyExperiment
from tunesmith.runner.study_frames import Answer, Ask, Handed, Judged, Leave, Look, Question, Report, Tell
from tunesmith.runner.study_holders import Received, received_by_this_process, this_holder
from tunesmith.runner.study_link import StudyLink, WritingRole
from tunesmith.runner.study_server import StudyServer
from tunesmith.runner.study_writer import StudyWriter
from tunesmith.spec import ExperimentSpec
from tunesmith.stores import create_store, open_reader, open_store
from tunesmith.stores.codec import parse_config
from tunesmith.stores.root import results_folder
from tunesmith.trialside.failure import failure_text
from tunesmith.trialside.functions import gather
from tunesmith.trialside.session import ReportDecision, parse_report
from tunesmith.trialside.wire import encode_numbers

_log = logging.getLogger("tunesmith")
_MAX_ERROR_CHARS = 200_000


def study(config: dict[str, Any]) -> None:
    """Stands where other experiments have their training function: its name is how a study is known."""
    raise NotImplementedError("A study is trained by whoever asks for its trials.")


class StudyTrial:
    """An open trial: a config to be trained, reported on, and told."""

    def __init__(self, owner: Study, handed: Handed, config: dict[str, Any]) -> None:
        self._study, self._step = owner, handed.step
        self._began_at = time.monotonic()
        self.config = config
        self.index = handed.trial  #: number of the trial in the study, from 0
        self.trial_id = handed.trial_id
        self.attempt = handed.attempt  #: above 1 where a process that trained it was lost

    def report(
        self, _metric: Mapping[str, Any] | None = None, /, *, step: int | None = None, **metrics: Any
    ) -> ReportDecision:
        """Hand over the metrics of one step: `report(step=3, loss=0.4)`; returns once they are stored.

        Args: step: 1 or more, growing; one more than the last where it is left out.
        Returns: `should_stop`, and the `reason`: then end the training, and tell the trial.
        Raises: MetricError or ReportError for what cannot be stored, or if the trial is not open any more.
        """
        cleaned, asked_step, is_last = parse_report(gather(_metric, metrics), step)
        step = self._step + 1 if asked_step is None else asked_step
        decision = self._study._report(self, step, cleaned, is_last=is_last)
        self._step = step
        return decision

    def elapsed_s(self) -> float:
        """Seconds since this process got the trial."""
        return time.monotonic() - self._began_at

    def __repr__(self) -> str:
        return f"StudyTrial({self.index}, {self.config})"


class Study:
    """A search without a runner: `ask` hands out a trial, `tell` takes its result; both return once it is stored.

        study = tune.Study({"lr": tune.loguniform(1e-5, 1e-1)}, metric="loss", mode="min", name="mine")
        for t in study:
            study.tell(t, loss=train(**t.config))

    Several processes of a machine share a study by its name; threads share the object.
    """

    def __init__(
        self,
        space: Mapping[str, Any],
        metric: str | Sequence[str] | None = None,
        mode: str | Sequence[str] | None = None,
        *,
        name: str | None = None,
        search_alg: str | Searcher | None = None,
        scheduler: str | Scheduler | None = None,
        num_samples: int | None = None,
        storage_path: str | Path | None = None,
        seed: int | None = None,
        durability: str = "normal",
        on_change: Mapping[str, str] | None = None,
        parameter_constraints: Any = (),
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        warm_start: Any = None,
        takeover: bool = False,
    ) -> None:
        """Make a study, or go on with the one of this name. All arguments are those of `tune.run`, but for:

        num_samples: trials in total (each a whole grid where there is one); None: endless.
        parameter_constraints: functions of a config that say whether it is allowed.
        takeover: write the study from now on, whichever process did; that one asks this one.
        Raises: ConfigError or SpaceError; ExperimentExistsError where space or objective differ, or the experiment of
            this name is no study; LeaseError while a process writes it that cannot be reached from here; StoreError.
        """
        self._on_change, self._durability, self._takeover = parse_on_change(on_change), durability, takeover
        if isinstance(scheduler, AutoScheduler):
            scheduler = dataclasses.replace(scheduler, can_pause=False)
        plan = make_plan(
            study,
            name=name,
            metric=metric,
            mode=mode,
            config=space,
            num_samples=-1 if num_samples is None else num_samples,
            search_alg=search_alg,
            points_to_evaluate=points_to_evaluate,
            warm_start=warm_start,
            parameter_constraints=parameter_constraints,
            scheduler=scheduler,
            seed=seed,
            **_OF_A_RUN,
        )
        if getattr(plan.searcher, "thaws", False):
            raise ConfigError(
                f"{plan.spec.scheduler_name} pauses trials and says which go on; those of a study are trained by you. "
                "Take another scheduler, such as tune.schedulers.AsyncHyperBandScheduler(max_t=...)."
            )
        # Code of ours is no code that could change; failures are the business of who trains.
        plan = plan._replace(spec=replace(plan.spec, source_digest=None, n_alike_failures=sys.maxsize))
        self.folder, self._plan = _settle(plan, results_folder(storage_path), durability)
        self._spec = self._continued()
        #: (index, attempt) of the trials that this object has handed out and not seen told.
        self._open: set[tuple[int, int]] = set()
        self._link = StudyLink(self.folder, self._spec.experiment_id, self._become_writer, takes_over=self._takeover)

    # ------------------------------------------------------------ ask, report, tell

    def ask(self) -> StudyTrial:
        """The next trial to train: a new one, or first of all one whose process is gone.

        Raises: StudyExhausted where there is no further one; StudyWaiting where there may be one later.
        """
        received = received_by_this_process(self._spec.experiment_id)
        with received.lock:
            return self._handed(self._answer(Ask(this_holder(), tuple(sorted(received.trials)))), received)

    def trial(self, key: int | str) -> StudyTrial:
        """An open trial by its index or id: for the process that trains what another one asked for.

        Raises: ReportError if there is none, or it is not open.
        """
        received = received_by_this_process(self._spec.experiment_id)
        with received.lock:
            return self._handed(self._answer(Look(_key(key), this_holder())), received)

    def tell(
        self,
        trial: StudyTrial | int | str,
        _metric: Mapping[str, Any] | None = None,
        /,
        *,
        step: int | None = None,
        failed: str | BaseException | None = None,
        **metrics: Any,
    ) -> None:
        """Say how a trial ended: `tell(t, loss=0.3)`, `tell(t)` after reports, or `tell(t, failed="oom")`.

        Args:
            trial: the trial, its index or its id.
            step: of the final metrics; the one after the last report where it is left out. Metrics equal to those of
                the last report are that report.
            failed: the error: its text, or an exception.
        Raises: MetricError or ReportError for what cannot be stored, or if the trial is not open: each is told once.
        """
        handle = trial if isinstance(trial, StudyTrial) else None
        if handle is not None and handle._study._spec.experiment_id != self._spec.experiment_id:
            raise ConfigError(
                f"{handle!r} is of the study {handle._study.name!r}, not of {self.name!r}. Tell it there."
            )
        gathered = gather(_metric, metrics)
        numbers, asked_step = None, None
        if failed is not None:
            failed = _error_text(failed)
            if gathered or step is not None:
                raise ConfigError("tell() was given metrics and failed=. Report the metrics first, or leave one out.")
        elif gathered or step is not None:
            cleaned, asked_step, _ = parse_report(gathered, step)
            numbers = encode_numbers(cleaned)
        self._answer(
            Tell(
                trial=_key(trial) if handle is None else handle.index,
                attempt=None if handle is None else handle.attempt,
                step=asked_step,
                metrics=numbers,
                time_total_s=None if handle is None else handle.elapsed_s(),
                failed=failed,
            )
        )
        if handle is not None:
            self._forget([(handle.index, handle.attempt)])

    def __iter__(self) -> Iterator[StudyTrial]:
        """Ask again and again, until there is no further trial."""
        while True:
            try:
                trial = self.ask()
            except StudyExhausted:
                return
            yield trial

    # ------------------------------------------------------------ results

    @property
    def name(self) -> str:
        """Name of the study and of its folder."""
        return self._spec.name

    @property
    def results(self) -> ExperimentAnalysis:
        """All that is stored now, by this process and the others; also after `close`."""
        return ExperimentAnalysis(open_reader(self.folder))

    @property
    def trials(self) -> ExperimentAnalysis:
        """The same: it is a sequence of trials."""
        return self.results

    @property
    def best(self) -> Best:
        """The best finite value told or reported so far: `config`, `value` and `step` of one and the same step.

        Raises: ConfigError without metric and mode; TuneError where there is no finite value.
        """
        return self.results.best

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Leave the study. Open trials of this object wait to be told by their index or id, by any process.

        Idempotent. A script that ends without it leaves them to be handed out again.
        """
        self._leave(is_given_back=False)

    def __enter__(self) -> Study:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close; where an exception ends the block, open trials are given back and handed out again."""
        self._leave(is_given_back=kind is not None)

    def __repr__(self) -> str:
        return f"<Study {self.name} in {self.folder}>"

    def _leave(self, *, is_given_back: bool) -> None:
        left = tuple(sorted(self._open & received_by_this_process(self._spec.experiment_id).trials))
        try:
            if left:
                self._answer(Leave(this_holder(), left, is_given_back))
                self._forget(left)
        except TunesmithError as failure:
            _log.warning("The study %r was closed without a word on its open trials: %s", self.name, failure)
        finally:
            self._link.close()

    # ------------------------------------------------------------ inside

    def _report(self, trial: StudyTrial, step: int, metrics: Mapping[str, float], *, is_last: bool) -> ReportDecision:
        numbers, elapsed_s = encode_numbers(metrics), trial.elapsed_s()
        question = Report(trial.index, trial.attempt, step, numbers, elapsed_s, this_holder(), is_last)
        received = received_by_this_process(self._spec.experiment_id)
        received.trials.add((trial.index, trial.attempt))  # a forked child may go on with its parent's
        answer = self._answer(question)
        assert isinstance(answer, Judged), answer
        should_stop = answer.verdict != Verdict.CONTINUE
        reason = answer.reason or (answer.verdict if should_stop else None)
        return ReportDecision(should_stop, reason, answer.verdict)

    def _answer(self, question: Question) -> Answer:
        return self._link.answer(question)

    def _handed(self, answer: Answer, received: Received) -> StudyTrial:
        assert isinstance(answer, Handed), answer
        found = (answer.trial, answer.attempt)
        received.trials.add(found)
        self._open.add(found)
        return StudyTrial(self, answer, parse_config(answer.config, self._plan.space))

    def _forget(self, trials: Sequence[tuple[int, int]]) -> None:
        self._open.difference_update(trials)
        received_by_this_process(self._spec.experiment_id).trials.difference_update(trials)

    def _become_writer(self) -> WritingRole:
        takeover, self._takeover = self._takeover, False
        plan = self._plan
        store = open_store(self.folder, plan.space, takeover=takeover, durability=self._durability)
        try:
            self._spec = self._continued()
            # The scheduler folds the log anew each time this process becomes the writer.
            scheduler = copy.deepcopy(plan.scheduler)
            experiment = StudyExperiment(
                self._spec,
                space=plan.space,
                scheduler=scheduler,
                stopper=plan.stopper,
                curves_by=getattr(plan.searcher, "curves_by", None),
            )
            clock = SystemClock()
            writer = StudyWriter(experiment, store=store, space=plan.space, searcher=plan.searcher, clock=clock)
            has_sockets = sys.platform != "win32"
            experiment_id = self._spec.experiment_id
            server = StudyServer(writer, folder=self.folder, experiment_id=experiment_id) if has_sockets else None
            return WritingRole(writer, server)
        except BaseException:
            store.close()
            raise

    def _continued(self) -> ExperimentSpec:
        """The spec to go on with. Raises: ExperimentExistsError if what is stored is another study, or none."""
        reader = open_reader(self.folder)
        try:
            if reader.spec.trainable_name != study.__name__:
                raise ExperimentExistsError(
                    f"The experiment {reader.spec.name!r} is no study: it trains {reader.spec.trainable_name!r}. "
                    "Give another name, or go on with it by tune.run."
                )
            return continued_spec(reader, self._plan.spec, on_change=self._on_change)
        finally:
            reader.close()


#: What only a run has, as it is where nobody says anything.
_OF_A_RUN: dict[str, Any] = {
    "stop": None,
    "time_budget_s": None,
    "max_total_steps": None,
    "resources_per_trial": None,
    "keep_checkpoints_num": None,
    "checkpoint_score_attr": None,
    "checkpoint_freq": 0,
    "checkpoint_at_end": False,
    "max_failures": 0,
    "fail_fast": False,
    "max_concurrent_trials": None,
    "grace_s": 10.0,
    "first_report_timeout_s": None,
    "report_timeout_s": None,
    "nan_policy": "ignore",
}


def _settle(plan: Plan, root: Path, durability: str) -> tuple[Path, Plan]:
    """The study's folder, made where there is none, and the plan with its name."""
    folder = existing(root, plan.spec.name) if plan.spec.name else None
    if folder is not None:
        return folder, plan
    folder, spec = new_folder(root, plan.spec)
    try:
        create_store(folder, spec, plan.space, durability=durability).close()
    except LeaseError:
        pass  # another process was quicker to open it
    except StoreError:
        if existing(root, folder.name) is None:  # else another process made it in the same instant
            raise
    return folder, plan._replace(spec=spec)


def _key(trial: Any) -> int | str:
    """A trial's index or id. Raises: ConfigError for anything else."""
    if isinstance(trial, str):
        return trial
    try:
        return -1 if isinstance(trial, bool) else operator.index(trial)
    except TypeError:
        raise ConfigError(f"The trial is {trial!r}. Give what ask() returned, its index or its trial_id.") from None


def _error_text(failed: Any) -> str:
    text = failure_text(failed) if isinstance(failed, BaseException) else failed
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"failed is {failed!r}. Give the error: a text or an exception.")
    return text.encode(errors="backslashreplace").decode()[:_MAX_ERROR_CHARS]
