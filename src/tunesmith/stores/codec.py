"""Records, metrics and configs as JSON text, exactly: NaN, infinities, huge integers and lone surrogates included.

Two rules (docs/store.md shows them to readers in other languages). Among metrics a string is never a value, so a
non-finite float is the string "NaN", "Infinity" or "-Infinity". Everywhere else it is `{"$nonfinite": <that string>}`.
The text is always valid JSON; guarded by test_any_metrics_come_back_exactly and test_any_decision_comes_back_exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

from tunesmith.errors import StoreError
from tunesmith.events import AnswerReport, ConfigsSuggested, Record, StartAttempt
from tunesmith.spec import ExperimentSpec
from tunesmith.trial import Objective, metric_value

#: Another key than the tags of `tunesmith.space`, so that what it encoded passes through untouched.
_FLOAT_KEY = "$nonfinite"
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_encode_metrics = msgspec.json.Encoder().encode
#: Not strict: that is what lets the three words stand for floats.
_decode_metrics = msgspec.json.Decoder(dict[str, float], strict=False).decode
_decode_metrics_list = msgspec.json.Decoder(list[dict[str, float]], strict=False).decode
_NUMBERS = (float, int, bool)
_decode_record = msgspec.json.Decoder(Record).decode

_T = TypeVar("_T")


def float_word(value: float) -> str:
    """What stands for a non-finite float in JSON: "NaN", "Infinity" or "-Infinity"."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def dumps(tree: Any) -> str:
    """Valid JSON text of a tree of plain values; `loads` is its inverse."""
    try:
        text = json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_marked(tree), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text if _is_unicode(text) else json.dumps(json.loads(text), separators=(",", ":"))


def loads(text: str) -> Any:
    """The tree that `dumps` was given."""
    tree = json.loads(text)
    return _unmarked(tree) if _FLOAT_KEY in text else tree


def plain_text(value: str | None) -> str | None:
    """The value as SQLite can hold it: lone surrogates (file names that are not UTF-8) become escapes."""
    if value is None or value.isascii() or _is_unicode(value):
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


# ---------------------------------------------------------------- metrics


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Metrics as JSON text."""
    try:
        # One non-finite value makes the sum non-finite; an overflowing sum only takes the slower branch.
        if math.isfinite(sum(metrics.values())):
            return _encode_metrics(metrics).decode()
    except (OverflowError, UnicodeEncodeError, TypeError):  # TypeError: a NumPy scalar, which no worker sends (F64)
        pass
    numbers = {name: value if type(value) in _NUMBERS else float(value) for name, value in metrics.items()}
    return dumps({name: value if _is_finite(value) else float_word(value) for name, value in numbers.items()})


def parse_metrics(text: str) -> dict[str, float]:
    """The metrics that `metrics_text` was given, as floats."""
    try:
        return _decode_metrics(text)
    except msgspec.DecodeError:
        return {name: _as_float(value) for name, value in json.loads(text).items()}


def parse_metrics_list(texts: Sequence[str]) -> list[dict[str, float]]:
    """`parse_metrics` of each, in one go where nothing unusual is among them."""
    try:
        return _decode_metrics_list(f"[{','.join(texts)}]")
    except (msgspec.DecodeError, UnicodeEncodeError):
        return [parse_metrics(text) for text in texts]


def objective_value(
    objective: Objective | None, metrics: Mapping[str, float], *, step: int, time_total_s: float
) -> tuple[float | None, str]:
    """The first objective's value where it is finite, and its kind: finite, nan, inf, -inf or missing."""
    value = None if objective is None else metric_value(metrics, step, time_total_s, objective.metrics[0])
    if value is None:
        return None, "missing"
    number = _as_float(value)
    if math.isfinite(number):
        return number, "finite"
    if math.isnan(number):
        return None, "nan"
    return None, "inf" if number > 0 else "-inf"


def kind_value(value: float | None, kind: str) -> float | None:
    """The inverse of `objective_value`; None where the metric was missing."""
    return value if kind == "finite" else _KINDS[kind]


_KINDS: dict[str, float | None] = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "missing": None}


# ---------------------------------------------------------------- configs, records, spec


def config_text(config: Mapping[str, Any], space: Any = None) -> str:
    """A trial's config as JSON text."""
    return dumps(_config_tree(config, space))


