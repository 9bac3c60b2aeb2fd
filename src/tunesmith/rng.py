"""Random streams: each is a function of (experiment seed, purpose, index), so that no draw depends on what ran before.

NumPy is loaded on first use: importing tunesmith must stay cheap.
"""

from __future__ import annotations

import random
import secrets
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def new_seed() -> int:
    """A fresh experiment seed, 0 <= seed < 2**32; recorded, so that the experiment can be repeated."""
    return secrets.randbits(32)


def generator(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """The generator of one purpose and index within the experiment of this seed."""
    import numpy as np

    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), index])


def derived_seed(seed: int, purpose: str, index: int = 0) -> int:
    """A 32-bit seed for a generator that is not ours (random, numpy.random, torch) from the same three facts."""
    mixed = zlib.crc32(f"{seed}/{purpose}/{index}".encode())
    return (mixed * 2654435761 + index) % 2**32


@contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Within the block `random` and `numpy.random` are seeded with `seed`; afterwards both are as they were before."""
    import numpy as np

    python_state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
