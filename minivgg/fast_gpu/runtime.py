"""kernels.cu compiled at run time (NVRTC, through CuPy), and one way to launch its kernels."""

from functools import lru_cache
from pathlib import Path

REALS = ("float32", "float64")  # types of arrays that the kernels take
BLOCK = 128  # threads
NULL = 0  # a null pointer, as a kernel's argument


@lru_cache
def kernel_source():
    """The text of kernels.cu."""
    return Path(__file__).with_name("kernels.cu").read_text(encoding="utf-8")


def compile_options(real, half):
    """What kernels.cu is compiled with: arrays of `real` ("float" or "double"), transforms in half precision or not."""
    return ("-std=c++17", f"-DREAL={real}", *(("-DHALF",) if half else ()))


@lru_cache
def _kernel(xp, real, half, name):
    return _module(xp, real, half).get_function(name)


@lru_cache
def _module(xp, real, half):
    return xp.RawModule(code=kernel_source(), options=compile_options(real, half))


def launch(xp, dtype, half, name, grid, args):
    """One kernel on the current stream; grid (blocks along the tiles, channels)."""
    real = "float" if dtype.itemsize == 4 else "double"
    _kernel(xp, real, half, name)(grid, (BLOCK,), args)


def blocks(threads):
    return -(-threads // BLOCK)


def pointer(a):
    return NULL if a is None else a


def vectors(W, *arrays):
    """1 if every row of these arrays, W wide, may be accessed four places at a time: 16 bytes, aligned. None counts."""
    return int(W % 4 == 0 and all(a.data.ptr % 16 == 0 for a in arrays if a is not None))
