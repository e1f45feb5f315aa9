"""The losses' and the objective's rows for `python -m minivgg.gradcheck`, which finds them by this module's name.

It asks for check(weights), before any row, and for rows(device, weights).
"""

import functools
import operator

import numpy as np

import weights as networks
from minivgg import VGG, gradcheck
from minivgg.backend import to_device
from minivgg.gradcheck import deviation
from minivgg.gradcheck import rows as table
from minivgg.gradcheck.rows import Row

from . import losses
from .objective import Objective
from .passes import ALL
from .statistics import STYLE_LOSSES, make_terms
from .statistics.laplacian import Laplacian
from .statistics.matting import Matting
from .terms import Content, Part

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
BOUND_REAL = 1e-5  # the whole objective along a line; minivgg/MATH.md 8.5 on the step
STEP_REAL = 1e-6  # grey levels


def check(weights):
    """Raise SourceError, one line, unless a real network's file can be read."""
    load(weights)


def load(weights):
    """The real network in double precision, or SourceError: minivgg's program does not know weights' own."""
    try:
        return networks.load(weights, dtype=np.float64)
    except (networks.WeightsError, OSError) as e:
        raise table.SourceError(str(e)) from e


def rows(device, weights=None):
    """Every loss, the whole objective on a small random network and, given a file, on the real one."""
    yield from loss_rows(device)
    yield from statistic_rows(device)
    yield from pixel_rows(device)
    for kernels in table.kernel_sets(device):
        for pooling, beta in (("max", 2.0), ("avg", 2.5)):
            yield from objective_rows(device, kernels, pooling=pooling, tv_beta=beta)
        if weights is not None:
            yield from real_rows(device, kernels, weights)


def loss_rows(device):
    """Content, Gram, style and total variation, each alone, with the methods of pair_rows."""
    rng = np.random.default_rng(5)
    F, P, dG = rng.standard_normal((4, 15)), rng.standard_normal((4, 15)), rng.standard_normal((4, 4))
    G, A = F @ F.T + dG, P @ P.T
    image = gradcheck.off_kinks(rng, (1, 3, 7, 5), gap=1.0)  # neighbours differ by at least a grey level
    pairs = [
        ("content_loss", losses.content_loss, (F, P), "dF", True),
        ("gram", lambda F: (losses.gram_forward(F), F), (F,), "dF", True),
        ("style_loss", functools.partial(losses.style_loss, M=15), (G, A), "dG", True),
        ("tv_loss beta 2 (squared)", losses.tv_loss, (image,), "dimage", True),
        ("tv_loss beta 1 (absolute)", functools.partial(losses.tv_loss, beta=1.0), (image,), "dimage", False),
        ("tv_loss beta 2.5", functools.partial(losses.tv_loss, beta=2.5), (image,), "dimage", True),
    ]
    where = device, table.label(device)
    for name, forward, inputs, gradient, analytic in pairs:
        # A loss gives its gradient along with its value: the "cache" is the gradient, the backward a product.
        backward = _gram_backward if name == "gram" else _scale
        options = {"gradients": (gradient,), "complex_ok": analytic}
        yield from table.pair_rows(name, forward, backward, inputs, where, **options)


def statistic_rows(device):
    """Every statistic that a term can have, from the activation to its loss; whole and in a region."""
    rng = np.random.default_rng(9)
    feat, content = rng.standard_normal((2, 1, 4, 3, 5))
    style, m = 1 + 2 * rng.standard_normal((1, 4, 6, 4)), rng.uniform(0, 1, 15)
    where = device, table.label(device)
    for name, make in {"content": Content, **STYLE_LOSSES}.items():
        for weights, also in ((None, ""), (to_device(m, device), " in a region")):
            forward = functools.partial(_statistic, make(), *(to_device(a, device) for a in (style, content)), weights)
            options = {"gradients": ("dfeat",), "complex_ok": make.analytic}
            yield from table.pair_rows(f"{name} statistic{also}", forward, _scale, (feat,), where, **options)


def pixel_rows(device):
    """The terms of the picture itself that compare it with the content, from the pixels to the loss."""
    rng = np.random.default_rng(10)
    for name, make, size in (("photo", Matting, (5, 6)), ("laplacian", Laplacian, (12, 13))):
        image, content = (to_device(a, device) for a in rng.uniform(0, 255, (2, 1, 3, *size)))
        forward = functools.partial(_statistic, make(), None, content, None)
        options = {"gradients": ("dimage",), "complex_ok": make.analytic}
        yield from table.pair_rows(
            f"{name} statistic", forward, _scale, (image,), (device, table.label(device)), **options
        )


def _statistic(statistic, style, content, m, feat):
    """(loss, dfeat) of a statistic against a picture of its own."""
    target = content
    if not statistic.per_place:
        target = statistic.target_of(statistic.for_target.gather(Part(style, ALL, matmul=operator.matmul)))
    part = Part(feat, ALL, m, target, matmul=operator.matmul)
    loss, dS = statistic.loss(statistic.gather(part), target)
    return loss, statistic.spread(dS, part).astype(feat.dtype, copy=False)


