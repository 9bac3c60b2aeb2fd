"""What changed between two spaces, in sentences, from their descriptions alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tunesmith.space.base import canonical_json, value_text
from tunesmith.space.labels import MAX_LABEL, one_line


def space_difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One sentence for each leaf or constant that was changed, added or removed, by name; empty if nothing was.

    Args:
        old, new: what `Space.describe` returned, before and now.
    """
    before, after = dict(_facts(old["tree"], ())), dict(_facts(new["tree"], ()))
    sentences = [_changed(name, before[name], after[name]) for name in before if name in after]
    sentences += [f"{name!r} was removed" for name in before if name not in after]
    sentences += [f"{name!r} was added" for name in after if name not in before]
    if old["grids"] != new["grids"] and sorted(old["grids"]) == sorted(new["grids"]):
        orders = [", ".join(grids) for grids in (old["grids"], new["grids"])]
        sentences.append(f"the order of the grid_search leaves was {orders[0]}, is {orders[1]}")
    constraints = [old.get("constraints", []), new.get("constraints", [])]
    if constraints[0] != constraints[1]:
        texts = [one_line("; ".join(sources), MAX_LABEL) or "none" for sources in constraints]
        sentences.append(f"the constraints between parameters were {texts[0]}, are {texts[1]}")
    return [sentence for sentence in sentences if sentence]


def count_grid_points(description: dict[str, Any]) -> int:
    """How many points the crossed grid of a described space has; 1 without a grid."""
    return math.prod(len(options) for _, options in _grid_axes(description))


def keeps_grid_places(old: dict[str, Any], new: dict[str, Any], n_samples: int) -> bool:
    """Whether the samples 0 to n_samples - 1, drawn from the old space, take the places of those of the new one.

    They do if they are the same points of the grid, or whole grids as large as the new one. Else the samples that
    follow would leave out points of the new grid and repeat others.
    """
    before, now = _grid_axes(old), _grid_axes(new)
    n_before, n_now = count_grid_points(old), count_grid_points(new)
    if n_now == 1 or (n_before == n_now and n_samples % n_now == 0):
        return True
    return all(_grid_point(before, i % n_before) == _grid_point(now, i % n_now) for i in range(n_samples))


def _grid_axes(description: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Name and options of each grid_search leaf, the first varying fastest."""
    leaves = (tree["$domain"] for _, tree in _facts(description["tree"], ()) if _is_grid(tree))
    return [
        (name, [canonical_json(option) for option in leaf["options"]])
        for name, leaf in zip(description["grids"], leaves, strict=True)
    ]


def _is_grid(tree: Any) -> bool:
    return isinstance(tree, dict) and "$domain" in tree and tree["$domain"]["type"] == "grid_search"


def _grid_point(axes: list[tuple[str, list[str]]], i: int) -> dict[str, str]:
    point = {}
    for name, options in axes:
        i, option = divmod(i, len(options))
        point[name] = options[option]
    return point


def _changed(name: str, old: Any, new: Any) -> str:
    if canonical_json(old) == canonical_json(new):
        return ""
    texts = [one_line(value_text(tree), MAX_LABEL) for tree in (old, new)]
    if texts[0] == texts[1]:
        return f"{name!r} changed in a place that does not fit here: {texts[0]}"
    return f"{name!r} was {texts[0]}, is {texts[1]}"


def _facts(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Each leaf and constant by name, without the domains within its options: those come under their own names."""
    children = _children(tree)
    if children is None:
        yield "/".join(path), tree
        return
    if isinstance(tree, dict) and "$domain" in tree:
        yield "/".join(path), _without_inner_domains(tree)
    for key, child in children:
        yield from _facts(child, (*path, key))


def _children(tree: Any) -> list[tuple[str, Any]] | None:
    """The named parts of a description worth a look of their own, None if it is a leaf or a constant."""
    if isinstance(tree, dict):
        if "$domain" in tree:
            options = enumerate(tree["$domain"].get("options", ()))
            return [(str(i), option) for i, option in options if _holds_domain(option)]
        if "$dict" in tree:
            return [(value_text(key).strip("'"), item) for key, item in tree["$dict"]]
        if "$tuple" in tree:
            return _children(tree["$tuple"])
        if tree and not next(iter(tree)).startswith("$"):
            return list(tree.items())
        return None
    if isinstance(tree, list) and _holds_domain(tree):
        return [(str(i), item) for i, item in enumerate(tree)]
    return None


def _holds_domain(tree: Any) -> bool:
    if isinstance(tree, dict):
        return "$domain" in tree or any(_holds_domain(item) for item in tree.values())
    return isinstance(tree, list) and any(_holds_domain(item) for item in tree)


def _without_inner_domains(tree: dict[str, Any]) -> dict[str, Any]:
    domain = tree["$domain"]
    if "options" not in domain:
        return tree
    return {"$domain": {**domain, "options": [_hollow(option) for option in domain["options"]]}}


def _hollow(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {"$object": "..."} if "$domain" in tree else {key: _hollow(item) for key, item in tree.items()}
    return [_hollow(item) for item in tree] if isinstance(tree, list) else tree
