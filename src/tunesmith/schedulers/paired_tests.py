"""Whether paired differences lie above zero by more than chance: one-sided tests for a handful of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MAX_EXACT = 100  #: pairs; beyond, the normal approximation is off by less than 1e-3


def signed_rank_p(differences: Sequence[float]) -> float:
    """P-value of Wilcoxon's signed-rank test against differences above zero: 1 in 2**n if all n are.

    Exact for up to 100 pairs, ties included (equal sizes share their mean rank). Zeros are left out; without any other
    difference the answer is 1. Differences that are equal but for rounding errors are equals.

    Args: differences: finite.
    Source: Wilcoxon 1945 (Biometrics Bulletin 1); the distribution by its recursion over ranks.
    """
    import numpy as np

    values = np.asarray(differences, float)
    largest = np.abs(values).max(initial=0.0)
    if largest == 0.0:
        return 1.0
    values = np.round(values / largest, 9)
    values = values[values != 0.0]
    _, place, n_equal = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(n_equal) - n_equal + 1)[place]  # twice the mean ranks are whole numbers
    observed, n = int(doubled[values > 0.0].sum()), len(values)
    if n > _MAX_EXACT:
        sd = math.sqrt(float((doubled.astype(float) ** 2).sum())) / 2.0
        return 0.5 * math.erfc((observed - 1 - doubled.sum() / 2.0) / (sd * math.sqrt(2.0)))
    chances = np.zeros(int(doubled.sum()) + 1)  #: of each sum of the doubled ranks above zero
    chances[0] = 1.0
    for rank in doubled:
        with_it = np.zeros_like(chances)
        with_it[rank:] = chances[: len(chances) - rank]
        chances = (chances + with_it) / 2.0
    return min(1.0, float(chances[observed:].sum()))


def paired_t_p(differences: Sequence[float]) -> float:
    """P-value of the paired t test against a mean difference above zero.

    Without any variance 0 where the mean is above zero, else 1.

    Args: differences: finite, two or more.
    """
    from scipy.special import stdtr

    n, largest = len(differences), max(map(abs, differences))
    if largest == 0.0:
        return 1.0
    values = [value / largest for value in differences]
    mean = math.fsum(values) / n
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    if sd == 0.0:
        return 0.0 if mean > 0.0 else 1.0
    return float(stdtr(n - 1, -mean / (sd / math.sqrt(n))))
