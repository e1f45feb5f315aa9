"""The rows of the table: every layer's pair and a whole network, by each method that applies to them.

A row is a `Row`; plain generators yield them: layer_rows and network_rows here, and `rows(device, weights)` of the
modules in ROW_MODULES, looked up by name when the program runs, so that nothing in minivgg imports style or weights.
"""

import functools
import importlib
import importlib.util
from dataclasses import dataclass

import numpy as np

from ..backend import get_xp, to_device
from ..table import layer_names
from ..torus import circular
from ..vgg import VGG, load_kernels
from . import (
    BOUND_ADJOINT,
    BOUND_CENTRAL,
    BOUND_COMPLEX,
    BOUND_FLOAT32,
    NETWORK_STEP,
    Deviation,
    adjoint_error,
    central_difference,
    complex_step,
    deviation,
    inner,
    off_kinks,
    with_entries,
    worst,
)

# Each offers rows(device, weights) -> iterable of Row, and check(weights), which raises SourceError for a file that
# it could not use; `weights` is what --weights was given, or None.
ROW_MODULES = ("style.gradcheck",)


class SourceError(Exception):
    """What a module of rows cannot use; the message is one line."""


@dataclass(frozen=True)
class Row:
    """One line of the table: what was checked, where, how, and how far off the worst of its gradients was."""

    name: str
    backend: str
    dtype: str
    method: str
    worst: Deviation
    bound: float

    @property
    def error(self):
        return self.worst.error

    @property
    def passed(self):
        return self.error <= self.bound  # False for a NaN

    def __str__(self):
        where = f"{self.name}, {self.backend}, {self.dtype}, {self.method}"
        return f"{where}: {self.worst}; relative error {self.error:.1e}, allowed {self.bound:.0e}"


# --- layers -----------------------------------------------------------------------------------------------------

# (N, C, H, W), (F, KH, KW), stride, pad: odd and even sizes, H ≠ W, strides that leave a rest, every padding;
# the last one has channels enough for Winograd's algorithm, and sizes that its tiles of 4 do not divide
CONV_CASES = (
    ((2, 3, 7, 5), (4, 3, 3), 1, 1),
    ((2, 3, 6, 9), (4, 1, 1), 1, 0),
    ((2, 2, 8, 7), (3, 3, 3), 2, 0),
    ((2, 3, 6, 5), (2, 3, 3), 1, 2),
    ((3, 2, 9, 6), (3, 5, 3), 2, 2),
    ((2, 1, 7, 10), (2, 2, 4), 3, 1),
    ((2, 17, 9, 7), (18, 3, 3), 1, 1),
)
ENTRIES = 300  # of one array that are looked at, at most
POOL_SHAPES = ((2, 3, 6, 4), (2, 2, 7, 5))


def pair_rows(name, forward, backward, inputs, where, *, gradients=("dx",), complex_ok=True, affine=False, seed=0):
    """Rows for one pair: central differences, float32; where they apply, complex step and adjoint identity.

    forward     (*inputs) -> out, cache
    backward    (dout, cache) -> a gradient for each name in `gradients`
    inputs      float64 NumPy arrays, off the kinks; those behind the last gradient are constants
    where       (Device, the backend's label in the table)
    complex_ok  forward takes complex arrays and is analytic near the inputs
    affine      out is an affine function of each input alone, so that f(u) - f(0) is the Jacobian times u
    """
    device, backend = where
    rng = np.random.default_rng(seed)
    inputs = [to_device(a, device) for a in inputs]
    out, cache = forward(*inputs)
    dout = to_device(np.asarray(rng.standard_normal(out.shape)), device)  # a loss has the shape ()
    grads = dict(zip(gradients, backward(dout, cache), strict=True))
    # out as a function of the k-th input
    alone = [lambda a, k=k: forward(*inputs[:k], a, *inputs[k + 1 :])[0] for k in range(len(grads))]

    def row(dtype, method, deviations, bound):
        return Row(name, backend, dtype, method, worst(deviations), bound)

    def entry_by_entry(method):
        for f, a, (gradient, g) in zip(alone, inputs, grads.items()):
            picked = np.random.default_rng(seed).permutation(a.size)[:ENTRIES]
            yield deviation(gradient, g, with_entries(g, method(f, a, dout, entries=picked), picked))

    yield row("float64", "central difference", entry_by_entry(central_difference), BOUND_CENTRAL)
    if complex_ok:
        yield row("complex128", "complex step", entry_by_entry(complex_step), BOUND_COMPLEX)
    if affine:
        adjoint = [
            _adjoint_deviation(gradient, f, lambda v, k=k: backward(v, cache)[k], _normal_like(a, rng, device), dout)
            for k, (f, a, gradient) in enumerate(zip(alone, inputs, grads))
        ]
        yield row("float64", "adjoint identity", adjoint, BOUND_ADJOINT)
    _, cache32 = forward(*(a.astype(np.float32) for a in inputs))
    grads32 = backward(dout.astype(np.float32), cache32)
    single = [deviation(gradient, a, g) for a, (gradient, g) in zip(grads32, grads.items())]
    yield row("float32", "against float64", single, BOUND_FLOAT32)


