"""What every searcher promises."""

from __future__ import annotations

import copy
import random
from typing import Any

from msgspec.structs import replace

from tunesmith.events import Suggestion
from tunesmith.protocols import Curve, Exhausted, History, Searcher, Wait
from tunesmith.rng import generator
from tunesmith.space import Space, choice, loguniform, randint, uniform
from tunesmith.testing.samples import LOSS, PLACEMENT
from tunesmith.trial import Trial, TrialStatus

_SEED = 11


class SearcherContract:
    """Derive from it and override `make`; `space` too if the searcher cannot search the one given here.

    A searcher that says which trials go on (`thaws`) may say so on top of the configs that are asked for.
    """

    def make(self) -> Searcher:
        """A new searcher, always with the same arguments."""
        raise NotImplementedError

    def space(self) -> dict[str, Any]:
        """A space with continuous, whole and named values, some of them only within an option."""
        return {
            "lr": loguniform(1e-4, 1e-1),
            "n_layers": randint(1, 5),
            "drop": uniform(0.0, 0.5),
            "optimizer": choice([{"name": "sgd", "momentum": uniform(0.0, 1.0)}, {"name": "adam"}]),
        }

    # ------------------------------------------------------------ helpers

    def _history(self, trials: tuple[Trial, ...] = ()) -> History:
        curves: tuple[Curve, ...] = ()
        if getattr(self.make(), "curves_by", None) is not None:
            curves = tuple(_curve(trial) for trial in trials)
        return History(space=Space(self.space()), objective=LOSS, seed=_SEED, trials=trials, curves=curves)

    def _ask(self, searcher: Searcher, history: History, n: int = 4) -> Any:
        return searcher.suggest(history, generator(_SEED, "suggest", len(history.trials)), n)

    def _grown(self, searcher: Searcher, n_trials: int) -> History:
        """A history as the searcher would have made it: every kind of trial and of value is in it."""
        history = self._history()
        while len(history.trials) < n_trials:
            found = self._ask(searcher, history, 2)
            if isinstance(found, Exhausted | Wait):
                break
            trials = list(history.trials)
            trials += [_as_it_went(len(trials) + i, suggestion) for i, suggestion in enumerate(_configs(found))]
            history = self._history(tuple(trials))
        return history

    # ------------------------------------------------------------ the contract

    def test_equal_arguments_give_equal_answers(self) -> None:
        searcher = self.make()
        for n_trials in (0, 5, 20):
            history = self._grown(searcher, n_trials)
            assert self._ask(searcher, history) == self._ask(searcher, history)

    def test_a_fresh_searcher_answers_as_one_that_was_used(self) -> None:
        used = self.make()
        history = self._grown(used, 12)
        assert self._ask(self.make(), history) == self._ask(used, history)

    def test_it_may_be_asked_about_an_older_history(self) -> None:
        used = self.make()
        older = self._grown(used, 4)
        self._grown(used, 12)
        assert self._ask(used, older) == self._ask(self.make(), older)

    def test_the_history_stays_as_it_was(self) -> None:
        searcher = self.make()
        history = self._grown(searcher, 8)
        before = copy.deepcopy(history.trials)
        self._ask(searcher, history)
        assert repr(history.trials) == repr(before)  # repr: NaN equals nothing

    def test_the_global_generators_stay_as_they_were(self) -> None:
        import numpy as np

        before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
        self._grown(self.make(), 8)
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index]

    def test_it_proposes_one_to_n_configs_of_the_space(self) -> None:
        searcher, space = self.make(), Space(self.space())
        for n in (1, 3, 16):
            found = self._ask(searcher, self._grown(searcher, 6), n)
            configs = _configs(found)
            assert len(found) >= 1
            assert len(configs) <= n
            assert getattr(searcher, "thaws", False) or len(configs) == len(found)
            for suggestion in configs:
                space.check(suggestion.config)

    def test_an_empty_history_is_enough(self) -> None:
        assert len(self._ask(self.make(), self._history(), 1)) == 1

    def test_failures_nan_and_pending_trials_do_no_harm(self) -> None:
        searcher = self.make()
        for n_trials in range(1, 30):
            found = self._ask(searcher, self._grown(searcher, n_trials), 1)
            assert isinstance(found, Exhausted | Wait) or len(_configs(found)) == 1
            assert not isinstance(found, Exhausted | Wait) or found.reason

    def test_a_history_of_failures_only_does_no_harm(self) -> None:
        searcher = self.make()
        failed = [
            replace(trial, status=TrialStatus.FAILED, metrics=None, best_value=None, placement=None)
            for trial in self._grown(searcher, 10).trials
        ]
        assert self._ask(searcher, self._history(tuple(failed)), 1)

    def test_whoever_uses_no_results_is_not_changed_by_them(self) -> None:
        searcher = self.make()
        if searcher.uses_results:
            return
        history = self._grown(searcher, 8)
        others = [replace(trial, best_value=1e6, metrics={"loss": 1e6}) for trial in history.trials]
        assert self._ask(searcher, self._history(tuple(others))) == self._ask(searcher, history)


def _configs(found: Any) -> list[Suggestion]:
    """The new configs of an answer."""
    return [proposal for proposal in found if isinstance(proposal, Suggestion)]


def _curve(trial: Trial) -> Curve:
    """Falls to the trial's last value, if it has reported any."""
    if not trial.metrics:
        return Curve([], [], [], 0)
    times = [float(step) for step in range(1, trial.step + 1)]
    values = [trial.metrics["loss"] + trial.step - time for time in times]
    return Curve(times, values, [trial.index * 10 + step for step in range(len(times))], len(times))


def _as_it_went(index: int, suggestion: Suggestion) -> Trial:
    """A trial of this config: in turn completed, running with and without a report, NaN, failed, pending."""
    facts: dict[str, Any] = {"index": index, "trial_id": f"sample_{index:05d}", "config": suggestion.config}
    value = float(index % 5) / 5
    kind = index % 6
    if kind == 1:
        return Trial(**facts, status=TrialStatus.RUNNING, attempt=1, placement=PLACEMENT)
    if kind == 2:
        return Trial(**facts, status=TrialStatus.COMPLETED, attempt=1, step=1, metrics={"loss": float("nan")})
    if kind == 3:
        return Trial(**facts, status=TrialStatus.FAILED, attempt=1, n_failures=1, error="no")
    if kind == 4:
        return Trial(**facts)
    status = TrialStatus.COMPLETED if kind == 0 else TrialStatus.RUNNING
    return Trial(
        **facts,
        status=status,
        attempt=1,
        step=3,
        n_reports=3,
        metrics={"loss": value},
        best_value=value,
        best_step=3,
        placement=PLACEMENT if status is TrialStatus.RUNNING else None,
    )
