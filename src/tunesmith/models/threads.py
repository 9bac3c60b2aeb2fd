"""Linear algebra on one thread: a model's matrices are small, and the other processors belong to the trials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within the block BLAS computes on one thread; afterwards on as many as before.

    On a busy machine threads that wait for each other make small matrices 6 to 12 times slower.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401  its BLAS must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
