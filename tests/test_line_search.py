"""Where the line search goes next, and where the slope would be zero."""

import numpy as np
import pytest

from style.faster.line_search import LONGEST, SHORTEST, next_step, zero_slope


def test_next_step_finds_the_minimum_of_a_cubic():
    def f(t):
        return (t, t**3 - 3 * t**2 + 1, 3 * t**2 - 6 * t)

    assert next_step(f(0.5), f(5.0)) == pytest.approx(2.0)
    assert next_step(f(0.5), None) == 2.0
    assert 0.5 < next_step(f(0.5), (5.0, np.inf, np.nan)) < 5.0
    assert 0.5 < next_step(f(0.5), (5.0, 1e30, np.nan)) < 5.0


def test_next_step_keeps_off_both_ends():
    assert next_step((0.0, 0.0, -1.0), (1.0, -0.5, -0.5)) == pytest.approx(0.9)
    assert next_step((0.0, 0.0, -1.0), (1.0, 1e6, 1e7)) >= 0.1


def test_zero_slope_of_a_parabola():
    assert zero_slope(-2.0, 0.0) == 1
    assert zero_slope(-4.0, -1.0) == pytest.approx(4 / 3)
    assert zero_slope(-4.0, 1.0) == pytest.approx(0.8)
    assert zero_slope(-1.0, 99.0) == SHORTEST
    assert zero_slope(-4.0, -3.9) == LONGEST
    assert zero_slope(-1.0, -1.0) == zero_slope(-1.0, -1.5) == LONGEST  # it does not bend upwards
