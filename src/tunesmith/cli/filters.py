"""`--where "loss < 0.3 and opt == 'adam'"`: parsed to a tree, translated to SQL with bound values only.

Nothing of the text reaches the database but through a parameter: columns come from a list, names of parameters and
metrics are bound as JSON paths, and the operators are ours. So a filter can neither write nor run for long: it is
applied once to each trial, and its size is limited.
"""

from __future__ import annotations

import ast
import difflib
import json
import keyword
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from tunesmith.cli.expressions import parse_expression
from tunesmith.errors import ConfigError

if TYPE_CHECKING:
    from tunesmith.stores import Reader

#: What may be named, and the expression in the view `trials` that it stands for.
COLUMNS = {
    "trial": "trial",
    "trial_id": "trial_id",
    "status": "status",
    "attempt": "attempt",
    "n_failures": "n_failures",
    "n_reports": "n_reports",
    "step": "step",
    "training_iteration": "step",
    "value": "value",
    "best_value": "best_value",
    "best_step": "best_step",
    "time_total_s": "time_total_s",
    "started_at": "started_at",
    "ended_at": "ended_at",
    "node": "node",
    "reason": "reason",
    "error": "error",
}
_MAX_CHARS = 4_000
_MAX_NODES = 300
_MAX_DEPTH = 40
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "=",
    ast.NotEq: "<>",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_SIGNS: dict[type[ast.unaryop], str] = {ast.USub: "-", ast.UAdd: "+"}
_OF_NONE: dict[type[ast.cmpop], str] = {ast.Eq: "IS", ast.NotEq: "IS NOT"}
_PLACES = ("config", "metrics")
_JOINTS: dict[type[ast.operator], str] = {ast.Div: "/", ast.Sub: "-"}  #: signs within a name, as it is shown


class Sql(NamedTuple):
    """A piece of SQL, and what its question marks stand for."""

    text: str
    values: tuple[Any, ...] = ()


class Names(NamedTuple):
    """What an expression may name besides COLUMNS."""

    parameters: frozenset[str]
    metrics: frozenset[str]


def names_in(reader: Reader) -> Names:
    """Parameters and metrics of an experiment, as its trials have them."""
    from tunesmith.analysis.scores import metrics_seen
    from tunesmith.space import flatten_config

    parameters: set[str] = set()
    for trial in reader.trials():
        parameters |= {str(name) for name in flatten_config(trial.config)}
    return Names(frozenset(parameters), frozenset(metrics_seen(reader)))


def parse_where(text: str, names: Names) -> Sql:
    """The condition of a WHERE.

    Raises: ConfigError that says what is not understood.
    """
    node = _parsed(text, "--where")
    return _condition(node, names, text)


def parse_sort(texts: Sequence[str], names: Names) -> Sql:
    """The terms of an ORDER BY: a name each, with `-` in front for the largest first. What has no value comes last."""
    terms: list[str] = []
    values: tuple[Any, ...] = ()
    for text in texts:
        is_descending = text.startswith("-")
        term = _one_name(text.removeprefix("-"), names, "--sort")
        terms.append(f"({term.text}) IS NULL, ({term.text}) {'DESC' if is_descending else 'ASC'}")
        values += term.values * 2
    return Sql(", ".join([*terms, "trial"]), values)


def column_of(text: str, names: Names) -> Sql:
    """The expression of one name, as `--sort` takes it."""
    return _one_name(text, names, "--columns")


def _one_name(text: str, names: Names, option: str) -> Sql:
    """Where nothing but a name can be meant, each is taken as it is, also `val loss` or `lambda`."""
    if (found := _known(text, names)) is not None:
        return _named(found, names, text)
    return _operand(_parsed(text, option), names, text)


def _parsed(text: str, option: str) -> ast.expr:
    if len(text) > _MAX_CHARS:
        raise ConfigError(f"{option}: the expression has more than {_MAX_CHARS:,} characters.")
    try:
        node = parse_expression(text)
    except ValueError as error:
        words = f"{option} {text!r:.200} cannot be read: {error}. Such as: loss < 0.3 and opt == 'adam'"
        raise ConfigError(f'{words}. A name that is no word: config["lambda"], metrics["val loss"].') from None
    if sum(1 for _ in ast.walk(node)) > _MAX_NODES or _depth(node) > _MAX_DEPTH:
        raise ConfigError(f"{option}: the expression has too many parts.")
    return node


