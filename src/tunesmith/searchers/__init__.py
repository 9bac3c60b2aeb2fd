"""Searchers: they propose configs from the history.

A new one is a file here, its import and its line in `SEARCHERS`. SciPy and other packages are imported when first used.
"""

from __future__ import annotations

from typing import Any

from tunesmith.protocols import Searcher
from tunesmith.registry import made_by_name
from tunesmith.searchers.ask_tell import AskTell
from tunesmith.searchers.auto_search import AutoSearch
from tunesmith.searchers.bohb_search import TuneBOHB
from tunesmith.searchers.cmaes_search import CMAESSearch
from tunesmith.searchers.concurrency_limiter import ConcurrencyLimiter
from tunesmith.searchers.evolution_search import EvolutionSearch
from tunesmith.searchers.forest_search import ForestSearch
from tunesmith.searchers.gp_search import GPSearch
from tunesmith.searchers.grid_search import GridSearch
from tunesmith.searchers.nsga import NSGASearch
from tunesmith.searchers.optuna_search import OptunaSearch
from tunesmith.searchers.random_search import BasicVariantGenerator, RandomSearch
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

#: What `search_alg="..."` may say; "variant_generator" is Ray Tune's word.
SEARCHERS: dict[str, type[Searcher]] = {
    "random": RandomSearch,
    "variant_generator": RandomSearch,
    "grid": GridSearch,
    "auto": AutoSearch,
    "gp": GPSearch,
    "bohb": TuneBOHB,
    "cmaes": CMAESSearch,
    "evolution": EvolutionSearch,
    "forest": ForestSearch,
    "nsga2": NSGASearch,
    "zoom": ZoomSearch,
    "sobol": SobolSearch,
    "tpe": TPESearch,
    "turbo": TrustRegionSearch,
    "optuna": OptunaSearch,
}


def create_searcher(name: str, **kwargs: Any) -> Searcher:
    """The searcher of this name, made with these keywords.

    Raises: ConfigError for an unknown name or keyword (Ray Tune drops unknown keywords without a word).
    """
    return made_by_name("searcher", name, SEARCHERS, kwargs)
