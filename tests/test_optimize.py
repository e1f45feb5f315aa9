"""The optimisers' common promises: budget, best picture kept, callback, non-finite losses, Ctrl-C, bounds."""

import itertools

import numpy as np
import pytest

from style import STOP
from style.events import Evaluated
from style.objective import Evaluating, Evaluation
from style.optimize import METHODS, minimize

TARGET = np.random.default_rng(3).uniform(-100, 100, (1, 3, 6, 7))
SCALE = np.random.default_rng(4).uniform(0.5, 2, TARGET.shape)


class Quadratic(Evaluating):
    """½ Σ s (x - t)², a stand-in for the objective with a known minimum."""

    def evaluate(self, image, *, fresh=True):
        diff = image - TARGET.astype(image.dtype)
        return Evaluation({"style relu1_1": float((SCALE * diff**2).sum() / 2)}, (SCALE * diff).astype(image.dtype))


class Breaks(Quadratic):
    """Turns into something else at evaluation `at`."""

    def __init__(self, at, what):
        self.at, self.what, self.count = at, what, 0

    def evaluate(self, image, *, fresh=True):
        self.count += 1
        if self.count == self.at:
            if isinstance(self.what, type):
                raise self.what
            return Evaluation({"style relu1_1": self.what}, np.full_like(image, np.nan))
        return super().evaluate(image)


def hears(seen):
    """A listener that keeps the evaluations."""
    return lambda event: seen.append(event) if isinstance(event, Evaluated) else None


def stop_at(number):
    return lambda event: STOP if isinstance(event, Evaluated) and event.evaluation == number else True


def start():
    return np.zeros(TARGET.shape)


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_minimum(method):
    options = {"learning_rate": 3.0} if method == "adam" else {}
    outcome = minimize(Quadratic(), start(), method=method, evaluations=400, **options)
    assert np.abs(outcome.image - TARGET).max() < 0.1
    assert outcome.loss == Quadratic().evaluate(outcome.image).loss


@pytest.mark.parametrize("method", METHODS)
def test_budget_and_callback(method):
    seen = []
    outcome = minimize(Quadratic(), start(), method=method, evaluations=7, listener=hears(seen))
    assert outcome.evaluations == len(seen) <= 7
    assert [p.evaluation for p in seen] == list(range(1, len(seen) + 1))
    assert all(a.iteration <= b.iteration for a, b in itertools.pairwise(seen))
    assert all(p.loss == pytest.approx(sum(p.values.values())) for p in seen)
    assert outcome.loss == min(p.loss for p in seen)


@pytest.mark.parametrize("method", METHODS)
def test_start_is_not_modified(method):
    x = start()
    minimize(Quadratic(), x, method=method, evaluations=5)
    assert not x.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_loss_keeps_the_best(method, value):
    outcome = minimize(Breaks(4, value), start(), method=method, evaluations=50)
    assert outcome.status == "non-finite"
    assert "evaluation 4" in outcome.message
    assert np.isfinite(outcome.image).all()
    assert outcome.loss == Quadratic().evaluate(outcome.image).loss


@pytest.mark.parametrize("method", METHODS)
def test_non_finite_at_once_hands_the_start_back(method):
    outcome = minimize(Breaks(1, float("nan")), start(), method=method, evaluations=50)
    assert outcome.status == "non-finite"
    assert np.isnan(outcome.loss)
    assert np.array_equal(outcome.image, start())


@pytest.mark.parametrize("method", METHODS)
def test_interrupt_keeps_the_best(method):
    outcome = minimize(Breaks(4, KeyboardInterrupt), start(), method=method, evaluations=50)
    assert outcome.status == "interrupted"
    assert outcome.evaluations == 3
    assert outcome.loss < Quadratic().evaluate(start()).loss


@pytest.mark.parametrize("method", METHODS)
def test_callback_stops(method):
    outcome = minimize(Quadratic(), start(), method=method, evaluations=50, listener=stop_at(3))
    assert (outcome.status, outcome.evaluations) == ("stopped", 3)


@pytest.mark.parametrize("method", ["l-bfgs-b", "adam"])
def test_bounds_hold(method):
    low, high = np.full((1, 3, 1, 1), -30.0), np.full((1, 3, 1, 1), 40.0)
    outcome = minimize(Quadratic(), start(), method=method, evaluations=100, bounds=(low, high))
    assert outcome.image.min() >= -30
    assert outcome.image.max() <= 40
    assert np.abs(outcome.image - np.clip(TARGET, -30, 40)).max() < 1


@pytest.mark.parametrize("method", ["l-bfgs-b", "l-bfgs"])
@pytest.mark.parametrize("shape", [(1, 3, 6, 7), (1, 3, 40, 50)])
def test_the_first_step_is_one_that_can_be_felt(method, shape):
    """One grey level, root mean square, whatever the picture's size; SciPy's own would be 1 / √(its numbers)."""
    seen, far = [], np.random.default_rng(1).uniform(1e3, 1e4, shape)

    class Slope(Evaluating):
        def evaluate(self, image, *, fresh=True):
            return Evaluation({"style relu1_1": float((far * image).sum())}, far.copy())

    def look(event):
        if isinstance(event, Evaluated):
            seen.append(event.image.copy())

    minimize(Slope(), np.zeros(shape), method=method, evaluations=2, listener=look)
    assert 0.7 < np.sqrt((seen[1] ** 2).mean()) < 1.42


def test_tolerance_says_why_it_stopped():
    outcome = minimize(Quadratic(), start(), evaluations=500, tolerance=1e-3)
    assert outcome.status == "converged"
    assert outcome.evaluations < 500
    assert "REDUCTION" in outcome.message


def test_adam_is_the_published_algorithm():
    """Two steps of Kingma & Ba's algorithm 1, written out."""
    g1 = SCALE * (0 - TARGET)
    m, v = 0.1 * g1, 0.001 * g1**2
    x1 = -3.0 * (m / 0.1) / (np.sqrt(v / 0.001) + 1e-8)
    g2 = SCALE * (x1 - TARGET)
    m, v = 0.9 * m + 0.1 * g2, 0.999 * v + 0.001 * g2**2
    x2 = x1 - 3.0 * (m / (1 - 0.9**2)) / (np.sqrt(v / (1 - 0.999**2)) + 1e-8)
    seen = []
    minimize(
        Quadratic(),
        start(),
        method="adam",
        evaluations=3,
        learning_rate=3.0,
        listener=lambda e: seen.append(e.image.copy()) if isinstance(e, Evaluated) else None,
    )
    assert np.allclose(seen[1], x1, rtol=1e-12)
    assert np.allclose(seen[2], x2, rtol=1e-12)
