"""What every scheduler promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.events import Decision, StopPaused, Thaw, TrialReported, Verdict
from tunesmith.executors.simulated import SimulatedStep
from tunesmith.experiment.invariants import check_invariants
from tunesmith.protocols import Hold, Scheduler, StartNew
from tunesmith.space import uniform
from tunesmith.testing.samples import LOSS, decisions, interleaved, make_report, play, running
from tunesmith.testing.simulation import simulate


class SchedulerContract:
    """Derive from it and override `make`. The scheduler is bound to an experiment that minimises "loss"."""

    def make(self) -> Scheduler:
        """A new scheduler without a metric of its own, always with the same arguments."""
        raise NotImplementedError

    def _bound(self) -> Scheduler:
        scheduler = self.make()
        scheduler.bind(LOSS)
        return scheduler

    # ------------------------------------------------------------ the contract

    def test_it_takes_the_experiments_objective(self) -> None:
        assert self.make().bind(LOSS) == LOSS

    def test_without_an_objective_it_binds_or_says_what_is_missing(self) -> None:
        try:
            assert self.make().bind(None) is None
        except ConfigError as error:
            assert "metric" in str(error)

    def test_deciding_leaves_no_trace(self) -> None:
        reports = interleaved(6, 12, seed=1)
        asked_once, asked_often = self._bound(), _AskedTwice(self._bound())
        assert repr(play(asked_once, reports)) == repr(play(asked_often, reports))
        assert list(asked_once.describe()) == list(asked_often.describe())

    def test_a_replay_of_the_log_stands_where_the_live_one_stands(self) -> None:
        for seed in range(5):
            reports = interleaved(8, 10, seed=seed)
            live, replayed = self._bound(), self._bound()
            for record in play(live, reports[:50]):
                replayed.observe(record)
            assert list(replayed.describe()) == list(live.describe())
            assert replayed.choose_next(()) == live.choose_next(())
            later = [make_report(trial, step, loss=0.3) for step in range(11, 14) for trial in range(20, 24)]
            assert decisions(play(replayed, later)) == decisions(play(live, later))

    def test_any_order_of_the_trials_reports_is_judged(self) -> None:
        for seed in range(20):
            for _, _, decision in decisions(play(self._bound(), interleaved(7, 15, seed=seed))):
                assert isinstance(decision, Decision)
                assert decision.verdict is not Verdict.REFUSE
                assert (decision.clone is not None) == (decision.verdict is Verdict.CLONE)
                assert decision.verdict is Verdict.CONTINUE or decision.words()

    def test_equal_histories_give_equal_decisions(self) -> None:
        reports = interleaved(9, 9, seed=3)
        assert decisions(play(self._bound(), reports)) == decisions(play(self._bound(), reports))

    def test_reports_without_the_metric_do_no_harm(self) -> None:
        scheduler = self._bound()
        play(scheduler, [make_report(trial, step, other=1.0) for step in range(1, 20) for trial in range(3)])
        assert scheduler.describe() is not None

    def test_a_free_slot_without_paused_trials_is_for_a_new_one_or_held(self) -> None:
        assert isinstance(self._bound().choose_next(()), StartNew | Hold)

    def test_only_paused_trials_are_thawed_or_stopped(self) -> None:
        paused = [running(make_report(trial, 1, loss=0.5)) for trial in (3, 5)]
        action = self._bound().choose_next(paused)
        assert not isinstance(action, Thaw | StopPaused) or action.trial in (3, 5)

    def test_an_experiment_comes_to_its_end(self) -> None:
        scheduler: Any = self.make()
        searcher = scheduler if getattr(scheduler, "thaws", False) else None
        space = {"level": uniform(0.0, 1.0)}
        found = simulate(_curve, space=space, searcher=searcher, scheduler=scheduler, n_trials=20, n_workers=4)
        assert len(found.trials) == 20
        assert all(trial.status.is_over for trial in found.trials)
        check_invariants(found.experiment.state)

    def test_its_description_is_lines(self) -> None:
        assert all(isinstance(line, str) and "\n" not in line for line in self._bound().describe())


def _curve(config: dict[str, Any], first_step: int) -> Iterator[SimulatedStep]:
    for step in range(first_step, 31):
        yield SimulatedStep(1.0 + config["level"], {"loss": config["level"] + 1 / step}, saves_checkpoint=step % 3 == 0)


class _AskedTwice:
    """The scheduler, asked twice about everything."""

    def __init__(self, inner: Scheduler) -> None:
        self._inner = inner
        self.observe, self.describe, self.bind = inner.observe, inner.describe, inner.bind

    def decide(self, trial: Any, report: TrialReported) -> Decision:
        first = self._inner.decide(trial, report)
        assert self._inner.decide(trial, report) == first
        return first

    def choose_next(self, paused: Any) -> Any:
        first = self._inner.choose_next(paused)
        assert self._inner.choose_next(paused) == first
        return first
