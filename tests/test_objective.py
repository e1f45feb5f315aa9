"""The objective: its terms by hand, its gradient along a direction, its input untouched."""

import cases
import numpy as np
import pytest

from style.losses import features
from style.objective import Terms

CONTENT, IMAGE = cases.noise(45, 51, 2)
(STYLE,) = cases.noise(39, 64, seed=2)
TERMS = Terms({"relu4_2": 2.0}, {"relu1_1": 1000.0, "relu4_1": 500.0}, tv=3.0)


def make(terms=TERMS):
    return cases.objective_of(cases.make_net(kernels="fast"), terms, CONTENT, STYLE)


def test_terms_by_hand():
    objective = make()
    result = objective.evaluate(IMAGE)
    feats, _ = objective.net.forward(IMAGE, ["relu1_1", "relu4_1", "relu4_2"])
    feats = {n: f.copy() for n, f in feats.items()}
    target, _ = objective.net.forward(CONTENT, ["relu4_2"])
    assert result.content["relu4_2"] == pytest.approx(2 * ((feats["relu4_2"] - target["relu4_2"]) ** 2).mean())
    styles, _ = objective.net.forward(STYLE, ["relu1_1", "relu4_1"])
    for name, weight in TERMS.style.items():
        F, S = features(feats[name]), features(styles[name])
        expected = ((F @ F.T / F.size - S @ S.T / S.size) ** 2).mean()
        assert result.style[name] == pytest.approx(weight * expected)
    dx, dy = np.diff(IMAGE, axis=3), np.diff(IMAGE, axis=2)
    assert result.tv == pytest.approx(3 * ((dx**2).sum() + (dy**2).sum()) / IMAGE.size)
    assert result.loss == pytest.approx(sum(result.content.values()) + sum(result.style.values()) + result.tv)


def test_directional_derivative():
    objective = make()
    v = np.random.default_rng(5).standard_normal(IMAGE.shape)
    h = 1e-6
    numerical = (objective.evaluate(IMAGE + h * v).loss - objective.evaluate(IMAGE - h * v).loss) / (2 * h)
    assert (objective.evaluate(IMAGE).gradient * v).sum() == pytest.approx(numerical, rel=1e-6)


def test_content_loss_is_zero_at_the_content():
    result = make(Terms({"relu4_2": 1.0, "conv3_1": 1.0})).evaluate(CONTENT)
    assert result.loss == 0
    assert not result.gradient.any()


def test_style_loss_is_zero_at_the_style_of_its_own_size():
    result = make(Terms(style={"relu1_1": 1.0, "relu3_1": 1.0})).evaluate(STYLE)
    assert result.loss < 1e-20


def test_only_total_variation_needs_no_network():
    result = make(Terms(tv=2.0)).evaluate(IMAGE)
    assert result.loss == result.tv > 0
    assert not make(Terms(tv=2.0)).evaluate(np.full_like(IMAGE, 7.0)).gradient.any()


def test_image_and_targets_are_untouched_and_evaluations_repeat():
    objective, image = make(), IMAGE.copy()
    first = objective.evaluate(image)
    gradient = first.gradient.copy()
    second = objective.evaluate(image)
    assert np.array_equal(image, IMAGE)
    assert np.array_equal(gradient, second.gradient)
    assert first.loss == second.loss


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="relu4_2"):
        make().evaluate(IMAGE[..., :32, :])
