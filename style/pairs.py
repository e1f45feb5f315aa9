"""The pairs (s, y) that L-BFGS keeps, with all scalar products between them: what its two loops run on.

Nocedal & Wright 2006, algorithm 7.4 (the two-loop recursion) in the form of Chen, Wang & Zhou 2014: both loops run on
coefficients, since every vector in them is a combination of the kept pairs s, y and the gradient. So an iteration reads
the pairs twice, once for their scalar products with the gradient and once for the direction, and only those scalar
products go to the host. Derived in MATH.md 8.
"""

import numpy as np

from minivgg.backend import get_xp, to_numpy
from minivgg.fast_cpu.runtime import cores, one_blas_thread, parallel

BLOCK = 4096  # products are added up in the arrays' type within a block, in double precision over blocks
CHUNK = {"numpy": 1 << 22, "cupy": 1 << 26}  # values of the pairs handled at a time: with fewer, the calls count


class Pairs:
    """The last pairs (s, y) and their scalar products.

    blocks         (nblocks, 2·history, BLOCK): s of slot k in row 2k, y in row 2k+1, 0 where nothing is kept; cut into
                   blocks so that one batched product reads each block once
    products       (2·history, history) scalar products of all rows with the y, double precision, on the host; 0 for
                   an s and an older y, which the two loops never ask for
    with_gradient  (2·history + 1,) those with the current gradient, and the gradient's own square
    order          slots in use, the oldest first
    """

    def __init__(self, xp, dtype, size, history):
        self.xp, self.size, self.history = xp, size, history
        self.padded_shape = (-(-size // BLOCK), BLOCK)
        self.blocks = xp.zeros((self.padded_shape[0], 2 * history, BLOCK), dtype=dtype)
        self.products = np.zeros((2 * history, history))
        self.with_gradient = np.zeros(2 * history + 1)
        self.order = []

    def clear(self):
        """Forget all pairs."""
        self.order = []

    def add(self, x, x_new, g, g_new, factor=1.0):
        """Keep s = x_new - x, y = g_new - g in place of the oldest pair; take all products with y and the gradient.

        x … g_new  flat, (size,); g is the gradient of which `with_gradient` is known, where there are pairs
        factor     1: the gradient is now g_new. Else x goes on to x + factor · s and g to g + factor · y, in place, and
                   g is the gradient
        Only products with g_new are added up over all rows: those with y are what they have changed by.
        Curvature condition (Nocedal & Wright, eq. 6.7): without sᵀy > 0 the matrix would no longer be positive
        definite, so a pair whose sᵀy is not above rounding is dropped again (and leaves its slot empty).
        """
        xp, rows = self.xp, self.blocks.shape[1]
        slot = self.order[0] if len(self.order) == self.history else _first_free(self.order)
        s, y = 2 * slot, 2 * slot + 1

        def products(chunk):
            part = self.blocks[chunk]
            new = self._cut(g_new, chunk)
            xp.subtract(self._cut(x_new, chunk), self._cut(x, chunk), out=part[:, s])
            change = new - self._cut(g, chunk)
            part[:, y] = change
            with_y = xp.matmul(part[:, s : y + 1], change[..., None]).sum(axis=0, dtype=xp.float64)
            found = [self._with(new, chunk), with_y]
            if factor != 1:
                for v, row in ((x, s), (g, y)):
                    here = v[chunk.start * BLOCK : chunk.stop * BLOCK]
                    here += (factor * part[:, row]).reshape(-1)[: here.size]
            return xp.concatenate(found)[:, 0]

        found = to_numpy(sum(self._map(products)))  # (rows + 3,), in the chunks' order on any number of cores
        with_y = found[:rows] - self.with_gradient[:rows]
        with_y[s : y + 1] = found[rows + 1 :]
        self.products[s], self.products[y] = 0, with_y[1::2]
        self.products[:, slot] = with_y
        self.with_gradient[:] = found[: rows + 1]
        if factor != 1:  # the gradient is not g_new but g_new + (factor - 1) · y
            share = factor - 1
            square = self.with_gradient[-1] + 2 * share * self.with_gradient[y] + share**2 * with_y[y]
            self.with_gradient[:-1] += share * with_y
            self.with_gradient[-1] = square
        self.order = [k for k in self.order if k != slot]
        if with_y[s] > np.finfo(x.dtype).eps * with_y[y]:
            self.order.append(slot)

    def look(self, gradient):
        """Take all products with a gradient (size,) that is not the last pair's."""
        found = sum(self._map(lambda chunk: self._with(self._cut(gradient, chunk), chunk)))
        self.with_gradient[:] = to_numpy(found)[:, 0]

    def _with(self, v, chunk):
        """Products of the rows with v, and v's own square, over a chunk (blocks, BLOCK): (rows + 1, 1)."""
        xp, v = self.xp, v[..., None]
        parts = [xp.matmul(self.blocks[chunk], v), xp.matmul(v.transpose(0, 2, 1), v)]
        return xp.concatenate([p.sum(axis=0, dtype=xp.float64) for p in parts])

    def _chunks(self):
        """Slices of the blocks, which workers take in turn."""
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
        the gradient. Each scalar product in the recursion is then one of rows with a y, or with the gradient.
        """
        P, g = self.products, self.with_gradient
        on_s, on_y, on_gradient = np.zeros(self.history), np.zeros(self.history), 1.0
        alphas = {}
        for k in reversed(self.order):
            s = 2 * k
            alphas[k] = (P[s] @ on_y + on_gradient * g[s]) / P[s, k]
            on_y[k] -= alphas[k]
        # Nocedal & Wright, eq. 7.20, takes the newest pair's; the largest kept trusts the directions that no pair knows
        scale = max(P[2 * k, k] / P[2 * k + 1, k] for k in self.order)
        on_y *= scale
        on_gradient *= scale
        for k in self.order:
            s, y = 2 * k, 2 * k + 1
            beta = (P[y] @ on_y + P[::2, k] @ on_s + on_gradient * g[y]) / P[s, k]
            on_s[k] += alphas[k] - beta
        return -np.stack([on_s, on_y], axis=1).ravel(), -on_gradient

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
