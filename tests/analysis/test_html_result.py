"""Which trials a notebook shows as the best: those that `best` would name."""

import math
import re

from tunesmith.analysis.html_result import result_html
from tunesmith.api import load
from tunesmith.trial import MetricConstraint, Mode, Objective

from ..stores.store_samples import write_folds
from .written import objective, write

BOUNDED = Objective(("loss",), (Mode.MIN,), (MetricConstraint("lat", True, 20.0),))


def cells(result):
    """Trial, best value and step of each row."""
    rows = [re.findall("<td[^>]*>(.*?)</td>", row) for row in result_html(result.reader).split("<tr>")[2:]]
    return [(int(row[0]), float(row[2]), int(row[3])) for row in rows]


def test_the_best_are_ranked_by_reports_that_keep_the_constraints(tmp_path):
    series = [
        [{"loss": 0.1, "lat": 50}, {"loss": 0.5, "lat": 10}],
        [{"loss": 0.3, "lat": 10}, {"loss": 0.6, "lat": 30}],
        [{"loss": 0.0, "lat": 99}],
    ]
    result = write(tmp_path / "e", series, objective=BOUNDED)
    assert cells(result) == [(1, 0.3, 1), (0, 0.5, 2)]
    assert cells(result)[0][0] == result.best.trial.index
    assert "The best by loss (min), where lat &lt;= 20, 2 of 3 trials" in result_html(result.reader)


def test_where_nothing_keeps_the_constraints_that_is_said(tmp_path):
    result = write(tmp_path / "e", [[{"loss": 0.1, "lat": 50}]], objective=BOUNDED)
    assert "No result keeps lat &lt;= 20." in result_html(result.reader)
    assert cells(result) == []


def test_an_infinity_does_not_hide_what_is_finite(tmp_path):
    assert cells(write(tmp_path / "e", [[2.0], [-math.inf, 1.0]])) == [(1, 1.0, 2), (0, 2.0, 1)]


def test_means_over_the_most_folds_come_first(tmp_path):
    write_folds(tmp_path / "e", [[1.0, 3.0], [0.1], [4.0, 6.0]])
    assert cells(load(tmp_path / "e")) == [(0, 2.0, 2), (2, 5.0, 2), (1, 0.1, 1)]


def test_of_several_objectives_the_first_ranks_and_the_others_are_pointed_to(tmp_path):
    result = write(tmp_path / "e", [[{"loss": 1, "size": 2}]], objective=objective(loss="min", size="max"))
    assert "The best by loss (min), the first of 2 objectives (see result.pareto), 1 of 1 trial" in result_html(
        result.reader
    )
