"""Trials of a cross-validation on the screen: ranked by their means, not by their luckiest fold."""

from __future__ import annotations

from callback_worlds import trial, view

from tunesmith.callbacks.choices import Choices
from tunesmith.callbacks.lines import best_of, best_words
from tunesmith.callbacks.progress_view import best_by_last_report
from tunesmith.callbacks.tables import select_rows
from tunesmith.trial import FoldScore, TrialStatus


def folded(index, *losses, **facts):
    folds = tuple(FoldScore(fold, fold + 1, loss) for fold, loss in enumerate(losses))
    mean = sum(losses) / len(losses)
    return trial(
        index,
        TrialStatus.COMPLETED,
        loss=losses[-1],
        step=len(losses) + 1,
        best_value=mean,
        best_step=len(losses),
        folds=folds,
        **facts,
    )


#: A lucky last fold, the best mean, a lucky first fold after which it was stopped.
TRIALS = (folded(0, 9.0, 9.0, 0.1), folded(1, 2.0, 2.0, 5.0), folded(2, 0.0))


def test_the_best_by_the_reporters_metric_is_the_best_mean_over_the_most_folds():
    best = best_by_last_report(view(*TRIALS), "loss", "min")
    assert best is not None
    assert (best.trial, best.value, best.step, best.n_folds) == (1, 3.0, 3, 3)
    assert best_words(best) == "loss 3 over 3 folds of trial 1"
    assert best_of(view(*TRIALS), Choices(metric="loss", mode="min")) == best


def test_by_another_metric_the_last_report_counts_among_the_most_folds():
    best = best_by_last_report(view(*TRIALS), "accuracy", "max")
    assert best is not None
    assert (best.trial, best.value, best.step, best.n_folds) == (0, 0.9, 4, 0)


def test_in_the_table_trials_with_more_folds_go_first():
    shown = select_rows(view(*TRIALS), Choices(), n_max=3)
    assert [one.index for one in shown] == [1, 0, 2]
    by_column = select_rows(view(*TRIALS), Choices(sort_by_metric=True), n_max=3)
    assert [one.index for one in by_column] == [2, 0, 1]
