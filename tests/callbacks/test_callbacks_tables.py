import math

import pytest
from callback_worlds import ERROR, GrowingWorld, trial, view
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tunesmith.callbacks.choices import Choices
from tunesmith.callbacks.tables import MEASURES, Action, Kind, error_table, hidden_words, select_rows, trial_table
from tunesmith.trial import TrialStatus

DEFAULTS = Choices()
RUNNING, COMPLETED, STOPPED, FAILED = (
    TrialStatus.RUNNING,
    TrialStatus.COMPLETED,
    TrialStatus.STOPPED,
    TrialStatus.FAILED,
)


def headings(seen, width=300, **choices):
    table = trial_table(seen, seen.trials, choices=Choices(**choices), width=width)
    return [heading.strip() for heading in table.heading()]


def cells(seen, heading, width=300, **choices):
    table = trial_table(seen, seen.trials, choices=Choices(**choices), width=width)
    column = next(column for column in table.columns if column.heading == heading)
    return list(column.cells)


# ---------------------------------------------------------------- columns


def test_columns_are_name_state_place_parameters_by_name_metrics_and_why():
    seen = view(trial(0), trial(1, STOPPED, reason="rank 2 of 2"))
    assert headings(seen, metric_columns={"accuracy": "acc", "loss": "loss", "training_iteration": "epoch"}) == [
        *("trial", "status", "loc"),
        *("batch_size", "l1", "l2", "lr"),
        *("acc", "loss", "epoch"),
        "why",
    ]


def test_given_metric_columns_replace_the_defaults():
    assert headings(view(trial(0)), metric_columns={"loss": "loss"}) == [
        *("trial", "status", "loc", "batch_size", "l1", "l2", "lr", "loss"),
    ]


def test_defaults_are_the_objective_then_other_metrics_then_the_usual_ones():
    seen = view(trial(0, metrics={"mean_loss": 1.0, "b": 1.0, "loss": 0.5, "a": 2.0, "done": 0.0}))
    assert headings(seen, parameter_columns={}) == [
        *("trial", "status", "loc", "loss", "b", "a", "loss", "iter", "total time (s)"),
    ]


@pytest.mark.parametrize("limit", [0, 1, 3, 10])
def test_infer_limit_bounds_the_metrics_that_nobody_chose(limit):
    metrics = {"loss": 1.0} | {f"m{i}": float(i) for i in range(6)}
    shown = headings(view(trial(0, metrics=metrics)), infer_limit=limit)
    assert sum(heading.startswith("m") for heading in shown) == min(limit, 6)


def test_metric_that_no_trial_has_takes_no_column():
    assert "f1" not in headings(view(trial(0)), metric_columns={"loss": "loss", "f1": "f1"})


def test_parameter_columns_choose_rename_and_order():
    config = {"l1": 1, "optimizer": {"lr": 0.5, "name": "sgd"}}
    shown = headings(
        view(trial(0, config=config)), parameter_columns={"optimizer/lr": "rate", "l1": "l1"}, metric_columns={}
    )
    assert shown == ["trial", "status", "loc", "rate", "l1"]


def test_nested_parameters_are_flat_and_missing_ones_blank():
    seen = view(trial(0, config={"opt": {"lr": 0.1}}), trial(1, config={"depth": 3}))
    assert cells(seen, "opt/lr") == ["0.1", ""]
    assert cells(seen, "depth") == ["", "3"]


def test_nan_and_missing_metrics_differ():
    seen = view(trial(0, loss=math.nan), trial(1, step=0), trial(2, metrics={"loss": 1.0}))
    assert cells(seen, "loss") == ["nan", "", "1"]


def test_filled_in_metrics_are_known():
    assert cells(view(trial(0)), "iter") == ["5"]
    assert cells(view(trial(0)), "total time (s)") == ["10"]


def test_place_is_shown_of_running_trials_only():
    assert cells(view(trial(0), trial(1, COMPLETED)), "loc") == ["gpu-node-7:4000", ""]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"status": STOPPED, "reason": "rank 7 of 9"}, "rank 7 of 9"),
        ({"status": COMPLETED, "reason": "returned without any report"}, "returned without any report"),
        ({"status": FAILED, "error": ERROR}, ERROR.splitlines()[-1]),
        ({"status": FAILED, "reason": "lost 4 times"}, "lost 4 times"),
        ({"stop_asked": "time budget"}, "stopping: time budget"),
        ({"reported_at": 1.0, "started_at": 1.0}, "no report for 17 min 09 s"),
        ({"attempt": 2}, "attempt 2"),
    ],
)
def test_why_says_it_in_words(facts, expected):
    assert cells(view(trial(0, **facts)), "why", width=500) == [expected]


def test_returning_needs_no_reason():
    assert "why" not in headings(view(trial(0, COMPLETED, reason="returned")))


def test_experiment_without_trials_has_an_empty_table():
    assert trial_table(view(), [], choices=DEFAULTS, width=80).lines() == [""]


# ---------------------------------------------------------------- width


def test_two_hundred_columns_show_everything():
    seen = GrowingWorld(40, is_nasty=False).view_at(30.0)
    table = trial_table(seen, select_rows(seen, DEFAULTS, n_max=20), choices=DEFAULTS, width=200)
    assert table.not_shown == ()
    assert table.columns[0].cells[0].startswith("train_cifar_")


