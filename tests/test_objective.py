"""The objective: its terms by hand, its gradient along a direction, its input untouched."""

import itertools

import cases
import numpy as np
import pytest

from minivgg.fast_cpu.product import matmul
from style.losses import features
from style.objective import Objective
from style.passes import TermGradient
from style.statistics import STYLE_LOSSES, make_terms

CONTENT, IMAGE = cases.noise(45, 51, 2)
(STYLE,) = cases.noise(39, 64, seed=2)
STYLE_FACTORS = {"relu1_1": 1000.0, "relu4_1": 500.0}
TERMS = make_terms(content={"relu4_2": 2.0}, style=STYLE_FACTORS, tv=3.0)


def make(terms=TERMS):
    return Objective.of(cases.make_net(kernels="fast"), terms, {"content": CONTENT, "style": STYLE})


def test_terms_by_hand():
    objective = make()
    result = objective.evaluate(IMAGE)
    feats, _ = objective.net.forward(IMAGE, ["relu1_1", "relu4_1", "relu4_2"])
    feats = {n: f.copy() for n, f in feats.items()}
    target, _ = objective.net.forward(CONTENT, ["relu4_2"])
    assert result.values["content relu4_2"] == pytest.approx(2 * ((feats["relu4_2"] - target["relu4_2"]) ** 2).mean())
    styles, _ = objective.net.forward(STYLE, ["relu1_1", "relu4_1"])
    for name, weight in STYLE_FACTORS.items():
        F, S = features(feats[name]), features(styles[name])
        expected = ((F @ F.T / F.size - S @ S.T / S.size) ** 2).mean()
        assert result.values[f"style {name}"] == pytest.approx(weight * expected)
    dx, dy = np.diff(IMAGE, axis=3), np.diff(IMAGE, axis=2)
    assert result.values["tv"] == pytest.approx(3 * ((dx**2).sum() + (dy**2).sum()) / IMAGE.size)
    assert result.loss == pytest.approx(sum(result.values.values()))
    assert result.totals() == pytest.approx(
        {
            "loss": result.loss,
            "content": result.values["content relu4_2"],
            "style": result.values["style relu1_1"] + result.values["style relu4_1"],
            "tv": result.values["tv"],
        }
    )


def test_directional_derivative():
    objective = make()
    v = np.random.default_rng(5).standard_normal(IMAGE.shape)
    h = 1e-6
    numerical = (objective.evaluate(IMAGE + h * v).loss - objective.evaluate(IMAGE - h * v).loss) / (2 * h)
    assert (objective.evaluate(IMAGE).gradient * v).sum() == pytest.approx(numerical, rel=1e-6)


@pytest.mark.parametrize("C, h, w", [(32, 12, 77), (24, 9, 60), (16, 14, 33)])
@pytest.mark.parametrize("what", ["content", *STYLE_LOSSES])
def test_a_gradients_digits_do_not_depend_on_which_rows_are_asked_for(what, C, h, w):
    """Kernels ask for rows as cores divide them; BLAS rounds a product's last columns in a way of their own."""
    rng = np.random.default_rng(0)
    feat, other = (np.maximum(rng.standard_normal((1, h, w, C)), 0).astype(np.float32) for _ in range(2))
    feat, other = feat.transpose(0, 3, 1, 2), other.transpose(0, 3, 1, 2)
    layers = {"relu4_1": 1.0}
    options = {"content": layers} if what == "content" else {"style": layers, "style_loss": {what: 1.0}}
    (term,) = make_terms(**options)
    at, size = (slice(2, h - 1), slice(1, w)), (h, w)

    def sums(a, statistic):
        part = term.part(a, (slice(None),) * 4, (slice(None),) * 4, size=size, matmul=matmul)
        return statistic.gather(part)

    target = other if what == "content" else term.statistic.target_of(sums(other, term.statistic.for_target))
    term = term.aimed(target)
    _, dS = term.statistic.loss(sums(feat, term.statistic), target)
    gradient = TermGradient(term, dS, feat, matmul, at, at, size)
    everything = gradient.rows(0, 0, h)
    assert np.allclose(everything, gradient.whole()[0].transpose(1, 2, 0), atol=1e-6 * abs(everything).max())
    for first, last in itertools.combinations(range(h + 1), 2):
        assert np.array_equal(gradient.rows(0, first, last), everything[first:last]), (first, last)


def test_content_loss_is_zero_at_the_content():
    result = make(make_terms(content={"relu4_2": 1.0, "conv3_1": 1.0})).evaluate(CONTENT)
    assert result.loss == 0
    assert not result.gradient.any()


def test_style_loss_is_zero_at_the_style_of_its_own_size():
    result = make(make_terms(style={"relu1_1": 1.0, "relu3_1": 1.0})).evaluate(STYLE)
    assert result.loss < 1e-20


def test_only_total_variation_needs_no_network():
    result = make(make_terms(tv=2.0)).evaluate(IMAGE)
    assert result.loss == result.values["tv"] > 0
    assert not make(make_terms(tv=2.0)).evaluate(np.full_like(IMAGE, 7.0)).gradient.any()


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
