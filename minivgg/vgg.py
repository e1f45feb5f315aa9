"""VGG-16 and VGG-19 from one table: forward to the layers asked for, backward from them.

Simonyan & Zisserman 2015, table 1, columns D and E: five blocks of 3×3 convolutions with a ReLU each, 2×2 pooling
after each block. Layers are called conv1_1, relu1_1, …, pool5; the widths come from the filters, so that a narrower
network of the same topology is the same code.
"""

import copy
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backend import Array, get_xp
from .given import Given
from .kernels import Kernels
from .program import poll
from .table import Params, channels_of, check_layer_name, check_params, infer_arch, level, reached_layers
from .torus import PADDINGS, circular


@dataclass(frozen=True)
class Step:
    """One call of a kernel: `kind` names the pair, `output` the layer that comes out, `conv` its filters."""

    kind: str  # conv | relu | pool | conv_relu | conv_relu_pool
    output: str
    conv: str | None = None


class Outline:
    """A network's shape with nothing in it: what memory and work are counted on.

    params   as for VGG, of which only names, shapes and type are looked at
    xp       the module of the arrays that it will compute with;  kernels  "fast" or "textbook"
    padding  "zeros" as trained, or "circular"
    """

    def __init__(self, params: Params, xp: Any, *, kernels: str = "fast", padding: str = "zeros"):
        self.arch = infer_arch(params)
        self.names = reached_layers(self.arch, params)
        check_params(params, self.arch)
        self.channels = channels_of(params, self.names)
        self.xp, self.dtype = xp, params["conv1_1"][0].dtype
        if padding not in PADDINGS:
            raise ValueError(f"padding {padding!r}: use {' or '.join(PADDINGS)}")
        self.padding, self.kernels = padding, load_kernels(kernels, xp)
        self.places = PADDINGS[padding]  # ((from, to), size) -> what there is of a range of an axis
        if padding == "circular":
            self.kernels = circular(self.kernels)

    def __repr__(self) -> str:
        widths = self.channels.values()
        width = f"{min(widths)}–{max(widths)}" if min(widths) < max(widths) else min(widths)
        what = f"{self.arch} to {self.names[-1]}, {width} channels, {self.dtype}, {self.kernels.name}"
        return f"{type(self).__name__}({what})"

    def steps(self, names: Collection[str], start: str | None = None) -> list[Step]:
        """[Step, …] from `start` to the deepest of `names`, fused where nobody asks for what lies between."""
        for name in names:
            check_layer_name(name, self.names)
        first = 0
        if start is not None:
            check_layer_name(start, self.names)
            first = self.names.index(start) + 1
        if not names:
            raise ValueError("forward: no layers asked for")
        positions = [self.names.index(name) for name in names]
        if min(positions) < first:
            raise ValueError(f"forward: {self.names[min(positions)]} lies before the start {start}")
        table = self.names[first : max(positions) + 1]
        steps = []
        while table:
            name = table[0]
            kind = name[:4]
            take = 1
            if kind == "conv" and self.kernels.fused and len(table) > 1 and name not in names:
                kind, take = "conv_relu", 2
                if len(table) > 2 and table[2].startswith("pool") and table[1] not in names:
                    kind, take = "conv_relu_pool", 3
            steps.append(Step(kind, table[take - 1], name if name.startswith("conv") else None))
            table = table[take:]
        return steps


