import io
import math

import pytest
from callback_worlds import HOSTILE, GrowingWorld, hostile_view, trial, view
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from tunesmith.callbacks.choices import Choices
from tunesmith.callbacks.screen import LiveScreen, live_lines, plain_text, table_lines
from tunesmith.events import EndReason
from tunesmith.trial import TrialStatus

DEFAULTS = Choices()


def screen(seen, width=80, height=24, has_tables=True, **choices) -> list[str]:
    return plain_text(live_lines(seen, Choices(**choices), width=width, height=height, has_tables=has_tables))


def line_of(lines: list[str], label: str) -> str:
    return next(line for line in lines if line.startswith(label))


# ---------------------------------------------------------------- the size


@pytest.mark.parametrize("n_trials", [10, 300])
@pytest.mark.parametrize("size", [(80, 24), (200, 50), (40, 10), (20, 3), (100, 200), (1, 1)])
@pytest.mark.parametrize("elapsed_s", [0.0, 9.0, 60.0, 400.0])
def test_screen_is_lower_than_the_terminal_and_no_line_is_wider(n_trials, size, elapsed_s):
    width, height = size
    lines = screen(GrowingWorld(n_trials).view_at(elapsed_s), width, height)
    assert len(lines) <= max(1, height - 1)
    assert all(cell_len(line) <= width for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (30, 8)])
def test_rich_draws_each_line_as_one_line(width, height):
    seen = GrowingWorld(300).view_at(60.0)
    console = Console(file=io.StringIO(), width=width, height=height, record=True, force_terminal=True)
    console.print(LiveScreen(seen, DEFAULTS, has_tables=True))
    assert console.export_text().rstrip("\n").split("\n")[0] == screen(seen, width, height)[0]
    assert len(console.render_lines(LiveScreen(seen, DEFAULTS, has_tables=True), pad=False)) <= height - 1


def test_low_screen_gives_most_of_its_lines_to_trials():
    lines = screen(GrowingWorld(300).view_at(108.0))
    rows = [line for line in lines if "STOPPED" in line or "RUNNING" in line or "COMPLETED" in line]
    assert len(rows) >= 9
    assert any(line.startswith("trial 84 stopped at step 1: rank") for line in lines)
    assert any(line.startswith("trial 83 failed: RuntimeError: CUDA out of memory.") for line in lines)


def test_high_screen_has_titles_and_a_table_of_failures():
    lines = screen(GrowingWorld(300).view_at(108.0), 200, 50)
    assert "latest of 67 early stops" in lines
    assert "latest of 7 failed trials" in lines
    assert sum(line.endswith("stderr.log") for line in lines) == 5


# ---------------------------------------------------------------- what it says


def test_a_method_that_is_searcher_and_scheduler_is_named_once():
    both = view(trial(0), searcher_name="FreezeThaw", scheduler_name="FreezeThaw")
    apart = view(trial(0), searcher_name="AutoSearch", scheduler_name="FIFOScheduler")
    words = [line_of(screen(seen, height=40), "method").split(maxsplit=1)[1] for seen in (both, apart)]
    assert words[0] == "FreezeThaw"
    assert words[1].startswith("AutoSearch ") and words[1].endswith(" FIFOScheduler")


def test_title_names_experiment_state_and_time():
    assert screen(view(name="e1"))[0] == "e1 · RUNNING · 1 min 15 s"
    assert screen(view(name="e1", end_status=EndReason.FINISHED))[0] == "e1 · FINISHED · 1 min 15 s"


def test_long_name_is_cut_before_the_state():
    assert screen(view(name="x" * 200))[0].endswith("x… · RUNNING · 1 min 15 s")


def test_progress_counts_trials_that_are_over():
    over = [trial(i, TrialStatus.COMPLETED) for i in range(4)]
    bar = screen(view(*over, trial(4), n_total=10))[1]
    assert bar.endswith("  4/10 trials over, less than a minute left")
    assert bar.startswith("━")


@pytest.mark.parametrize(
    ("facts", "choices", "expected"),
    [
        ({"n_total": 10}, {}, "0/10 trials over, time left unknown yet"),
        ({"n_total": None}, {}, "0 trials over, no limit set"),
        ({"n_total": None, "time_budget_s": 375.0}, {}, "0 trials over, about 5 min left"),
        ({"n_total": None}, {"total_samples": 7}, "0/7 trials over, time left unknown yet"),
        ({"n_total": 10}, {"total_samples": 20}, "0/20 trials over, time left unknown yet"),
        ({"n_total": 10, "end_status": EndReason.INTERRUPTED}, {}, "0/10 trials over"),
    ],
)
def test_progress_says_what_is_known_of_the_end(facts, choices, expected):
    assert screen(view(trial(0), **facts), **choices)[1].endswith(expected)


@pytest.mark.parametrize(
    ("facts", "n_done"),
    [
        ({"n_total": 4}, 10),
        ({"n_total": None, "time_budget_s": 150.0}, 20),
        ({"n_total": 4, "time_budget_s": 75.0}, 40),
        ({"n_total": 4, "end_status": EndReason.EXHAUSTED}, 40),
    ],
)
def test_bar_shows_the_limit_that_is_nearest(facts, n_done):
    bar = live_lines(view(trial(0, TrialStatus.COMPLETED), trial(1), **facts), DEFAULTS, width=120, height=24)[1]
    assert (bar.plain.count("━"), bar.plain.count("─")) == (n_done, 40 - n_done)  # told apart without colours too
    console = Console(file=io.StringIO(), width=120)
    first = next(iter(bar.render(console)))
    assert len(first.text) == n_done


