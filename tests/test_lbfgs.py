"""L-BFGS of our own against SciPy's, against the textbook recursion, and on problems that are hard for it."""

import numpy as np
import pytest
from cases import hears, make_case, plain

from style.events import Evaluated
from style.faster import lbfgs
from style.faster.lbfgs import LBFGS
from style.faster.line_search import next_step
from style.faster.pairs import Pairs
from style.objective import Evaluating, Evaluation
from style.optimize import minimize


class Function(Evaluating):
    """An objective from f(x) -> (loss, gradient) on flat float64 vectors; counts its calls."""

    def __init__(self, f, scale=1.0):
        self.f, self.scale, self.calls = f, scale, 0

    def evaluate(self, image, *, fresh=True):
        self.calls += 1
        loss, gradient = self.f(image.reshape(-1).astype(np.float64))
        gradient = (self.scale * gradient).reshape(image.shape).astype(image.dtype)
        return Evaluation({"f": self.scale * loss}, gradient)


def quadratic(n, condition=1e3, seed=0):
    """½ (x - c)ᵀ A (x - c) with eigenvalues from 1 to `condition`; its minimum is c."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    A = Q @ np.diag(np.geomspace(1, condition, n)) @ Q.T
    c = rng.standard_normal(n)
    return lambda x: (0.5 * (x - c) @ A @ (x - c), A @ (x - c)), c


def rosenbrock(x):
    """Σ 100 (b - a²)² + (1 - a)² over neighbours (a, b) = (x[2i], x[2i+1]): one minimum, at 1.

    Not SciPy's chain rosen(x), which from four variables on has a second minimum near (-1, 1, 1, …): which of the two a
    run ends in is an accident of its first step.
    """
    a, b = x[::2], x[1::2]
    gradient = np.empty_like(x)
    gradient[::2] = -400 * a * (b - a**2) - 2 * (1 - a)
    gradient[1::2] = 200 * (b - a**2)
    return float((100 * (b - a**2) ** 2 + (1 - a) ** 2).sum()), gradient


def image_of(v, dtype=np.float64):
    return np.asarray(v, dtype).reshape(1, 3, 1, -1)


def test_quadratic_as_far_as_scipy():
    f, c = quadratic(60, condition=100)
    start = image_of(np.zeros(60))
    ours = minimize(Function(f), start, method="l-bfgs", evaluations=150)
    scipys = minimize(Function(f), start, method="l-bfgs-b", evaluations=150)
    assert ours.loss <= max(10 * scipys.loss, 1e-12)
    assert np.abs(ours.image.ravel() - c).max() < 1e-5


@pytest.mark.parametrize("dtype, error", [(np.float64, 1e-6), (np.float32, 2e-3)])
@pytest.mark.parametrize("first_step", [0.03, 0.3, 1.0, 3.0, 10.0, 30.0])
def test_rosenbrock(dtype, error, first_step, monkeypatch):
    monkeypatch.setattr(lbfgs, "FIRST_STEP", first_step)
    start = image_of(np.tile([-1.2, 1.0, 0.7], 4), dtype)
    outcome = minimize(Function(rosenbrock), start, method="l-bfgs", evaluations=300)
    assert np.abs(outcome.image - 1).max() < error
    assert outcome.image.dtype == dtype


@pytest.mark.parametrize("dtype, error", [(np.float64, 1e-5), (np.float32, 2e-3)])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_the_unit_of_the_loss_does_not_matter(scale, dtype, error):
    start = image_of(np.tile([-1.2, 1.0, 0.7], 4), dtype)
    outcome = minimize(Function(rosenbrock, scale), start, method="l-bfgs", evaluations=300)
    assert np.abs(outcome.image - 1).max() < error


def test_a_small_style_objective_against_scipy():
    case = make_case(32, 40, np.float32)
    objective, image = case.whole(), case.image
    for count in (30, 100):
        ours = minimize(objective, image, method="l-bfgs", evaluations=count)
        scipys = minimize(objective, image, method="l-bfgs-b", evaluations=count)
        assert ours.evaluations <= count
        assert ours.loss < 1.1 * scipys.loss


def test_bad_pairs_are_forgotten():
    """Pairs that point uphill are dropped, and the run goes on from steepest descent."""
    f, c = quadratic(30, condition=10)
    evaluate = plain(Function(f))
    optimiser = LBFGS(image_of(np.zeros(30)), history=3)
    for _ in range(5):
        optimiser.step(evaluate)
    before = optimiser.loss
    for k in range(3):
        optimiser.pairs.products[2 * k, k] *= -1  # sᵀy < 0 turns the direction uphill
    assert optimiser.step(evaluate) == ""
    assert optimiser.loss < before
    assert len(optimiser.pairs.order) == 1  # only the pair of that step


def test_concave_stretches_do_not_stop_it():
    """-cos has negative curvature between its minima: the curvature condition fails there."""
    outcome = minimize(
        Function(lambda x: (-np.cos(x / 50).sum(), np.sin(x / 50) / 50)),
        image_of(np.linspace(-140, 150, 30)),
        method="l-bfgs",
        evaluations=200,
    )
    assert outcome.loss == pytest.approx(-30, abs=1e-6)


def run(optimiser, objective, steps):
    seen = []

    def evaluate(x, *, fresh=True):
        result = objective.evaluate(x)
        seen.append(result.loss)
        return result.loss, result.gradient

    for _ in range(steps):
        optimiser.step(evaluate)
    return seen


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stop", [0, 1, 4, 11])
def test_state_goes_on_to_the_bit(dtype, stop, tmp_path):
    case = make_case(20, 24, dtype)
    objective, image = case.whole(), case.image
    straight = LBFGS(image, history=3)
    whole = run(straight, objective, 15)
    first = LBFGS(image, history=3)
    part = run(first, objective, stop)
    np.savez(tmp_path / "state.npz", **first.state())
    run(first, objective, 2)  # what was saved is not touched by what follows
    second = LBFGS(np.zeros_like(image), history=3)
    with np.load(tmp_path / "state.npz") as state:
        second.restore(state)
    part += run(second, objective, 15 - stop)
    assert part == whole
    assert np.array_equal(second.x, straight.x)
    assert second.iterations == straight.iterations
    for name, value in straight.state().items():
        assert np.array_equal(second.state()[name], value), name


def test_a_state_that_does_not_fit_is_refused():
    optimiser = LBFGS(image_of(np.zeros(30)), history=3)
    other = LBFGS(image_of(np.zeros(33)), history=3).state()
    with pytest.raises(ValueError, match=r"x is \(1, 3, 1, 11\) float64, expected \(1, 3, 1, 10\) float64"):
        optimiser.restore(other)
    with pytest.raises(ValueError, match="rows is"):
        optimiser.restore(LBFGS(image_of(np.zeros(30)), history=4).state())
    with pytest.raises(ValueError, match="history 0"):
        LBFGS(image_of(np.zeros(30)), history=0)


def test_bounds_hold_and_the_minimum_on_them_is_found():
    f, c = quadratic(30, condition=30)
    low, high = -0.4, 0.5
    start = image_of(np.zeros(30))
    seen = []
    outcome = minimize(
        Function(f),
        start,
        method="l-bfgs",
        evaluations=200,
        bounds=(low, high),
        listener=hears(Evaluated, lambda e: seen.append((e.image.min(), e.image.max()))),
    )
    assert min(lowest for lowest, _ in seen) >= low
    assert max(highest for _, highest in seen) <= high
    expected = minimize(Function(f), start, method="l-bfgs-b", evaluations=200, bounds=(low, high))
    assert outcome.loss == pytest.approx(expected.loss, rel=1e-4)


def test_it_stops_where_it_is_done():
    f, c = quadratic(30, condition=10)
    outcome = minimize(Function(f), image_of(c), method="l-bfgs", evaluations=50)
    assert outcome.status == "converged"
    outcome = minimize(Function(f), image_of(np.zeros(30)), method="l-bfgs", evaluations=500)
    assert outcome.status == "converged"
    assert outcome.evaluations < 200
    loose = minimize(Function(f), image_of(np.zeros(30)), method="l-bfgs", evaluations=500, tolerance=1e-3)
    assert loose.status == "converged"
    assert loose.evaluations < outcome.evaluations


def test_inputs_are_not_modified():
    f, c = quadratic(30)
    start = image_of(np.zeros(30))
    minimize(Function(f), start, method="l-bfgs", evaluations=20)
    assert not start.any()


def test_products_with_the_gradient_hold_whatever_happened(monkeypatch):
    """Steps taken whole, moved, cut short after a move (then the gradient at x is evaluated and set)."""
    known = []
    monkeypatch.setattr(Pairs, "set_gradient", lambda *args, set=Pairs.set_gradient: (known.append(1), set(*args)))
    optimiser = LBFGS(image_of(np.linspace(-2, 2, 30)), history=4)
    for _ in range(80):
        optimiser.step(plain(Function(rosenbrock)))
        kept, g = optimiser.pairs, optimiser.gradient.ravel()
        for k in kept.order:
            for row in (2 * k, 2 * k + 1):
                v = kept.get(row)
                assert abs(kept.with_gradient[row] - v @ g) <= 1e-9 * np.linalg.norm(v) * np.linalg.norm(g)
        assert kept.with_gradient[-1] == pytest.approx(g @ g)
    assert len(known) > 2


def test_a_moved_step_knows_its_gradient_and_leaves_conjugate_pairs():
    """On a quadratic the gradient drawn from two others is the gradient, and a pair is conjugate to the one before."""
    f, _ = quadratic(60, condition=100)
    function = Function(f)
    evaluate = plain(function)

    def orthogonal(a, b):
        return abs(a @ b) < 1e-9 * np.linalg.norm(a) * np.linalg.norm(b)

    optimiser, moved, at_zero_slope, checked = LBFGS(image_of(np.zeros(60)), history=20), 0, False, 0
    for _ in range(12):
        before = function.calls
        optimiser.step(evaluate)
        assert function.calls - before <= 2  # the first one evaluates the start as well
        g = f(optimiser.x.ravel())[1]
        np.testing.assert_allclose(optimiser.gradient.ravel(), g, rtol=0, atol=1e-10 * np.abs(g).max())
        kept = optimiser.pairs
        rows = np.stack([kept.get(row) for row in range(40)])
        assert np.all(
            abs(kept.with_gradient[:-1] - rows @ g) <= 1e-9 * np.linalg.norm(rows, axis=1) * np.linalg.norm(g)
        )
        assert kept.with_gradient[-1] == pytest.approx(g @ g)
        if at_zero_slope and len(kept.order) > 1:
            last, newest = kept.order[-2:]
            assert orthogonal(rows[2 * newest], rows[2 * last + 1])
            checked += 1
        at_zero_slope = orthogonal(rows[2 * kept.order[-1]], g)  # not where the move was held near 1
        moved += optimiser.moved
    assert checked >= 3
    assert moved >= 6


def test_the_gradients_memory_order_does_not_matter():
    f, _ = quadratic(60, condition=100)

    def run_with(order):
        def evaluate(x, *, fresh=True):
            loss, gradient = f(x.ravel())
            return loss, np.array(gradient.reshape(x.shape), order=order)

        optimiser = LBFGS(np.zeros((1, 3, 4, 5)), history=5)
        for _ in range(10):
            optimiser.step(evaluate)
        return optimiser

    assert np.array_equal(run_with("F").x, run_with("C").x)


def test_a_loss_may_rise_within_the_last_few(monkeypatch):
    """The step that a monotone search would shorten is taken; one above the last few losses is not."""
    for recent, evaluations in ((1, 2), (5, 1)):
        monkeypatch.setattr(lbfgs, "RECENT", recent)
        optimiser = LBFGS(image_of(np.full(3, 2.0)), history=3)
        optimiser.recent, optimiser.loss = [9.0, 5.0][-recent:], 5.0
        optimiser.pairs.set_gradient(np.full(3, 1.0))
        losses = iter([7.0, 4.0, 3.0])
        calls = []

        def evaluate(x, *, fresh=True, losses=losses, calls=calls):
            calls.append(1)
            return next(losses), image_of(np.full(3, 0.5))

        assert optimiser.step(evaluate) == ""
        assert len(calls) == evaluations


def test_a_guessed_gradient_is_not_searched_from():
    """When the step from a moved point fails, the point itself is evaluated before the step is shortened."""
    f, _ = quadratic(30, condition=5)
    function, seen = Function(f), []

    def evaluate(x, *, fresh=True):
        seen.append(x.copy())
        result = function.evaluate(x)
        return (1e9 if len(seen) == wall else result.loss), result.gradient

    wall = 0
    optimiser = LBFGS(image_of(np.zeros(30)), history=5)
    for _ in range(5):
        optimiser.step(evaluate)
    assert optimiser.moved
    base, wall = optimiser.x.copy(), len(seen) + 1
    assert optimiser.step(evaluate) == ""
    assert np.array_equal(seen[wall], base)
    assert optimiser.recent == [f(base.ravel())[0], optimiser.loss]  # those from before are forgotten


@pytest.mark.parametrize("history", [1, 5])
def test_a_search_that_fails_is_begun_afresh(history):
    """Along the gradient, with no pairs, even where the one pair's place has been taken and x been evaluated."""
    f, c = quadratic(30, condition=10)
    optimiser, walls, base = LBFGS(image_of(np.zeros(30)), history=history), 0, None

    def evaluate(x, *, fresh=True):
        nonlocal walls
        loss, gradient = plain(Function(f))(x)
        if walls and not np.array_equal(x, base):
            walls, loss = walls - 1, 1e9
        return loss, gradient

    for _ in range(4):
        assert optimiser.step(evaluate) == ""
    before, walls, base = optimiser.loss, lbfgs.MAX_TRIALS, optimiser.x
    assert optimiser.moved
    assert optimiser.step(evaluate) == ""
    assert walls == 0
    assert optimiser.loss < before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_gradient_that_is_not_finite_spoils_no_later_trial(value, dtype, monkeypatch):
    monkeypatch.setattr(LBFGS, "restart", lambda *args: pytest.fail("the pairs need not be dropped"))
    f, c = quadratic(30, condition=10)
    optimiser, bad = LBFGS(image_of(np.zeros(30), dtype), history=3), []

    def evaluate(x, *, fresh=True):
        assert np.isfinite(x).all()
        loss, gradient = plain(Function(f))(x)
        return (np.inf, np.full_like(gradient, value)) if bad and bad.pop() else (loss, gradient)

    for step in range(12):
        bad[:] = [True] if step in (3, 4, 7) else []
        with np.errstate(invalid="ignore"):
            assert optimiser.step(evaluate) == ""
    assert np.isfinite(optimiser.x).all()
    assert np.abs(optimiser.x.ravel() - c).max() < 0.1


