"""What is wrong in a call is said by name before anything is written; what is stored can be read again."""

from __future__ import annotations

import functools
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import tunesmith as tune
from tunesmith.api.api_keys import warn_of_secrets
from tunesmith.errors import ConfigError, SpaceError, StoreError
from tunesmith.searchers import RandomSearch
from tunesmith.stores import SqliteStore, open_reader, open_store
from tunesmith.stores.codec import parse_spec, spec_text
from tunesmith.testing.samples import make_spec

inline = functools.partial(tune.run, executor="inline", verbose=0)
SPACE = {"x": tune.uniform(0, 1)}
WRONG: list[tuple[str, Any]] = [
    *[("num_samples", value) for value in (0, -2, 1.5, True, "3", None, 2**63)],
    *[("seed", value) for value in (-1, 0.5, "1", False)],
    *[("max_total_steps", value) for value in (0, 1.5, "9", math.inf, math.nan)],
    *[("max_concurrent_trials", value) for value in (0, 2.5, "2", True)],
    *[("max_failures", value) for value in (True, 1.5, "3", None, -2)],
    *[("grace_s", value) for value in (None, "5", -1, math.inf, math.nan, True)],
    *[("time_budget_s", value) for value in (0, "60", True, math.nan)],
    *[("report_timeout_s", value) for value in (0, "60", True)],
    *[("first_report_timeout_s", value) for value in (0, "60", True)],
    *[("keep_checkpoints_num", value) for value in (0, 2.5, "2", True)],
    *[("checkpoint_freq", value) for value in (-1, 0.5, "2", None)],
    *[("checkpoint_score_attr", value) for value in (3, ["loss"])],
    *[("fail_fast", value) for value in ("yes", 1, None, "RAISE")],
    *[("name", value) for value in (5, b"x", "a/b", "~x", "\udc80x")],
    *[("metric", value) for value in (5, [5])],
    *[("mode", value) for value in (5, "least")],
    *[("on_change", value) for value in ("allow", ["space"], 1)],
]


def train(config: dict[str, Any]) -> None:
    for i in range(1, 4):
        tune.report(loss=config["x"] + 1 / i)


@pytest.mark.parametrize(("name", "value"), WRONG, ids=str)
def test_an_argument_of_a_wrong_kind_is_named_with_its_value_and_nothing_is_written(
    name: str, value: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        inline(train, **{"config": SPACE, "metric": "loss", "mode": "min", name: value})
    assert str(caught.value).startswith(f"{name} ")
    assert repr(value) in str(caught.value) or str(value) in str(caught.value)
    assert not list(tmp_path.glob("results/*"))


def test_whole_floats_and_numpys_numbers_are_taken_as_what_they_mean() -> None:
    result = inline(
        train, config=SPACE, num_samples=np.int64(2), max_total_steps=1e6, max_failures=np.int32(1), seed=np.int64(4),
        grace_s=np.float32(2.5), keep_checkpoints_num=3.0, max_concurrent_trials=np.uint8(1),
        checkpoint_freq=np.int16(2), time_budget_s=np.float64(600), resources_per_trial={"cpu": np.int64(1)},
    )  # fmt: skip
    spec = open_reader(result.folder).spec
    assert (spec.n_trials, spec.max_total_steps, spec.max_failures, spec.grace_s) == (2, 1_000_000, 1, 2.5)
    assert (spec.max_concurrent_trials, spec.time_budget_s, spec.seed, spec.checkpoint_freq) == (1, 600.0, 4, 2)
    assert (spec.checkpoint_policy.keep_num, spec.resources.cpu) == (3, 1.0)


def test_a_wrong_argument_leaves_an_experiment_that_exists_as_it_was() -> None:
    go = functools.partial(inline, train, config=SPACE, name="mine", metric="loss", mode="min")
    go(num_samples=1)
    with pytest.raises(ConfigError, match="max_failures is True"):
        go(num_samples=2, max_failures=True)
    assert len(go(num_samples=3)) == 3


# ---------------------------------------------------------------- specs that nobody could read


def test_a_spec_that_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    folder = inline(train, config=SPACE).folder
    with open_store(folder) as store:
        before = store.spec
        with pytest.raises(StoreError, match="max_failures"):
            store.revise(replace(before, max_failures=1.5))
        with pytest.raises(StoreError, match="int64"):
            store.revise(replace(before, max_failures=np.int64(1)))
    assert open_reader(folder).spec == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 3}'])
