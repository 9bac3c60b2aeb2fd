"""F64: what SQLite or JSON would bend, refuse or turn into something else is encoded before it gets there."""

from __future__ import annotations

import json
import math

import apsw
import numpy as np
import pytest

from tunesmith.errors import StoreError
from tunesmith.stores import create_store, open_reader

from .store_samples import make_spec, make_trial, report, start

HUGE = 2**63 + 1
SURROGATE = "caf\udce9"


@pytest.fixture
def store(tmp_path):
    with create_store(tmp_path / "e", make_spec()) as store:
        yield store


def rows(store, sql):
    """As any other program reads them."""
    connection = apsw.Connection(str(store.path), flags=apsw.SQLITE_OPEN_READONLY)
    found = connection.execute(sql).fetchall()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("value", "stored", "kind"),
    [
        (math.nan, None, "nan"),
        (math.inf, None, "inf"),
        (-math.inf, None, "-inf"),
        (HUGE, float(HUGE), "finite"),
        (np.float32(0.5), 0.5, "finite"),
        (np.float64(0.1), 0.1, "finite"),
        (np.int64(3), 3.0, "finite"),
        (np.float64("nan"), None, "nan"),
        (True, 1.0, "finite"),
    ],
    ids=repr,
)
def test_a_metric_of_any_kind_is_a_number_or_null_with_its_kind(store, value, stored, kind):
    store.append([report(metrics={"loss": value})], [])
    ((found, found_kind, sql_type, text),) = rows(store, "SELECT value, kind, typeof(value), metrics FROM results")
    assert found_kind == kind
    assert sql_type in ("real", "null")
    if kind == "finite":
        assert found == stored
    reader = open_reader(store.path)
    (result,) = reader.results()
    reader.close()
    assert repr(result.value) == repr(float(value))
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@pytest.mark.parametrize(
    "value", [math.nan, HUGE, SURROGATE, np.float32(0.5), np.int64(3), np.bool_(True), np.str_("a"), b"\0x"], ids=repr
)
def test_a_config_of_any_kind_is_valid_json_and_no_blob(store, value):
    config = {"x": value}
    store.append([start(config=config)], [make_trial(config=config)])
    ((text, sql_type),) = rows(store, "SELECT config, typeof(config) FROM trials")
    assert sql_type == "text"
    text.encode()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    reader = open_reader(store.path)
    found = reader.trial(0).config["x"]
    reader.close()
    assert found == value or str(found) == str(value) or repr(value) in str(found)


@pytest.mark.parametrize("column", ["node", "reason", "error", "proposed_by", "stop_asked"])
def test_a_lone_surrogate_in_a_text_column_is_escaped(store, column):
    store.append([], [make_trial(**{column: SURROGATE})])
    assert rows(store, f"SELECT {column} FROM trials") == [("caf\\udce9",)]


@pytest.mark.parametrize("field", ["step", "attempt", "trial"])
def test_an_integer_beyond_64_bits_is_refused_in_words(store, field):
    facts = {"trial": 0, "attempt": 1, "step": 1, field: HUGE}
    with pytest.raises(StoreError, match="64 bits"):
        store.append([report(**facts)], [])
    assert store.last_seq() == 0
