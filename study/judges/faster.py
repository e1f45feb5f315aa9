"""Judges of what goes downhill, of Winograd's algorithm and of tiles: definitions, identities, known numbers."""

import numpy as np

from minivgg import naive
from minivgg.fast_cpu import taps
from minivgg.table import layer_names, level

from ..checks import BOUND, Check, compare, parts

# Stanford's CS231n, assignment 2: its check of Adam, as the notebook prints it: rows 1 and 4 of w, and m's and v's last
CS231N_ADAM = {
    "w, row 1": [-0.40094747, -0.34836187, -0.29577703, -0.24319299, -0.19060977],
    "w, row 4": [0.38774145, 0.44031188, 0.49288093, 0.54544852, 0.59801459],
    "the last of m": 0.85,
    "the last of v": 0.49966,
}
CS231N_DIGITS = 2e-8


class Evaluated:
    def __init__(self, gradient):
        self.gradient = gradient


def _optimiser(step, x, m, v, t, **options):
    """style's Adam with the learner's step, in the middle of a run."""
    from style.optimize import Adam

    found = type("Learner", (Adam,), {"step": step})(x, **options)
    found.m, found.v, found.t = m.copy(), v.copy(), t
    return found


def cs231n_adam(step):
    """{name: array} after CS231n's step: rate 0.01, t from 5 to 6."""
    w, dw, m, v = (np.linspace(a, b, 20).reshape(4, 5) for a, b in ((-0.4, 0.6), (-0.6, 0.4), (0.6, 0.9), (0.7, 0.5)))
    adam = _optimiser(step, w, m, v, 5, learning_rate=1e-2)
    adam.step(lambda x, **_: Evaluated(dw))
    return dict(zip(CS231N_ADAM, (adam.x[0], adam.x[3], adam.m[-1, -1], adam.v[-1, -1])))


def adam(f):
    rng = np.random.default_rng(1)
    x, m, target = rng.standard_normal((3, 2, 3))
    v = rng.uniform(0.5, 1, (2, 3))
    for bounds in (None, (-0.5, 0.5)):
        adam = _optimiser(f, x, m, v, 3, learning_rate=0.1, betas=(0.8, 0.95), bounds=bounds)
        expected, begun = [a.copy() for a in (x, m, v)], (adam.x, adam.m, adam.v)
        for t, count in ((4, "one step"), (5, "two steps")):
            adam.step(lambda x, **_: Evaluated(x - target))
            _adam_by_loops(*expected, expected[0] - target, t, bounds)
            x1, m1, v1 = expected
            found = {"t": (adam.t, t), "m": (adam.m, m1), "v": (adam.v, v1), "x": (adam.x, x1)}  # as they are computed
            yield compare(count + (" within bounds" if bounds else ""), **found)
        yield _in_place(dict(zip("xmv", zip((adam.x, adam.m, adam.v), begun))))
    found = cs231n_adam(f)
    yield compare("CS231n's values", CS231N_DIGITS, **{k: (found[k], CS231N_ADAM[k]) for k in found})


def _in_place(pairs):
    """Check that {name: (array after a step, before)} are the same arrays, with other numbers in them."""
    others = [name for name, (after, before) in pairs.items() if after is not before]
    words = f"self.{others[0]} is another array after the step; change it: self.{others[0]}[...] = …" if others else ""
    return Check("in place", not others, words)


def _adam_by_loops(x, m, v, g, t, bounds):
    """Kingma & Ba's algorithm 1, pixel by pixel, rate 0.1."""
    for k in np.ndindex(x.shape):
        m[k] = 0.8 * m[k] + 0.2 * g[k]
        v[k] = 0.95 * v[k] + 0.05 * g[k] ** 2
        x[k] -= 0.1 * (m[k] / (1 - 0.8**t)) / ((v[k] / (1 - 0.95**t)) ** 0.5 + 1e-8)
        if bounds:
            x[k] = min(max(x[k], bounds[0]), bounds[1])


def two_loop(f):
    rng = np.random.default_rng(2)
    A = rng.standard_normal((6, 6))
    A = A @ A.T + np.eye(6)
    pairs = [(s, A @ s) for s in rng.standard_normal((4, 6))]
    g = rng.standard_normal(6)
    for count in (1, 2, 4):
        expected = _inverse_hessian(pairs[:count]) @ g
        yield compare(f"definition, pairs {count}", 1e-10, Hg=(f(g, pairs[:count]), expected))
    yield compare("without pairs", Hg=(f(g, []), g))
    s, y = pairs[-1]
    yield compare("golden values", 1e-10, **{"H y of the newest pair": (f(y, pairs), s)})


def _inverse_hessian(pairs):
    """H by style/MATH.md 8, (7), as a matrix, from the largest sᵀy / yᵀy."""
    n = pairs[0][0].size
    H = np.eye(n) * max((s @ y) / (y @ y) for s, y in pairs)
    for s, y in pairs:
        V = np.eye(n) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    return H


def matrices(f):
    dtype = np.dtype("float64")
    G, BT, AT = parts(f(dtype), "G", "BT", "AT")
    for name, found, shape in (("G", G, (6, 3)), ("BT", BT, (6, 6)), ("AT", AT, (4, 6))):
        yield compare(f"shape of {name}", **{name: (0 * np.asarray(found), np.zeros(shape))})
    rng = np.random.default_rng(3)
    g, d = rng.standard_normal(3), rng.standard_normal(6)
    expected = [sum(g[j] * d[i + j] for j in range(3)) for i in range(4)]
    yield compare("definition", 1e-11, **{"AT @ ((G @ g) * (BT @ d))": (AT @ ((G @ g) * (BT @ d)), expected)})
    yield compare("filters read backwards", **{"G @ g[::-1]": (G @ g[::-1], (G @ g)[::-1])})
    points = np.array(taps.POINTS)
    powers = np.vstack([points[:, None] ** np.arange(4), [0, 0, 0, 1]])
    yield compare("golden values", AT=(AT, powers.T))
    single = parts(f(np.dtype("float32")), "G", "BT", "AT")
    yield compare("float32", **{"bytes a number": ([a.dtype.itemsize for a in single].count(4), 3)})


def winograd_textbook(f):
    rng = np.random.default_rng(4)
    for H, W in ((4, 8), (7, 5), (1, 3)):
        x, w = rng.standard_normal((2, 3, H, W)), rng.standard_normal((2, 3, 3, 3))
        yield compare(f"definition {H}x{W}", 1e-11, out=(f(x, w), naive.conv2d(x, w, np.zeros(2), pad=1)))
    x, w = np.arange(30.0).reshape(1, 1, 5, 6), np.zeros((1, 1, 3, 3))
    w[0, 0, 1, 1] = 1
    yield compare("golden values", 1e-11, out=(f(x, w), x))


def halo(f):
    names = layer_names("vgg19")
    for last, start, expected in (("pool3", None, 22), ("relu5_1", "pool3", 6), ("relu5_1", None, 70)):
        table = names[0 if start is None else names.index(start) + 1 : names.index(last) + 1]
        title = f"{start or 'picture'} to {last}"
        places = f(table, level(start))
        yield compare(f"golden values, {title}", BOUND, halo=(places, expected))
        yield compare(f"definition, {title}", BOUND, halo=(places, -_lowest(table)))
    yield compare("no convolution", BOUND, halo=(f(["pool1"], 0), 0))


def _lowest(table):
    """The lowest input place that place 0 of the last layer depends on, layer by layer from the last to the first."""
    place = 0
    for name in reversed(table):
        place = place - 1 if name.startswith("conv") else 2 * place if name.startswith("pool") else place
    return place