class VGG(Outline):
    """The network with its filters.

    params   {"conv1_1": (w, b), …}: w (F, C, 3, 3), b (F,); their type and device are those of every computation.
             It may end early (say after conv5_1); what it has must be the beginning of VGG-16 or VGG-19.
    pooling  "max" as trained, or "avg", which Gatys et al. recommend for smoother pictures
    padding  "zeros" as trained, or "circular": a picture goes on at its opposite edge, so that what it is painted for
             tiles without a seam (torus.py). Its sides are then even before each pooling, or forward raises ValueError
    kernels  "fast": Winograd and fused layers (fast_cpu, fast_gpu), or "textbook": layers.py. The attribute `kernels`
             is the set itself, a Kernels
    precision  of the fast kernels' products on a GPU: "float32", "tf32" or "float16" (storage)
    keep_transforms  for small pictures the fast kernels on the CPU keep the transforms of the deep layers' filters
             from call to call, some 400 MB of VGG-19's, which saves a tenth of the time or more

    Raises ValueError when the filters do not chain from 3 channels, a name does not belong, or the kernels do not have
    the precision.
    """

    def __init__(
        self,
        params: Params,
        *,
        pooling: str = "max",
        padding: str = "zeros",
        kernels: str = "fast",
        precision: str = "float32",
        keep_transforms: bool = True,
    ):
        if pooling not in ("max", "avg"):
            raise ValueError(f"pooling {pooling!r}: use max or avg")
        xp = get_xp(params["conv1_1"][0]) if "conv1_1" in params else None
        super().__init__(params, xp, kernels=kernels, padding=padding)
        self.pooling, self.precision, self.keep_transforms = pooling, precision, keep_transforms
        if precision not in self.kernels.precisions:
            known = ", ".join(self.kernels.precisions)
            raise ValueError(f"precision {precision!r}: the {self.kernels.name} kernels have {known}")
        self.kernels.precision = precision
        self._workspace = self.kernels.workspace()  # this network's own, used again by its next call
        self._own = {} if self._workspace is None else {"workspace": self._workspace}
        self._prepare(params)

    def keeping_transforms(self, keep: bool) -> "VGG":
        """This network, its filters and buffers the same, as one that does or does not keep transforms."""
        other = copy.copy(self)
        other.keep_transforms = keep
        return other

    def set_params(self, params: Params) -> None:
        """Other filters of the same shapes, as training makes them at each step; the buffers are kept."""
        if {n: w.shape for n, (w, _) in params.items()} != {n: w.shape for n, (w, _) in self._params.items()}:
            raise ValueError("set_params: the filters' names and shapes must be those the network was made with")
        self._prepare(params)

    def _prepare(self, params):
        self._params = {name: (self.kernels.prepare(w, b), b) for name, (w, b) in params.items()}

    def forward(
        self,
        x: Array,
        names: str | Collection[str],
        *,
        start: str | None = None,
        param_grads: bool = False,
        cached: bool = True,
    ) -> tuple[dict[str, Array], Any]:
        """Activations at `names`; computes up to the deepest of them and no further.

        x      (1 or N, 3, H, W), mean taken off; with start="pool3", say, the activation at that layer instead
        names  layer names, or a single one
        feats  {name: (N, C, h, w)} in the order of the network; do not modify them before backward has run
        cache  for one call of backward; None with cached=False, which lets each layer's memory go at once

        With param_grads=True the cache keeps the layers' inputs, for backward_params.
        """
        names = (names,) if isinstance(names, str) else names
        steps = self.steps(names, start)
        channels = 3 if start is None else self.channels[start]
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(f"forward: expected (N, {channels}, H, W) at {start or 'the input'}, found {x.shape}")
        if self._workspace is not None:
            pixels = x.shape[2] * x.shape[3] << 2 * level(start)
            worth = not param_grads and self.kernels.keeps_transforms(pixels)
            self._workspace.keep_transforms = self.keep_transforms and worth
        feats, caches = {}, []
        for step in steps:
            poll()
            x, cache = self._forward_step(step, x, param_grads, step.output in names)
            if cached:
                caches.append(cache)
            del cache
            if step.output in names:
                feats[step.output] = x
        return feats, (steps, caches, {name: feat.shape for name, feat in feats.items()}) if cached else None

    def release(self) -> None:
        """Give back memory that is kept for the next call: worth it before one with pictures of another size."""
        self.kernels.release(self._workspace, (filters for filters, _ in self._params.values()))

    def computing(self) -> AbstractContextManager:
        """A context to hold while this network computes, a whole run long if may be: Kernels.computing."""
        return self.kernels.computing()

    def backward(self, dfeats: Mapping[str, Array | Given], cache: Any) -> Array:
        """Gradient by the input, from gradients at any set of the layers that forward returned.

        dfeats  {name: array or Given}, each of the activation's shape
        dx      like forward's x

        Raises ValueError when a gradient is at another layer or of another shape, or the cache has been used.
        """
        return self._backward(dfeats, cache, None)

    def backward_params(
        self, dfeats: Mapping[str, Array | Given], cache: Any
    ) -> tuple[Array, dict[str, tuple[Array, Array]]]:
        """(dx, {"conv1_1": (dw, db), …}) after a forward with param_grads=True."""
        grads: dict[str, tuple[Array, Array]] = {}
        return self._backward(dfeats, cache, grads), grads

    def _backward(self, dfeats, cache, grads):
        steps, caches, shapes = cache
        if len(caches) != len(steps):
            raise ValueError("backward: this cache has been used; run forward again")
        given, dx = _checked(dfeats, shapes), None
        for step in reversed(steps):
            poll()
            own = caches.pop()  # let each layer's memory go as soon as it is used
            here, by_rows = given.pop(step.output, None), None
            if here is not None and dx is not None and step.kind == "conv_relu":
                by_rows = here  # the kernel adds it on the way in
            elif here is not None:
                dx = here.whole() if dx is None else dx + here.whole()
            if dx is not None:
                dx = self._backward_step(step, dx, own, grads, by_rows)
            if here is not None:
                here.done()
        return dx

    def _forward_step(self, step, x, param_grads, asked_for):
        k = self.kernels.pairs
        if step.kind == "relu":
            return k.relu_forward(x, **self._own)
        if step.kind == "pool":
            return (k.maxpool2d_forward if self.pooling == "max" else k.avgpool2d_forward)(x, **self._own)
        w, b = self._params[step.conv]
        if step.kind == "conv":
            return k.conv2d_forward(x, w, b, pad=1, param_grads=param_grads, **self._own)
        pool = self.pooling if step.kind == "conv_relu_pool" else None
        # who asked for an activation holds it until backward: the cache can refer to it instead of keeping a mask
        keep = asked_for and pool is None
        return k.conv_relu_forward(x, w, b, pool=pool, param_grads=param_grads, keep=keep, **self._own)

    def _backward_step(self, step, dout, cache, grads, by_rows):
        k = self.kernels.pairs
        if step.kind == "relu":
            return k.relu_backward(dout, cache, **self._own)
        if step.kind == "pool":
            return (k.maxpool2d_backward if self.pooling == "max" else k.avgpool2d_backward)(dout, cache, **self._own)
        param_grads = grads is not None
        if step.kind == "conv":
            dx, dw, db = k.conv2d_backward(dout, cache, param_grads=param_grads, **self._own)
        else:
            dx, dw, db = k.conv_relu_backward(dout, cache, param_grads=param_grads, add=by_rows, **self._own)
        if param_grads:
            grads[step.conv] = (dw, db)
        return dx