@pytest.mark.parametrize("first_step", [0.01, 3.0, 10.0])
def test_the_line_search_goes_where_the_cubic_says(first_step, monkeypatch):
    """Trials of one search, on Σ (u - 1)⁴ along the diagonal, against the rules applied by hand."""
    monkeypatch.setattr(lbfgs, "FIRST_STEP", first_step)
    seen = []

    def evaluate(x, *, fresh=True):
        seen.append(float(x.ravel()[0]))
        return float(((x - 1) ** 4).sum()), 4 * (x - 1) ** 3

    def at(t):
        u = t * first_step - 1
        return t, 6 * u**4, 6 * first_step * 4 * u**3

    optimiser = LBFGS(image_of(np.zeros(6)), history=3)
    assert optimiser.step(evaluate) == ""
    low, high, t, expected = at(0.0), None, 1.0, [0.0]
    start, slope = low[1], low[2]
    while True:
        expected.append(t * first_step)
        here = at(t)
        if here[1] > start + 1e-4 * t * slope:
            high = here
        elif here[2] < 0.9 * slope:
            low = here
        else:
            break
        t = next_step(low, high)
    assert seen == pytest.approx(expected, rel=1e-9)
    assert len(seen) >= 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [5.0, -5.0])
@pytest.mark.parametrize("units, evaluations", [(2, 1), (20, 2)])
def test_a_few_units_of_rounding_are_no_rise(units, evaluations, loss, dtype, monkeypatch):
    monkeypatch.setattr(lbfgs, "RECENT", 1)
    optimiser = LBFGS(image_of(np.full(3, 2.0), dtype), history=3)
    optimiser.recent, optimiser.loss = [loss], loss
    optimiser.pairs.set_gradient(np.full(3, 1e-13, dtype))  # promises nothing that could be told from rounding
    losses, calls = iter([loss + units * np.finfo(dtype).eps * abs(loss), loss - 1]), []

    def evaluate(x, *, fresh=True):
        calls.append(1)
        return next(losses), image_of(np.full(3, -1e-13), dtype)

    assert optimiser.step(evaluate) == ""
    assert len(calls) == evaluations


