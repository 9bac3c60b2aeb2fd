"""HyperBand under the name that BOHB's users know."""

from __future__ import annotations

from tunesmith.schedulers.hyperband import HyperBandScheduler


class HyperBandForBOHB(HyperBandScheduler):
    """HyperBand as BOHB runs it: the best of a rung go on as soon as it is decided, before a new bracket begins.

    That is what HyperBandScheduler does here, so the two decide alike; give it together with TuneBOHB (`search_alg=
    "bohb"`), whose model learns from the rungs. While a rung waits for its last trials, free slots begin the next
    bracket, whose configs are proposed by all that is known then.

    On purpose unlike Ray Tune, besides what HyperBandScheduler lists: (1) brackets overlap, as in the paper's parallel
    version, so that no slot waits for the slowest trial of a rung; (2) any searcher will do.

    Arguments: see HyperBandScheduler.
    Source: Falkner et al. 2018 (arXiv 1807.01774), on parallel runs.
    """

    _name = "BOHB"
