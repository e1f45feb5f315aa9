"""What a set of kernels offers to the network: the pairs, and what they want prepared, kept and counted."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from . import layers
from .backend import Array, get_xp
from .footprint import Footprint


class Kernels:
    """A set of kernels. What stands here is the textbook's; a fast set says what it does in another way.

    name        "textbook" (layers.py, arrays of any kind), "fast_cpu" or "fast_gpu" (the packages of these names)
    pairs       the module with layers.py's pairs: conv2d, relu, maxpool2d, avgpool2d, each _forward and _backward
    fused       whether there is a pair conv_relu as well, that takes a convolution, its ReLU and pooling as one
    precisions  of products, for float32 arrays; the first is the default
    precision   the one that is used, set before anything is prepared
    footprint   a Footprint: the bytes that all this takes
    """

    name, pairs, fused = "textbook", layers, False
    precisions: tuple[str, ...] = ("float32",)
    precision = "float32"
    footprint = Footprint()

    def prepare(self, w: Array, b: Array) -> Any:
        """Filters w (F, C, 3, 3) in the form in which the pairs like them best; they stand wherever w stands."""
        return w

    def workspace(self) -> Any:
        """Memory that outlives a call, one for each network, handed to every pair as workspace=…; None: they take none.

        It has an attribute keep_transforms, whether filters keep their transforms from call to call.
        """
        return None

    def empty(self, like: Array, shape: tuple[int, ...], workspace: Any) -> Array:
        """An uninitialised array of `like`'s type in the memory order that the pairs like best. workspace  or None"""
        return get_xp(like).empty_like(like, shape=shape)

    def keeps_transforms(self, pixels: int) -> bool:
        """Whether keeping the filters' transforms from call to call is worth their memory, in pictures of this size."""
        return False

    def release(self, workspace: Any, filters: Iterable[Any]) -> None:
        """Give back what is kept for the next call: of a workspace, and of the prepared filters (an iterable)."""

    def computing(self) -> contextlib.AbstractContextManager:
        """A context to hold over calls and what lies between them, a whole run long if may be."""
        return contextlib.nullcontext()

    def matmul(self, A: Array, B: Array) -> Array:
        """A @ B of matrices, made for those of Gram matrices: (C, M) @ (M, C), and (C, C) @ (C, M) in B's memory order.

        A place may be long (M, the places of an activation) or short (C, its channels). May be called by several
        threads at once, also within a task of threads.parallel.
        """
        return A @ B

    def record(
        self, function: Callable[[Array], tuple[Array, ...]], example: Array, reserve: int = 0
    ) -> Callable[[Array], tuple[Array, ...]]:
        """The same function of one array, made quicker to call again where the device has a way; else itself.

        function  gives a tuple of arrays; it asks the host for nothing on the way, and what it reads besides its
                  argument stays as it is
        example   an array of the shape and type that it will be called with
        reserve   bytes that it is expected to take on the way, besides the kernels' own
        """
        return function
