"""The point, its gradient and the pairs (s, y) that L-BFGS keeps, as rows of one matrix, with their scalar products.

Nocedal & Wright 2006, algorithm 7.4 (the two-loop recursion) in the form of Chen, Wang & Zhou 2014: both loops run on
coefficients, since every vector in them is a combination of the kept pairs s, y and the gradient. So an iteration reads
the matrix twice, once for the rows' scalar products with the gradient and once for the next point, and only those
products go to the host. Derived in MATH.md 1.
"""

import numpy as np
from scipy.linalg.blas import dtrsv

from minivgg.backend import get_xp, to_numpy
from minivgg.threads import cores, one_blas_thread, parallel

BLOCK = 4096  # products are added up in the arrays' type within a block, in double precision over blocks
CHUNK = 1 << 22  # values of the pairs handled at a time: with fewer, the calls count


class Pairs:
    """The last pairs (s, y), the gradient and the point x, and their scalar products.

    With a metric M, a symmetric positive definite matrix, the two loops start from H₀ = γ M in place of γ I, and ask
    for w = M y and M·gradient where they would ask for y and the gradient (MATH.md 3). Without one w is y.

    rows           (nblocks, R, BLOCK), R = 2·history + 2, with a metric one more: s of place k in row 2k, w in row
                   2k+1, whatever they hold where the place is not in use; then M·gradient, if there is a metric, then
                   the gradient, then x. Cut into blocks so that one batched product reads each block once
    products       (2·history, history) scalar products of the pairs' rows with the y, double precision, on the host; 0
                   for an s and an older y, which the two loops never ask for
    with_gradient  (R - 1,) those of all rows but x with the gradient
    order          places in use, the oldest first
    """

    GRADIENT, X = -2, -1  # rows

    def __init__(self, x, history, *, metric=False):
        """x  flat, (size,);  metric  whether there is one: M·gradient is then handed over with every gradient"""
        self.xp, self.size, self.history = get_xp(x), x.size, history
        self.metric = self.GRADIENT - 1 if metric else self.GRADIENT  # the row of M·gradient
        self.padded_shape = (-(-x.size // BLOCK), BLOCK)
        self.rows = self.xp.zeros((self.padded_shape[0], 2 * history - self.metric, BLOCK), dtype=x.dtype)
        self.products = np.zeros((2 * history, history))
        self.with_gradient = np.zeros(self.rows.shape[1] - 1)
        self.order = []
        self._measured = None  # what measure() leaves for keep()
        self.put(self.X, x)

    def clear(self):
        """Forget all pairs, and what was measured, which need not be finite: no row may spoil a product."""
        self.order = []
        self.rows[:, : self.metric] = 0
        self.products[:] = self.with_gradient[: self.metric + 1] = 0

    def get(self, row):
        """A copy of a row, flat, (size,)."""
        return self.rows[:, row].copy().reshape(-1)[: self.size]

    def put(self, row, v):
        """Write v (size,) to a row."""
        whole = v.size // BLOCK
        self.rows[:whole, row] = v[: whole * BLOCK].reshape(whole, BLOCK)
        if whole < len(self.rows):
            self.rows[whole, row, : v.size - whole * BLOCK] = v[whole * BLOCK :]

    def set_gradient(self, gradient, m=None):
        """x has this gradient, (size,), and m = M·gradient: take all products with it."""
        self.put(self.GRADIENT, gradient)
        if m is not None:
            self.put(self.metric, m)
        self.with_gradient[:] = self.with_all(gradient)

    def measure(self, x_new, g_new, m_new=None):
        """Write s = x_new - x and w = M (g_new - gradient) in the place of the oldest pair; returns sᵀg_new.

        x_new  (nblocks, BLOCK), 0 beyond the picture; g_new (size,);  m_new = M g_new, (size,), where there is a metric
        The pair counts once `keep` is called; what is measured before that takes the same place. Only products with
        g_new are added up over all rows: those with y are what they have changed by.
        """
        slot = self.order.pop(0) if len(self.order) == self.history else _first_free(self.order)
        s = 2 * slot
        with_new, with_y = self._measure(s, x_new, g_new, g_new if m_new is None else m_new)
        self._measured = slot, with_new, with_y
        return float(with_new[s])

    def _measure(self, s, x_new, g_new, m_new):
        """Write the pair to rows s and s + 1; all rows' products (R - 1,) with g_new, and with y.

        In the places of gradient and M·gradient stand the products of g_new and m_new with g_new.
        """
        xp = self.xp

        def products(chunk):
            part = self.rows[chunk]
            g = self._blocks(g_new, chunk)
            m = g if m_new is g_new else self._blocks(m_new, chunk)
            xp.subtract(x_new[chunk], part[:, self.X], out=part[:, s])
            xp.subtract(m, part[:, self.metric], out=part[:, s + 1])
            own = self._with(g - part[:, self.GRADIENT], part[:, s : s + 2])
            new = [self._with(g, v[:, None]) for v in ((g,) if m is g else (m, g))]
            return xp.concatenate([self._with(g, part)[: self.X], own, *new])

        found = to_numpy(self._total(products))
        rows = len(self.with_gradient)
        with_new = found[:rows]
        with_y = with_new - self.with_gradient
        with_y[s : s + 2], with_new[self.metric + 1 :] = found[rows : rows + 2], found[rows + 2 :]
        return with_new, with_y

    def _blocks(self, v, chunk):
        """A chunk of a flat array as blocks, 0 beyond its end."""
        start, stop, _ = chunk.indices(len(self.rows))
        part = v[start * BLOCK : stop * BLOCK]
        if part.size < (stop - start) * BLOCK:
            part = self.xp.concatenate([part, self.xp.zeros((stop - start) * BLOCK - part.size, dtype=v.dtype)])
        return part.reshape(-1, BLOCK)

    def keep(self, x_new, g_new, factor=1.0, m_new=None):
        """Keep the pair that was measured; x is now x + factor · s, the gradient what it was + factor · y.

        x_new (nblocks, BLOCK), g_new, m_new (size,)  as for measure
        factor  1: x_new and g_new themselves, which are those that were measured. Else the pair that is kept is
                (factor · s, factor · y): BFGS's update is the same for a pair of any length
        Curvature condition (Nocedal & Wright, eq. 6.7): without sᵀy > 0 the matrix would no longer be positive
        definite, so a pair whose sᵀy is not above the rounding of sᵀg (as in SciPy's), or whose y is 0 (squared), is
        dropped again.
        """
        slot, with_g, with_y = self._measured
        s, w = 2 * slot, 2 * slot + 1
        before = with_g[s] - with_y[s]  # sᵀg where the step began
        curved = with_y[s] > np.finfo(self.rows.dtype).eps * abs(before) and with_y[w] > 0
        self._keep(s, x_new, g_new, g_new if m_new is None else m_new, factor)
        share = factor - 1  # the gradient is g_new + share · y
        square = with_g[self.metric + 1] + 2 * share * with_g[w] + share**2 * with_y[w]  # gᵀM g there
        for products in (with_g, with_y):
            products[s : w + 1] *= factor
        self.with_gradient[:] = with_g + share * with_y
        self.with_gradient[self.metric + 1] = square
        with_y = factor * with_y[: 2 * self.history]
        self.products[s], self.products[w] = 0, with_y[1::2]
        self.products[:, slot] = with_y
        if curved:
            self.order.append(slot)

    def _keep(self, s, x_new, g_new, m_new, factor):
        """Rows s and s + 1 times the factor; x, the gradient and M·gradient where that leads."""

        def move(chunk):
            part = self.rows[chunk]
            part[:, s : s + 2] *= factor
            part[:, self.X] += part[:, s]
            part[:, self.metric] += part[:, s + 1]
            if m_new is not g_new:
                part[:, self.GRADIENT] += factor * (self._blocks(g_new, chunk) - part[:, self.GRADIENT])

        if factor == 1:
            self.put(self.X, x_new.reshape(-1)[: self.size])
            self.put(self.metric, m_new)
            self.put(self.GRADIENT, g_new)
        else:
            self._map(move)

    def _with(self, v, part):
        """Products of rows in a part of them, (blocks, rows, BLOCK), with v (blocks, BLOCK): (rows,)."""
        return self.xp.matmul(part, v[:, :, None])[..., 0].sum(axis=0, dtype=self.xp.float64)

    def _chunks(self):
        """Slices of the blocks, which workers take in turn."""
        n, rows, _ = self.rows.shape
        step = blocks_together(rows)
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

    def _total(self, task):
        """Σ task(chunk), in the chunks' order on any number of cores."""
        return sum(self._map(task))

    def last_step(self, length):
        """Factors (R - 1,) that make `length` times the s that was measured last."""
        slot, factors = self._measured[0], np.zeros_like(self.with_gradient)
        factors[2 * slot] = length
        self.rows[:, 2 * slot + 1] = 0  # w need not be finite, and 0 times that is no number
        return factors

    def with_all(self, v):
        """Scalar products of all rows but x with v (size,), in double precision on the host."""
        found = self._total(lambda chunk: self._with(self._blocks(v, chunk), self.rows[chunk]))
        return to_numpy(found)[: self.X]

    def direction(self, with_gradient=None):
        """The two-loop recursion on coefficients: factors (R - 1,) of the rows in -H · gradient.

        with_gradient  products of another vector than the gradient with the rows: H times that one

        With R the products sᵢᵀyⱼ of the pairs by age, zero for j < i, the first loop, from the newest pair to the
        oldest, solves R α = Sᵀg, and the second, back to the newest, Rᵀδ = diag(R) α - Yᵀr, with r = H₀ (g - Y α).
        Then H g = r + S δ. With H₀ = γ M, r = γ (M g - W α) and Yᵀr = γ (Wᵀg - YᵀW α), for M is symmetric.
        """
        k = np.array(self.order)
        s, w = 2 * k, 2 * k + 1
        R, YW = self.products[s][:, k], self.products[w][:, k]
        by = self.with_gradient if with_gradient is None else with_gradient
        on_s, on_w = by[s], by[w]
        # Nocedal & Wright, eq. 7.20, takes the newest pair's; the largest kept trusts the directions that no pair knows
        scale = (R.diagonal() / YW.diagonal()).max()
        alpha = dtrsv(R, on_s)
        rest = R.diagonal() * alpha - scale * (on_w - YW @ alpha)
        delta = dtrsv(R, rest, trans=1)
        factors = np.zeros_like(self.with_gradient)
        factors[s], factors[w], factors[self.metric + 1] = -delta, scale * alpha, -scale
        return factors

    def combine(self, factors, on_x, out):
        """out (nblocks, BLOCK) = Σ_j factors[j] · row j + on_x · x; 0 beyond the picture."""
        xp = self.xp
        factors = xp.asarray(np.append(factors, on_x)[None], dtype=self.rows.dtype)

        def task(chunk):
            xp.matmul(factors, self.rows[chunk], out=out[chunk, None])

        self._map(task)
        return out


def blocks_together(rows):
    """Blocks of so many rows that are handled at a time."""
    return max(1, CHUNK // (rows * BLOCK))


def products(a, b):
    """Scalar product of two flat arrays, 0-d on their device: blocks in their own type, summed in double precision."""
    xp = get_xp(a)
    whole = a.size // BLOCK * BLOCK
    blocks = xp.matmul(a[:whole].reshape(-1, 1, BLOCK), b[:whole].reshape(-1, BLOCK, 1))
    return blocks.sum(dtype=xp.float64) + xp.matmul(a[whole:], b[whole:])


def dot(a, b):
    """Scalar product of two flat arrays as a float."""
    return float(products(a, b))


def _first_free(order):
    return min(set(range(len(order) + 1)) - set(order))
