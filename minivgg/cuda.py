"""CUDA sources compiled at run time (NVRTC, through CuPy), and one way to launch their kernels."""

from functools import lru_cache
from pathlib import Path

import numpy as np

REALS = {np.dtype("float32"): "float", np.dtype("float64"): "double"}  # types of arrays, and their names in C
BLOCK = 128  # threads


def blocks(threads):
    """Blocks for so many threads."""
    return -(-threads // BLOCK)


@lru_cache
def source(path):
    """The text of a CUDA source."""
    return Path(path).read_text(encoding="utf-8")


@lru_cache  # a type's name costs more than a launch
def compile_options(dtype, *more):
    """What a source is compiled with for arrays of a type: REAL is its name."""
    return ("-std=c++17", f"-DREAL={REALS[dtype]}", *more)


@lru_cache
def _kernel(xp, path, options, name):
    return _module(xp, path, options).get_function(name)


@lru_cache
def _module(xp, path, options):
    return xp.RawModule(code=source(path), options=options)


def launch(xp, path, options, name, grid, args):
    """One kernel on the current stream; grid (blocks along x, along y), args as CuPy's RawKernel takes them."""
    _kernel(xp, path, options, name)(grid, (BLOCK,), args)