def test_pixels_that_a_bound_holds_stay_out_of_the_direction():
    x = np.array([-5.0, -1.0, -1.0, 0.0, 1.0, 1.0])  # the first is clipped
    g = np.array([2.0, 2.0, -2.0, 2.0, 2.0, -2.0])
    optimiser = LBFGS(image_of(x), history=3, bounds=(-1.0, 1.0))
    assert optimiser.x.min() == -1
    optimiser.pairs.set_gradient(g)
    slope = optimiser.choose_direction()
    assert np.array_equal(optimiser.direction != 0, [False, False, True, True, True, False])
    assert slope == pytest.approx(optimiser.direction @ g)


def test_a_start_outside_the_bounds_is_brought_in():
    seen = []
    f = Function(lambda x: (float((x**2).sum()), 2 * x))
    options = {"bounds": (-1.0, 1.0), "listener": hears(Evaluated, lambda e: seen.append(e.image.max()))}
    minimize(f, image_of(np.full(6, 3.0)), method="l-bfgs", evaluations=5, **options)
    assert max(seen) <= 1


def test_afresh_from_a_moved_point_knows_it_first():
    f, c = quadratic(30, condition=10)
    seen = []

    def evaluate(x, *, fresh=True):
        seen.append(x.copy())
        return plain(Function(f))(x)

    optimiser = LBFGS(image_of(np.zeros(30)), history=3)
    for _ in range(5):
        optimiser.step(evaluate)
    assert optimiser.moved
    base = optimiser.x
    for k in range(3):
        optimiser.pairs.products[2 * k, k] *= -1
    seen.clear()
    assert optimiser.step(evaluate) == ""
    assert np.array_equal(seen[0], base)
    assert optimiser.recent == [f(base.ravel())[0], optimiser.loss]


