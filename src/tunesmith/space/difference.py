"""What changed between two spaces, in sentences, from their descriptions alone."""

from __future__ import annotations

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
    return [sentence for sentence in sentences if sentence]


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
