from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.models.warp import half_rank_warp, log_warp, warp_losses

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.one_of(finite, st.sampled_from([0.0, 1.0, -1e300, 1e300])), max_size=40))
def test_order_and_ties_are_kept_and_the_result_is_standardised(values):
    losses = np.array(values, float)
    with np.errstate(all="raise", under="ignore"):
        y = warp_losses(losses)
    assert np.isfinite(y).all()
    order = np.argsort(losses, kind="stable")
    assert (np.diff(y[order]) >= -1e-9).all()
    if len(y) and np.ptp(y) > 0:
        assert y.mean() == pytest.approx(0.0, abs=1e-9)
        assert y.std() == pytest.approx(1.0)


def test_the_good_half_keeps_its_gaps_and_the_poor_half_only_its_ranks():
    losses = np.array([1.0, 2.0, 4.0, 100.0, 1e6])
    warped = half_rank_warp(losses)
    assert warped[:3].tolist() == [1.0, 2.0, 4.0]
    assert np.allclose(warped, half_rank_warp(np.array([1.0, 2.0, 4.0, 5.0, 6.0])))
    assert 4.0 < warped[3] < warped[4] < 10.0


def test_the_logarithm_gives_small_losses_more_room():
    warped = log_warp(np.linspace(0.0, 1.0, 5))
    assert (warped[0], warped[-1]) == pytest.approx((-0.5, 0.5))
    assert (np.diff(np.diff(warped)) < 0).all()
