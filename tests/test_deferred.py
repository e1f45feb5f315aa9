"""Deferred terms: exact where they say so, their own gradient between, an error of second order, an honest end."""

from types import SimpleNamespace

import numpy as np
import pytest
from cases import MEAN, STYLE_LAYERS, TERMS, Case, assert_same, blocks, hears, make_case, noise, worst

import weights
from minivgg import VGG
from minivgg.gradcheck import direction
from style import SettingsError, passes, settings_from
from style.events import Evaluated
from style.faster import deferred
from style.faster.deferred import Deferred, Expansion, deferred_terms
from style.faster.precondition import Metric
from style.faster.recorded import Recorded
from style.large.peaks import evaluation_peak
from style.large.plan import make_plan, objective_for
from style.optimize import minimize
from style.passes import ALL
from style.statistics import make_terms
from style.terms import Part
from style.tracker import Tracker

RNG = np.random.default_rng(2)


def make_pair(lag, dtype=np.float64, **net_options):
    """(Objective, Deferred, image)"""
    case = make_case(40, 50, dtype, **net_options)
    return case.whole(), case.deferred(lag), case.image


def expansion(name="style relu5_1", base="relu4_1"):
    """The Expansion of one of the terms; what it is exactly, the tests say (refresh)."""
    return Expansion(None, next(t for t in TERMS if t.name == name), base)


def refresh(e, phi, value, gradient):
    """Refresh at φ, where the term has this value and gradient; returns the old expansion's error there."""
    e.exactly = SimpleNamespace(compute=lambda phi: ({e.term.name: value}, gradient))
    e.refresh(phi)
    return e.error


def value_at(e, phi):
    return e.loss(e.gather(Part(phi, ALL, matmul=None)), None)[0]


def expansion_of(lag, name):
    return next(e for e in lag.expansions if e.term.name == name)


@pytest.fixture
def always_trusted(monkeypatch):
    monkeypatch.setattr(deferred, "TRUSTED", np.inf)


@pytest.mark.parametrize("kernels", ["textbook", "fast"])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_exact_every_so_often(dtype, tolerance, kernels, always_trusted):
    whole, lag, image = make_pair(3, dtype, kernels=kernels)
    for count in range(12):
        picture = image + count
        found, expected = lag.evaluate(picture), whole.evaluate(picture)
        assert found.exact == (count in (0, 1, 2, 3, 4, 6, 9))  # after 1, 1, 1, 1, 2, 3, …
        if found.exact:
            assert_same(found, expected, tolerance)
        else:
            for name in ("style relu1_1", "style relu5_1", "content relu4_2"):
                assert found.values[name] != pytest.approx(expected.values[name], rel=1e-5)
            assert_same(lag.exact(picture), expected, tolerance)
        for name in ("style relu2_1", "style relu3_1", "style relu4_1", "content relu2_2"):  # exact throughout
            assert found.values[name] == pytest.approx(expected.values[name], rel=tolerance)


def test_on_each_backend(backend, make_net, rng):
    net, terms = (
        make_net(),
        make_terms(content={"relu4_2": 1.0}, style={"relu1_1": 1e3, "relu4_1": 1e3, "relu5_1": 1e3}),
    )
    pictures = [backend.array(rng.uniform(-100, 100, (1, 3, 34, 43))) for _ in range(3)]
    case = Case(net, terms, *pictures)
    whole, lag = case.whole(), case.deferred(4)
    for step in range(8):
        picture = pictures[2] + 0.01 * step
        exact = all(e.since + 1 >= e.interval for e in lag.expansions)
        found, expected = lag.evaluate(picture), whole.evaluate(picture)
        assert found.values["style relu4_1"] == pytest.approx(expected.values["style relu4_1"], rel=1e-9)
        if exact:
            assert found.loss == pytest.approx(expected.loss, rel=1e-9)
            assert worst(backend.host(found.gradient), backend.host(expected.gradient)) < 1e-9
    assert not exact


