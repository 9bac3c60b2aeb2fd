"""No searcher raises, whatever it is asked about; `python -m campaigns.search` asks ten thousand times."""

from __future__ import annotations

import warnings

import pytest
from campaigns.search.check import NAMES, check_answer
from campaigns.search.histories import histories
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_lies_in_the_space(name):
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(histories(), st.sampled_from((1, 4)))
    def ask(history, n):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            check_answer(name, history, n)

    ask()
