"""Searchers: they propose configs from the history."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.protocols import Searcher
from tunesmith.searchers.grid_search import GridSearch
from tunesmith.searchers.random_search import BasicVariantGenerator, RandomSearch

__all__ = ["SEARCHERS", "BasicVariantGenerator", "GridSearch", "RandomSearch", "create_searcher"]

#: What `search_alg="..."` may say; "variant_generator" is Ray Tune's word.
SEARCHERS: dict[str, type[Searcher]] = {
    "random": RandomSearch,
    "variant_generator": RandomSearch,
    "grid": GridSearch,
}


def create_searcher(name: str, **kwargs: Any) -> Searcher:
    """The searcher of this name, made with these keywords.

    Raises: ConfigError for an unknown name or keyword (Ray Tune drops unknown keywords without a word).
    """
    if name not in SEARCHERS:
        close = get_close_matches(str(name), SEARCHERS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"There is no searcher {name!r}. Give one of {', '.join(sorted(SEARCHERS))}.{hint}")
    made = SEARCHERS[name]
    known = list(inspect.signature(made).parameters)
    unknown = sorted(set(kwargs) - set(known))
    if unknown:
        raise ConfigError(f"The searcher {name!r} does not know {', '.join(unknown)}. It takes {', '.join(known)}.")
    return made(**kwargs)
