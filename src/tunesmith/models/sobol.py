"""Quasi-random points: Sobol's sequence, scrambled so that each seed gives another equally even set.

Sources: Joe and Kuo 2008 (SIAM J. Sci. Comput. 30), direction numbers `new-joe-kuo-6`; Burley 2020 (JCGT 9(4)), Owen
scrambling and padding by hashing.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_BITS = 32


def sobol_points(n: int, d: int, rng: np.random.Generator, *, first: int = 0) -> Array:
    """Points `first` to `first + n - 1` of a scrambled sequence in [0, 1)^d; shape (n, d).

    The same generator state gives the same sequence, so points can be asked for in pieces. Beyond 40 columns the first
    40 are used again in another order, independent of them.
    """
    seeds = rng.integers(0, 2**32, (-(-d // _N_TABLE) + d,), dtype=np.uint32)
    index = np.arange(first, first + n, dtype=np.uint32)
    points = np.empty((n, d))
    for block in range(-(-d // _N_TABLE)):
        # The first block keeps its order: the first 2^k points are then a net by themselves.
        order = index if block == 0 else _reversed(_owen(_reversed(index), seeds[block]))
        n_bits = int(order.max(initial=0)).bit_length()
        for j in range(block * _N_TABLE, min(d, (block + 1) * _N_TABLE)):
            x = np.zeros(n, np.uint32)
            for bit, direction in enumerate(_directions()[j % _N_TABLE][:n_bits]):
                x ^= np.where((order >> np.uint32(bit)) & np.uint32(1), direction, np.uint32(0))
            points[:, j] = _scrambled(x, seeds[-(j + 1)]) / 2.0**_BITS
    return points


def _scrambled(x: NDArray[np.uint32], seed: np.uint32) -> NDArray[np.uint32]:
    """Owen's nested uniform scrambling of binary fractions: each digit flipped by a hash of those before it."""
    return _reversed(_owen(_reversed(x), seed))


def _owen(x: NDArray[np.uint32], seed: np.uint32) -> NDArray[np.uint32]:
    """The hash of Burley 2020, listing 3: each bit depends on lower ones only."""
    with np.errstate(over="ignore"):
        x = x ^ (x * np.uint32(0x3D20ADEA))
        x = x + seed
        x = x * ((seed >> np.uint32(16)) | np.uint32(1))
        x = x ^ (x * np.uint32(0x05526C56))
        return np.asarray(x ^ (x * np.uint32(0x53A22864)))


def _reversed(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The bits in the other order."""
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        s, m = np.uint32(shift), np.uint32(mask)
        x = ((x >> s) & m) | ((x & m) << s)
    return (x >> np.uint32(16)) | (x << np.uint32(16))


@cache
def _directions() -> NDArray[np.uint32]:
    """The direction numbers of each column, as binary fractions; shape (n_table, bits)."""
    found = np.zeros((_N_TABLE, _BITS), np.uint32)
    for j, (polynomial, start) in enumerate(_TABLE):
        degree = polynomial.bit_length() - 1
        m = list(start) if degree else [1] * _BITS
        for k in range(len(m), _BITS):
            value = m[k - degree] ^ (m[k - degree] << degree)
            for i in range(1, degree):
                if polynomial >> (degree - i) & 1:
                    value ^= m[k - i] << i
            m.append(value)
        found[j] = [m[k] << (_BITS - 1 - k) for k in range(_BITS)]
    return found


#: Of each column the primitive polynomial as bits, and the first odd numbers.
_TABLE_TEXT = """
1:1 3:1 7:1,3 11:1,3,1 13:1,1,1 19:1,1,3,3 25:1,3,5,13 37:1,1,5,5,17 41:1,1,5,5,5 47:1,1,7,11,19 55:1,1,5,1,1
59:1,1,1,3,11 61:1,3,5,5,31 67:1,3,3,9,7,49 91:1,1,1,15,21,21 97:1,3,1,13,27,49 103:1,1,1,15,7,5
109:1,3,1,15,13,25 115:1,1,5,5,19,61 131:1,3,7,11,23,15,103 137:1,3,7,13,13,15,69 143:1,1,3,13,7,35,63
145:1,3,5,9,1,25,53 157:1,3,1,13,9,35,107 167:1,3,1,5,27,61,31 171:1,1,5,11,19,41,61 185:1,3,5,3,3,13,69
191:1,1,7,13,1,19,1 193:1,3,7,5,13,19,59 203:1,1,3,9,25,29,41 211:1,3,5,13,23,1,55 213:1,3,7,3,13,59,17
229:1,3,1,3,5,53,69 239:1,1,5,5,23,33,13 241:1,1,7,7,1,61,123 247:1,1,7,9,13,61,49 253:1,3,3,5,3,55,33
285:1,3,1,15,31,13,49,245 299:1,3,5,15,31,59,63,97 301:1,3,1,11,11,11,77,249
"""


def _parsed(entry: str) -> tuple[int, tuple[int, ...]]:
    polynomial, start = entry.split(":")
    return int(polynomial), tuple(map(int, start.split(",")))


_TABLE: tuple[tuple[int, tuple[int, ...]], ...] = tuple(map(_parsed, _TABLE_TEXT.split()))
_N_TABLE = len(_TABLE)
