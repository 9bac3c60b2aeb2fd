"""F74: a choice of ten thousand options is one dimension, found by index and shown in part."""

from __future__ import annotations

import sys

import numpy as np

from tunesmith.errors import SpaceError
from tunesmith.space import Space, choice, uniform

N = 10_000
NAMES = [f"option {i}" for i in range(N)]


def n_calls(function):
    """How many Python functions are called."""
    n = 0

    def count(frame, event, argument):
        nonlocal n
        n += event == "call"

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return n


def test_sampling_and_encoding_take_as_many_steps_as_with_ten_options():
    small, large = choice(NAMES[:10]), choice(NAMES)
    for call in (
        lambda domain: domain.sample(np.random.default_rng(0)),
        lambda domain: domain.decode(0.5),
        lambda domain: domain.encode("option 7"),
        lambda domain: domain.contains("option 7"),
    ):
        for domain in (small, large):
            call(domain)  # what is made once is made now
        assert n_calls(lambda call=call: call(large)) <= n_calls(lambda call=call: call(small)) + 2


def test_it_is_one_leaf_whatever_its_size():
    space = Space({"x": choice(NAMES), "lr": uniform(0, 1)})
    assert len(space.leaves) == 2
    assert 0.0 <= choice(NAMES).encode(NAMES[-1]) <= 1.0


def test_all_options_are_told_apart_and_come_back():
    domain = choice(NAMES)
    assert [domain.decode(domain.encode(name)) for name in NAMES] == NAMES


def test_messages_about_it_stay_short():
    try:
        Space({"x": choice(NAMES)}).check({"x": "nowhere"})
    except SpaceError as error:
        assert len(str(error)) < 500
    else:
        raise AssertionError
    assert len(repr(choice(NAMES))) < 200