def test_what_is_off_is_computed_more_often(monkeypatch):
    whole, lag, image = make_pair(8)

    def intervals(trusted, evaluations):
        monkeypatch.setattr(deferred, "TRUSTED", trusted)
        for _ in range(evaluations):
            lag.evaluate(image + RNG.standard_normal(image.shape))
        return [e.interval for e in lag.expansions]

    assert intervals(np.inf, 40) == [8, 8, 8]
    assert intervals(0, 40) == [1, 1, 1]
    assert_same(lag.evaluate(image + 5), whole.evaluate(image + 5), 1e-12)


@pytest.mark.parametrize("allowed, expected", [(0.5, 1), (1.01, 1), (6.01, 6), (11.01, 11), (100, 16)])
def test_a_term_stands_until_its_error_is_a_tenth_of_the_fall(allowed, expected):
    """Errors c n² and a loss that falls by 3 an evaluation, c so that they are a tenth of it after `allowed`."""
    term, loss = expansion(), 1000.0
    for _ in range(20):
        term.since = term.interval
        loss -= 3 * term.since
        term.adapt_interval(deferred.TRUSTED * 3 / allowed * term.since**2, loss, 16)
    assert term.interval == expected


def test_a_loss_that_is_no_number_is_followed_by_exact_evaluations():
    term = expansion()
    for error, loss in [(1e-9, 100.0 - k) for k in range(8)] + [(np.nan, np.nan), (np.inf, np.inf), (0.0, 90.0)]:
        term.since = 1
        term.adapt_interval(error, loss, 16)
    assert term.interval == 1


def test_within_a_line_search_the_approximation_stays():
    """Else losses of different approximations would be compared; between two steps it may be refreshed."""
    _, lag, image = make_pair(20)
    numbers, refreshed = [], lag.refresh

    def counted(activations):
        before = [e.constant for e in lag.expansions]
        refreshed(activations)
        changed = [e for e, b in zip(lag.expansions, before, strict=True) if e.constant is not b and not e.voided]
        numbers.append((lag.fresh, bool(changed)))

    lag.refresh = counted
    minimize(lag, image, method="l-bfgs", evaluations=40)
    assert (False, True) not in numbers
    assert (False, False) in numbers
    assert numbers.count((True, True)) > 3


def test_a_term_that_does_not_follow_its_expansion_is_not_deferred():
    """The random network's deepest term is large and bends: a run in leaps computes it almost always."""
    _, lag, image = make_pair(20)
    minimize(lag, image, method="l-bfgs", evaluations=20)
    assert expansion_of(lag, "style relu5_1").interval <= 2


def test_the_curvature_is_found():
    """A term with the same curvature in all directions is expanded exactly from the second time on."""
    slope, phi, curvature = RNG.standard_normal((1, 4, 5, 6)), RNG.standard_normal((1, 4, 5, 6)), 3.0
    e = expansion("content relu4_2")

    def make(phi, curvature):
        value = (slope * phi).sum() + curvature / 2 * (phi**2).sum()
        return refresh(e, phi, value, slope + curvature * phi)

    assert make(phi, curvature) == 0
    assert e.curvature == 0
    assert abs(make(phi + 1, curvature)) > 100
    assert e.curvature == pytest.approx(curvature, rel=1e-12)
    assert make(phi - 2, curvature) == pytest.approx(0, abs=1e-9)
    make(phi - 2 + 1e-12, curvature)  # a move so small that its error is rounding says nothing
    assert e.curvature == pytest.approx(curvature, rel=1e-9)
    make(phi + 1, -1.0)  # negative curvature counts as none, or the expansion would have no minimum
    make(phi, -1.0)
    assert e.curvature == 0


def test_gradient_between_is_that_of_the_loss_returned():
    _, lag, image = make_pair(10**6)
    lag.evaluate(image + 1)
    lag.evaluate(image)
    assert any(e.curvature > 0 for e in lag.expansions)
    picture = image + RNG.standard_normal(image.shape)
    gradient = lag.evaluate(picture, fresh=False).gradient
    for _ in range(3):
        d = direction(gradient, RNG)  # leaning to the gradient: a slope near 0 would drown in the loss's rounding
        step = 1e-6
        ends = [lag.evaluate(picture + t * d, fresh=False) for t in (step, -step)]
        assert not any(end.exact for end in ends)
        difference = (ends[0].loss - ends[1].loss) / (2 * step)
        assert difference == pytest.approx((gradient * d).sum(), rel=1e-6)


