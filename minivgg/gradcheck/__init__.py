"""Is a gradient right? Central differences, complex step, adjoint identity, directional derivative.

As a library: each method gives a number, `relative_error` compares it with the hand-written gradient.
As a program: `python -m minivgg.gradcheck` prints a row per layer, network and loss; exit code 1 if one fails.
The rows come from plain generators of `Row`: layer_rows and network_rows here, and those of the modules in
ROW_MODULES, looked up when the program runs, so that nothing in minivgg imports style. MATH.md has the
methods and their errors.
"""

import argparse
import functools
import importlib
import importlib.util
import sys
from dataclasses import dataclass

import numpy as np

from .. import program as console
from ..backend import BackendError, Device, get_xp, resolve_device, to_device, to_numpy
from ..kernels import load_kernels
from ..table import layer_names
from ..vgg import VGG

BOUND_CENTRAL = 1e-7  # float64; what is left is rounding: about 1e-16 · |L| / (step · |gradient|)
BOUND_COMPLEX = 1e-12  # no subtraction, so a few units in the last place, times the depth of the sum
BOUND_ADJOINT = 1e-13
BOUND_FLOAT32 = 1e-5  # the same gradient computed in float32 against float64
STEP = 1e-4  # central differences of a single pair; off_kinks keeps 10 times this from every kink
NETWORK_STEP = 1e-6  # of a whole network, in units of its input: small, to cross hardly any kink (MATH.md, 8.5)
COMPLEX_STEP = 1e-30

ROW_MODULES = ("style.gradcheck",)  # each offers rows(device, weights=None) -> iterable of Row


@dataclass(frozen=True)
class Row:
    """One line of the table: what was checked, where, how, and how far off it was."""

    name: str
    backend: str
    dtype: str
    method: str
    error: float
    bound: float

    @property
    def passed(self):
        return self.error <= self.bound  # False for a NaN


# --- the methods ----------------------------------------------------------------------------------


def relative_error(a, b):
    """max |a - b| / max(max |a|, max |b|): the largest deviation against the largest entry; 0 if all are 0.

    a, b  any one shape, either backend. Returns inf when an entry is not finite, so that a NaN never passes.
    Raises ValueError when the shapes differ.
    """
    a, b = np.asarray(to_host(a)), np.asarray(to_host(b))
    if a.shape != b.shape:
        raise ValueError(f"relative_error: shapes {a.shape} and {b.shape} differ")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    scale = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
    return float(np.abs(a - b).max(initial=0) / scale) if scale else 0.0


def entries_error(gradient, slopes, entries):
    """relative_error of a gradient whose `entries` (flat indices) are compared with slopes; the others count as right.

    So the scale is the whole gradient's: entries that happen to be 0 would have none of their own.
    """
    gradient = to_host(gradient).reshape(-1)
    expected = gradient.astype(np.result_type(gradient, slopes))
    expected[entries] = slopes
    return relative_error(gradient, expected)


def central_difference(f, x, dout=1.0, *, step=STEP, entries=None):
    """dL/dx of L = <dout, f(x)>, one entry of x after the other; error of order step².

    x        float64 array
    dout     the shape of f(x); 1.0 when f gives a scalar
    entries  flat indices to look at (default: all)
    returns  (len(entries),)   <dout, f(x + step e_k) - f(x - step e_k)> / (2 step)

    The outputs are subtracted before they are summed: those that the step did not touch cancel exactly.
    """
    work = x.copy()
    flat = work.reshape(-1)
    entries = range(flat.size) if entries is None else entries
    slopes = []
    for k in entries:
        k, value = int(k), flat[int(k)].item()
        flat[k] = value + step
        plus = f(work)
        flat[k] = value - step
        minus = f(work)
        flat[k] = value
        slopes.append(inner(dout, plus - minus) / ((value + step) - (value - step)))
    return np.array(slopes)


def complex_step(f, x, dout=1.0, *, step=COMPLEX_STEP, entries=None):
    """dL/dx of L = <dout, f(x)> for an f that takes complex x and is analytic near it; error of order step².

    Shapes as in central_difference.   Im <dout, f(x + i step e_k)> / step
    No difference is taken, so the step can be 1e-30 and nothing cancels (Squire & Trapp 1998).
    """
    work = x.astype(np.complex128)
    flat = work.reshape(-1)
    entries = range(flat.size) if entries is None else entries
    slopes = []
    for k in entries:
        k, value = int(k), flat[int(k)].item()
        flat[k] = value + 1j * step
        slopes.append(inner(dout, f(work)).imag / step)
        flat[k] = value
    return np.array(slopes)


def adjoint_error(J, JT, u, v):
    """How far <v, J u> and <Jᵀ v, u> are apart, for a linear J and what claims to be its transpose.

    u  an input of J;  v  an input of JT
    returns |<v, J u> - <Jᵀ v, u>| / max(Σ |v · J u|, Σ |Jᵀ v · u|), the sums without their cancellation
    """
    Ju, JTv = J(u), JT(v)
    scale = max(inner(abs(v), abs(Ju)), inner(abs(JTv), abs(u)))
    error = abs(inner(v, Ju) - inner(JTv, u))
    if not np.isfinite(error):
        return float("inf")
    return float(error / scale) if scale else 0.0