def _normal_like(a, rng, device):
    return to_device(rng.standard_normal(a.shape), device)


def _adjoint_deviation(gradient, f, backward, u, v):
    """Deviation of <backward(v), u> from <v, J u>, for an affine f with the Jacobian J."""

    def J(u):
        return f(u) - f(u * 0)

    error = adjoint_error(J, backward, u, v)
    return Deviation(f"<{gradient}, u>", (), inner(backward(v), u), inner(v, J(u)), error)


def layer_rows(device, kernels="textbook"):
    """Every layer's pair, of one set of kernels on one device."""
    k, where, rng = kernels_on(device, kernels), (device, label(device, kernels)), np.random.default_rng(1)
    textbook = kernels == "textbook"  # the fast kernels are written for real types
    for shape, (F, KH, KW), stride, pad in CONV_CASES:
        inputs = [rng.standard_normal(s) for s in (shape, (F, shape[1], KH, KW), (F,))]
        forward = functools.partial(k.conv2d_forward, stride=stride, pad=pad)
        name = f"conv2d {KH}x{KW} stride {stride} pad {pad}, {shape[1]} to {F}"
        options = {"gradients": ("dx", "dw", "db"), "complex_ok": textbook, "affine": True}
        yield from pair_rows(name, forward, k.conv2d_backward, inputs, where, **options)
    # Complex numbers compare by their real parts first: pairs with a kink take a complex step as well.
    for name, affine in (("relu", False), ("maxpool2d", False), ("avgpool2d", True)):
        forward, backward = getattr(k, name + "_forward"), getattr(k, name + "_backward")
        for shape in POOL_SHAPES:
            size = "x".join(map(str, shape[2:]))
            yield from pair_rows(
                f"{name} {size}",
                forward,
                lambda dout, cache, backward=backward: (backward(dout, cache),),
                [off_kinks(rng, shape)],
                where,
                complex_ok=textbook,
                affine=affine,
            )


def circular_rows(device, kernels="textbook"):
    """The convolution of a picture on a torus, by one set of kernels on one device."""
    k = circular(load_kernels(kernels, get_xp(to_device(np.zeros(1), device)))).pairs
    where, rng = (device, label(device, kernels)), np.random.default_rng(2)
    options = {"gradients": ("dx", "dw", "db"), "complex_ok": kernels == "textbook", "affine": True}
    for shape, F in (((2, 3, 7, 5), 4), ((1, 16, 6, 9), 17)):
        inputs = [rng.standard_normal(s) for s in (shape, (F, shape[1], 3, 3), (F,))]
        name = f"conv2d 3x3 circular, {shape[1]} to {F}"
        yield from pair_rows(name, k.conv2d_forward, k.conv2d_backward, inputs, where, **options)


# --- a network --------------------------------------------------------------------------------------------------

WIDTH = {"textbook": 4, "fast": 16}  # channels of the random networks; the fast kernels use Winograd from 16 on
NETWORK_LAYERS = ("relu1_1", "conv2_2", "pool3", "conv4_2", "relu4_2", "relu5_1")  # before and after a ReLU


