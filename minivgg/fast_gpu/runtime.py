"""kernels.cu's kernels, launched, and what their arguments need."""

from functools import lru_cache
from pathlib import Path

from .. import cuda

KERNELS = Path(__file__).with_name("kernels.cu")
NULL = 0  # a null pointer, as a kernel's argument


@lru_cache
def compile_options(dtype, half):
    """For arrays of a type, transforms in half precision or not."""
    return cuda.compile_options(dtype, *(("-DHALF",) if half else ()))


def launch(xp, dtype, half, name, grid, args):
    """One kernel on the current stream; grid (blocks along the tiles, channels)."""
    cuda.launch(xp, KERNELS, compile_options(dtype, half), name, grid, args)


def pointer(a):
    return NULL if a is None else a


def vectors(W, *arrays):
    """1 if every row of these arrays, W wide, may be accessed four places at a time: 16 bytes, aligned. None counts."""
    return int(W % 4 == 0 and all(a.data.ptr % 16 == 0 for a in arrays if a is not None))
