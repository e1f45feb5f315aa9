"""How long an evaluation will take, before the first: its work, and the machine's rate."""

import functools
import time

import numpy as np

from minivgg.footprint import Walk

from ..terms import layers

# Direct convolution's operations a second as a multiple of the matrix product's: 0.97 (mini, 256 pixels) to 2.2 (vgg19,
# 1024) in benchmarks/README.md, since Winograd's algorithm takes a quarter of the products and time for its transforms.
EFFECTIVE = 1.5
SIDE = 1024  # of the matrices that are multiplied


def work_of(net, terms, H, W):
    """Operations of an undivided evaluation: multiplications and additions, forward and backward."""
    names = layers(terms)
    return 2 * 2 * Walk(net, names, None, H, W).cost() if names else 0


@functools.cache
def product_rate():
    """Operations a second of a float32 matrix product on all cores: the best of three."""
    a = np.ones((SIDE, SIDE), np.float32)
    out = a @ a
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        np.matmul(a, a, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * SIDE**3 / best