def _checked(dfeats, shapes):
    """{name: Given} of what backward was handed; ValueError unless forward has returned activations of these shapes."""
    if not dfeats or not shapes.keys() >= dfeats.keys():
        found = ", ".join(dfeats) or "none"
        raise ValueError(f"backward: gradients at {found}; expected some of {', '.join(shapes)}, as forward was asked")
    given = {name: Given.of(gradient) for name, gradient in dfeats.items()}
    for name, gradient in given.items():
        if gradient.shape != shapes[name]:  # or it would be broadcast
            raise ValueError(f"backward: gradient {gradient.shape} at {name}, expected {shapes[name]}")
    return given


def load_kernels(name: str, xp: Any) -> Kernels:
    """The Kernels for arrays of the module xp: "textbook", or "fast", which is the set for their device.

    Raises ValueError for another name.
    """
    if name not in ("fast", "textbook"):
        raise ValueError(f"kernels {name!r}: use fast or textbook")
    if name == "fast" and xp is np:
        from .fast_cpu.kernels import FastCPU

        return FastCPU()
    if name == "fast" and getattr(xp, "__name__", "") == "cupy":  # a stand-in device has no CUDA to compile kernels for
        from .fast_gpu.kernels import FastGPU

        return FastGPU()
    return Kernels()
