import math

import pytest
from callback_worlds import trial, view

from tunesmith.callbacks.choices import Choices
from tunesmith.callbacks.lines import status_line
from tunesmith.callbacks.summary import summary_lines
from tunesmith.events import EndReason
from tunesmith.trial import TrialStatus, parse_objective

TWO = parse_objective(["loss", "size"], ["min", "max"])
BOUNDED = parse_objective("loss", "min", {"latency": "<= 20"})


def done(index, **metrics):
    return trial(index, TrialStatus.COMPLETED, metrics=metrics, best_value=metrics.get("loss"), step=5)


def summary(*trials, objective, width=80, **choices):
    seen = view(*trials, objective=objective, end_status=EndReason.FINISHED)
    return [text for text, _ in summary_lines(seen, Choices(**choices), width=width)]


def part(lines, label):
    """The line of a label, and the indented ones below it."""
    first = next(i for i, line in enumerate(lines) if line.startswith(label))
    last = next(i for i in range(first + 1, len(lines)) if not lines[i].startswith(" "))
    return lines[first:last]


def test_the_pareto_set_is_counted_and_shown():
    lines = summary(done(0, loss=1, size=1), done(1, loss=2, size=0.5), done(2, loss=3, size=4.25), objective=TWO)
    assert part(lines, "Pareto set") == [
        "Pareto set  2 trials that no other beats in loss and size",
        "            trial  loss  size",
        "                0     1     1",
        "                2     3  4.25",
    ]


def test_of_many_trials_both_ends_and_some_between_are_shown():
    table = part(summary(*(done(i, loss=i, size=i) for i in range(20)), objective=TWO), "Pareto set")
    assert table[0].startswith("Pareto set  20 trials")
    assert [line.split()[0] for line in table[2:-1]] == ["0", "3", "5", "8", "11", "14", "16", "19"]
    assert table[-1].strip() == "and 12 more: result.pareto"


def test_trials_without_a_finite_value_of_each_objective_are_left_out():
    lines = summary(done(0, loss=1, size=1), done(1, loss=0), done(2, loss=0, size=math.nan), objective=TWO)
    assert part(lines, "Pareto set")[0].startswith("Pareto set  1 trial that")


def test_one_objective_has_no_table():
    assert not any(line.startswith("Pareto") for line in summary(done(0, loss=1, latency=1), objective=BOUNDED))


def test_a_reporter_with_its_own_metric_shows_that_only():
    lines = summary(done(0, loss=1, size=1), objective=TWO, metric="size", mode="max")
    assert not any(line.startswith("Pareto") for line in lines)


def test_a_narrow_terminal_is_kept_to():
    names = [f"a_rather_long_metric_{i}" for i in range(6)]
    objective = parse_objective(names, ["min"] * 6)
    table = part(summary(done(0, **dict.fromkeys(names, 1.0)), objective=objective, width=60), "Pareto set")
    assert all(len(line) <= 60 for line in table)


def test_the_best_is_a_trial_that_keeps_the_bounds_and_they_are_said():
    lines = summary(done(0, loss=0.1, latency=30), done(1, loss=0.5, latency=18.2), objective=BOUNDED)
    text = " ".join(" ".join(part(lines, "best")).split())
    assert text.startswith("best loss 0.5 at step 5 of trial 1")
    assert text.endswith("keeps latency <= 20 (18.2)")


def test_the_status_line_does_not_praise_a_trial_that_breaks_a_bound():
    seen = view(done(0, loss=0.1, latency=30), done(1, loss=0.5, latency=18.2), objective=BOUNDED)
    assert "best loss 0.5" in status_line(seen, Choices())


def test_the_bounds_are_said_of_trials_by_their_number_whatever_their_place():
    lines = summary(done(7, loss=0.5, latency=18.2), objective=BOUNDED)
    assert any("(18.2)" in line for line in lines)


@pytest.mark.parametrize("latency", [30.0, math.nan, math.inf, None])
def test_where_no_trial_keeps_the_bounds_the_summary_says_so(latency):
    metrics = {"loss": 0.1} if latency is None else {"loss": 0.1, "latency": latency}
    lines = summary(done(0, **metrics), objective=BOUNDED)
    assert " ".join(" ".join(part(lines, "best")).split()).startswith(
        "best none: no trial's last report keeps latency <= 20."
    )


def test_the_closest_of_several_objectives_are_called_that():
    objective = parse_objective(["loss", "size"], ["min", "max"], {"latency": "<= 20"})
    lines = summary(done(0, loss=1, size=1, latency=25), done(1, loss=2, size=2, latency=30), objective=objective)
    assert part(lines, "Pareto set")[0] == "Pareto set  none keeps latency <= 20; the closest:"
    assert part(lines, "Pareto set")[2].split() == ["0", "1", "1", "25"]


def test_a_missing_objective_is_not_blamed_on_the_bounds():
    assert any("no trial reported a loss" in line for line in summary(done(0, latency=30), objective=BOUNDED))
