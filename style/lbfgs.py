"""Limited-memory BFGS on the arrays' own device and in their own type.

Nocedal & Wright 2006, algorithm 7.4 (the two-loop recursion) in the form of Chen, Wang & Zhou 2014: both loops run on
coefficients, since every vector in them is a combination of the kept pairs s, y and the gradient. So an iteration reads
the pairs twice, once for their scalar products and once for the direction, and only those scalar products go to the
host. Derived in MATH.md.
"""

import numpy as np

from minivgg.backend import get_xp, to_numpy
from minivgg.fast_cpu.runtime import cores, one_blas_thread, parallel

from .precondition import Spectrum

BLOCK = 4096  # products are added up in the arrays' type within a block, in double precision over blocks
CHUNK = {"numpy": 1 << 20, "cupy": 1 << 26}  # values of the pairs handled at a time: what a processor's cache holds
ARMIJO, WOLFE = 1e-4, 0.9  # the decrease that a step must give, and how much of the slope it may leave
MAX_TRIALS = 12  # evaluations of one line search
FIRST_STEP = 1.0  # grey levels (root mean square) of the first step


class LBFGS:
    """The optimiser: `step(evaluate)` is one iteration; `x` is the picture, `loss` and `gradient` belong to it.

    x        (1, 3, H, W) start; not modified
    history  pairs (s, y) kept: 2 · history + 4 times the picture's memory, beside the objective's
    bounds   (low, high), arrays that broadcast to x, or None: steps are clipped to them, and pixels that a bound holds
             stay out of the direction (two-metric projection, Bertsekas 1982)
    """

    def __init__(self, x, *, history=10, bounds=None):
        if history < 1:
            raise ValueError(f"history {history}: keep at least 1 pair")
        xp = get_xp(x)
        self.x, self.trial = x.copy(order="C"), xp.empty_like(x, order="C")
        self.bounds = bounds and tuple(xp.asarray(v, dtype=x.dtype) for v in bounds)
        if bounds:
            xp.clip(self.x, *self.bounds, out=self.x)
        self.loss = self.gradient = None
        self.iterations = 0
        self.pairs = Pairs(xp, x.dtype, x.size, history)
        self.direction = xp.empty(self.pairs.padded_shape, dtype=x.dtype)

    def step(self, evaluate):
        """One iteration: a direction, a line search along it, a new pair. Returns "" or why there is no better picture.

        evaluate  image → (loss as a float, gradient like the image, which is ours to keep)
        """
        if self.gradient is None:
            self.loss, self.gradient = evaluate(self.x)
        slope = self._aim()
        if not slope < 0:  # the pairs contradict the gradient (rounding, or a bound): start afresh
            self.pairs.clear()
            slope = self._aim()
            if not slope < 0:
                return "the gradient is zero"
        found = self._search(evaluate, slope)
        if found is None and self.pairs.order:
            self.pairs.clear()
            found = self._search(evaluate, self._aim())
        if found is None:
            return "no lower loss along the gradient: the rounding of the loss is reached"
        loss, gradient = found
        flat = (v.reshape(-1) for v in (self.x, self.trial, self.gradient, gradient))
        self.pairs.add(*flat)
        self.x, self.trial = self.trial, self.x
        self.loss, self.gradient = loss, gradient
        self.iterations += 1
        return ""

    def _aim(self):
        """Set the direction; returns its slope, the scalar product with the gradient (0 where there is none)."""
        xp = get_xp(self.x)
        g = self.gradient.reshape(-1)
        d = self.direction.reshape(-1)[: g.size]
        if self.pairs.order:
            on_pairs, on_gradient = self.pairs.coefficients()
            self.pairs.combine(on_pairs, on_gradient, g, out=self.direction)
            if self.bounds is None:
                return float(np.append(on_pairs, on_gradient) @ self.pairs.with_gradient)
        else:
            norm = dot(g, g) ** 0.5
            scale = FIRST_STEP * g.size**0.5 / norm if norm > 0 else 0.0
            xp.multiply(g, -scale, out=d)
        if self.bounds is not None:
            low, high = self.bounds
            held = ((self.x <= low) & (self.gradient > 0)) | ((self.x >= high) & (self.gradient < 0))
            d[held.reshape(-1)] = 0
        return dot(d, g)

    def _search(self, evaluate, slope):
        """Line search for the weak Wolfe conditions: leaves the point in `trial`, returns (loss, gradient) or None.

        A step is too long when the loss falls by less than ARMIJO of what the slope promised, too short when more than
        WOLFE of the slope is left; between the two the next one is the cubic's minimum (Nocedal & Wright, eq. 3.59).
        """
        noise = 4 * np.finfo(self.x.dtype).eps * abs(self.loss)
        low, high = (0.0, self.loss, slope), None
        best, t = None, 1.0
        for _ in range(MAX_TRIALS):
            promised = self._go(t, slope)
            loss, gradient = evaluate(self.trial)
            here = (t, loss, dot(self._d(), gradient.reshape(-1)))
            if not loss <= self.loss + ARMIJO * promised + noise:
                high = here
            elif here[2] < WOLFE * slope and self.bounds is None:
                low, best = here, here
            else:
                return loss, gradient
            t = next_step(low, high)
        if best is None:
            return None
        self._go(best[0], slope)  # short, but lower
        return evaluate(self.trial)

    def _go(self, t, slope):
        """trial = x + t · direction, within the bounds; returns the change of the loss that the slope promises."""
        xp = get_xp(self.x)
        d = self._d().reshape(self.x.shape)
        if t != 1:
            d = xp.multiply(d, t, out=self.trial)
        xp.add(self.x, d, out=self.trial)
        if self.bounds is None:
            return t * slope
        xp.clip(self.trial, *self.bounds, out=self.trial)
        return dot((self.trial - self.x).reshape(-1), self.gradient.reshape(-1))

    def _d(self):
        return self.direction.reshape(-1)[: self.x.size]

    def state(self):
        """All that a later run needs to go on to the bit, as a dict of NumPy arrays."""
        started = self.gradient is not None
        return {
            "x": to_numpy(self.x).copy(),
            "loss": np.float64(self.loss if started else np.nan),
            "gradient": to_numpy(self.gradient).copy() if started else np.zeros(0, self.x.dtype),
            "iterations": np.int64(self.iterations),
            "pairs": to_numpy(self.pairs.blocks).copy(),
            "products": self.pairs.products.copy(),
            "with_gradient": self.pairs.with_gradient.copy(),
            "order": np.array(self.pairs.order, dtype=np.int64),
        }

    def restore(self, state):
        """Go on from what state() gave; the picture's shape, its type and the history must be the same."""
        for name, own in (("x", self.x), ("pairs", self.pairs.blocks)):
            found = state[name]
            if found.shape != own.shape or found.dtype != own.dtype:
                raise ValueError(
                    f"saved optimiser state: {name} is {found.shape} {found.dtype}, expected {own.shape} {own.dtype}"
                )
        xp = get_xp(self.x)
        self.x[...] = xp.asarray(state["x"])
        self.pairs.blocks[...] = xp.asarray(state["pairs"])
        self.pairs.products[...] = state["products"]
        self.pairs.with_gradient[...] = state["with_gradient"]
        self.pairs.order = [int(k) for k in state["order"]]
        self.iterations = int(state["iterations"])
        if np.isnan(state["loss"]):
            self.loss = self.gradient = None
        else:
            self.loss, self.gradient = float(state["loss"]), xp.asarray(state["gradient"]).copy()


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

    def add(self, x, x_new, g, g_new):
        """Keep s = x_new - x, y = g_new - g in place of the oldest pair; take all products with them and with g_new.

        x … g_new  flat, (size,)
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
            columns = news.transpose(0, 2, 1)
            # not news times itself: for that BLAS has a routine of its own, which is slow on three rows
            last = xp.matmul(news[:, 2:], columns).sum(axis=0, dtype=xp.float64)
            return xp.concatenate([xp.matmul(part, columns).sum(axis=0, dtype=xp.float64), last])

        found = to_numpy(sum(self._map(products)))  # (rows + 1, 3), in the chunks' order on any number of cores
        self.products[:, two] = found[:rows, :2]
        self.products[two, :] = found[:rows, :2].T
        self.with_gradient[:rows] = found[:rows, 2]
        self.with_gradient[rows] = found[rows, 2]
        self.order = [k for k in self.order if k != slot]
        sy, yy = found[two, 1]
        if sy > np.finfo(x.dtype).eps * yy:
            self.order.append(slot)

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
        s, y = 2 * self.order[-1], 2 * self.order[-1] + 1
        scale = P[s, y] / P[y, y]  # Nocedal & Wright, eq. 7.20: the size of the newest curvature
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


def next_step(low, high):
    """The next step length to try.

    low   (t, loss, slope) of the longest step that is too short
    high  (t, loss, slope) of the shortest step that is too long, or None

    The minimum of the cubic through both (Nocedal & Wright 2006, eq. 3.59), kept off the ends; without `high` four
    times as far.
    """
    if high is None:
        return 4 * low[0]
    (a, fa, da), (b, fb, db) = low, high
    width = b - a
    if not np.isfinite(fb):
        return a + 0.1 * width
    d1 = da + db - 3 * (fa - fb) / (a - b)
    root = d1 * d1 - da * db
    t = np.nan
    if root >= 0 and np.isfinite(db):
        d2 = root**0.5
        if db - da + 2 * d2 != 0:
            t = b - width * (db + d2 - d1) / (db - da + 2 * d2)
    if not np.isfinite(t):  # no cubic: the parabola through both losses and the slope at a
        bend = fb - fa - da * width
        t = a - da * width**2 / (2 * bend) if bend > 0 else a + width / 2
    return min(max(t, a + 0.1 * width), b - 0.1 * width)


def _first_free(order):
    return min(set(range(len(order) + 1)) - set(order))


def lbfgs(
    tracker,
    image,
    iterations,
    *,
    history=10,
    tolerance=0.0,
    bounds=None,
    precondition=0.0,
    state=None,
    on_iteration=None,
):
    """L-BFGS for optimize.minimize, on the picture's own device and in its own type.

    history       pairs (s, y) kept
    tolerance     stop when (f_k - f_{k+1}) / max(|f_k|, |f_{k+1}|, 1) falls to it, as SciPy's ftol; 0: never
    bounds        (low, high), arrays that broadcast to the image, or None
    precondition  α of precondition.Spectrum: the optimiser then works on the picture's weighted spectrum; 0: on pixels
    state         what LBFGS.state() gave in an earlier run: goes on from there, to the bit; `image` gives the device
    on_iteration  called with the LBFGS object after each iteration, to save its state, say
    """
    if precondition and bounds is not None:
        raise ValueError("bounds are on pixels, a preconditioned search is not: use one of the two")
    spectrum = Spectrum(image, precondition) if precondition else None
    optimiser = LBFGS(spectrum.invert(image) if spectrum else image, history=history, bounds=bounds)
    if state is not None:
        optimiser.restore(state)

    def evaluate(x):
        if spectrum is None:
            result = tracker.evaluate(x)
            return result.loss, result.gradient
        result = tracker.evaluate(spectrum.apply(x))  # x = P z
        return result.loss, spectrum.apply(result.gradient)  # dL/dz = P dL/dx

    while True:
        before = optimiser.loss
        stuck = optimiser.step(evaluate)
        if stuck:
            return "converged", f"L-BFGS ended after {tracker.evaluations} evaluations: {stuck}"
        tracker.iterations += 1
        if on_iteration is not None:
            on_iteration(optimiser)
        if tolerance and before is not None:
            scale = max(abs(before), abs(optimiser.loss), 1.0)
            if before - optimiser.loss <= tolerance * scale:
                return "converged", f"L-BFGS ended after {tracker.evaluations} evaluations: the loss no longer falls"