def test_the_error_is_of_second_order():
    """Half as far from the last exact evaluation, a quarter of the error (a wrong slope would leave half of it)."""
    whole, lag, image = make_pair(10**6)
    lag.evaluate(image)
    d = RNG.standard_normal(image.shape)

    def error(t):
        picture = image + t * d
        return abs(lag.evaluate(picture, fresh=False).loss - whole.evaluate(picture).loss)

    assert error(1e-3) / error(5e-4) == pytest.approx(4, rel=0.1)
    term = expansion_of(lag, "style relu5_1")
    phi = whole.net.forward(image, (term.base,))[0][term.base]
    value = value_at(term, phi)
    term.slope, term.constant = 1.01 * term.slope, value - 1.01 * (value - term.constant)
    assert error(1e-3) / error(5e-4) == pytest.approx(2, rel=0.1)


def test_what_is_deferred():
    names = make_case(16, 16).net.names

    def found(content=(), style=(), tv=0.0):
        terms = make_terms(content=dict.fromkeys(content, 1.0), style=dict.fromkeys(style, 1.0), tv=tv)
        return [(term.name, base) for term, base in deferred_terms(terms, names)]

    both = [("content relu4_2", "relu1_1"), ("style relu4_2", "relu1_1")]
    first = ("style relu1_1", None)
    assert [(t.name, base) for t, base in deferred_terms(TERMS, names)] == [
        ("content relu4_2", "relu4_1"),
        ("style relu5_1", "relu4_1"),
        first,
    ]
    assert found((), ("relu1_1", "relu2_1", "relu3_1")) == [("style relu3_1", "relu2_1"), first]
    assert found(["relu4_2"], ("relu4_2", "relu1_1")) == both
    assert found(["relu4_2"], ["relu1_1"]) == both[:1]
    assert found(["relu4_2"], ["relu4_2"]) == []
    assert found(["relu1_1"], ["relu2_1"]) == []
    assert found(["relu4_2"]) == []
    assert found(tv=1.0) == []


def test_content_and_style_of_one_layer_are_told_apart():
    case = make_case(40, 50, terms=make_terms(content={"relu4_2": 1.0}, style={"relu1_1": 1.0, "relu4_2": 2.0}))
    whole, lag, image = case.whole(), case.deferred(2), case.image
    assert_same(lag.evaluate(image), whole.evaluate(image), 1e-12)
    found, expected = lag.evaluate(image + 1e-3, fresh=False), whole.evaluate(image + 1e-3)
    assert_same(found, expected, 1e-4)
    for name in ("content relu4_2", "style relu4_2"):
        assert found.values[name] != expected.values[name]


@pytest.mark.parametrize("method", ["l-bfgs", "adam"])
def test_a_run_ends_with_exact_numbers(method):
    whole, lag, image = make_pair(5)
    outcome = minimize(lag, image, method=method, evaluations=23)
    assert outcome.totals() == whole.evaluate(outcome.image).totals()
    expected = minimize(whole, image, method=method, evaluations=23)
    assert outcome.loss < 1.1 * expected.loss


def test_ctrl_c_at_the_last_evaluation_keeps_the_picture():
    whole, lag, image = make_pair(5)
    asked = []

    def interrupted(picture):
        asked.append(picture)
        raise KeyboardInterrupt

    lag.exact = interrupted
    outcome = minimize(lag, image, method="adam", evaluations=12, learning_rate=1.0)
    assert asked
    assert outcome.status == "interrupted"  # no finer scale follows
    assert outcome.values == pytest.approx(whole.evaluate(outcome.image).values, rel=1e-9)


