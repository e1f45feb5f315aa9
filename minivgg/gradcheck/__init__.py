"""Is a gradient right? Central differences, complex step, adjoint identity, directional derivative.

Each method gives a number or numbers that `relative_error` compares with the hand-written gradient; MATH.md has the
methods and their errors. rows.py applies them to every layer and to a network, and `python -m minivgg.gradcheck`
prints the table.
"""

from dataclasses import dataclass

import numpy as np

from ..backend import get_xp, to_numpy

BOUND_CENTRAL = 1e-7  # float64; what is left is rounding: about 1e-16 · |L| / (step · |gradient|)
BOUND_COMPLEX = 1e-12  # no subtraction, so a few units in the last place, times the depth of the sum
BOUND_ADJOINT = 1e-13
BOUND_FLOAT32 = 1e-5  # the same gradient computed in float32 against float64
STEP = 1e-4  # central differences of a single pair; off_kinks keeps 10 times this from every kink
NETWORK_STEP = 1e-6  # of a whole network, in units of its input: small, to cross hardly any kink (MATH.md, 8.5)
COMPLEX_STEP = 1e-30


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


def worst_entry(a, b):
    """Index of the largest |a - b|, a tuple; what is not finite counts as the largest. One shape, not empty."""
    a, b = np.asarray(to_host(a)), np.asarray(to_host(b))
    with np.errstate(invalid="ignore"):
        off = np.nan_to_num(np.abs(a - b), nan=np.inf)
    return tuple(int(k) for k in np.unravel_index(np.argmax(off), off.shape))


@dataclass(frozen=True)
class Deviation:
    """Where a gradient is farthest from what a method says.

    gradient  which: "dx", "dw", "db" …
    index     of the entry; () for a number, such as a slope along a direction
    found     the hand-written gradient's value there, expected the method's
    error     of the whole gradient, as relative_error has it
    """

    gradient: str
    index: tuple
    found: complex
    expected: complex
    error: float

    def __str__(self):
        where = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        return f"{self.gradient}{where} is {self.found:.10g}, expected {self.expected:.10g}"


def deviation(gradient, found, expected):
    """Deviation between two arrays of one shape, or two numbers; `gradient` is its name."""
    found, expected = np.asarray(to_host(found)), np.asarray(to_host(expected))
    index = worst_entry(found, expected)
    return Deviation(gradient, index, found[index].item(), expected[index].item(), relative_error(found, expected))


def worst(deviations):
    """The one with the largest error."""
    return max(deviations, key=lambda d: d.error)


def with_entries(gradient, slopes, entries):
    """The gradient on the host with slopes at `entries` (flat indices); complex where they are."""
    gradient = np.asarray(to_host(gradient))
    expected = gradient.astype(np.result_type(gradient, slopes))
    expected.reshape(-1)[entries] = slopes  # a view: astype has made a copy in C order
    return expected


def entries_error(gradient, slopes, entries):
    """relative_error of a gradient whose `entries` (flat indices) are compared with slopes; the others count as right.

    So the scale is the whole gradient's: entries that happen to be 0 would have none of their own.
    """
    return relative_error(gradient, with_entries(gradient, slopes, entries))


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


def slope(f, x, u, *, step):
    """d/dt f(x + t u) at 0 of a scalar f by a central difference: (f(x + step u) - f(x - step u)) / (2 step)."""
    return (f(x + step * u) - f(x - step * u)) / (2 * step)


def complex_slope(f, x, u, *, step=COMPLEX_STEP):
    """The same as Im f(x + i step u) / step: no kink is crossed and nothing cancels."""
    return f(x + 1j * step * u).imag / step


def directional_error(f, x, dx, u, *, step):
    """Slope of a scalar f along u by central differences, against <dx, u> (the projection check).

    x, dx, u  one shape; dx is the gradient that f's author claims at x
    returns   |s - <dx, u>| / max(|s|, |<dx, u>|),   s = slope(f, x, u, step)
    """
    return relative_error(slope(f, x, u, step=step), inner(dx, u))


def directional_complex_error(f, x, dx, u, *, step=COMPLEX_STEP):
    """directional_error with s = complex_slope(f, x, u, step)."""
    return relative_error(complex_slope(f, x, u, step=step), inner(dx, u))


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