def _depth(node: ast.AST) -> int:
    return 1 + max((_depth(child) for child in ast.iter_child_nodes(node)), default=0)


def _condition(node: ast.AST, names: Names, text: str) -> Sql:
    if isinstance(node, ast.BoolOp):
        word = " AND " if isinstance(node.op, ast.And) else " OR "
        parts = [_condition(value, names, text) for value in node.values]
        return Sql(f"({word.join(part.text for part in parts)})", tuple(v for part in parts for v in part.values))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _condition(node.operand, names, text)
        return Sql(f"NOT coalesce({inner.text}, 0)", inner.values)
    if isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
        pairs = zip(operands, node.ops, operands[1:], strict=False)
        parts = [_comparison(left, op, right, names, text) for left, op, right in pairs]
        return Sql(f"({' AND '.join(part.text for part in parts)})", tuple(v for part in parts for v in part.values))
    raise _not_understood(node, text, "a condition, such as loss < 0.3")


def _comparison(left: ast.expr, op: ast.cmpop, right: ast.expr, names: Names, text: str) -> Sql:
    if isinstance(op, ast.In | ast.NotIn):
        return _membership(left, op, right, names, text)
    if type(op) not in _COMPARISONS:
        raise ConfigError(f"In {text!r}: `is` is not known. Use == or !=; None is a value.")
    one, other = _operand(left, names, text), _operand(right, names, text)
    has_none = any(isinstance(side, ast.Constant) and side.value is None for side in (left, right))
    word = _OF_NONE.get(type(op)) if has_none else None
    sql = f"({one.text}) {word or _COMPARISONS[type(op)]} ({other.text})"
    values = one.values + other.values
    if isinstance(op, ast.Eq | ast.NotEq):
        return Sql(sql, values)
    # SQLite ranks every text above every number: "NaN" and words are comparable with their like only.
    kinds = f"typeof({one.text}) = 'text'", f"typeof({other.text}) = 'text'"
    return Sql(f"({sql} AND ({kinds[0]}) = ({kinds[1]}))", values + one.values + other.values)


def _membership(left: ast.expr, op: ast.cmpop, right: ast.expr, names: Names, text: str) -> Sql:
    """`opt in ('adam', 'sgd')`, or `'CUDA' in error`: a text within a text."""
    one = _operand(left, names, text)
    word = "NOT " if isinstance(op, ast.NotIn) else ""
    if isinstance(right, ast.Tuple | ast.List | ast.Set):
        options = [_operand(option, names, text) for option in right.elts]
        listed = ", ".join(option.text for option in options)
        values = one.values + tuple(value for option in options for value in option.values)
        return Sql(f"({one.text}) {word}IN ({listed})", values)
    other = _operand(right, names, text)
    return Sql(f"{word}instr({other.text}, {one.text})", other.values + one.values)


def _operand(node: ast.AST, names: Names, text: str) -> Sql:
    """A name or a plain value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
        if isinstance(node.value, int) and abs(node.value) >= 2**63:
            return Sql("?", (float(node.value),))
        return Sql("?", (node.value,))
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant) and type(node.op) in _SIGNS:
        inner = _operand(node.operand, names, text)
        return Sql(f"{_SIGNS[type(node.op)]}({inner.text})", inner.values)
    name = _name_in(node, names)
    if name is not None:
        return _named(name, names, text)
    raise _not_understood(node, text, "a name or a value")


def _name_in(node: ast.AST, names: Names) -> tuple[str | None, str] | None:
    """Place and name: of `lr`, `config.lr`, `optimizer/lr`, `val-loss`, `config["val loss"]`; None if it is none."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and isinstance(node.slice, ast.Constant):
        return node.value.id, str(node.slice.value)
    word = _spelled(node)
    if word is None:
        return None
    if (found := _known(word, names)) is not None:
        return found
    place, _, rest = word.partition(".")
    return (place, rest) if rest and place in _PLACES else (None, word)


