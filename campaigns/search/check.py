"""What every answer of every searcher must be, whatever it is asked about."""

from __future__ import annotations

from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.rng import generator
from tunesmith.searchers import SEARCHERS, create_searcher

#: `variant_generator` is another name of random search.
NAMES = sorted(set(SEARCHERS) - {"variant_generator"})


def check_answer(name: str, history: History, n: int) -> None:
    """Raise unless the searcher answers with configs of the space, or a reason why there are none."""
    found = create_searcher(name).suggest(history, generator(history.seed, "suggest", len(history.trials)), n)
    if isinstance(found, Exhausted | Wait):
        assert found.reason
        return
    assert 1 <= len(found) <= n, f"{name} gave {len(found)} configs for {n}"
    for suggestion in found:
        history.space.check(suggestion.config)
