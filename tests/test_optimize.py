"""The optimisers' common promises: budget, best picture kept, callback, non-finite losses, Ctrl-C, bounds."""

import itertools

import numpy as np
import pytest
from cases import hears, make_case, plain, worst

from style import STOP
from style.events import Evaluated
from style.faster.lbfgs import LBFGS
from style.faster.pairs import Pairs
from style.method import Ended
from style.objective import Evaluating, Evaluation
from style.optimize import METHODS, TwoLoop, minimize, two_loop

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


def stop_at(number):
    return hears(Evaluated, lambda event: STOP if event.evaluation == number else True)


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
    outcome = minimize(Quadratic(), start(), method=method, evaluations=7, listener=hears(Evaluated, seen.append))
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

    listener = hears(Evaluated, lambda event: seen.append(event.image.copy()))
    minimize(Slope(), np.zeros(shape), method=method, evaluations=2, listener=listener)
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
        listener=hears(Evaluated, lambda event: seen.append(event.image.copy())),
    )
    assert np.allclose(seen[1], x1, rtol=1e-12)
    assert np.allclose(seen[2], x2, rtol=1e-12)


@pytest.mark.parametrize("history", [1, 3, 8])
def test_the_directions_of_l_bfgs_are_the_two_loops(history):
    """In a run on a picture: the pairs as they lie in its matrix, the recursion on vectors, the same direction."""
    case = make_case(24, 33)
    evaluate, optimiser, compared = plain(case.whole()), LBFGS(case.image, history=history), 0
    for _ in range(12):
        optimiser.step(evaluate)
        kept = optimiser.pairs
        pairs = [(kept.get(2 * k), kept.get(2 * k + 1)) for k in kept.order]
        found = kept.combine(kept.direction(), 0.0, np.empty(kept.padded_shape)).reshape(-1)[: kept.size]
        assert worst(found, -two_loop(kept.get(Pairs.GRADIENT), pairs)) <= 1e-10
        compared = max(compared, len(pairs))
    assert compared == history


def test_two_loop_inverts_what_the_pairs_say():
    """H y = s for the newest pair (the secant equation), and for all where they are conjugate; H is symmetric."""
    rng = np.random.default_rng(0)
    curvature = np.geomspace(1, 50, 40)
    pairs = [(s, curvature * s) for s in rng.standard_normal((5, 40))]
    s, y = pairs[-1]
    np.testing.assert_allclose(two_loop(y, pairs), s, rtol=1e-10, atol=1e-10)
    axes = [(e, c * e) for e, c in zip(np.eye(40), curvature)][:7]
    for s, y in axes:
        np.testing.assert_allclose(two_loop(y, axes), s, rtol=1e-12, atol=1e-12)
    u, v = rng.standard_normal((2, 40))
    assert u @ two_loop(v, pairs) == pytest.approx(v @ two_loop(u, pairs), rel=1e-10)
    assert np.array_equal(two_loop(u, []), u)


def test_two_loop_reaches_the_minimum():
    """Of the quadratic to the last digits, where it says that it is done; of a picture as low as l-bfgs."""
    outcome = minimize(Quadratic(), start(), method="two-loop", evaluations=200)
    assert outcome.status == "converged"
    assert np.abs(outcome.image - TARGET).max() < 1e-6
    case = make_case(32, 40)
    ours, readable = (minimize(case.whole(), case.image, method=m, evaluations=80) for m in ("l-bfgs", "two-loop"))
    assert readable.loss < 1.2 * ours.loss


def test_two_loop_keeps_only_pairs_of_positive_curvature():
    """Along -cos, from near its maximum, where its curvature is negative."""
    steps = TwoLoop(np.linspace(100, 150, 30).reshape(1, 3, 1, 10), history=4)

    def evaluate(x, *, fresh=True):
        return Evaluation({"f": float(-np.cos(x / 50).sum())}, np.sin(x / 50) / 50)

    skipped = 0
    for k in range(120):
        steps.step(evaluate)
        skipped += len(steps.pairs) < min(k + 1, 4)
        assert len(steps.pairs) <= 4
        assert all((s * y).sum() > 0 for s, y in steps.pairs)
    assert skipped
    assert steps.loss == pytest.approx(-30, abs=1e-6)


def test_two_loop_says_why_it_stopped():
    flat = TwoLoop(TARGET.copy())
    with pytest.raises(Ended, match="the gradient is zero"):
        flat.step(Quadratic().evaluate)
    with pytest.raises(Ended, match="the gradient is not finite"):
        TwoLoop(start()).step(lambda x, *, fresh=True: Evaluation({"f": 1.0}, np.full_like(x, np.nan)))
    with pytest.raises(Ended, match="no lower loss along the direction"):
        TwoLoop(start()).step(lambda x, *, fresh=True: Evaluation({"f": float(-x.sum())}, np.ones_like(x)))


def test_two_loops_tolerance():
    class Raised(Quadratic):
        def evaluate(self, image, *, fresh=True):
            return Evaluation({"f": 1e4, **super().evaluate(image).values}, super().evaluate(image).gradient)

    outcome = minimize(Raised(), start(), method="two-loop", evaluations=200, tolerance=1e-3)
    assert outcome.status == "converged" and "no longer falls" in outcome.message
    assert outcome.evaluations < 30


def test_two_loops_line_search_renews_nothing_within():
    """Only the first trial of an iteration may renew approximations; here it is far too long."""
    calls = []

    def evaluate(x, *, fresh=True):
        calls.append(fresh)
        return Evaluation({"f": float((x**2).sum())}, 2 * x)

    TwoLoop(np.linspace(-0.1, 0.2, 12).reshape(1, 3, 2, 2)).step(evaluate)
    assert len(calls) > 3
    assert calls == [True, True] + [False] * (len(calls) - 2)  # the start, the first trial, the shorter ones