def test_a_loss_without_end_is_followed_as_far_as_the_trials_go():
    optimiser = LBFGS(image_of(np.zeros(6)), history=3)
    assert optimiser.step(lambda x, *, fresh: (-float(x.sum()), -np.ones_like(x))) == ""
    assert optimiser.loss < -1e6


def test_after_a_wall_the_search_goes_on_from_facts(monkeypatch):
    monkeypatch.setattr(lbfgs, "RECENT", 1)
    weights, results, seen, wall = np.linspace(1, 5, 6), [], [], None

    def evaluate(x, *, fresh=True):
        seen.append(x.ravel().copy())
        loss, g = float((weights * (seen[-1] - 3) ** 4).sum()), 4 * weights * (seen[-1] - 3) ** 3
        results.append(wall if wall and len(seen) == fails else (loss, g))
        return results[-1][0], results[-1][1].reshape(x.shape)

    optimiser = LBFGS(image_of(np.zeros(6)), history=3)
    for _ in range(4):
        optimiser.step(evaluate)
    assert optimiser.moved
    fails, wall = len(seen) + 1, (optimiser.loss - 0.2 * optimiser.choose_direction(), -2 * optimiser.gradient.ravel())
    assert optimiser.step(evaluate) == ""
    base, d = seen[fails], seen[fails - 1] - seen[fails]
    (high, g_high), (low, g_low) = results[fails - 1 : fails + 1]
    t = next_step((0.0, low, g_low @ d), (1.0, high, g_high @ d))
    assert 0.2 < t < 0.8
    np.testing.assert_allclose(seen[fails + 1], base + t * d, rtol=1e-9)