def test_a_spec_that_cannot_be_read_is_an_error_of_the_store(text: str) -> None:
    with pytest.raises(StoreError, match="spec of the experiment cannot be read"):
        parse_spec(text)


def test_a_spec_with_fields_that_a_newer_program_added_is_read() -> None:
    text = spec_text(make_spec())
    assert parse_spec(f'{text[:-1]},"new_field":[1]}}') == make_spec()


def test_an_unreadable_experiment_beside_it_keeps_nothing_from_running(tmp_path: Path) -> None:
    broken = inline(train, config=SPACE).folder
    with open_store(broken) as store:
        _put_spec(store, '{"name": 3}')
    (tmp_path / "results" / "foreign").mkdir()
    (tmp_path / "results" / "foreign" / "experiment.db").write_text("no database")
    assert len(inline(train, config=SPACE)) == 1
    with pytest.raises(StoreError, match="spec of the experiment cannot be read"):
        tune.load(broken)


def _put_spec(store: SqliteStore, text: str) -> None:
    assert store._connection is not None
    store._connection.execute("UPDATE experiment SET spec = ?", (text,))


# ---------------------------------------------------------------- words and failures


@pytest.mark.parametrize(
    ("on_change", "words"),
    [
        ({"cod": "ignore"}, "'cod'.*'space', 'objective', 'code'"),
        ({"space": "warn"}, "'space'.*'warn'.*'refuse', 'allow'"),
        ({"objective": "Refuse"}, "'objective'.*'Refuse'.*'refuse', 'allow'"),
        ({"code": "allowed"}, "'code'.*'allowed'.*'warn', 'ignore', 'refuse'"),
    ],
)
def test_a_word_of_on_change_that_nobody_knows_is_refused(on_change: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        inline(train, config=SPACE, on_change=on_change)


def failing(config: dict[str, Any]) -> None:
    raise ValueError("always")


def test_fail_fast_raise_raises_whatever_raise_on_failed_trial_says() -> None:
    go = functools.partial(inline, failing, config=SPACE, num_samples=3, raise_on_failed_trial=False)
    assert len(go(fail_fast=True).errors) == 1
    with pytest.raises(tune.TuneError, match="always"):
        go(fail_fast="raise")


# ---------------------------------------------------------------- spaces and points


def test_trials_that_are_all_alike_are_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    """F67."""
    with caplog.at_level(logging.WARNING):
        inline(lambda config: 1.0, config={"x": 3}, num_samples=4)
    assert [message for message in caplog.messages if "all trials get the same config" in message] == [
        "Nothing varies in the space: all trials get the same config, and differ by their seeds only."
    ]


@pytest.mark.parametrize("arguments", [{"config": {}}, {"config": SPACE, "num_samples": 3}])
def test_nobody_is_warned_about_one_trial_or_a_space_that_varies(
    caplog: pytest.LogCaptureFixture, arguments: dict[str, Any]
) -> None:
    inline(lambda config: 1.0, **arguments)
    assert "same config" not in caplog.text


def test_a_given_point_outside_the_space_is_refused_by_field_before_a_folder_is_made(tmp_path: Path) -> None:
    """F77."""
    with pytest.raises(SpaceError, match=r"points_to_evaluate\[1\].*'x'"):
        inline(train, config=SPACE, search_alg=RandomSearch([{"x": 0.5}, {"x": 7.0}]), num_samples=3)
    assert not list(tmp_path.glob("results/*"))


def test_a_given_point_within_the_space_is_the_first_trial() -> None:
    assert inline(train, config=SPACE, search_alg=RandomSearch([{"x": 0.5}]))[0].config == {"x": 0.5}


def test_constants_that_are_called_like_secrets_are_warned_about(caplog):
    warn_of_secrets({"lr": 0.1, "db": {"password": "hunter2"}, "hub": [{"api_key": "k"}], "token": 3, "tokens": "all"})
    [record] = caplog.records
    assert "'db/password', 'hub/api_key'" in record.getMessage()
    assert "hunter2" not in record.getMessage()
