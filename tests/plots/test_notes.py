"""What figures say in words, and that their marks agree with the results."""

import math

import pytest

from tunesmith import plots
from tunesmith.api import load
from tunesmith.trial import MetricConstraint, Mode, Objective

from ..analysis.written import write
from ..stores.store_samples import write_folds

pytest.importorskip("plotly")

BOUNDED = Objective(("loss",), (Mode.MIN,), (MetricConstraint("lat", True, 20.0),))


def subtitle(figure):
    return figure.layout.title.subtitle.text.replace("<br>", " ")


# ---------------------------------------------------------------- the best


def draws_the_best(result):
    """That every line of the best ends at `best`, and the black curve is its trial's."""
    best = result.best
    ends = [plots.best_so_far(result, over=over).data[-1].y[-1] for over in ("trials", "steps", "time")]
    ends.append(plots.comparison([result]).data[0].y[-1])
    assert ends == [best.value] * 4
    assert plots.learning_curves(result).data[-1].legendgroup == "best"
    assert set(plots.learning_curves(result).data[-1].customdata) == {best.trial.index}


def test_the_best_of_a_figure_keeps_the_constraints_as_best_does(tmp_path):
    slow_when_good = [{"loss": 0.1, "lat": 50}, {"loss": 0.5, "lat": 10}]
    slow_at_last = [{"loss": 0.3, "lat": 10}, {"loss": 0.6, "lat": 30}]
    result = write(tmp_path / "e", [slow_when_good, slow_at_last, [{"loss": 0.2, "lat": 30}]], objective=BOUNDED)
    draws_the_best(result)
    hollow, dots, _ = plots.best_so_far(result).data
    assert (hollow.name, hollow.marker.symbol, list(hollow.x)) == ("breaks a constraint", "circle-open", [2])
    assert list(dots.y) == [0.5, 0.3]


def test_one_lucky_fold_sets_no_best(tmp_path):
    write_folds(tmp_path / "e", [[1.0, 3.0], [0.1], [4.0, 6.0]], space={"tree": {}, "grids": []})
    result = load(tmp_path / "e")
    draws_the_best(result)
    hollow, dots, _ = plots.best_so_far(result).data
    assert (hollow.name, hollow.marker.symbol, list(hollow.x), list(hollow.y)) == (
        "fewer folds", "circle-open", [1], [0.1],
    )  # fmt: skip
    assert list(dots.x) == [0, 2]


def test_an_infinitely_good_report_is_no_best(tmp_path):
    draws_the_best(write(tmp_path / "e", [[-math.inf, 1.0], [2.0]]))


def test_the_best_curve_is_drawn_among_hundreds(tmp_path):
    """It is neither of the 100 with the best values, since those break the bound, nor of the spread."""
    series = [[{"loss": i / 1000, "lat": 10 if i == 333 else 50}] for i in range(900)]
    draws_the_best(write(tmp_path / "e", series, objective=BOUNDED))