def _scale(dloss, gradient):
    return (dloss * gradient,)


def _gram_backward(dG, F):
    return (losses.gram_backward(dG, F),)


def small_objective(device, kernels="textbook", *, pooling="max", tv_beta=2.0):
    """An objective with every term on a narrow random VGG-19, and a picture (1, 3, 19, 22) to look at it from."""
    rng = np.random.default_rng(6)
    params = {
        n: tuple(to_device(a, device) for a in p)
        for n, p in table.random_params(rng, widths=table.WIDTH[kernels]).items()
    }
    net = VGG(params, pooling=pooling, kernels=kernels)
    content, style, x = (to_device(50 * rng.standard_normal((1, 3, 19, W)), device) for W in (22, 17, 22))
    terms = make_terms(
        content={"conv4_2": 0.5, "relu4_2": 1.0},
        style={name: 0.01 for name in STYLE_LAYERS},  # squares of squares: 0.01 gives them the content's size here
        tv=0.1,
        tv_beta=tv_beta,
    )
    return Objective.of(net, terms, {"content": content, "style": style}), x


def objective_rows(device, kernels="textbook", *, pooling="max", tv_beta=2.0, entries=40):
    """The whole objective on a small random network: `entries` pixels by central differences and complex step."""
    whole, x = small_objective(device, kernels, pooling=pooling, tv_beta=tv_beta)
    picked = np.random.default_rng(7).choice(x.size, entries, replace=False)
    gradient = whole.evaluate(x).gradient

    def loss(x):
        return whole.evaluate(x).loss

    name, backend = f"objective, {pooling} pooling, tv beta {tv_beta:g}", table.label(device, kernels)
    central = gradcheck.central_difference(loss, x, step=50 * gradcheck.NETWORK_STEP, entries=picked)
    worst = deviation("dx", gradient, gradcheck.with_entries(gradient, central, picked))
    yield Row(name, backend, "float64", "central difference", worst, gradcheck.BOUND_CENTRAL)
    if kernels == "textbook" and tv_beta != 1:  # an absolute value is not analytic
        slopes = gradcheck.complex_step(loss, x, entries=picked)
        worst = deviation("dx", gradient, gradcheck.with_entries(gradient, slopes, picked))
        yield Row(name, backend, "complex128", "complex step", worst, gradcheck.BOUND_COMPLEX)


def real_rows(device, kernels, path):
    """The whole objective through a real network's filters on a 64x48 picture: its slope along one direction."""
    network = load(path)
    whole, x = real_case(network, device, kernels)
    gradient = whole.evaluate(x).gradient
    u = gradcheck.direction(gradient, np.random.default_rng(0))

    def loss(x):
        return whole.evaluate(x).loss

    name, backend = f"objective, {network.name}, 64x48", table.label(device, kernels)
    along = gradcheck.inner(gradient, u)
    worst = deviation("<dx, u>", along, gradcheck.slope(loss, x, u, step=STEP_REAL))
    yield Row(name, backend, "float64", "directional derivative", worst, BOUND_REAL)
    if kernels == "textbook":
        worst = deviation("<dx, u>", along, gradcheck.complex_slope(loss, x, u))
        yield Row(name, backend, "complex128", "complex step", worst, gradcheck.BOUND_COMPLEX)


def real_case(network, device, kernels="textbook"):
    """real_objective with made-up pictures: 64x48 for content and x, 80x48 for style."""
    rng = np.random.default_rng(8)
    return real_objective(network, *(_blocks(rng, W) for W in (64, 80, 64)), device=device, kernels=kernels)


def real_objective(network, content, style, x, *, device, kernels="textbook", pooling="max", tv=1.0):
    """Gatys' recipe and a little TV with a loaded network; content, style, x are (1, 3, H, W) RGB pictures, 0..255.

    Returns the Objective and x as the network's input, both float64 on `device`.
    """

    def to_input(image):
        image = image if network.order == "RGB" else image[:, ::-1]
        return to_device(np.ascontiguousarray(image - network.mean[:, None, None]), device)

    params = {n: tuple(to_device(a, device) for a in pair) for n, pair in network.params.items()}
    net = VGG(params, pooling=pooling, kernels=kernels)
    terms = make_terms(content={"relu4_2": 1.0}, style=dict.fromkeys(STYLE_LAYERS, 1000.0), tv=tv)
    return Objective.of(net, terms, {"content": to_input(content), "style": to_input(style)}), to_input(x)


def _blocks(rng, W, H=48):
    """A picture (1, 3, H, W) of coloured 8x8 blocks with grain, in grey levels: edges and texture."""
    blocks = rng.uniform(20, 235, (1, 3, H // 8, W // 8)).repeat(8, axis=2).repeat(8, axis=3)
    return blocks + rng.normal(0, 8, blocks.shape)
