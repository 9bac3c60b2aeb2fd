"""One request: what is chosen among paused trials and new configs."""

from __future__ import annotations

import pytest

from tunesmith.events import Suggestion
from tunesmith.methods import FreezeThaw
from tunesmith.protocols import Curve, History
from tunesmith.rng import generator
from tunesmith.space import Space, uniform
from tunesmith.testing.samples import LOSS
from tunesmith.trial import Trial, TrialStatus

SPACE = Space({"x": uniform(0.0, 1.0)})
TIMES = [1.0, 3.0, 9.0, 27.0]


def trial(index, x):
    """Losses fall towards x = 1, and beyond 0.6 trials run out of memory before they report."""
    if x > 0.6:
        failed = Trial(index, f"t{index}", {"x": x}, TrialStatus.FAILED, attempt=1, n_failures=1)
        return failed, Curve([], [], [], 0)
    values = [1.0 - x + 1.0 / time for time in TIMES]
    done = Trial(index, f"t{index}", {"x": x}, TrialStatus.COMPLETED, attempt=1, step=27, best_value=values[-1])
    return done, Curve(TIMES, values, [4 * index + k for k in range(4)], 4)


@pytest.mark.parametrize("n_more", [0, 1], ids=["optimism", "expected improvement"])
def test_no_hope_outweighs_the_certainty_to_fail(n_more):
    places = [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99][: 14 - n_more]
    trials, curves = zip(*(trial(i, x) for i, x in enumerate(places)), strict=True)
    found = FreezeThaw(max_t=27).suggest(History(SPACE, LOSS, 3, trials, curves), generator(3, "suggest", 14), 1)
    [new] = found
    assert isinstance(new, Suggestion)
    assert 0.4 < new.config["x"] < 0.66
