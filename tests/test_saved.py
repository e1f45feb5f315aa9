"""The picture that is saved is the one that was optimised: bounds, its loss in 8 bits, clean borders."""

from types import SimpleNamespace

import numpy as np
import pytest
from cases import plain

import style
from style import samples
from style.faster.lbfgs import LBFGS
from style.faster.precondition import Metric, Spectrum
from style.objective import Evaluating, Evaluation
from style.optimize import minimize, two_loop
from style.pictures.colour import ColourSpace
from style.settings import settings_from


class Quadratic(Evaluating):
    """½ (x - t)ᵀ A (x - t), A by frequency: bends more along fine patterns."""

    def __init__(self, target, alpha):
        self.target, self.bend = target, Spectrum(target, -alpha)

    def evaluate(self, image, *, fresh=True):
        diff = self.bend.adjoint(image - self.target)
        return Evaluation({"style relu1_1": float((diff**2).sum() / 2)}, self.bend.apply(diff))


@pytest.fixture
def target():
    return 80 * np.random.default_rng(0).standard_normal((1, 3, 24, 30))


@pytest.mark.parametrize("bounded", [False, True])
def test_the_metric_finds_the_minimum_sooner(target, bounded):
    objective, start = Quadratic(target, 0.8), np.zeros_like(target)
    options = {"bounds": (np.full((1, 1, 1, 1), -100.0), np.full((1, 1, 1, 1), 100.0))} if bounded else {}
    best = minimize(objective, start, method="l-bfgs", evaluations=600, metric=Metric(0.8), **options)
    found = {
        metric: minimize(objective, start, method="l-bfgs", evaluations=25, metric=metric, **options).loss
        for metric in (None, Metric(0.8))
    }
    assert best.loss <= found[Metric(0.8)]
    if not bounded:  # on white noise of which a fifth is held, frequencies say little
        assert found[Metric(0.8)] < found[None]
    else:
        plain = minimize(objective, start, method="l-bfgs", evaluations=600, **options)
        assert best.loss == pytest.approx(plain.loss, rel=1e-3)
        assert np.abs(best.image).max() <= 100
        inside = np.abs(best.image) < 100
        gradient = objective.evaluate(best.image).gradient
        assert 0 < inside.mean() < 1
        assert np.abs(gradient[inside]).max() < 0.05 * np.abs(gradient).max()  # what a bound does not hold is at rest


def test_the_two_loops_start_from_the_metric(target):
    """Against the recursion on vectors, with M q in place of q between the loops; also after moves to zero slope."""
    objective = Quadratic(target, 0.5)
    metric = Spectrum(target, 0.4).metric
    optimiser = LBFGS(np.zeros_like(target), history=4, metric=metric)
    evaluate = plain(objective)
    for _ in range(7):
        optimiser.step(evaluate)
        pairs = optimiser.pairs
        kept = [(pairs.get(2 * k), pairs.get(2 * k + 1)) for k in pairs.order]  # s, and M y
        invert = Spectrum(target, -0.4).metric  # M⁻¹, but for the weights' scale
        scale = float((metric(invert(target)) / target).mean())
        kept = [(s, invert(w.reshape(target.shape)).ravel() / scale) for s, w in kept]
        g = optimiser.gradient.ravel()
        r, alphas = g.copy(), []
        for s, y in reversed(kept):
            alphas.append(s @ r / (s @ y))
            r -= alphas[-1] * y
        by_metric = [metric(y.reshape(target.shape)).ravel() for _, y in kept]
        r = metric(r.reshape(target.shape)).ravel() * max(s @ y / (y @ w) for (s, y), w in zip(kept, by_metric))
        for s, y in kept:
            r += (alphas.pop() - y @ r / (s @ y)) * s
        out = pairs.combine(pairs.direction(), 0.0, np.empty(pairs.padded_shape)).reshape(-1)[: pairs.size]
        np.testing.assert_allclose(out, -r, rtol=0, atol=1e-8 * np.abs(r).max())
    assert not np.allclose(r, two_loop(g, kept), rtol=0.1)  # which starts from another matrix


