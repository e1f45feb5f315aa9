"""The pairs (s, y) that L-BFGS keeps, with all scalar products between them: what its two loops run on.

Nocedal & Wright 2006, algorithm 7.4 (the two-loop recursion) in the form of Chen, Wang & Zhou 2014: both loops run on
coefficients, since every vector in them is a combination of the kept pairs s, y and the gradient. So an iteration reads
the pairs twice, once for their scalar products and once for the direction, and only those scalar products go to the
host. Derived in MATH.md 8.
"""

import numpy as np

from minivgg.backend import get_xp, to_numpy
from minivgg.fast_cpu.runtime import cores, one_blas_thread, parallel

BLOCK = 4096  # products are added up in the arrays' type within a block, in double precision over blocks
CHUNK = {"numpy": 1 << 20, "cupy": 1 << 26}  # values of the pairs handled at a time: what a processor's cache holds


class Pairs:
    """The last pairs (s, y) and their scalar products.

    blocks         (nblocks, 2·history, BLOCK): s of slot k in row 2k, y in row 2k+1, 0 where nothing is kept; cut into
                   blocks so that one batched product reads each block once
    products       (2·history, 2·history) scalar products of all rows, double precision, on the host
    with_gradient  (2·history + 1,) those with the current gradient, and the gradient's own square
    order          slots in use, the oldest first
    """

    def __init__(self, xp, dtype, size, history):
        self.xp, self.size, self.history = xp, size, history
        self.padded_shape = (-(-size // BLOCK), BLOCK)
        self.blocks = xp.zeros((self.padded_shape[0], 2 * history, BLOCK), dtype=dtype)
        self.products = np.zeros((2 * history, 2 * history))
        self.with_gradient = np.zeros(2 * history + 1)
        self.order = []

    def clear(self):
        """Forget all pairs."""
        self.order = []

    def add(self, x, x_new, g, g_new, factor=1.0):
        """Keep s = x_new - x, y = g_new - g in place of the oldest pair; take all products with them and the gradient.

        x … g_new  flat, (size,)
        factor     1: the gradient is now g_new. Else x goes on to x + factor · s and g to g + factor · y, in place and
                   while they are in the cache, and g is the gradient
        Curvature condition (Nocedal & Wright, eq. 6.7): without sᵀy > 0 the matrix would no longer be positive
        definite, so a pair whose sᵀy is not above rounding is dropped again (and leaves its slot empty).
        """
        xp, rows = self.xp, self.blocks.shape[1]
        slot = self.order[0] if len(self.order) == self.history else _first_free(self.order)
        two = slice(2 * slot, 2 * slot + 2)

        def products(chunk):
            part = self.blocks[chunk]
            news = xp.empty((len(part), 3, BLOCK), dtype=part.dtype)
            news[:, 2] = self._cut(g_new, chunk)
            xp.subtract(self._cut(x_new, chunk), self._cut(x, chunk), out=news[:, 0])
            xp.subtract(news[:, 2], self._cut(g, chunk), out=news[:, 1])
            part[:, two] = news[:, :2]
            if factor != 1:
                for v, change in ((x, news[:, 0]), (g, news[:, 1])):
                    here = v[chunk.start * BLOCK : chunk.stop * BLOCK]
                    here += (factor * change).reshape(-1)[: here.size]
            columns = news.transpose(0, 2, 1)
            # not news times itself: for that BLAS has a routine of its own, which is slow on three rows
            last = xp.matmul(news[:, 2:], columns).sum(axis=0, dtype=xp.float64)
            return xp.concatenate([xp.matmul(part, columns).sum(axis=0, dtype=xp.float64), last])

        found = to_numpy(sum(self._map(products)))  # (rows + 1, 3), in the chunks' order on any number of cores
        self.products[:, two] = found[:rows, :2]
        self.products[two, :] = found[:rows, :2].T
        self.with_gradient[:rows] = found[:rows, 2]
        self.with_gradient[rows] = found[rows, 2]
        if factor != 1:
            self._move(2 * slot + 1, factor - 1)
        self.order = [k for k in self.order if k != slot]
        sy, yy = found[two, 1]
        if sy > np.finfo(x.dtype).eps * yy:
            self.order.append(slot)

    def _move(self, y, share):
        """The gradient is not g_new but g_new + share · (row y), and so are its products."""
        with_y = self.products[:, y]
        square = self.with_gradient[-1] + 2 * share * self.with_gradient[y] + share**2 * with_y[y]
        self.with_gradient[:-1] += share * with_y
        self.with_gradient[-1] = square

    def _chunks(self):
        """Slices of the blocks: what is done with one is done while it is in the cache."""
        n, rows, _ = self.blocks.shape
        step = max(1, CHUNK.get(self.xp.__name__, CHUNK["numpy"]) // (rows * BLOCK))
        return [slice(i, min(i + step, n)) for i in range(0, n, step)]

    def _map(self, task):
        """[task(chunk), …], on the host on all cores."""
        chunks = self._chunks()
        if self.xp is not np:
            return [task(chunk) for chunk in chunks]
        results = [None] * len(chunks)

        def run(_, i):
            results[i] = task(chunks[i])

        with one_blas_thread():
            parallel(run, range(len(chunks)), cores())
        return results

    def _cut(self, v, chunk):
        """A chunk of a flat array as blocks (blocks, BLOCK); a view but for the last one, which is filled up with 0."""
        part = v[chunk.start * BLOCK : chunk.stop * BLOCK]
        if part.size % BLOCK:
            full = self.xp.zeros((chunk.stop - chunk.start) * BLOCK, dtype=v.dtype)
            full[: part.size] = part
            part = full
        return part.reshape(-1, BLOCK)

    def coefficients(self):
        """The two-loop recursion on coefficients: direction = Σ on_pairs[j] · row j + on_gradient · gradient.

        q starts as the gradient and is a combination of the y throughout; H₀ q and what is added to it one of s, y and
        the gradient. Each scalar product in the recursion is then one of rows of `products`.
        """
        P, g = self.products, self.with_gradient
        on_pairs, on_gradient = np.zeros(len(P)), 1.0
        alphas = {}
        for k in reversed(self.order):
            s, y = 2 * k, 2 * k + 1
            alphas[k] = (P[s] @ on_pairs + on_gradient * g[s]) / P[s, y]
            on_pairs[y] -= alphas[k]
        # Nocedal & Wright, eq. 7.20, takes the newest pair's; the largest kept trusts the directions that no pair knows
        scale = max(P[2 * k, 2 * k + 1] / P[2 * k + 1, 2 * k + 1] for k in self.order)
        on_pairs *= scale
        on_gradient *= scale
        for k in self.order:
            s, y = 2 * k, 2 * k + 1
            beta = (P[y] @ on_pairs + on_gradient * g[y]) / P[s, y]
            on_pairs[s] += alphas[k] - beta
        return -on_pairs, -on_gradient

    def combine(self, on_pairs, on_gradient, gradient, out):
        """out (nblocks, BLOCK) = Σ_j on_pairs[j] · row j + on_gradient · gradient."""
        xp = self.xp
        factors = xp.asarray(on_pairs[None], dtype=self.blocks.dtype)  # (1, rows)
        share = float(on_gradient)  # CuPy would take a NumPy scalar for a reason to widen

        def task(chunk):
            xp.matmul(factors, self.blocks[chunk], out=out[chunk, None])
            out[chunk] += share * self._cut(gradient, chunk)

        self._map(task)


def dot(a, b):
    """Scalar product of two flat arrays as a float: blocks in their own type, summed in double precision."""
    xp = get_xp(a)
    whole = a.size // BLOCK * BLOCK
    blocks = xp.matmul(a[:whole].reshape(-1, 1, BLOCK), b[:whole].reshape(-1, BLOCK, 1))
    return float(blocks.sum(dtype=xp.float64) + xp.matmul(a[whole:], b[whole:]))


def _first_free(order):
    return min(set(range(len(order) + 1)) - set(order))
