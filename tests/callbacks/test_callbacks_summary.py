import ast

import msgspec
import pytest
from callback_worlds import ERROR, GrowingWorld, hostile_view, trial, view

from tunesmith.callbacks.choices import Choices
from tunesmith.callbacks.summary import summary_lines
from tunesmith.events import EndReason
from tunesmith.searchers.repeated_configs import RepeatedConfigs
from tunesmith.trial import Checkpoint, Mode, Objective, TrialStatus

DEFAULTS = Choices()
COMPLETED, STOPPED, FAILED = TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED


def summary(seen, width=80, **choices) -> list[str]:
    return [text for text, _ in summary_lines(seen, Choices(**choices), width=width)]


def part(lines: list[str], label: str) -> str:
    """The words after a label, with the indented lines below it."""
    start = next(i for i, line in enumerate(lines) if line.startswith(label))
    end = start + 1
    while end < len(lines) and lines[end].startswith(" " * 12):
        end += 1
    return " ".join([lines[start][12:], *(line.strip() for line in lines[start + 1 : end])])


def finished(*trials, **facts):
    return view(*trials, **{"end_status": EndReason.FINISHED, **facts})


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_ending_has_words(reason):
    first = summary(view(trial(0), name="e1", end_status=reason))[0]
    assert first.startswith("e1: ") and first.endswith(", after 1 min 15 s")
    assert any(word in first for word in ("finished", "ended", "interrupted"))


def test_detail_of_the_ending_is_said():
    assert part(summary(view(end_status=EndReason.STOPPER, end_detail="plateau of 20 trials")), "why") == (
        "plateau of 20 trials"
    )


def test_trials_are_counted_by_state():
    lines = summary(finished(trial(0, COMPLETED), trial(1, TrialStatus.STOPPED), trial(2, FAILED)))
    assert part(lines, "trials") == "1 completed, 1 stopped early, 1 failed"
    assert part(lines, "results") == "15 reports"


def test_steps_are_said_where_they_are_not_as_many_as_reports():
    assert part(summary(finished(trial(0, COMPLETED), n_reports=8, n_steps=5)), "results") == "8 reports, 5 steps"


def test_configs_of_random_search_in_place_of_the_searcher_are_counted():
    words = part(summary(finished(trial(0, COMPLETED), n_stand_ins=3)), "searcher")
    assert words == "random search gave 3 configs in place of the searcher; the log says why"
    assert not any(line.startswith("searcher") for line in summary(finished(trial(0, COMPLETED))))


def test_an_interrupt_before_the_first_report_is_no_fault_of_the_function():
    ended = view(trial(0, TrialStatus.INTERRUPTED), n_reports=0, best=None, end_status=EndReason.INTERRUPTED)
    assert part(summary(ended), "best") == "none: it was interrupted before the first report"


def test_best_is_said_with_value_step_trial_and_an_exact_config():
    config = {"lr": 0.07332507773071623, "l1": 64, "optimizer": {"name": "sgd"}}
    lines = summary(finished(trial(3, COMPLETED, loss=0.25, config=config), trial(4, COMPLETED, loss=0.5)))
    assert part(lines, "best") == "loss 0.25 at step 5 of trial 3 (train_cifar_5d9ac_00003)"
    text = "\n".join(lines)
    code = text[text.index("config = ") : text.index("\n\ncheckpoint")]
    assert ast.literal_eval(code.removeprefix("config = ")) == config


def test_several_objectives_say_which_one_ranks():
    objective = Objective(metrics=("loss", "size"), modes=(Mode.MIN, Mode.MIN))
    assert "first of several objectives" in part(summary(finished(trial(0), objective=objective)), "best")


def test_checkpoint_of_another_step_is_called_that():
    same = finished(trial(0, COMPLETED, checkpoints=(Checkpoint("t/c5", 5, 1),)))
    assert part(summary(same), "checkpoint") == "/home/ada/tunesmith/train_cifar/t/c5"
    other = finished(trial(0, COMPLETED, checkpoints=(Checkpoint("t/c4", 4, 1),)))
    assert part(summary(other), "checkpoint").endswith("t/c4 of step 4: step 5 has no checkpoint")
    assert part(summary(finished(trial(0))), "checkpoint") == "none was saved by this trial"


@pytest.mark.parametrize(
    ("seen", "choices", "expected"),
    [
        (finished(trial(0, COMPLETED, step=0)), {}, "no trial reported anything. Call tune.report(loss=...)"),
        (finished(trial(0, COMPLETED, loss=float("nan"))), {}, "no trial reported a loss that is a number."),
        (finished(trial(0, COMPLETED), objective=None, best=None), {}, "no metric was named."),
        (finished(trial(0, COMPLETED)), {"metric": "f1", "mode": "max"}, "no trial reported a f1 that is a number."),
    ],
)
def test_missing_best_is_explained(seen, choices, expected):
    assert part(summary(seen, **choices), "best").startswith(f"none: {expected}")


def test_reporters_own_metric_decides_what_is_best():
    lines = summary(finished(trial(0, loss=0.5), trial(1, loss=0.25)), metric="accuracy", mode="min")
    assert part(lines, "best").startswith("accuracy 0.5 at step 5 of trial 0")


# ---------------------------------------------------------------- failures