def test_the_plan_decides():
    case = make_case(96, 128, np.float32, kernels="fast")
    net, terms = case.net, case.terms
    counted = [make_plan(net, terms, 96, 128, memory=10**9, optimizer="l-bfgs", lag=lag).peak for lag in (1, 20)]
    kept = 4 * (2 * 2 * net.channels["relu4_1"] * 12 * 16 + 3 * 3 * 96 * 128)  # slopes, origins, the lowest picture
    assert kept <= counted[1] - counted[0] <= kept + evaluation_peak(net, terms, 96, 128)  # and a pass within the pass
    whole = make_plan(net, terms, 96, 128, memory=10**9, lag=20)
    assert isinstance(objective_for(whole, net, terms, case.pictures), Deferred)
    exact = make_plan(net, terms, 96, 128, memory=10**9)
    assert type(objective_for(exact, net, terms, case.pictures)) is Recorded
    none = make_terms(content={"relu4_2": 1.0})
    plan = make_plan(net, none, 96, 128, memory=10**9, lag=20)
    assert type(objective_for(plan, net, none, case.pictures)) is Recorded
    assert "exact (no term of low curvature)" in plan.describe()


def test_where_it_cannot_be_used():
    with pytest.raises(SettingsError, match="lag: works with optimizer l-bfgs, two-loop or adam"):
        settings_from(optimizer="l-bfgs-b", lag=20)
    with pytest.raises(SettingsError, match="lag 0"):
        settings_from(optimizer="l-bfgs", lag=0)
    assert settings_from("fast").lag > 1


def judged(steps):
    """interval after (since, error, loss) …"""
    term = expansion()
    for since, error, loss in steps:
        term.since, term.interval = since, max(since, 1)
        term.adapt_interval(error, loss, 10**6)
    return term.interval


def test_an_interval_by_rate_and_errors():
    # intervals of 8, the loss falls by 10 an evaluation, in the last by 1: the last one's rate
    long = [(8, 0.05 * 64, 1000.0 - 80 * k) for k in range(5)] + [(8, 0.05 * 64, 1000.0 - 320 - 8)]
    assert judged(long) == int(0.1 * 1 / 0.05) == 2
    # short ones: that of all four
    short = [(1, 0.05, 1000.0 - 10 * k) for k in range(5)] + [(1, 0.05, 1000.0 - 40 - 1)]
    assert judged(short) == min(2, int(0.1 * 31 / 4 / 0.05))
    short = [(2, 0.2, 1000.0 - 20 * k) for k in range(5)] + [(2, 0.2, 1000.0 - 80 - 2)]
    assert judged(short) == min(4, int(0.1 * 62 / 8 / 0.05))
    # the error before the window does not count any more
    old = [(2, 1e9, 1000.0)] + [(2, 0.05 * 4, 1000.0 - 20 * k) for k in range(1, 5)]
    assert judged(old) == 4