def network_rows(device, kernels="textbook", *, pooling="max", entries=24):
    """The chain through a narrow VGG-19 with random filters, gradients given at six layers at once.

    Looks at `entries` pixels and at 3 numbers of each filter and bias.
    """
    rng = np.random.default_rng(3)
    width = WIDTH[kernels]
    params = {n: tuple(to_device(a, device) for a in p) for n, p in random_params(rng, widths=width).items()}
    x = to_device(rng.standard_normal((2, 3, 19, 22)), device)
    net = VGG(params, pooling=pooling, kernels=kernels)
    feats, cache = net.forward(x, NETWORK_LAYERS, param_grads=True)
    dfeats = {n: to_device(rng.standard_normal(f.shape), device) for n, f in feats.items()}
    dx, dparams = net.backward_params(dfeats, cache)

    def outputs(x, net=net):
        feats, _ = net.forward(x, NETWORK_LAYERS)
        return get_xp(x).concatenate([feats[n].reshape(-1) for n in NETWORK_LAYERS])

    def of_param(p, layer, k):
        pair = tuple(p if j == k else q for j, q in enumerate(params[layer]))
        return outputs(x, VGG({**params, layer: pair}, pooling=pooling, kernels=kernels))

    functions = [("dx", outputs, x, dx, entries)]  # gradient, function of what, what, value, how many entries
    for layer, pair in params.items():
        for k, gradient in enumerate(("dw", "db")):
            f = functools.partial(of_param, layer=layer, k=k)
            functions.append((f"{gradient} of {layer}", f, pair[k], dparams[layer][k], 3))
    dout = get_xp(x).concatenate([dfeats[n].reshape(-1) for n in NETWORK_LAYERS])

    def deviations(method):
        for gradient, f, a, da, count in functions:
            picked = np.random.default_rng(4).choice(a.size, min(count, a.size), replace=False)
            yield deviation(gradient, da, with_entries(da, method(f, a, dout, entries=picked), picked))

    name, backend = f"vgg19 width {width}, {pooling} pooling", label(device, kernels)
    central = functools.partial(central_difference, step=NETWORK_STEP)
    yield Row(name, backend, "float64", "central difference", worst(deviations(central)), BOUND_CENTRAL)
    if kernels == "textbook":
        yield Row(name, backend, "complex128", "complex step", worst(deviations(complex_step)), BOUND_COMPLEX)


def random_params(rng, arch="vgg19", widths=4, *, last="conv5_1", bias=0.1, dtype=np.float64):
    """Random filters in a VGG's topology, of a size that keeps that of the activations (He's initialisation).

    widths   channels: a number (one more in each later block), one for each block, or {layer: channels}
    bias     standard deviation of the biases; 0: none, and nothing is drawn for them
    returns  {"conv1_1": (w, b), …} up to the layer `last` or the last of `widths`, NumPy
    """
    if isinstance(widths, int):
        widths = [widths + block for block in range(5)]
    if not isinstance(widths, dict):
        convs = [name for name in layer_names(arch) if name.startswith("conv")]
        widths = {name: widths[int(name[4]) - 1] for name in convs[: convs.index(last) + 1]}
    params, channels = {}, 3
    for name, F in widths.items():
        w = rng.standard_normal((F, channels, 3, 3)) * np.sqrt(2 / (9 * channels))
        b = bias * rng.standard_normal(F) if bias else np.zeros(F)
        params[name], channels = (w.astype(dtype), b.astype(dtype)), F
    return params


# --- all of them ------------------------------------------------------------------------------------------------


def kernels_on(device, kernels):
    """The module of layer pairs that VGG(..., kernels=kernels) uses on a device."""
    return load_kernels(kernels, get_xp(to_device(np.zeros(1), device))).pairs


def label(device, kernels=""):
    """The table's second column: numpy or cupy, and which kernels if there is a choice."""
    return f"{'numpy' if device.kind == 'cpu' else 'cupy'} {kernels}".strip()


def kernel_sets(device):
    """The names that VGG takes as kernels and that mean different modules on this device."""
    textbook = kernels_on(device, "textbook")
    return ("textbook",) if kernels_on(device, "fast") is textbook else ("textbook", "fast")


def sources():
    """The modules of ROW_MODULES that this installation has."""
    there = [name for name in ROW_MODULES if importlib.util.find_spec(name.partition(".")[0]) is not None]
    return [importlib.import_module(name) for name in there]


def all_rows(device, weights=None):
    """Every row that this installation has for one device; `weights`: a real network's file, or None."""
    for kernels in kernel_sets(device):
        yield from layer_rows(device, kernels)
        yield from circular_rows(device, kernels)
        for pooling in ("max", "avg"):
            yield from network_rows(device, kernels, pooling=pooling)
    for source in sources():
        yield from source.rows(device, weights)
