"""The checker itself: right gradients pass, gradients that are off by 0.1 % do not, whichever method looks."""

import numpy as np
import pytest

from minivgg import gradcheck, layers
from minivgg.gradcheck import (
    BOUND_ADJOINT,
    BOUND_CENTRAL,
    BOUND_COMPLEX,
    adjoint_error,
    central_difference,
    complex_step,
    direction,
    directional_complex_error,
    directional_error,
    off_kinks,
    relative_error,
)

OFF = 1.001  # 0.1 %


@pytest.fixture
def conv(rng):
    """A convolution as a function of x alone, its x and dout, and its right dx."""
    x, w, b = (rng.standard_normal(s) for s in ((2, 3, 5, 4), (2, 3, 3, 3), (2,)))
    out, cache = layers.conv2d_forward(x, w, b, stride=2, pad=1)
    dout = rng.standard_normal(out.shape)
    return lambda a: layers.conv2d_forward(a, w, b, stride=2, pad=1)[0], x, dout, cache


def wrong_gradients(dx):
    """Off by 0.1 % as a whole, and in the smallest part of it that still counts: one middling entry."""
    one = dx.copy().reshape(-1)
    one[np.argsort(abs(one))[one.size // 2]] *= OFF
    return [dx * OFF, one.reshape(dx.shape)]


@pytest.mark.parametrize("method, bound", [(central_difference, BOUND_CENTRAL), (complex_step, BOUND_COMPLEX)])
def test_entry_by_entry_methods_tell_right_from_wrong(conv, method, bound):
    f, x, dout, cache = conv
    dx, slopes = layers.conv2d_backward(dout, cache)[0], method(f, x, dout)
    assert relative_error(dx.reshape(-1), slopes) <= bound
    for wrong in wrong_gradients(dx):
        assert relative_error(wrong.reshape(-1), slopes) > 10 * bound


def test_entry_by_entry_methods_look_where_they_are_told(conv):
    f, x, dout, cache = conv
    dx, entries = layers.conv2d_backward(dout, cache)[0].reshape(-1), [7, 0, 31]
    for method in (central_difference, complex_step):
        assert relative_error(dx[entries], method(f, x, dout, entries=entries)) <= BOUND_CENTRAL


def test_adjoint_identity_tells_right_from_wrong(conv, rng):
    f, x, dout, cache = conv
    u = rng.standard_normal(x.shape)

    def forward(u):
        return f(u) - f(0 * u)

    def backward(v):
        return layers.conv2d_backward(v, cache)[0]

    assert adjoint_error(forward, backward, u, dout) <= BOUND_ADJOINT
    assert adjoint_error(forward, lambda v: OFF * backward(v), u, dout) > 1e6 * BOUND_ADJOINT
    one = wrong_gradients(backward(dout))[1]
    assert adjoint_error(forward, lambda v: one, u, dout) > 1e6 * BOUND_ADJOINT
    assert adjoint_error(forward, lambda v: backward(v)[:, :, ::-1], u, dout) > 0.01  # a flip keeps every norm


@pytest.mark.parametrize(
    "error, options, bound",
    [(directional_error, {"step": 1e-5}, BOUND_CENTRAL), (directional_complex_error, {}, BOUND_COMPLEX)],
)
def test_directional_methods_tell_right_from_wrong(conv, rng, error, options, bound):
    f, x, dout, cache = conv

    def loss(x):  # curved, so that the directional derivative depends on where
        return (dout * f(x) ** 2).sum()

    dx = layers.conv2d_backward(2 * dout * f(x), cache)[0]
    u = direction(dx, rng)
    assert u.all()
    assert error(loss, x, dx, u, **options) <= bound
    for wrong in wrong_gradients(dx):
        assert error(loss, x, wrong, u, **options) > 10 * bound


def test_methods_do_not_modify_the_input(conv):
    f, x, dout, _ = conv
    kept = x.copy()
    central_difference(f, x, dout, entries=[3])
    complex_step(f, x, dout, entries=[3])
    assert (x == kept).all() and x.dtype == np.float64


def test_relative_error_is_the_largest_deviation_against_the_largest_entry():
    assert relative_error(np.array([1.0, -4.0]), np.array([1.5, -4.0])) == 0.125
    assert relative_error(np.zeros(3), np.zeros(3)) == 0
    assert relative_error(np.zeros(3), np.array([0, 1e-300, 0])) == 1
    assert relative_error(2.0, 1.0) == 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_never_passes(bad):
    assert relative_error(np.array([1.0, bad]), np.array([1.0, bad])) == np.inf
    assert adjoint_error(lambda u: u * bad, lambda v: v, np.ones(2), np.ones(2)) == np.inf


def test_entries_are_compared_on_the_scale_of_the_whole_gradient():
    """An entry that is 0 up to rounding passes; one that is off by as much as the largest does not."""
    gradient = np.array([[8.0, 0.0], [1.0, 2.0]])
    assert gradcheck.entries_error(gradient, np.array([1e-15, 2.0]), [1, 3]) == 1e-15 / 8
    assert gradcheck.entries_error(gradient, np.array([0.0, 3.0]), [1, 3]) == 1 / 8
    assert gradcheck.entries_error(gradient, np.array([16.0]), [1]) == 1
    assert gradcheck.entries_error(0 * gradient, np.array([1.0]), [1]) == 1


def test_relative_error_refuses_to_broadcast():
    with pytest.raises(ValueError, match="shapes"):
        relative_error(np.zeros((2, 1)), np.zeros((2, 2)))


def test_off_kinks_keeps_its_distance(rng):
    values = np.sort(off_kinks(rng, (3, 5, 7), gap=0.5).reshape(-1))
    assert np.diff(values).min() >= 0.5 and abs(values).min() >= 0.25
    assert values[0] < 0 < values[-1]


def test_the_worst_entry(rng):
    a = rng.standard_normal((3, 4))
    b = a.copy()
    b[1, 2] += 1e-9
    assert gradcheck.worst_entry(a, b) == (1, 2)
    b[2, 0] = np.nan
    assert gradcheck.worst_entry(a, b) == (2, 0)
    assert gradcheck.worst_entry(1.0, 2.0) == ()
