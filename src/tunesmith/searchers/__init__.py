"""Searchers: they propose configs from the history.

Those with a model load NumPy, and SciPy at their first fit: each is imported when it is asked for.
"""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tunesmith.errors import ConfigError
from tunesmith.protocols import Searcher
from tunesmith.searchers.grid_search import GridSearch
from tunesmith.searchers.random_search import BasicVariantGenerator, RandomSearch

if TYPE_CHECKING:
    from tunesmith.searchers.ask_tell import AskTell
    from tunesmith.searchers.auto_search import AutoSearch
    from tunesmith.searchers.bohb_search import TuneBOHB
    from tunesmith.searchers.cmaes_search import CMAESSearch
    from tunesmith.searchers.concurrency_limiter import ConcurrencyLimiter
    from tunesmith.searchers.evolution_search import EvolutionSearch
    from tunesmith.searchers.forest_search import ForestSearch
    from tunesmith.searchers.gp_search import GPSearch
    from tunesmith.searchers.nsga import NSGASearch
    from tunesmith.searchers.optuna_search import OptunaSearch
    from tunesmith.searchers.repeater import Repeater
    from tunesmith.searchers.sobol_search import SobolSearch
    from tunesmith.searchers.tpe_search import TPESearch
    from tunesmith.searchers.trust_region_search import TrustRegionSearch
    from tunesmith.searchers.zoom_search import ZoomSearch

__all__ = [
    "SEARCHERS",
    "AskTell",
    "AutoSearch",
    "BasicVariantGenerator",
    "CMAESSearch",
    "ConcurrencyLimiter",
    "EvolutionSearch",
    "ForestSearch",
    "GPSearch",
    "GridSearch",
    "NSGASearch",
    "OptunaSearch",
    "RandomSearch",
    "Repeater",
    "SobolSearch",
    "TPESearch",
    "TrustRegionSearch",
    "TuneBOHB",
    "ZoomSearch",
    "create_searcher",
]

#: What `search_alg="..."` may say, and the class; "variant_generator" is Ray Tune's word.
SEARCHERS: dict[str, str] = {
    "random": "RandomSearch",
    "variant_generator": "RandomSearch",
    "grid": "GridSearch",
    "auto": "AutoSearch",
    "gp": "GPSearch",
    "bohb": "TuneBOHB",
    "cmaes": "CMAESSearch",
    "evolution": "EvolutionSearch",
    "forest": "ForestSearch",
    "nsga2": "NSGASearch",
    "zoom": "ZoomSearch",
    "sobol": "SobolSearch",
    "tpe": "TPESearch",
    "turbo": "TrustRegionSearch",
    "optuna": "OptunaSearch",
}

#: The file of each class that is imported when it is asked for.
_FILES: dict[str, str] = {
    "AutoSearch": "auto_search",
    "GPSearch": "gp_search",
    "TuneBOHB": "bohb_search",
    "CMAESSearch": "cmaes_search",
    "EvolutionSearch": "evolution_search",
    "ForestSearch": "forest_search",
    "NSGASearch": "nsga",
    "ZoomSearch": "zoom_search",
    "SobolSearch": "sobol_search",
    "TPESearch": "tpe_search",
    "TrustRegionSearch": "trust_region_search",
    "AskTell": "ask_tell",
    "ConcurrencyLimiter": "concurrency_limiter",
    "OptunaSearch": "optuna_search",
    "Repeater": "repeater",
}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)


def searcher_class(name: str) -> type[Searcher]:
    """The class of this name.

    Raises: ConfigError for an unknown one.
    """
    if name not in SEARCHERS:
        close = get_close_matches(str(name), SEARCHERS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"There is no searcher {name!r}. Give one of {', '.join(sorted(SEARCHERS))}.{hint}")
    made = SEARCHERS[name]
    found: type[Searcher] = globals()[made] if made in globals() else __getattr__(made)
    return found


def create_searcher(name: str, **kwargs: Any) -> Searcher:
    """The searcher of this name, made with these keywords.

    Raises: ConfigError for an unknown name or keyword (Ray Tune drops unknown keywords without a word).
    """
    made = searcher_class(name)
    known = list(inspect.signature(made).parameters)
    unknown = sorted(set(kwargs) - set(known))
    if unknown:
        raise ConfigError(f"The searcher {name!r} does not know {', '.join(unknown)}. It takes {', '.join(known)}.")
    return made(**kwargs)