def _spelled(node: ast.AST) -> str | None:
    """The text of a name that Python reads as several: `model.lr`, `optimizer/lr`, `layers/0/size`, `weight-decay`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _spelled(node.value)
        return None if before is None else f"{before}.{node.attr}"
    if isinstance(node, ast.BinOp) and type(node.op) in _JOINTS:
        left = _spelled(node.left)
        right = str(node.right.value) if _is_index(node.right) else _spelled(node.right)
        return None if left is None or right is None else f"{left}{_JOINTS[type(node.op)]}{right}"
    return None


def _is_index(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _known(text: str, names: Names) -> tuple[str | None, str] | None:
    """Place and name where there is one of this text: the whole text first, then after `config.` or `metrics.`.

    Dots may stand for the slashes of nested parameters, as hydra writes them.
    """
    place, _, rest = text.partition(".")
    spellings: list[tuple[str | None, str]] = [(None, text), (None, text.replace(".", "/"))]
    if place in _PLACES:
        spellings += [(place, rest), (place, rest.replace(".", "/"))]
    for where, word in spellings:
        in_config, in_metrics = where != "metrics", where != "config"
        is_column = where is None and word in COLUMNS
        if is_column or (in_config and word in names.parameters) or (in_metrics and word in names.metrics):
            return where, word
    return None


def _named(name: tuple[str | None, str], names: Names, text: str) -> Sql:
    place, word = name
    if place is not None and place not in _PLACES:
        raise ConfigError(f"In {text!r}: {place}.{word} is not known. Write config.{word} or metrics.{word}.")
    if place is None and word in COLUMNS:
        return Sql(COLUMNS[word])
    is_parameter = word in names.parameters and place != "metrics"
    is_metric = word in names.metrics and place != "config"
    if is_parameter and is_metric:
        raise ConfigError(f"In {text!r}: {word} is a parameter and a metric. Write config.{word} or metrics.{word}.")
    last = word.rpartition(".")[2]
    if not is_parameter and not is_metric and last != word and last in {*names.parameters, *names.metrics}:
        raise ConfigError(f"In {text!r}: {word} is not known. Write config.{last} or metrics.{last}.")
    if not is_parameter and not is_metric:
        raise ConfigError(f"In {text!r}: there is no {word!r}.{_advice(word, names)}")
    return _in_config(word) if is_parameter else _in_metrics(word)


def _in_config(name: str) -> Sql:
    path = "$" + "".join(f"[{key}]" if key.isdecimal() else f".{json.dumps(key)}" for key in name.split("/"))
    return Sql("config ->> ?", (path,))


def _in_metrics(name: str) -> Sql:
    """A metric; the infinities are stored as words, NaN compares with nothing."""
    path = f"$.{json.dumps(name)}"
    sql = "CASE metrics ->> ? WHEN 'Infinity' THEN 9e999 WHEN '-Infinity' THEN -9e999 WHEN 'NaN' THEN NULL "
    return Sql(f"{sql}ELSE metrics ->> ? END", (path, path))


def _not_understood(node: ast.AST, text: str, expected: str) -> ConfigError:
    return ConfigError(f"In {text!r}: {ast.unparse(node)!r} is not understood; expected {expected}.")


def _advice(word: str, names: Names) -> str:
    known = sorted({*COLUMNS, *names.parameters, *names.metrics})
    close = difflib.get_close_matches(word, known, n=3)
    shown = [_writable(name, names) for name in close or known]
    return f" Did you mean {' or '.join(shown)}?" if close else f" There are {', '.join(shown)}."


def _writable(name: str, names: Names) -> str:
    """The name as `--where` takes it."""
    if re.fullmatch(r"\w+([./-]\w+)*", name) and not any(map(keyword.iskeyword, re.split(r"\W", name))):
        return name
    place = "config" if name in names.parameters else "metrics"
    return f"{place}[{json.dumps(name, ensure_ascii=False)}]"