def test_failures_that_are_alike_show_one_traceback_once():
    failed = [trial(i, FAILED, error=ERROR.replace("20.00", f"{i}0.00"), n_failures=1) for i in range(5)]
    lines = summary(view(*failed, end_status=EndReason.FAILED))
    assert lines.count("Traceback (most recent call last):") == 1
    assert part(lines, "failed").startswith("5 trials: RuntimeError: CUDA out of memory.")
    assert "(trials 0, 1, 2, 3, 4) log of trial 4: " in part(lines, "failed")


def test_different_failures_are_one_line_each_without_tracebacks():
    errors = ["ValueError: a", "ValueError: b", "KeyError: c"]
    failed = [trial(i, FAILED, error=f"Traceback:\n{errors[i % 3]}", n_failures=1) for i in range(4)]
    lines = summary(view(*failed))
    said = [line[12:] for line in lines if line.startswith("failed")]
    assert said == [
        "2 trials: ValueError: a (trials 0, 3)",
        "1 trial: KeyError: c (trial 2)",
        "1 trial: ValueError: b (trial 1)",
    ]
    assert not any(line.startswith("Traceback") for line in lines)


def test_kinds_of_failures_beyond_the_limit_are_counted():
    failed = [trial(i, FAILED, error=f"Error{'x' * i}", n_failures=1) for i in range(8)]
    lines = summary(view(*failed, log_files={}))
    assert sum(line.startswith("failed") for line in lines) == 5
    assert "            and 3 trials with other errors" in lines
    assert sum(line.startswith("failed") for line in summary(view(*failed), max_error_rows=2)) == 2


def test_long_traceback_loses_its_beginning():
    error = "\n".join(f"line {i}" for i in range(100))
    lines = summary(view(trial(0, FAILED, error=error, n_failures=1)))
    assert "(70 lines left out)" in lines
    assert "line 70" in lines and "line 69" not in lines and "line 99" in lines


def test_error_of_one_line_is_said_once():
    text = "\n".join(summary(view(trial(0, FAILED, error="killed by SIGKILL", n_failures=1))))
    assert text.count("killed by SIGKILL") == 1


# ---------------------------------------------------------------- where it lies


def test_places_can_be_copied():
    lines = summary(finished(trial(0), folder="/runs/my tune", database="/runs/my tune/log.sqlite"))
    assert part(lines, "folder") == "/runs/my tune"
    assert part(lines, "look at it") == (
        "tunesmith.load(\"/runs/my tune\") sqlite3 -readonly '/runs/my tune/log.sqlite'"
    )


@pytest.mark.parametrize("reason", [EndReason.INTERRUPTED, EndReason.TIME_BUDGET, EndReason.FAILED, None])
def test_unfinished_experiment_says_how_to_go_on(reason):
    lines = summary(view(trial(0, TrialStatus.INTERRUPTED), name='my "tune"', end_status=reason))
    assert part(lines, "go on") == 'the same call with name="my \\"tune\\""'


@pytest.mark.parametrize("reason", [EndReason.FINISHED, EndReason.EXHAUSTED])
def test_finished_experiment_does_not_ask_to_go_on(reason):
    assert not any(line.startswith("go on") for line in summary(view(end_status=reason)))


# ---------------------------------------------------------------- the width


@pytest.mark.parametrize("width", [60, 80, 100])
def test_only_paths_and_code_are_wider_than_the_terminal(width):
    seen = msgspec.structs.replace(
        GrowingWorld(300).view_at(200.0), end_status=EndReason.STOPPER, end_detail="word " * 50
    )
    too_wide = [line for line in summary(seen, width) if len(line) > width]
    assert all("/" in line or "name=" in line or line in ERROR for line in too_wide)


def test_foreign_text_stays_text_in_the_summary():
    lines = summary(hostile_view())
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b[2J" in line for line in lines)


# ---------------------------------------------------------------- confirm


@pytest.mark.parametrize("states", [(COMPLETED, COMPLETED), (COMPLETED, STOPPED), (STOPPED, STOPPED)])
def test_a_winner_among_several_is_offered_to_be_confirmed_in_one_line(states):
    lines = summary(finished(*(trial(i, state) for i, state in enumerate(states))))
    assert part(lines, "confirm") == "was it luck? tunesmith.confirm(result), `tunesmith confirm`"


@pytest.mark.parametrize(
    "seen",
    [
        finished(trial(0, COMPLETED), trial(1, FAILED)),
        finished(trial(0, COMPLETED), trial(1, STOPPED, loss=float("nan"))),
        finished(trial(0, COMPLETED), trial(1, COMPLETED), objective=None, best=None),
        finished(trial(0, COMPLETED), trial(1, COMPLETED), objective=Objective(("loss", "size"), (Mode.MIN, Mode.MIN))),
    ],
    ids=["one failed", "one without a value", "no metric", "several metrics"],
)
def test_nothing_is_offered_where_nothing_could_be_confirmed(seen):
    assert not any(line.startswith("confirm") for line in summary(seen))


def test_of_a_confirmation_the_luckiest_repeat_is_not_called_the_best():
    lines = summary(finished(trial(0, COMPLETED), trial(1, COMPLETED), searcher_name=RepeatedConfigs.__name__))
    assert part(lines, "best") == "what `confirm` said is which config to take"
    assert not any(line.startswith("confirm") for line in lines)
