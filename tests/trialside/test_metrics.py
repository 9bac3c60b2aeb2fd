from __future__ import annotations

import enum
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import MetricError
from tunesmith.trialside.metrics import MAX_KEYS, clean_metrics, short_repr


class Level(enum.IntEnum):
    HIGH = 3


class TensorFlowLike:
    """Has numpy() and no item(), as an eager tensor."""

    def numpy(self) -> Any:
        return np.float32(0.5)


class ItemNeedsArguments:
    def item(self, index: int) -> float:
        return 1.0


class BrokenDevice:
    def item(self) -> float:
        raise RuntimeError("device-side assert")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, 0.5),
        (3, 3),
        (True, 1),
        (Level.HIGH, 3),
        (-0.0, -0.0),
        (Decimal("0.25"), 0.25),
        (Fraction(1, 4), 0.25),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, float(2**63)),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), float(2**64 - 1)),
        (np.bool_(True), 1),
        (np.array(0.5), 0.5),
        (np.array([[7]]), 7),
        (TensorFlowLike(), 0.5),
    ],
)
def test_a_number_arrives_as_a_plain_python_number(value: Any, expected: float) -> None:
    cleaned = clean_metrics({"m": value})["m"]
    assert (cleaned, type(cleaned)) == (expected, type(expected))


@pytest.mark.torch
def test_a_tensor_with_one_element_is_taken_detached() -> None:
    torch = pytest.importorskip("torch")
    weight = torch.tensor([2.0], requires_grad=True)
    assert clean_metrics({"a": (weight * 2).sum(), "b": torch.tensor(3), "c": weight}) == {"a": 4.0, "b": 3, "c": 2.0}
    with pytest.raises(MetricError, match="It has 2 elements"):
        clean_metrics({"a": torch.zeros(2)})


@pytest.mark.torch
def test_a_tensor_on_a_gpu_arrives_as_a_plain_python_number() -> None:
    """F7."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    weight = torch.tensor([2.0], requires_grad=True, device="cuda")
    cleaned = clean_metrics({"a": (weight * 2).sum(), "b": torch.tensor(3, device="cuda"), "c": weight})
    assert [(value, type(value)) for value in cleaned.values()] == [(4.0, float), (3, int), (2.0, float)]
    with pytest.raises(MetricError, match="It has 2 elements"):
        clean_metrics({"a": torch.zeros(2, device="cuda")})


def test_nan_and_infinities_stay() -> None:
    cleaned = clean_metrics({"a": np.float32("nan"), "b": float("inf"), "c": -np.inf, "d": Decimal("NaN")})
    assert math.isnan(cleaned["a"]) and math.isnan(cleaned["d"])
    assert (cleaned["b"], cleaned["c"]) == (math.inf, -math.inf)


def test_nested_dicts_are_flattened_with_slashes() -> None:
    nested = {"val": {"loss": 1.0, "per_class": {"cat": 0.5}}, "empty": {}, "lr": 0.1}
    assert clean_metrics(nested) == {"val/loss": 1.0, "val/per_class/cat": 0.5, "lr": 0.1}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("low", r"Metric 'm' is 'low' \(str\)\. A metric is a number"),
        (None, r"Metric 'm' is None \(NoneType\)\. Leave the name out"),
        ([1, 2], r"Metric 'm' is \[1, 2\] \(list\).*the mean"),
        ((1.0,), r"\(tuple\)"),
        (np.zeros(3), r"numpy\.ndarray\)\. It has 3 elements"),
        (np.zeros(0), r"It has 0 elements"),
        (np.ma.masked, r"masked"),
        (np.str_("x"), r"\(numpy\.str_\)"),
        (np.datetime64("2020-01-01"), r"\(numpy\.datetime64\)"),
        (1j, r"\(complex\)"),
        (np.complex64(1), r"\(numpy\.complex64\)"),
        (np.float64, r"\(type\)"),
        (object, r"\(type\)"),
        (b"1", r"\(bytes\)"),
        (ItemNeedsArguments(), r"ItemNeedsArguments"),
        (Decimal("sNaN"), r"No float can hold it"),
        (Fraction(10**400), r"No float can hold it"),
        (10**400, r"an int of 1329 bits"),
        (print, r"\(builtin_function_or_method\)"),
    ],
)
def test_what_is_not_one_number_is_refused_with_name_type_and_advice(value: Any, said: str) -> None:
    with pytest.raises(MetricError, match=said):
        clean_metrics({"m": value})


def test_an_error_of_the_device_is_not_hidden_behind_ours() -> None:
    with pytest.raises(RuntimeError, match="device-side assert"):
        clean_metrics({"m": BrokenDevice()})


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({3: 1.0}, r"A metric's name is 3 \(int\)"),
        ({"val": {0: 1.0}}, r"inside 'val' is 0 \(int\)"),
        ({"": 1.0}, "not empty"),
        ({"a\0b": 1.0}, "NUL"),
        ({"k" * 201: 1.0}, "201 characters"),
        ({"a": {"k" * 199: 1.0}}, "201 characters"),
        ({"\ud800": 1.0}, "no valid Unicode"),
        ({"a/b": 1.0, "a": {"b": 2.0}}, "'a/b' is reported twice"),
        ([("loss", 1.0)], "The metrics are .*Give a dict"),
    ],
)
def test_a_bad_name_is_refused(metrics: Any, said: str) -> None:
    with pytest.raises(MetricError, match=said):
        clean_metrics(metrics)


def test_a_name_of_200_characters_is_taken() -> None:
    assert clean_metrics({"ü" * 200: 1}) == {"ü" * 200: 1}


def test_a_dict_that_holds_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    with pytest.raises(MetricError, match="characters"):
        clean_metrics(endless)


def test_ten_thousand_metrics_are_the_limit() -> None:
    full = {f"m{i}": i for i in range(MAX_KEYS)}
    assert clean_metrics(full) == full
    with pytest.raises(MetricError, match="more than 10,000 metrics"):
        clean_metrics({**full, "one more": 1})


def test_one_mebibyte_is_the_limit() -> None:
    with pytest.raises(MetricError, match=r"the limit is 1,048,576\. Save large results as a file"):
        clean_metrics({f"{i:0200d}": 0.0 for i in range(6000)})


def test_the_repr_in_a_message_is_short_however_large_the_value() -> None:
    with pytest.raises(MetricError) as caught:
        clean_metrics({"m": ["x" * 1000] * 1000})
    assert len(str(caught.value)) < 500
    assert len(short_repr("x" * 10**6)) <= 200


@given(st.dictionaries(st.text(min_size=1, max_size=20).filter(lambda k: "\0" not in k), st.floats() | st.integers()))
def test_flat_numbers_pass_unchanged_up_to_64_bits(metrics: dict[str, float]) -> None:
    bounded = {k: v for k, v in metrics.items() if isinstance(v, float) or abs(v) < 2**63}
    bounded = {k: v for k, v in bounded.items() if not any(0xD800 <= ord(c) < 0xE000 for c in k)}
    assert repr(clean_metrics(bounded)) == repr(bounded)
