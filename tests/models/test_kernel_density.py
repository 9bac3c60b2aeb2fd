"""Densities of rows: kernels, bandwidths and samples."""

import math

import numpy as np
import pytest

from tunesmith.models.cube import Cube
from tunesmith.models.kernel_density import KernelDensity
from tunesmith.space import Space, choice, uniform

LINE = {"x": uniform(0, 1)}
NESTED = {
    "x": uniform(0, 1),
    "o": choice([{"k": "a", "y": uniform(0, 1), "z": uniform(0, 1)}, {"k": "b", "w": uniform(0, 1)}, {"k": "c"}]),
}


def reference_density(x, centres, width):
    return sum(math.exp(-0.5 * ((x - c) / width) ** 2) / (width * math.sqrt(2 * math.pi)) for c in centres) / len(
        centres
    )


def test_the_density_is_the_mean_of_normal_kernels_of_the_reference_width():
    centres = np.array([0.2, 0.3, 0.7])
    density = KernelDensity(Cube(Space(LINE), seed=0), centres[:, None], min_width=1e-3)
    width = 1.06 * centres.std() * 3 ** (-1 / 5)
    for x in (0.0, 0.25, 0.9):
        expected = math.log(reference_density(x, centres, width))
        assert density.log_density(np.array([[x]]))[0] == pytest.approx(expected)


def test_equal_configs_get_the_smallest_width_and_far_from_all_the_floor():
    density = KernelDensity(Cube(Space(LINE), seed=0), np.full((4, 1), 0.5), min_width=1e-3)
    assert density.log_density(np.array([[0.5]]))[0] == pytest.approx(-math.log(1e-3 * math.sqrt(2 * math.pi)))
    assert density.log_density(np.array([[0.9]]))[0] == pytest.approx(math.log(1e-32))


def test_options_count_by_how_often_they_are_there_whatever_their_order():
    """Aitchison and Aitken's kernel: 1 - w for the same option, w shared by the others; shares 3/4 and 1/4 of 4."""
    w = 1.06 * 4 ** (-1 / 5) * math.sqrt((1 - 0.75**2 - 0.25**2) / 2)
    same, other = 1 - w, w / 2
    expected = [math.log(0.75 * same + 0.25 * other), math.log(0.25 * same + 0.75 * other), math.log(other)]
    cube = Cube(Space({"o": choice(["a", "b", "c"])}), seed=0)
    for codes in ([0, 1, 2], [1, 0, 2], [2, 0, 1], [0, 2, 1]):
        rows = np.array([[codes[0]]] * 3 + [[codes[1]]], float)
        density = KernelDensity(cube, rows, min_width=1e-3)
        assert density.log_density(np.array(codes, float)[:, None]) == pytest.approx(expected)


def test_probabilities_of_all_options_add_up_to_one():
    cube = Cube(Space({"o": choice(list("abcde")), "p": choice(["u", "v"])}), seed=0)
    rows = cube.sample(np.random.default_rng(1), 9)
    density = KernelDensity(cube, rows, min_width=1e-3)
    assert np.exp(density.log_density(cube.enumerate())).sum() == pytest.approx(1.0)


def test_leaves_that_take_no_part_do_not_count():
    cube = Cube(Space(NESTED), seed=0)
    rows = np.array([cube.encode({"x": 0.5, "o": {"k": "c"}}), cube.encode({"x": 0.5, "o": {"k": "b", "w": 0.3}})])
    density = KernelDensity(cube, rows, min_width=1e-3)
    near, far = (cube.encode({"x": 0.5, "o": {"k": "b", "w": w}})[None] for w in (0.3, 0.9))
    assert density.log_density(near)[0] > density.log_density(far)[0]
    unseen = [cube.encode({"x": 0.5, "o": {"k": "a", "y": y, "z": 0.2}})[None] for y in (0.1, 0.8)]
    assert density.log_density(unseen[0]) == density.log_density(unseen[1])


def test_candidates_lie_around_the_configs_three_kernels_wide_and_within_the_space():
    cube = Cube(Space(LINE), seed=0)
    density = KernelDensity(cube, np.array([[0.5], [0.5], [0.52], [0.48]]), min_width=0.01)
    drawn = density.sample(4_000, np.random.default_rng(0), stretch=3.0)[:, 0]
    assert drawn.std() == pytest.approx(3 * density._widths[0], rel=0.2)
    border = KernelDensity(cube, np.zeros((2, 1)), min_width=0.2).sample(1_000, np.random.default_rng(0), stretch=3.0)
    assert border.min() >= 0.0 and border.max() <= 1.0
    assert np.median(border) > 0.05, "the border gathered the candidates"
