import ast
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.callbacks.text import (
    clean,
    clean_lines,
    config_literal,
    error_headline,
    format_clock,
    format_config,
    format_duration,
    format_number,
    format_time_left,
    format_value,
    shorten,
)


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=())))
def test_clean_text_holds_nothing_that_a_terminal_obeys_or_hides(text):
    cleaned = clean(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in cleaned)
    cleaned.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr", "lr"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("two\nlines", "two\\nlines"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("größe 值", "größe 值"),
        ("[red]markup[/red]", "[red]markup[/red]"),
    ],
)
def test_clean_writes_out_what_steers_a_terminal(text, expected):
    assert clean(text) == expected


def test_lines_are_kept_apart_and_each_is_clean():
    assert clean_lines("a\r\n\tb\x1b[2J\n") == ["a", "    b\\x1b[2J"]


@pytest.mark.parametrize(("n", "expected"), [(0, ""), (1, "…"), (3, "ab…"), (5, "abcde"), (9, "abcde")])
def test_shortened_text_never_passes_its_length(n, expected):
    assert shorten("abcde", n) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (10.0, "10"),
        (0.123456789, "0.12346"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (123456789.0, "123456789"),
        (1e12, "1e+12"),
        (-0.00034, "-0.00034"),
    ],
)
def test_numbers_have_five_digits(value, expected):
    assert format_number(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (192, "3 min 12 s"), (7500, "2 h 05 min"), (273600, "3 d 04 h")],
)
def test_durations_have_two_units(seconds, expected):
    assert format_duration(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "time left unknown yet"),
        (0.0, "less than a minute left"),
        (240.0, "about 4 min left"),
        (5400.0, "about 1.5 h left"),
        (72000.0, "about 20 h left"),
        (864000.0, "about 10.0 d left"),
    ],
)
def test_time_left_has_no_more_digits_than_it_is_worth(seconds, expected):
    assert format_time_left(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "00:00"), (192.9, "03:12"), (3792, "1:03:12"), (math.nan, "00:00")]
)
def test_clock_times_grow_an_hour_when_they_need_one(seconds, expected):
    assert format_clock(seconds) == expected


@pytest.mark.parametrize("name", ["password", "WANDB_API_KEY", "db.secret", "hub/token", "aws_access_key"])
def test_value_that_is_called_like_a_password_is_not_shown(name):
    assert format_value(name, "hunter2") == "***"
    assert "hunter2" not in "\n".join(config_literal({name: "hunter2", "deep": {name: ["hunter2"]}}))


@pytest.mark.parametrize("name", ["tokenizer", "n_tokens", "keys", "token_dropout"])
def test_value_that_is_only_called_similarly_is_shown(name):
    assert format_value(name, "bpe") == "bpe"


def test_config_on_one_line_is_flat_and_sorted():
    assert format_config({"lr": 0.0123456789, "b": {"x": 1}}) == "b/x=1 lr=0.012346"


def test_config_literal_is_exact_python():
    config = {"lr": 0.07332507773071623, "nested": {"on": True, "none": None}, "pair": (1, "a'b\n"), "text": "\x1b[2J"}
    code = "\n".join(config_literal(config))
    assert ast.literal_eval(code.removeprefix("config = ")) == config


def test_config_literal_spells_numbers_without_a_literal():
    scope: dict = {}
    exec("\n".join(config_literal({"a": math.inf, "b": [math.nan]})), scope)
    assert scope["config"]["a"] == math.inf and math.isnan(scope["config"]["b"][0])


def test_config_literal_keeps_to_the_width_where_values_allow():
    config = {f"parameter_{i}": i for i in range(30)} | {"deep": {f"inner_{i}": i for i in range(30)}}
    assert max(map(len, config_literal(config, width=80))) <= 80


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g()\nValueError: bad lr\n',
            "ValueError: bad lr",
        ),
        (
            'Traceback:\n  File "a.py", line 3, in f\n    g()\n    ^^^\nRuntimeError: CUDA error\nCompile it.\n',
            "RuntimeError: CUDA error",
        ),
        ("killed by SIGKILL", "killed by SIGKILL"),
        ("first\nsecond\n\n", "second"),
        ('  File "a.py", line 3\n    cut off here', "cut off here"),
        (" \n", "no error text"),
    ],
)
def test_headline_is_the_line_that_says_what_went_wrong(error, expected):
    assert error_headline(error) == expected