def test_eighty_columns_keep_number_state_parameters_and_metrics_of_the_tutorial():
    seen = GrowingWorld(40, is_nasty=False).view_at(30.0)
    columns = Choices(
        metric_columns={"loss": "loss", "accuracy": "accuracy", "training_iteration": "training_iteration"}
    )
    table = trial_table(seen, select_rows(seen, columns, n_max=20), choices=columns, width=80)
    shown = [heading.strip() for heading in table.heading()]
    assert shown == ["trial", "status", "batch_size", "l1", "l2", "lr", "loss", "accuracy", "iter"]
    assert table.not_shown == ("loc", "why")


def test_columns_are_given_up_in_the_stated_order():
    seen = view(trial(0, config={"a": 1, "b": 2, "z": 0}, attempt=2), trial(1, config={"a": 3, "b": 4, "z": 0}))
    gone: list[str] = []
    for width in range(200, 4, -1):
        for heading in trial_table(
            seen, seen.trials, choices=Choices(metric_columns={"loss": "m1", "accuracy": "m2"}), width=width
        ).not_shown:
            if heading not in gone:
                gone.append(heading)
    assert gone == ["loc", "z", "why", "b", "a", "m2"]
    assert [kind for action, kind in MEASURES if action is Action.DROP] == [
        *(Kind.LOC, Kind.LOG, Kind.CONSTANT, Kind.REASON, Kind.PARAMETER, Kind.METRIC)
    ]


def test_reason_takes_the_room_that_is_left():
    seen = view(trial(0, STOPPED, reason="x" * 300))
    narrow, wide = (
        trial_table(seen, seen.trials, choices=Choices(metric_columns={}), width=width) for width in (120, 160)
    )
    assert wide.widths[-1] == narrow.widths[-1] + 40
    assert {cell_len(line) for line in wide.lines()[1:]} == {160}


words = st.text(max_size=60)


@settings(max_examples=60)
@given(st.lists(st.tuples(words, words, words, st.floats()), min_size=1, max_size=5), st.integers(1, 240))
def test_every_line_fits_whatever_the_words(rows, width):
    trials = [
        trial(i, STOPPED, config={name: value, "x": i}, reason=reason, metrics={"loss": loss, name: loss})
        for i, (name, value, reason, loss) in enumerate(rows)
    ]
    seen = view(*trials)
    for line in trial_table(seen, trials, choices=DEFAULTS, width=width).lines():
        assert cell_len(line) <= width
        assert line.isprintable()


# ---------------------------------------------------------------- rows


def test_running_trials_come_first_then_the_best():
    seen = view(
        trial(0, STOPPED, loss=0.5), trial(1), trial(2, COMPLETED, loss=0.1), trial(3, FAILED, step=0), trial(4)
    )
    assert [t.index for t in select_rows(seen, DEFAULTS, n_max=20)] == [1, 4, 2, 0, 3]


def test_nan_ranks_after_every_number():
    seen = view(trial(0, STOPPED, loss=math.nan, best_value=math.nan), trial(1, STOPPED, loss=9.0))
    assert [t.index for t in select_rows(seen, DEFAULTS, n_max=20)] == [1, 0]


def test_rank_is_by_the_best_value_unless_sorted_by_metric():
    seen = view(
        trial(0, STOPPED, loss=0.9, best_value=0.1), trial(1, STOPPED, loss=0.5, best_value=0.5), trial(2), trial(3)
    )
    assert [t.index for t in select_rows(seen, DEFAULTS, n_max=20)] == [2, 3, 0, 1]
    assert [t.index for t in select_rows(seen, Choices(sort_by_metric=True), n_max=20)] == [3, 2, 1, 0]


def test_reporters_own_metric_ranks_by_the_last_report():
    seen = view(trial(0, STOPPED, loss=0.2), trial(1, STOPPED, loss=0.7))
    assert [t.index for t in select_rows(seen, Choices(metric="loss", mode="max"), n_max=20)] == [1, 0]


def test_many_running_trials_leave_a_quarter_for_the_best():
    seen = view(*(trial(i) for i in range(50)), *(trial(i, STOPPED) for i in range(50, 100)))
    shown = select_rows(seen, DEFAULTS, n_max=20)
    assert [t.status for t in shown] == [RUNNING] * 15 + [STOPPED] * 5
    assert shown[-5].index == 99


def test_hidden_trials_are_counted_by_state():
    seen = view(*(trial(i) for i in range(5)), *(trial(i, STOPPED) for i in range(5, 12)))
    assert hidden_words(seen, select_rows(seen, DEFAULTS, n_max=4)) == "… 8 more: 2 running, 6 stopped early"
    assert hidden_words(seen, seen.trials) is None


@pytest.mark.parametrize("n_max", [0, 1, 3, 20, 1000])
def test_no_more_rows_than_asked_for(n_max):
    seen = GrowingWorld(60).view_at(60.0)
    rows = select_rows(seen, DEFAULTS, n_max=n_max)
    assert len(rows) == min(n_max, len(seen.trials)) == len({t.index for t in rows})


# ---------------------------------------------------------------- failures


def test_failures_name_trial_count_error_and_log():
    seen = view(trial(7, FAILED, error=ERROR, n_failures=3))
    line = error_table(seen, seen.failures(), width=200).lines()[1]
    assert line.split("  ")[0] == "train_cifar_5d9ac_00007"
    assert "       3  RuntimeError: CUDA out of memory. Tried to allocate" in line
    assert line.endswith("train_cifar_5d9ac_00007/stderr.log")


def test_narrow_failures_keep_the_error_rather_than_the_log():
    seen = view(trial(7, FAILED, error=ERROR, n_failures=3))
    table = error_table(seen, seen.failures(), width=80)
    assert table.not_shown == ("log file",)
    assert "RuntimeError: CUDA out of memory. Tried to allocate" in table.lines()[1]
