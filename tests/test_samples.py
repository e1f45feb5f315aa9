"""The sample pictures: seeded, the same at every size, rich enough to be content and style. No pixel is pinned."""

import numpy as np
import pytest

from style.pictures import images
from style.samples import SAMPLES, drawing


def grey(rgb):
    return rgb @ np.array([0.299, 0.587, 0.114], dtype=rgb.dtype)


def correlation(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.fixture(scope="module")
def drawn():
    return {name: draw(256, seed=0) for name, draw in SAMPLES.items()}


@pytest.mark.parametrize("name", SAMPLES)
def test_shape_range_and_type(name):
    for size, shape in ((40, (30, 40, 3)), (101, (76, 101, 3)), (256, (192, 256, 3))):
        a = SAMPLES[name](size)
        assert a.shape == shape and a.dtype == np.float32
        assert np.isfinite(a).all() and a.min() >= 0 and a.max() <= 255


@pytest.mark.parametrize("name", SAMPLES)
def test_the_seed_decides(name, drawn):
    np.testing.assert_array_equal(SAMPLES[name](256, seed=0), drawn[name])
    other = SAMPLES[name](256, seed=1)
    assert np.abs(other - drawn[name]).mean() > 5


def test_drawing_leaves_the_global_generator_alone():
    np.random.seed(5)  # noqa: NPY002 - the global generator is what is under test
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for draw in SAMPLES.values():
        draw(48)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("name", SAMPLES)
def test_every_size_shows_the_same_picture(name, drawn):
    large = images.resize(SAMPLES[name](512), (192, 256))
    assert correlation(grey(large), grey(drawn[name])) > 0.9
    coarse = [images.resize(a, (24, 32)) for a in (large, drawn[name])]
    assert np.abs(coarse[0] - coarse[1]).mean() < 6
    other = images.resize(SAMPLES[name](512, seed=1), (192, 256))  # the check can tell pictures apart
    assert correlation(grey(other), grey(drawn[name])) < 0.9


@pytest.mark.parametrize("name", SAMPLES)
def test_contrast_and_colours(name, drawn):
    a = drawn[name]
    low, high = np.percentile(grey(a), [2, 98])
    assert high - low > 120, (low, high)
    bins = (a // 32).astype(int) @ (64, 8, 1)  # 8 levels a channel
    share = np.bincount(bins.ravel(), minlength=512) / bins.size
    assert (share > 0.002).sum() >= 30 and share.max() < 0.25
    saturation = (a.max(-1) - a.min(-1)).mean()
    assert saturation > 45


def test_paintings_have_texture_at_the_scale_of_strokes(drawn):
    """Between 4 and 40 pixels at 512: what stays between two blurs, in grey levels."""

    def texture(a):
        fine, coarse = (images.resize(images.resize(grey(a), s), a.shape[:2]) for s in ((96, 128), (10, 13)))
        return (fine - coarse).std()

    for name in ("strokes", "mosaic"):
        assert texture(drawn[name]) > 20, name
    y = np.linspace(0, 255, 192, dtype=np.float32)
    assert texture(np.broadcast_to(y[:, None, None], (192, 256, 3))) < 5  # a plain gradient has none


def test_noise_is_smooth_centred_and_independent_of_the_grid():
    coarse = drawing.noise(np.random.default_rng(2), *drawing.grid(128), 4)
    fine = drawing.noise(np.random.default_rng(2), *drawing.grid(256), 4)
    np.testing.assert_allclose(fine.reshape(96, 2, 128, 2).mean((1, 3)), coarse, atol=0.02)
    many = [drawing.noise(np.random.default_rng(s), *drawing.grid(64), 12) for s in range(20)]
    assert abs(np.mean(many)) < 0.1 and 0.8 < np.std(many) < 1.2
    weights = drawing._spline(np.linspace(0, 1, 50), 7)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(weights @ np.arange(10), np.linspace(0, 7, 50) + 1, atol=1e-8)  # lines stay lines


def test_ramp_step_and_blend():
    colours = drawing.ramp(np.array([-1, 0, 0.5, 1, 2]), [(0, (0, 0, 0)), (1, (10, 20, 40))])
    np.testing.assert_allclose(colours, [[0, 0, 0], [0, 0, 0], [5, 10, 20], [10, 20, 40], [10, 20, 40]])
    np.testing.assert_allclose(drawing.step(np.array([0, 1, 1.5, 2, 3]), 1, 2), [0, 0, 0.5, 1, 1])
    picture = np.zeros((2, 2, 3))
    drawing.blend(picture, np.array([[0, 1], [0.5, 0]]), (100, 50, 0))
    np.testing.assert_allclose(picture[[0, 0, 1], [0, 1, 0]], [[0, 0, 0], [100, 50, 0], [50, 25, 0]])


def test_the_pen_draws_in_units_of_the_height():
    picture = np.zeros((60, 80, 3))
    pen = drawing.Pen(picture.shape)
    pen.box(0.5, 0.25, 1.0, 0.75, (255, 0, 0))
    pen.lay_over(picture)
    inside = picture[..., 0] > 128
    assert abs(inside.mean() - 0.25 / drawing.ASPECT) < 0.02
    assert inside[30, 45] and not inside[30, 25] and not inside[10, 45]
    assert picture[..., 1:].max() == 0
