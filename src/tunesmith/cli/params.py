"""`--param 'lr=loguniform(1e-5, 1e-1)'`: an expression that is parsed, never evaluated."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tunesmith.cli.expressions import parse_expression
from tunesmith.errors import ConfigError, SpaceError

_MAX_CHARS = 20_000
_MAX_DEPTH = 40
#: What may be called, and the name that it has in `tunesmith.space`.
DOMAINS = {
    "uniform": "uniform",
    "quniform": "quniform",
    "loguniform": "loguniform",
    "qloguniform": "qloguniform",
    "randn": "randn",
    "qrandn": "qrandn",
    "randint": "randint",
    "qrandint": "qrandint",
    "lograndint": "lograndint",
    "qlograndint": "qlograndint",
    "choice": "choice",
    "grid": "grid_search",
    "grid_search": "grid_search",
}
_OF_OPTIONS = ("choice", "grid", "grid_search")


def parse_params(texts: Iterable[str]) -> dict[str, Any]:
    """The space in several `name=expression`; a slash in a name makes a nested entry.

    Raises: ConfigError that names the parameter and what is wrong; SpaceError from a domain.
    """
    tree: dict[str, Any] = {}
    for text in texts:
        name, has_value, expression = text.partition("=")
        name = name.strip()
        if not has_value or not name:
            raise ConfigError(f"--param {text!r} is no NAME=DOMAIN, such as 'lr=loguniform(1e-5,1e-1)'.")
        _put(tree, name, parse_domain(expression.strip(), name=name))
    return tree


def parse_domain(expression: str, *, name: str) -> Any:
    """A domain, or a constant: whatever is no call is one, also text without quotes."""
    if len(expression) > _MAX_CHARS:
        raise ConfigError(f"--param {name}: the expression has more than {_MAX_CHARS:,} characters.")
    head = expression.partition("(")[0].strip()
    is_call = "(" in expression and head.isidentifier()
    try:
        node = parse_expression(expression)
    except ValueError as error:
        if is_call or head in DOMAINS:
            raise ConfigError(f"--param {name}: {expression!r:.200} cannot be read: {error}.{_hint()}") from None
        return expression
    if isinstance(node, ast.Call) or is_call:
        return _value(node, name=name, depth=0, words_allowed=False)
    if expression in DOMAINS:
        raise ConfigError(f"--param {name}: {expression} needs its bounds or options, such as {expression}(0, 1).")
    try:
        return _value(node, name=name, depth=0, words_allowed=False)
    except ConfigError:
        if isinstance(node, ast.List | ast.Tuple | ast.Dict | ast.Set):
            raise
        return expression  # a plain word, such as resnet-50


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *folders, last = name.split("/")
    for folder in folders:
        tree = tree.setdefault(folder, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--param {name}: {folder!r} is a parameter already, and cannot hold others.")
    if last in tree or not last or "" in folders:
        raise ConfigError(f"--param {name} is given twice, or its name has an empty part. Give each name once.")
    tree[last] = value


def _value(node: ast.AST, *, name: str, depth: int, words_allowed: bool) -> Any:
    """What a node means. Only calls of domains, literals, and (as options) bare words mean something."""
    if depth > _MAX_DEPTH:
        raise ConfigError(f"--param {name}: the expression is nested too deeply.")

    def inner(child: ast.AST, *, words: bool = False) -> Any:
        return _value(child, name=name, depth=depth + 1, words_allowed=words)

    if isinstance(node, ast.Call):
        return _called(node, name=name, inner=inner)
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        number = inner(node.operand)
        if isinstance(number, int | float) and not isinstance(number, bool):
            return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.List | ast.Tuple):
        return [inner(child, words=words_allowed) for child in node.elts]
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise ConfigError(f"--param {name}: ** is not known here.")
        return {inner(key): inner(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.Name) and words_allowed:
        return {"true": True, "false": False, "null": None}.get(node.id, node.id)
    text = ast.unparse(node)
    advice = f"write it in quotes: {text!r}" if words_allowed else "give a number, a text in quotes or a list"
    raise ConfigError(f"--param {name}: {text!r} is not understood; {advice}.{_hint()}")


def _called(node: ast.Call, *, name: str, inner: Callable[..., Any]) -> Any:
    if not isinstance(node.func, ast.Name) or node.func.id not in DOMAINS:
        raise ConfigError(f"--param {name}: {ast.unparse(node.func)!r} is no domain.{_hint()}")
    import tunesmith.space

    word = node.func.id
    make: Callable[..., Any] = getattr(tunesmith.space, DOMAINS[word])
    if any(isinstance(argument, ast.Starred) for argument in node.args) or any(k.arg is None for k in node.keywords):
        raise ConfigError(f"--param {name}: * is not known here. Write the values out.")
    if word in _OF_OPTIONS:
        if node.keywords:
            raise ConfigError(f"--param {name}: {word} takes its options only: {word}(1, 2, 3).")
        values = [inner(argument, words=True) for argument in node.args]
        is_list = len(node.args) == 1 and isinstance(node.args[0], ast.List | ast.Tuple)
        arguments: list[Any] = [values[0] if is_list else values]
        keywords: Mapping[str, Any] = {}
    else:
        arguments = [inner(argument) for argument in node.args]
        keywords = {str(keyword.arg): inner(keyword.value) for keyword in node.keywords}
    try:
        return make(*arguments, **keywords)
    except TypeError as error:
        raise ConfigError(f"--param {name}: {ast.unparse(node)}: {error}.") from None
    except SpaceError as error:
        raise SpaceError(f"--param {name}: {error}") from None


def _hint() -> str:
    return f" Known: {', '.join(sorted(DOMAINS))}."