def test_the_first_layer_is_not_deferred_where_it_is_content():
    names = make_case(16, 16).net.names
    terms = make_terms(content={"relu1_1": 1.0}, style={"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0})
    assert [(t.name, base) for t, base in deferred_terms(terms, names)] == [("style relu3_1", "relu2_1")]
    case = make_case(40, 50, terms=terms)
    assert_same(case.deferred(3).evaluate(case.image), case.whole().evaluate(case.image), 1e-12)


def test_where_it_was_made_an_expansion_has_the_terms_own_digits(monkeypatch):
    """Also where the picture's products are added up in strips, whose rounding is another."""
    monkeypatch.setattr(passes, "STRIP", 3 * 50 * 7)
    whole, lag, image = make_pair(4, np.float32, kernels="fast")
    for k in range(9):
        found, expected = lag.evaluate(image + k), whole.evaluate(image + k)
        for e in lag.expansions:
            if e.since == 0:
                assert found.values[e.term.name] == pytest.approx(expected.values[e.term.name], rel=1e-12)
    assert not found.exact


def test_a_picture_that_is_changed_in_place():
    (_, one, image), (_, other, _) = make_pair(4), make_pair(4)
    trial = image.copy()
    for k in range(4):
        trial[...] = image + k
        one.evaluate(trial)
        other.evaluate(image + k)
    for e, f in zip(one.expansions, other.expansions, strict=True):
        assert e.curvature == pytest.approx(f.curvature, rel=1e-9)
    assert any(e.base is None and e.curvature > 0 for e in one.expansions)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moves_within_rounding_say_nothing_of_the_curvature(dtype):
    slope, phi = (RNG.standard_normal((1, 4, 5, 6)).astype(dtype) for _ in range(2))
    e, curvature = expansion("content relu4_2"), dtype(3)

    def make(phi):
        value = (slope * phi).sum(dtype=np.float64) + curvature / 2 * (phi * phi).sum(dtype=np.float64)
        refresh(e, phi, value, slope + curvature * phi)

    make(phi)
    make(phi + 1)
    found = float(e.curvature)
    for k in range(20):
        make(phi + 1 + dtype(3 if dtype == np.float32 else 1e-8) * np.finfo(dtype).eps * k)
    assert float(e.curvature) == pytest.approx(found, rel=1e-6)


def test_errors_are_judged_by_the_whole_loss():
    _, lag, image = make_pair(4)
    seen = []
    for e in lag.expansions:
        e.adapt_interval = lambda error, loss, lag, adapt=e.adapt_interval: (seen.append(loss), adapt(error, loss, lag))
    found = lag.evaluate(image)
    assert seen == pytest.approx([found.loss] * 3)


@pytest.fixture
def worn(always_trusted):
    """(Objective, Deferred, image) in the middle of a run: every expansion has an interval above 1."""
    whole, lag, image = make_pair(20)
    for k in range(9):
        lag.evaluate(image + 0.01 * k)
    assert all(e.interval > 1 and e.past for e in lag.expansions)
    return whole, lag, image + 0.1


def spoil(e):
    """Make an expansion's slope one that takes its value below 0, to about what it is above 0 now."""
    e.slope = e.slope - 2 * value_at(e, e.origin) / (e.origin**2).sum() * e.origin


def count_refreshes(lag):
    """{term's name: how often it has been refreshed from now on}"""
    counts = {e.term.name: 0 for e in lag.expansions}

    def counted(e, refresh):
        def call(phi):
            counts[e.term.name] += 1
            refresh(phi)

        return call

    for e in lag.expansions:
        e.refresh = counted(e, e.refresh)
    return counts


@pytest.mark.parametrize("name", ["style relu1_1", "content relu4_2", "style relu5_1"])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_value_that_a_term_cannot_have_voids_its_expansion(name, fresh, worn):
    whole, lag, image = worn
    broken, others = expansion_of(lag, name), [e for e in lag.expansions if e.term.name != name]
    spoil(broken)
    phi = image if broken.base is None else whole.net.forward(image, (broken.base,))[0][broken.base].copy()
    wrong, moved = value_at(broken, phi), phi - broken.origin
    assert wrong < 0
    before = [(e.since, e.interval, list(e.past), e.slope) for e in others]
    curvature, refreshes = broken.curvature, count_refreshes(lag)

    found, expected = lag.evaluate(image, fresh=fresh), whole.evaluate(image)
    assert found.values[name] == pytest.approx(expected.values[name], rel=1e-9)
    assert not found.exact
    assert (broken.since, broken.interval, broken.voided, len(broken.past)) == (0, 1, True, 1)
    learnt = curvature + 2 * (expected.values[name] - wrong) / (moved**2).sum()
    assert broken.curvature == pytest.approx(learnt, rel=1e-9)

    for k in range(1, 4):  # and throughout this line search
        picture = image + 0.01 * k
        found, expected = lag.evaluate(picture, fresh=False), whole.evaluate(picture)
        assert found.values[name] == pytest.approx(expected.values[name], rel=1e-9)
        assert broken.voided and broken.interval == 1
    for e, (since, interval, past, slope) in zip(others, before, strict=True):  # the others count on
        assert (e.since, e.interval, e.past) == (since + 4, interval, past)
        assert e.slope is slope and not e.voided
    assert refreshes == {**dict.fromkeys(refreshes, 0), name: 4}

    lag.evaluate(image, fresh=True)  # the next iteration's first: refreshed in the usual way
    assert not broken.voided and broken.since == 0
    assert len(broken.past) == 5


def test_the_gradient_is_that_of_the_loss_where_an_expansion_was_voided(worn):
    _, lag, image = worn
    spoil(expansion_of(lag, "style relu5_1"))
    gradient = lag.evaluate(image, fresh=False).gradient
    d, step = direction(gradient, RNG), 1e-6
    ends = [lag.evaluate(image + t * d, fresh=False).loss for t in (step, -step)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx((gradient * d).sum(), rel=1e-6)


def test_one_that_was_voided_before_is_refreshed_once_an_evaluation(worn):
    """Else the second time would find no error, and the interval would grow by it."""
    _, lag, image = worn
    first, second = (expansion_of(lag, name) for name in ("content relu4_2", "style relu5_1"))
    spoil(first)
    lag.evaluate(image, fresh=False)
    spoil(second)
    refreshes = count_refreshes(lag)
    lag.evaluate(image + 1, fresh=False)
    assert refreshes == {"style relu1_1": 0, "content relu4_2": 1, "style relu5_1": 1}
    assert first.past[-1][2] > 0


def test_where_all_are_voided_the_evaluation_is_exact(worn):
    whole, lag, image = worn
    for e in lag.expansions:
        spoil(e)
    found = lag.evaluate(image, fresh=False)
    assert found.exact
    assert_same(found, whole.evaluate(image), 1e-9)


OPTIMISERS = {
    "l-bfgs": ("l-bfgs", {}),
    "l-bfgs, preconditioned": ("l-bfgs", {"metric": Metric(0.45), "history": 60}),
    "adam": ("adam", {}),
}


@pytest.fixture(scope="module")
def mini():
    """{pooling: VGG} of the network that comes with the program."""
    return {pooling: VGG(weights.load("mini").params, pooling=pooling, kernels="fast") for pooling in ("max", "avg")}


@pytest.mark.parametrize("side, evaluations", [(48, 32), pytest.param(64, 120, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "optimiser", ["l-bfgs", "l-bfgs, preconditioned", pytest.param("adam", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "weight", [pytest.param(100, marks=pytest.mark.slow), 1000, pytest.param(1e5, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("start", ["content", "noise", "style"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_only_an_exact_evaluation_is_kept_as_best(
    pooling, start, weight, optimiser, side, evaluations, mini, monkeypatch
):
    """No picture that was best on the way is better than the one that is handed back, whose numbers are true."""
    content, style = ((p - MEAN).transpose(2, 0, 1)[None].astype(np.float32) for p in blocks([(side // 8,) * 2] * 2))
    starts = {"content": content, "style": style, "noise": noise(side, side, dtype=np.float32)[0]}
    terms = make_terms(content={"relu4_2": 1.0}, style=dict.fromkeys(STYLE_LAYERS, weight / 5))
    case = Case(mini[pooling], terms, content, style, starts[start])
    whole, events, bests, consider = case.whole(), [], [], Tracker.consider

    def watched(tracker, *args):
        before = tracker.values
        consider(tracker, *args)
        if tracker.values is not before:
            bests.append((tracker.best.copy(), sum(tracker.values.values())))

    monkeypatch.setattr(Tracker, "consider", watched)
    method, options = OPTIMISERS[optimiser]
    listener = hears(Evaluated, lambda event: events.append((event.exact, event.values)))
    outcome = minimize(
        case.deferred(40), case.image, method=method, evaluations=evaluations, listener=listener, **options
    )
    expected = whole.evaluate(outcome.image)
    assert outcome.values == pytest.approx(expected.values, rel=1e-6, abs=1e-12 * expected.loss)
    assert outcome.loss == pytest.approx(expected.loss, rel=1e-6)
    for picture, loss in bests:
        true = whole.evaluate(picture).loss
        assert true >= outcome.loss * (1 - 1e-6)
        assert loss == pytest.approx(true, rel=1e-6)
    assert any(exact for exact, _ in events) and not all(exact for exact, _ in events)
    assert min(min(values.values()) for _, values in events) >= 0