def parse_config(text: str, space: Any = None) -> dict[str, Any]:
    """The config; without a space, objects come back as labels."""
    return _config(loads(text), space)


def record_tree(record: Record, space: Any = None) -> dict[str, Any]:
    """A record as plain values, its class under `type`."""
    if type(record) is ConfigsSuggested:
        encoded = (msgspec.structs.replace(s, config=_config_tree(s.config, space)) for s in record.suggestions)
        record = msgspec.structs.replace(record, suggestions=tuple(encoded))
    elif type(record) is StartAttempt:
        record = msgspec.structs.replace(record, config=_config_tree(record.config, space))
    elif type(record) is AnswerReport:
        record = _with_clone(record, lambda config: _config_tree(config, space))
    return cast(dict[str, Any], msgspec.to_builtins(record))


def parse_record(body: str, space: Any = None) -> Record:
    """The record of a row of `log`. A StartAttempt that repeats its trial's config comes back without it."""
    record = _typed(body, Record, _decode_record)
    if type(record) is ConfigsSuggested:
        decoded = (msgspec.structs.replace(s, config=_config(s.config, space)) for s in record.suggestions)
        return msgspec.structs.replace(record, suggestions=tuple(decoded))
    if type(record) is StartAttempt and record.config:
        return msgspec.structs.replace(record, config=_config(record.config, space))
    if type(record) is AnswerReport:
        return _with_clone(record, lambda config: _config(config, space))
    return cast(Record, record)


def _with_clone(answer: AnswerReport, change: Callable[[dict[str, Any]], dict[str, Any]]) -> AnswerReport:
    """The answer with another form of the config that a clone is given, where it tells the trial to be one."""
    decision = answer.decision
    if decision.clone is None:
        return answer
    clone = msgspec.structs.replace(decision.clone, config=change(decision.clone.config))
    return msgspec.structs.replace(answer, decision=msgspec.structs.replace(decision, clone=clone))


def spec_text(spec: ExperimentSpec) -> str:
    """The spec as JSON text that `parse_spec` understands: one that it does not would lock everybody out for good.

    Raises: StoreError for a spec with a value of another type than its field's.
    """
    try:
        text = dumps(msgspec.to_builtins(spec))
        msgspec.convert(loads(text), ExperimentSpec)
    except (TypeError, ValueError) as error:
        raise StoreError(f"The spec of an experiment cannot be stored: {error}. Nothing was written.") from error
    return text


def parse_spec(text: str) -> ExperimentSpec:
    """The spec that `spec_text` was given.

    Raises: StoreError if it is none that this program knows.
    """
    try:
        return msgspec.convert(loads(text), ExperimentSpec)
    except ValueError as error:  # msgspec's and json's errors are ValueErrors
        raise StoreError(
            f"The stored spec of the experiment cannot be read: {error}. Its trials and results are whole; "
            "docs/store.md says how to read them without it."
        ) from error


def _typed(text: str, kind: Any, decode: Any) -> Any:
    if _FLOAT_KEY not in text:
        try:
            return decode(text)
        except msgspec.DecodeError:  # a lone surrogate, which only the standard library reads
            pass
    return msgspec.convert(loads(text), kind)


def _config_tree(config: Mapping[str, Any], space: Any) -> dict[str, Any]:
    from tunesmith.space import encode_config

    return cast(dict[str, Any], encode_config(config, space))


def _config(tree: dict[str, Any], space: Any) -> dict[str, Any]:
    from tunesmith.space import decode_config

    return cast(dict[str, Any], decode_config(tree, space))


# ---------------------------------------------------------------- floats and text


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer above 1e308 is not infinite; JSON holds it
        return True


def _as_float(value: float | str) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if cast(float, value) > 0 else -math.inf


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _marked(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _marked(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_marked(value) for value in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return {_FLOAT_KEY: float_word(tree)}
    return tree


def _unmarked(tree: Any) -> Any:
    if isinstance(tree, dict):
        if len(tree) == 1 and tree.get(_FLOAT_KEY) in _WORDS:
            return _WORDS[tree[_FLOAT_KEY]]
        return {key: _unmarked(value) for key, value in tree.items()}
    return [_unmarked(value) for value in tree] if isinstance(tree, list) else tree
