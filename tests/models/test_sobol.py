from __future__ import annotations

import numpy as np

from tunesmith.models.sobol import _directions, sobol_points


def test_the_first_points_without_scrambling_are_those_of_the_sequence():
    """Columns 1 to 3 of the first eight points in natural order, from the recurrence by hand."""
    index = np.arange(8, dtype=np.uint32)
    points = np.zeros((8, 3))
    for j in range(3):
        x = np.zeros(8, np.uint32)
        for bit in range(3):
            x ^= np.where((index >> np.uint32(bit)) & np.uint32(1), _directions()[j][bit], np.uint32(0))
        points[:, j] = x / 2.0**32
    assert points[:, 0].tolist() == [0, 0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875]
    assert points[:, 1].tolist() == [0, 0.5, 0.75, 0.25, 0.625, 0.125, 0.375, 0.875]
    assert points[:4, 2].tolist() == [0, 0.5, 0.75, 0.25]


def test_every_interval_of_every_column_has_one_point():
    points = sobol_points(256, 60, np.random.default_rng(0))
    for j in range(60):
        if j < 40:
            assert sorted((points[:, j] * 256).astype(int)) == list(range(256))
    assert points.min() >= 0.0
    assert points.max() < 1.0


def test_pairs_of_columns_fill_the_squares_evenly():
    points = sobol_points(64, 2, np.random.default_rng(3))
    cells = {(int(a * 8), int(b * 8)) for a, b in points}
    assert len(cells) == 64


def test_pieces_join_to_the_whole_and_seeds_differ():
    whole = sobol_points(20, 45, np.random.default_rng(5))
    pieces = [sobol_points(10, 45, np.random.default_rng(5), first=first) for first in (0, 10)]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert not np.allclose(whole, sobol_points(20, 45, np.random.default_rng(6)))


def test_columns_beyond_the_table_are_not_those_within_it():
    points = sobol_points(512, 100, np.random.default_rng(0))
    correlation = np.corrcoef(points.T) - np.eye(100)
    assert np.abs(correlation).max() < 0.25
