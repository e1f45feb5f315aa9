"""Given: what backward asks of a gradient, in which order, and that it lets go of it in time."""

import gc
import weakref

import pytest
from conftest import assert_close

from minivgg import Given

NAMES = ["relu1_1", "conv2_1", "relu2_1", "pool2", "relu3_1", "relu4_1", "conv4_2"]
EQUAL = {"textbook": 1e-13, "fast": 1e-10}


@pytest.fixture
def x(backend, rng):
    return backend.array(rng.standard_normal((2, 3, 35, 38)))


class Watched(Given):
    """An array's gradient that writes down what it is asked, and makes a copy each time, as a real one would."""

    def __init__(self, array, log, name=""):
        self.array, self.log, self.name, self.shape = array, log, name, array.shape

    def whole(self):
        self.log.append((self.name, "whole"))
        return self.array.copy()

    def rows(self, n, y0, y1):
        self.log.append((self.name, "rows"))
        return self.array[n, :, y0:y1].transpose(1, 2, 0).copy()

    def done(self):
        self.log.append((self.name, "done"))
        self.array = None


def test_an_array_whole_and_by_rows(backend, rng):
    array = backend.array(rng.standard_normal((2, 3, 5, 4)))
    given = Given.of(array)
    assert given.shape == (2, 3, 5, 4) and given.whole() is array and Given.of(given) is given
    assert_close(given.rows(1, 2, 5), backend.host(array)[1, :, 2:5].transpose(1, 2, 0))
    for other in (lambda: array, None, [1.0]):
        with pytest.raises(TypeError, match="expected a NumPy or CuPy array, found"):
            Given.of(other)


def test_a_sum_keeps_rows_and_done(rng):
    a, b, c = (rng.standard_normal((2, 3, 5, 4)) for _ in range(3))
    log = []
    total = Watched(a, log, "a") + Watched(b, log, "b") + c
    assert isinstance(total, Given) and total.shape == a.shape
    assert_close(total.rows(1, 2, 5), (a + b + c)[1, :, 2:5].transpose(1, 2, 0))
    assert [what for _, what in log] == ["rows", "rows"]  # nothing was made whole for it
    assert_close(total.whole(), a + b + c)
    log.clear()
    total.done()
    assert sorted(log) == [("a", "done"), ("b", "done")]
    with pytest.raises(ValueError, match=r"\(2, 3, 5, 4\) and one of \(2, 3, 5, 3\)"):
        Given.of(a) + b[..., 1:]


def test_each_is_asked_on_the_way_and_done_once(kernels, make_net, x):
    """Deepest first, so that what a gradient needs is made when backward arrives; nothing is asked after done."""
    net, log = make_net(), []
    feats, cache = net.forward(x, NAMES)
    net.backward({n: Watched(feats[n], log, n) for n in NAMES}, cache)
    assert [name for name, what in log if what == "done"] == NAMES[::-1]
    order = [name for name, _ in log]
    assert order == sorted(order, key=NAMES[::-1].index)  # one layer is done before the next is asked
    assert log[0] == ("conv4_2", "whole")


def test_fused_layers_ask_for_rows_on_the_processor(backend, kernels, make_net, x):
    net, log = make_net(), []
    feats, cache = net.forward(x, ["relu2_1", "relu4_1"])
    net.backward({n: Watched(f, log, n) for n, f in feats.items()}, cache)
    by_rows = ("relu2_1", "rows") in log
    assert by_rows == (kernels == "fast" and backend.name == "numpy")
    assert by_rows != (("relu2_1", "whole") in log)


@pytest.mark.parametrize("kind", ["array", "given", "sum"])
def test_any_kind_gives_the_same_gradient(backend, kernels, make_net, x, rng, kind):
    net = make_net()
    feats, cache = net.forward(x, NAMES)
    dfeats = {n: backend.array(rng.standard_normal(f.shape)) for n, f in feats.items()}
    expected = net.backward(dfeats, cache)
    handed = {
        "array": lambda d: d,
        "given": lambda d: Watched(d, []),
        "sum": lambda d: Watched(d / 2, []) + Given.of(d / 4) + d / 4,
    }[kind]
    _, cache = net.forward(x, NAMES)
    assert_close(net.backward({n: handed(d) for n, d in dfeats.items()}, cache), expected, EQUAL[kernels])


@pytest.fixture
def few_objects():
    """gc.collect looks through nothing that was there before: a whole run of tests leaves much."""
    gc.freeze()
    yield
    gc.unfreeze()


def test_an_activation_is_free_once_its_gradient_is_done(few_objects, make_net, x, monkeypatch):
    """No local of backward's, and no cache, holds it while the layers below are computed."""
    net = make_net()
    feats, cache = net.forward(x, ["relu2_1", "relu3_1", "relu4_1"])
    given = {n: Watched(f, [], n) for n, f in feats.items()}
    kept = {n: weakref.ref(f) for n, f in feats.items()}
    del feats
    step, alive = net._backward_step, {}

    def watched(s, *args):
        gc.collect()
        alive[s.output] = {n for n, ref in kept.items() if ref() is not None}
        return step(s, *args)

    monkeypatch.setattr(net, "_backward_step", watched)
    net.backward(given, cache)
    assert alive["relu4_1"] == {"relu2_1", "relu3_1", "relu4_1"}
    assert alive["pool3"] == {"relu2_1", "relu3_1"}
    assert alive["pool2"] == {"relu2_1"}
    assert alive["pool1"] == set()


def test_wrong_shapes_are_refused_before_anything_is_asked(make_net, x):
    net, log = make_net(), []
    feats, cache = net.forward(x, ["relu1_1", "relu2_1"])
    wrong = Watched(feats["relu1_1"][:, :, 1:], log)
    with pytest.raises(ValueError, match=r"gradient \(2, \d+, 34, 38\) at relu1_1, expected \(2, \d+, 35, 38\)"):
        net.backward({"relu1_1": wrong, "relu2_1": Watched(feats["relu2_1"], log)}, cache)
    assert not log
    assert net.backward(feats, cache).shape == x.shape  # the cache has not been used
