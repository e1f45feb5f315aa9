"""Pictures on a torus: beyond an edge lies what lies at the opposite one. Windows of them, and circular padding.

A set of kernels that pads with zeros pads circularly when its input gets a frame of what lies around and its output
loses it: `circular` makes the one out of the other, whatever the kernels. MATH.md 9.
"""

import copy
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from .backend import Array, get_xp
from .footprint import Footprint, count
from .given import Given
from .kernels import Kernels

Range = tuple[int, int]  # from, to, of an axis that goes round: 0 ≤ place < size is not asked of either


def on_plane(places: Range, size: int) -> Range:
    """What there is of a range of places of an axis that ends at its edges."""
    return max(places[0], 0), min(places[1], size)


def on_torus(places: Range, size: int) -> Range:
    """The same of an axis that goes round: all of it."""
    return places


PADDINGS: dict[str, Callable[[Range, int], Range]] = {"zeros": on_plane, "circular": on_torus}


def pieces(start: int, stop: int, size: int) -> Iterator[tuple[slice, slice]]:
    """(places of the axis, places of the window), …: where start..stop lies on an axis of `size` places."""
    at = start
    while at < stop:
        place = at % size
        n = min(size - place, stop - at)
        yield slice(place, place + n), slice(at - start, at - start + n)
        at += n


def window(x: Array, rows: Range, cols: Range) -> Array:
    """A window of a picture on a torus: out[n,c,p,q] = x[n, c, (rows[0] + p) mod H, (cols[0] + q) mod W]. MATH.md 9.

    x          (N, C, H, W)
    rows, cols (from, to): below 0 and beyond H or W lies the opposite edge; the window may be larger than x
    out        (N, C, to - from, to - from), in x's memory order; a view where it lies in one piece
    """
    shape = (*x.shape[:2], rows[1] - rows[0], cols[1] - cols[0])
    found = list(_pieces(x.shape, rows, cols))
    if len(found) == 1:
        return x[found[0][0]]
    return _filled(get_xp(x).empty_like(x, shape=shape), x, found)


def seen(x: Array, at: Any) -> Array:
    """x[at], at four slices of which the last two may lie beyond an edge, on a torus."""
    rows, cols = at[2:]
    return x[at] if None in (rows.stop, cols.stop) else window(x, (rows.start, rows.stop), (cols.start, cols.stop))


def add_window(dx: Array, dwindow: Array, rows: Range, cols: Range) -> None:
    """Adjoint of `window`: the same pieces the other way round, with += in place of =; what overlaps adds up.

    forward: out = x at the window's places, so dx at these places gets dwindow, once for every time they are seen
    """
    for place, part in _pieces(dx.shape, rows, cols):
        dx[place] += dwindow[part]


def _pieces(shape, rows, cols):
    """(index in the picture, index in the window), …"""
    every = (slice(None), slice(None))
    for (y, p), (x, q) in itertools.product(pieces(*rows, shape[2]), pieces(*cols, shape[3])):
        yield (*every, y, x), (*every, p, q)


def _filled(out, x, found):
    for place, part in found:
        out[part] = x[place]
    return out


def circular(kernels: Kernels) -> Kernels:
    """The same kernels with circular padding: for pictures whose sides are even before each pooling."""
    found = copy.copy(kernels)
    found.pairs, found.footprint = CircularPairs(kernels), CircularFootprint(kernels.footprint)  # type: ignore[assignment]
    return found