def test_endless_experiment_without_a_budget_has_no_bar():
    assert not {"━", "─"} & set(screen(view(trial(0), n_total=None))[1])


def test_resources_and_memory_are_said_in_use_of_all():
    lines = screen(view(trial(0)))
    assert line_of(lines, "resources") == "resources  CPU 8/16 · GPU 2/2 · memory 12.0/64.0 GiB"
    assert not any(line.startswith("resources") for line in screen(view(resources=(), memory_used_bytes=None)))


def test_best_names_value_step_trial_and_config():
    lines = screen(view(trial(0, loss=0.5), trial(3, loss=0.25)))
    assert line_of(lines, "best") == "best       loss 0.25 at step 5 of trial 3 (train_cifar_5d9ac_00003)"
    assert lines[lines.index(line_of(lines, "best")) + 1].split() == ["l1=32", "lr=0.0030864", "batch_size=4", "l2=16"]


def test_parameters_that_all_trials_share_come_last_beside_the_best():
    lines = screen(view(trial(0, config={"a": 1, "z": 1}), trial(1, config={"a": 1, "z": 2})))
    assert any(line.split() == ["z=2", "a=1"] for line in lines)


def test_reporters_own_metric_decides_what_is_best():
    lines = screen(view(trial(0, loss=0.5), trial(3, loss=0.25)), metric="accuracy", mode="min")
    assert line_of(lines, "best").startswith("best       accuracy 0.5 at step 5 of trial 0")


def test_screen_without_any_value_has_no_best():
    assert not any(line.startswith("best") for line in screen(view(trial(0, loss=math.nan))))


def test_scheduler_lines_are_shown_one_on_a_low_screen():
    assert sum("num_stopped" in line or "Bracket" in line for line in screen(view())) == 1
    assert sum("num_stopped" in line or "Bracket" in line for line in screen(view(), height=40)) == 2


def test_ending_says_why():
    lines = screen(view(trial(0), end_status=EndReason.STOPPER, end_detail="no better loss for 20 trials"))
    assert lines[0].startswith("train_cifar_2025-01-31_12-00-00 · ENDING")
    assert line_of(lines, "ending") == "ending     no better loss for 20 trials"


def test_tables_can_be_left_out():
    lines = screen(GrowingWorld(30).view_at(20.0), has_tables=False)
    assert len(lines) == 7
    assert not any("STOPPED" in line for line in lines)


def test_row_and_error_limits_are_the_users():
    seen = GrowingWorld(300, is_nasty=False).view_at(200.0)
    lines = screen(seen, 200, 200, max_progress_rows=4, max_error_rows=2)
    assert sum(line.startswith("train_cifar_5d9ac") for line in lines) == 4 + 2
    assert "latest of 12 failed trials" in "\n".join(lines)
    assert not any("failed trial" in line for line in screen(seen, 200, 200, max_error_rows=0))


def test_hidden_rows_and_columns_are_said():
    lines = screen(GrowingWorld(300, is_nasty=False).view_at(108.0))
    note = next(line for line in lines if line.startswith("…"))
    assert " more: " in note and "no room for: loc" in note


def test_final_table_has_as_many_rows_as_asked_for_whatever_the_terminal():
    seen = GrowingWorld(300).view_at(108.0)
    assert len(table_lines(seen, Choices(max_progress_rows=50), width=80)) == 1 + 50 + 1
    assert table_lines(view(), DEFAULTS, width=80) == []


# ---------------------------------------------------------------- foreign text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (400, 60)])
def test_foreign_text_stays_text(width, height):
    """F103: what reaches the terminal has no control character but those that rich itself writes for styles."""
    choices = Choices(metric_columns={HOSTILE: HOSTILE, "loss": HOSTILE}, parameter_columns=None)
    lines = screen(hostile_view(), width, height, metric_columns=choices.metric_columns)
    assert all(line.isprintable() for line in lines)
    assert any("[bold red]x[/] :smile: \\x1b[2J" in line for line in lines)
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, force_terminal=True)
    console.print(LiveScreen(hostile_view(), choices, has_tables=True))
    assert "\x1b" not in console.file.getvalue()


texts = st.text(max_size=100)


@settings(max_examples=40)
@given(texts, texts, texts, st.integers(1, 120), st.integers(1, 60))
def test_no_words_break_the_screen(name, value, reason, width, height):
    trials = [
        trial(0, config={name: value}, stop_asked=reason),
        trial(1, TrialStatus.STOPPED, reason=reason),
        trial(2, TrialStatus.FAILED, error=reason, n_failures=1),
    ]
    seen = view(*trials, name=name, end_status=EndReason.FAILED, end_detail=reason)
    lines = screen(seen, width, height)
    assert len(lines) <= max(1, height - 1)
    assert all(cell_len(line) <= width and line.isprintable() for line in lines)