def test_the_state_knows_what_was_moved_and_the_last_losses():
    f, _ = quadratic(30, condition=50)
    optimiser = LBFGS(image_of(np.zeros(30)), history=3)
    for _ in range(4):
        optimiser.step(plain(Function(f)))
    assert optimiser.moved and len(optimiser.recent) == 5
    other = LBFGS(image_of(np.zeros(30)), history=3)
    other.restore(optimiser.state())
    assert (other.moved, other.recent) == (optimiser.moved, optimiser.recent)


def test_a_long_line_search_ends():
    """A loss that grows wherever one goes: no endless search, and a plain word."""
    outcome = minimize(
        Function(lambda x: (float(np.abs(x).sum()), -np.sign(x))),  # the gradient's sign is wrong
        image_of(np.ones(30)),
        method="l-bfgs",
        evaluations=1000,
    )
    assert outcome.status == "converged"
    assert "rounding" in outcome.message
    assert outcome.evaluations == 1 + lbfgs.MAX_TRIALS  # a search along the gradient is not repeated


def test_a_gradient_that_is_not_a_number_is_no_minimum():
    """With a loss that is finite: the trial is shortened, and at the start the message says what is wrong."""

    def evaluate(x, *, fresh=True):
        calls.append(1)
        return float((x**2).sum()), np.full_like(x, np.nan) if len(calls) in bad else 2 * x

    calls, bad = [], (3,)
    optimiser = LBFGS(image_of(np.full(6, 0.8)), history=3, bounds=(-1.0, 1.0))
    for _ in range(8):
        optimiser.step(evaluate)
    assert optimiser.loss < 1e-6
    calls, bad = [], (1,)
    assert LBFGS(image_of(np.full(6, 0.8)), history=3).step(evaluate) == "the gradient is not finite"


def test_a_step_to_an_approximation_that_no_longer_holds():
    """x1 was accepted for a loss that only an expansion gave: the search from there looks again before it gives up."""
    a, plane = np.full((1, 3, 4, 5), 0.1), [True]

    def evaluate(x, *, fresh):
        if plane[0] and x.any():  # as an expansion at the start has it
            return 50 * float((a**2).sum()) - 100 * float((a * x).sum()), -100 * a
        return 50 * float(((x - a) ** 2).sum()), 100 * (x - a)

    optimiser = LBFGS(np.zeros((1, 3, 4, 5)), bounds=(-1e12, 1e12))
    assert optimiser.step(evaluate) == ""
    plane[0] = False
    reached = 50 * float(((optimiser.x - a) ** 2).sum())
    assert not optimiser.pairs.order and reached > 50 * float((a**2).sum())  # uphill in truth
    assert optimiser.step(evaluate) == ""
    assert optimiser.loss < reached