class CircularPairs:
    """layers.py's pairs, 3×3 convolutions at stride 1 alone, with circular padding, from pairs that pad with zeros.

    A frame of one place around the input, of what lies there on the torus, makes every output right but the frame's
    own, which sees zeros and is cut off. With pooling the frame is two places, so that windows stay where they are.
    """

    def __init__(self, kernels: Kernels):
        self.kernels, base = kernels, kernels.pairs
        self.relu_forward, self.relu_backward = base.relu_forward, base.relu_backward
        self.maxpool2d_backward, self.avgpool2d_backward = base.maxpool2d_backward, base.avgpool2d_backward
        self.conv2d_forward = functools.partial(self._forward, base.conv2d_forward, pad=1)
        self.conv2d_backward = functools.partial(self._backward, base.conv2d_backward)
        if kernels.fused:
            self.conv_relu_forward = functools.partial(self._forward, base.conv_relu_forward)
            self.conv_relu_backward = functools.partial(self._backward, base.conv_relu_backward)

    def maxpool2d_forward(self, x: Array, **own: Any) -> tuple[Array, Any]:
        """layers.maxpool2d_forward; ValueError for odd sizes, whose last row the torus does not lack."""
        check_even(x)
        return self.kernels.pairs.maxpool2d_forward(x, **own)

    def avgpool2d_forward(self, x: Array, **own: Any) -> tuple[Array, Any]:
        """layers.avgpool2d_forward; ValueError for odd sizes."""
        check_even(x)
        return self.kernels.pairs.avgpool2d_forward(x, **own)

    def _forward(self, forward, x, w, b, *, pool=None, keep=False, workspace=None, **more):
        """keep: the caller holds `out`, which then lies in one piece; else it may be a view of what has its frame."""
        own = {} if workspace is None else {"workspace": workspace}
        frame = 1
        if pool is not None:
            check_even(x)
            frame, more["pool"] = 2, pool
        out, cache = forward(self._framed(x, frame, workspace), w, b, **more, **own)
        inside = out[:, :, 1:-1, 1:-1]
        return self._copied(inside, workspace) if keep else inside, (cache, frame, x.shape, out.shape)

    def _backward(self, backward, dout, cache, *, add=None, workspace=None, **more):
        """The frame of `out` was cut off, so its gradient is 0; that of the input's frame goes where it was taken."""
        cache, frame, (N, C, H, W), out_shape = cache
        own = {} if workspace is None else {"workspace": workspace}
        if add is not None:
            more["add"] = _Framed(add, out_shape)
        framed = self.kernels.empty(dout, out_shape, workspace)
        framed[...] = 0
        framed[:, :, 1:-1, 1:-1] = dout
        dwindow, *params = backward(framed, cache, **more, **own)
        dx = dwindow[:, :, frame : frame + H, frame : frame + W]
        for place, part in _pieces(dx.shape, (-frame, H + frame), (-frame, W + frame)):
            if (part[2].start, part[3].start) != (frame, frame):  # of the frame: what lies within is dx itself
                dx[place] += dwindow[part]
        # the picture's goes to the optimiser, in one piece; those between layers may be views
        return self._copied(dx, workspace) if C == 3 else dx, *params

    def _framed(self, x, frame, workspace):
        rows, cols = ((-frame, n + frame) for n in x.shape[2:])
        shape = (*x.shape[:2], rows[1] + frame, cols[1] + frame)
        return _filled(self.kernels.empty(x, shape, workspace), x, _pieces(x.shape, rows, cols))

    def _copied(self, x, workspace):
        out = self.kernels.empty(x, x.shape, workspace)
        out[...] = x
        return out


class _Framed(Given):
    """A gradient with a frame of zeros, one place wide."""

    def __init__(self, inner, shape):
        self.inner, self.shape = inner, shape

    def whole(self):
        inner = self.inner.whole()
        out = get_xp(inner).zeros_like(inner, shape=self.shape)
        out[:, :, 1:-1, 1:-1] = inner
        return out

    def rows(self, n, y0, y1):
        top, bottom = max(y0, 1), min(y1, self.shape[2] - 1)
        inner = self.inner.rows(n, top - 1, bottom - 1)
        out = get_xp(inner).zeros((y1 - y0, self.shape[3], self.shape[1]), dtype=inner.dtype)
        out[top - y0 : bottom - y0, 1:-1] = inner
        return out


def check_even(x: Array) -> None:
    """Raise ValueError unless 2×2 windows divide a picture on a torus: the floor rule would tear it."""
    H, W = x.shape[2:]
    if H % 2 or W % 2 or not H * W:
        raise ValueError(f"pooling with circular padding: expected even sizes, found {H}x{W}")


class CircularFootprint(Footprint):
    """What `circular` makes of a set of kernels takes: the same on arrays with their frames, and these arrays."""

    def __init__(self, base: Footprint):
        self.base, self.tiled, self.adds_rows = base, base.tiled, base.adds_rows

    def heap(self):
        return self.base.heap()

    def scratch(self, shapes, size):
        return self.base.scratch([(_with_frame(a, 2), _with_frame(b, 2)) for a, b in shapes], size)

    def passing(self, step, before, after, size, *, backward):
        framed = _framed(step, before, after)
        return self.base.passing(step, *framed, size, backward=backward) + _frames(framed, (before, after), size)

    def cache(self, step, after, asked):
        """As the kernels' own of what nobody holds, and, in bytes of the widest type, what a view has around it."""
        framed = _with_frame(after, 1) if step.conv else after
        return self.base.cache(step, framed, False) + (8 * (count(framed) - count(after)) if step.conv else 0)

    def transforms(self, step, before, after, size):
        framed = _framed(step, before, after)
        return self.base.transforms(step, *framed, size) + _frames(framed, (before, after), size)

    def kept_transforms(self, convs, pixels, size):
        return self.base.kept_transforms([(_with_frame(a, 1), b) for a, b in convs], pixels, size)

    def filters(self, F, C, size):
        return self.base.filters(F, C, size)


def _framed(step, before, after):
    """(before, after) with their frames."""
    if not step.conv:
        return before, after
    return _with_frame(before, 2 if step.kind == "conv_relu_pool" else 1), _with_frame(after, 1)


def _frames(framed, plain, size):
    """A framed input, or an output beside its copy, or a framed gradient of it; and the frames of those that stay."""
    if framed == plain:
        return 0
    before, after = map(count, framed)
    return size * (max(before, after) + before + after - sum(map(count, plain)))


def _with_frame(shape, frame):
    C, H, W = shape
    return C, H + 2 * frame, W + 2 * frame
