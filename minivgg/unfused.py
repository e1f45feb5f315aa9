"""Convolution, ReLU and pooling as one pair, out of layers.py's: for what the fast kernels are not made for."""

from typing import Any

from . import layers
from .backend import Array


def conv_relu_forward(
    x: Array, w: Array, b: Array, *, pool: str | None, param_grads: bool
) -> tuple[Array, tuple[Any, ...]]:
    """Convolution (3×3, padding 1), ReLU and, if asked for, 2×2 pooling.

    pool   None, "max" or "avg"
    cache  begins with "textbook", by which a caller tells it from its own
    """
    out, conv = layers.conv2d_forward(x, w, b, pad=1, param_grads=param_grads)
    out, relu = layers.relu_forward(out)
    if pool is None:
        return out, ("textbook", conv, relu, None, None)
    out, pooled = getattr(layers, f"{pool}pool2d_forward")(out)
    return out, ("textbook", conv, relu, pool, pooled)


def conv_relu_backward(dout: Array, cache: tuple[Any, ...], *, param_grads: bool) -> tuple[Array, Any, Any]:
    """Gradients (dx, dw, db) of conv_relu_forward; dw and db are None without param_grads."""
    _, conv, relu, pool, pooled = cache
    if pool is not None:
        dout = getattr(layers, f"{pool}pool2d_backward")(dout, pooled)
    return layers.conv2d_backward(layers.relu_backward(dout, relu), conv, param_grads=param_grads)