def directional_error(f, x, dx, u, *, step):
    """Slope of a scalar f along u by central differences, against <dx, u> (the projection check).

    x, dx, u  one shape; dx is the gradient that f's author claims at x
    returns   |s - <dx, u>| / max(|s|, |<dx, u>|),   s = (f(x + step u) - f(x - step u)) / (2 step)
    """
    return relative_error((f(x + step * u) - f(x - step * u)) / (2 * step), inner(dx, u))


def directional_complex_error(f, x, dx, u, *, step=COMPLEX_STEP):
    """directional_error with s = Im f(x + i step u) / step: no kink is crossed and nothing cancels."""
    return relative_error(f(x + 1j * step * u).imag / step, inner(dx, u))


def direction(dx, rng):
    """A direction u for a gradient dx: random signs leaning to dx's own, so that <dx, u> is not near 0.

    dx, u  one shape, one backend; no entry of u is 0, or an error there would go unseen
    """
    signs = rng.choice([-1.0, 1.0], size=dx.shape) + np.sign(to_host(dx)) / 2
    return get_xp(dx).asarray(signs)


# --- inputs ---------------------------------------------------------------------------------------


def off_kinks(rng, shape, gap=20 * STEP):
    """Distinct numbers, none nearer than gap to another or than gap/2 to 0, in random order around 0.

    A ReLU has its kink at 0 and a maximum where two entries are equal: a step below gap/2 crosses neither.
    """
    size = int(np.prod(shape))
    return ((rng.permutation(size) - (size - 1) // 2 + 0.5) * gap).reshape(shape)


def inner(a, b):
    """Σ a·b without conjugation, as a Python number; scalars too."""
    product = a * b
    return product.sum().item() if hasattr(product, "sum") else product


def to_host(a):
    return a if isinstance(a, int | float | complex) else to_numpy(a)


# --- the rows -------------------------------------------------------------------------------------

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
WIDTH = {"textbook": 4, "fast": 16}  # channels of the random networks; the fast kernels use Winograd from 16 on
NETWORK_LAYERS = ("relu1_1", "conv2_2", "pool3", "conv4_2", "relu4_2", "relu5_1")  # before and after a ReLU


def pair_rows(name, forward, backward, inputs, where, *, complex_ok=True, affine=False, seed=0):
    """Rows for one pair: central differences, float32; where they apply, complex step and adjoint identity.

    forward     (*inputs) -> out, cache
    backward    (dout, cache) -> a gradient for each input; those at the end that need none may be left out
    inputs      float64 NumPy arrays, off the kinks
    where       (Device, the backend's label in the table)
    complex_ok  forward takes complex arrays and is analytic near the inputs
    affine      out is an affine function of each input alone, so that f(u) - f(0) is the Jacobian times u
    """
    device, backend = where
    rng = np.random.default_rng(seed)
    inputs = [to_device(a, device) for a in inputs]
    out, cache = forward(*inputs)
    dout = to_device(np.asarray(rng.standard_normal(out.shape)), device)  # a loss has the shape ()
    grads = backward(dout, cache)
    alone = [  # out as a function of the k-th input
        lambda a, k=k: forward(*inputs[:k], a, *inputs[k + 1 :])[0] for k in range(len(inputs))
    ]

    def worst(method):
        errors = []
        for f, a, g in zip(alone, inputs, grads):
            picked = np.random.default_rng(seed).permutation(a.size)[:ENTRIES]
            errors.append(entries_error(g, method(f, a, dout, entries=picked), picked))
        return max(errors)

    yield Row(name, backend, "float64", "central difference", worst(central_difference), BOUND_CENTRAL)
    if complex_ok:
        yield Row(name, backend, "complex128", "complex step", worst(complex_step), BOUND_COMPLEX)
    if affine:
        errors = [
            adjoint_error(
                lambda u, f=f: f(u) - f(u * 0),
                lambda v, k=k: backward(v, cache)[k],
                to_device(rng.standard_normal(a.shape), device),
                dout,
            )
            for k, (f, a) in enumerate(zip(alone, inputs))
        ]
        yield Row(name, backend, "float64", "adjoint identity", max(errors), BOUND_ADJOINT)
    _, cache32 = forward(*(a.astype(np.float32) for a in inputs))
    grads32 = backward(dout.astype(np.float32), cache32)
    error = max(relative_error(a, g) for a, g in zip(grads32, grads))
    yield Row(name, backend, "float32", "against float64", error, BOUND_FLOAT32)


def layer_rows(device, kernels="textbook"):
    """Every layer's pair, of one set of kernels on one device."""
    k, where, rng = kernels_on(device, kernels), (device, label(device, kernels)), np.random.default_rng(1)
    textbook = kernels == "textbook"  # the fast kernels are written for real types
    for shape, (F, KH, KW), stride, pad in CONV_CASES:
        inputs = [rng.standard_normal(s) for s in (shape, (F, shape[1], KH, KW), (F,))]
        forward = functools.partial(k.conv2d_forward, stride=stride, pad=pad)
        name = f"conv2d {KH}x{KW} stride {stride} pad {pad}, {shape[1]} to {F}"
        yield from pair_rows(name, forward, k.conv2d_backward, inputs, where, complex_ok=textbook, affine=True)
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


def network_rows(device, kernels="textbook", *, pooling="max", entries=24):
    """The chain through a narrow VGG-19 with random filters, gradients given at six layers at once.

    Looks at `entries` pixels and at 3 numbers of each filter and bias.
    """
    rng = np.random.default_rng(3)
    width = WIDTH[kernels]
    params = {n: tuple(to_device(a, device) for a in p) for n, p in random_params(rng, width=width).items()}
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

    functions = [(outputs, x, dx, entries)]
    for layer, pair in params.items():
        functions += [(functools.partial(of_param, layer=layer, k=k), pair[k], dparams[layer][k], 3) for k in range(2)]
    dout = get_xp(x).concatenate([dfeats[n].reshape(-1) for n in NETWORK_LAYERS])

    def worst(method):
        errors = []
        for f, a, da, count in functions:
            picked = np.random.default_rng(4).choice(a.size, min(count, a.size), replace=False)
            errors.append(entries_error(da, method(f, a, dout, entries=picked), picked))
        return max(errors)

    name, backend = f"vgg19 width {width}, {pooling} pooling", label(device, kernels)
    central = functools.partial(central_difference, step=NETWORK_STEP)
    yield Row(name, backend, "float64", "central difference", worst(central), BOUND_CENTRAL)
    if kernels == "textbook":
        yield Row(name, backend, "complex128", "complex step", worst(complex_step), BOUND_COMPLEX)


def random_params(rng, arch="vgg19", width=4, *, last="conv5_1", dtype=np.float64):
    """Random filters (He's initialisation) in a VGG's topology: `width` channels, one more in each later block.

    returns {"conv1_1": (w, b), …} up to the layer `last`, NumPy
    """
    params, channels = {}, 3
    for name in layer_names(arch):
        if name.startswith("conv"):
            F = width + int(name[4]) - 1
            w = rng.standard_normal((F, channels, 3, 3)) * np.sqrt(2 / (9 * channels))
            params[name] = w.astype(dtype), (0.1 * rng.standard_normal(F)).astype(dtype)
            channels = F
        if name == last:
            break
    return params


# --- the program ----------------------------------------------------------------------------------


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


def all_rows(device, weights=None):
    """Every row that this installation has for one device; `weights`: a real network's file, or None."""
    for kernels in kernel_sets(device):
        yield from layer_rows(device, kernels)
        for pooling in ("max", "avg"):
            yield from network_rows(device, kernels, pooling=pooling)
    for name in ROW_MODULES:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            yield from importlib.import_module(name).rows(device, weights)


def devices(spec):
    """The devices to check: the CPU always unless "gpu" is asked for, the GPU if it is there."""
    found = resolve_device(spec)
    return [found] if found.kind == "cpu" or spec != "auto" else [Device("cpu"), found]


def check_weights(path):
    """Raise ValueError, one line, unless a real network's file can be read: its rows come last, minutes later."""
    weights = importlib.import_module("weights")
    try:
        weights.load(path)
    except (weights.WeightsError, OSError) as e:
        raise ValueError(str(e)) from e


def print_table(rows, done):
    """Print the rows as they come, each kept in the list `done`, and at the end how many failed."""
    form = "{:46} {:15} {:10} {:22} {:>8} {:>8}  {}"
    print(form.format("what", "backend", "dtype", "method", "error", "bound", "verdict"))
    for row in rows:
        verdict = "ok" if row.passed else "FAILED"
        print(
            form.format(row.name, row.backend, row.dtype, row.method, f"{row.error:.1e}", f"{row.bound:.0e}", verdict),
            flush=True,
        )
        done.append(row)
    print(f"{len(done)} checks, {sum(not row.passed for row in done)} failed", flush=True)


def main(argv=None):
    """Print the table. 0: every row passed; 1: one failed, or device, file or output unusable; 128 + N: signal N."""
    parser = argparse.ArgumentParser(prog="python -m minivgg.gradcheck", description="Check every gradient.")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="auto: both if there")
    parser.add_argument("--weights", metavar="PATH", help="check the objective through this real network too")
    console.ready()
    args = parser.parse_args(argv)
    done, signals = [], console.Signals()
    try:
        with signals:
            found = devices(args.device)
            if args.weights is not None:
                check_weights(args.weights)
            print_table((row for device in found for row in all_rows(device, args.weights)), done)
    except OSError as e:  # only printing meets it; `| head` is no mistake
        console.give_up(sys.stdout)
        if not isinstance(e, BrokenPipeError):
            console.say(f"gradcheck: standard output: cannot be written ({e.strerror})", sys.stderr)
        return 1
    except (BackendError, ValueError) as e:
        console.say(f"gradcheck: {e}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        console.say(f"gradcheck: interrupted after {len(done)} checks", sys.stderr)
        return signals.code
    return 0 if all(row.passed for row in done) else 1