def test_the_loss_as_saved_is_said_and_close(make_job):
    """By default; without bounds the picture that was optimised is not the one that is saved."""
    with_bounds, without = (
        make_job(evaluations=30, style_weight=1e5, optimizer="l-bfgs", bounds=b).run() for b in (True, False)
    )
    result = with_bounds.outcome
    assert result.saved == pytest.approx(result.loss, rel=0.05)
    assert with_bounds.metadata["result"]["loss as saved"] == result.saved
    assert with_bounds.rgb.min() >= 0 and with_bounds.rgb.max() <= 255
    assert without.outcome.saved > 1.05 * without.outcome.loss
    assert result.saved < without.outcome.saved


def test_bounds_are_on_by_default():
    assert settings_from().bounds
    assert settings_from(optimizer="l-bfgs-b").bounds
    assert not settings_from(optimizer="two-loop").bounds
    assert not settings_from("gatys").bounds  # a recipe is what it was
    assert settings_from("gatys", bounds=True).bounds


def test_what_follows_from_the_optimizer():
    ours, scipy = settings_from(), settings_from(optimizer="l-bfgs-b")
    assert (ours.optimizer, ours.lag, ours.history) == ("l-bfgs", 40, 20)
    assert (scipy.lag, scipy.history) == (1, 10)
    solved = settings_from("neural-style", optimizer="l-bfgs")  # any recipe with our solver: one flag
    assert (solved.lag, solved.history) == (40, 100)
    assert settings_from(**ours.to_dict()) == ours


def test_the_metric_follows_from_optimizer_and_device(make_job):
    assert make_job().precondition == 0.45
    assert make_job(optimizer="l-bfgs-b").precondition == 0
    assert make_job(precondition=0.0).precondition == 0
    job = make_job()
    job.device = SimpleNamespace(kind="gpu")
    assert job.precondition == 0


@pytest.mark.parametrize("margin", [0, 3, 40])
def test_a_margin_is_mirrored_and_cropped(margin):
    colours = ColourSpace(np.array([100.0, 110.0, 120.0]), margin=margin)
    rgb = np.random.default_rng(0).uniform(0, 255, (20, 30, 3)).astype(np.float32)
    x = colours.to_input(rgb)
    assert x.shape == (1, 3, 20 + 2 * margin, 30 + 2 * margin)
    np.testing.assert_allclose(colours.to_rgb(x), rgb, atol=1e-4)
    if margin:
        np.testing.assert_array_equal(x[:, :, margin - 1], x[:, :, margin])


def test_rounding_is_that_of_8_bits():
    colours = ColourSpace(np.array([103.939, 116.779, 123.68]))
    rgb = np.array([[[-3.0, 0.4, 0.6], [254.6, 255.0, 300.0]]], np.float32)
    found = colours.to_rgb(colours.as_saved(colours.to_input(rgb)))
    np.testing.assert_allclose(found, [[[0, 0, 1], [255, 255, 255]]], atol=1e-4)


def test_a_job_with_a_margin_gives_pictures_of_their_own_size(make_job):
    job = make_job(margin=8, size=96, scales=2)
    sizes = []

    def hears(event):
        if isinstance(event, style.events.Evaluated):
            sizes.append((event.image.shape[2:], event.to_rgb().shape[:2]))

    result = job.run(hears)
    assert sizes[0] == ((34 + 16, 48 + 16), (34, 48))
    assert sizes[-1] == ((69 + 16, 96 + 16), (69, 96))
    assert result.rgb.shape == (69, 96, 3)
    assert job.plans[job.stages[1]].describe().startswith("96x69: undivided")


@pytest.mark.slow
def test_bounds_do_not_cost_the_picture():
    """Our sample pictures at 240 pixels: a first step that stood for all curvature once left it green."""
    scene, strokes = samples.scene(240), samples.strokes(240)
    options = {"size": 240, "weights": "mini", "evaluations": 70, "device": "cpu"}
    bounded, free = (style.transfer(scene, strokes, bounds=b, **options).outcome.loss for b in (True, False))
    assert bounded < 1.3 * free
