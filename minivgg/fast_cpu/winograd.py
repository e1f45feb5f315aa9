"""3×3 convolution with padding 1 by Winograd's algorithm F(4×4, 3×3), strip by strip, channels last.

Each 4×4 tile of the output needs 36 products a channel pair instead of 144. Nothing is gathered or scattered: the
transforms are small matrix products that read the tiles where they lie and write them where they belong (MATH.md,
"Winograd"). A strip is a few rows of tiles, small enough that what lies between input and output stays in the cache.

Names: t counts tiles along a row, v and u the six frequencies along x and along y, R tile rows in a strip,
T = R·tx tiles in a strip, C channels in, F channels out.
"""

import itertools

import numpy as np

from ..threads import cores, one_blas_thread, parallel
from .memory import Arena
from .taps import UNPACKED, M, N, divisor, matrices

# Tiles in a strip: with fewer, the calls count (the more the fewer channels there are); with more, the cache overflows.
# Measured on VGG-19 and mini at 512×512: 64 channels gain 18 % from 512 tiles, 32 channels 40 % from 1024.
STRIP_TILES = 256
STRIP_VALUES = 512 * 64  # tiles × channels
FEW_TILES = 256  # in a whole picture: with no more than that, transforming the filters again is felt (up to 40 %)
SMALL_PICTURE = 300 * 300  # pixels: in larger ones it is felt in few layers, and kept transforms of VGG-19 are 400 MB


def convolve(sources, sinks, taps, bias, size, workspace):
    """Convolve each source into its sink.

    sources  per picture: .rows(y0, y1, arena) -> (rows, first), rows (n, W, C) with rows[i] = row first + i; its
             .need(rows) bytes of arena
    sinks    per picture: .target(y0, y1, arena) -> (n, W, F) to be filled, .finish(y0, y1, rows, arena); .need(rows)
    taps     Taps
    bias     (F,) or None
    size     (H, W)
    """
    H, W = size
    ty, tx = -(-H // M), -(-W // M)
    cuts = strip_edges(ty, tx, *taps.channels)
    R = _tallest(cuts)
    strips = [(n, *strip) for n in range(len(sources)) for strip in itertools.pairwise(cuts)]
    workers = cores()
    with one_blas_thread():
        if workspace.keep_transforms and has_few_tiles(H, W):
            taps.store(ty * tx)
        else:
            taps.drop()
        if _enough(len(strips), workers):
            _by_strips(sources, sinks, taps, bias, (H, W, tx, R), strips, workers, workspace)
        else:
            _by_frequencies(sources, sinks, taps, bias, (H, W, tx, R), strips, workers, workspace)


def keeps_transforms(pixels):
    """Whether filters' transforms are worth keeping for pictures of so many pixels, where layers have few tiles."""
    return pixels <= SMALL_PICTURE


def has_few_tiles(H, W):
    """Whether an activation is so small that transforming the filters takes a part of the time that is felt."""
    return -(-H // M) * -(-W // M) <= FEW_TILES


def memory(C, F, size, workers, itemsize):
    """(scratch of each worker, scratch they share, transformed filters) in bytes, for one picture of size (H, W).

    Of both directions the larger. Rows in and out are counted half as wide again, for masks and pooling.
    """
    H, W = size
    ty, tx = -(-H // M), -(-W // M)
    cuts = strip_edges(ty, tx, C, F)
    R, strips = _tallest(cuts), len(cuts) - 1
    slots = (N + 1) * (M * R + 2) * tx * max(C, F)  # _Strip's X and Z, in the same place
    products = N * R * tx * (C + F)  # D and P
    rows = (M * R + 4) * W * 3 * max(C, F) // 2  # in the place of the products, before and after them
    if _enough(strips, workers):
        return itemsize * (slots + max(products, rows)), 0, itemsize * N * N * C * F
    apart = 2 if workers > N else 1
    return itemsize * max(products + N * C * F, rows), itemsize * apart * slots, 0


def _enough(strips, workers):
    """Whether there are strips enough for every worker to take whole ones, and nobody to wait at the end."""
    return strips >= 2 * workers or (strips > 1 and strips % workers == 0)


def strip_edges(ty, tx, C, F):
    """0, …, ty: where a picture of ty × tx tiles is cut into strips, of heights that are nearly equal.

    One strip, two, or a multiple of four, so that two or four workers have the same to do. By the shape alone: a
    run's last digits are not to depend on the number of cores.
    """
    strips = ty * tx / max(STRIP_TILES, STRIP_VALUES / max(C, F))
    count = (1 if strips < 1.5 else 2) if strips < 3 else 4 * round(strips / 4)
    count = min(count, ty)
    return [i * ty // count for i in range(count + 1)]


def _tallest(cuts):
    """Rows of tiles in the tallest strip."""
    return max(b - a for a, b in itertools.pairwise(cuts))


def _by_strips(sources, sinks, taps, bias, geometry, strips, workers, workspace):
    """Every worker takes whole strips: no worker waits for another until the end."""
    H, W, tx, R = geometry
    C, F = taps.channels
    dtype = taps.dtype
    U = [None] * N
    space = workspace.empty((N, N * C * F), dtype)

    def transform(worker, v):
        U[v] = taps.frequency(v, 0, F, space[v])

    parallel(transform, range(N), workers)
    slots = _Strip.slots(R, tx, C, F)
    private = (N, R * tx, C), (N, R * tx, F)
    # rows in, products, rows out: one after the other in the same place
    rest = max(Arena.need(dtype, *private), sources[0].need(M * R + 2), sinks[0].need(M * R))
    need = Arena.need(dtype, slots) + rest
    # taken here: the workspace serves one thread at a time
    arenas = [workspace.arena(i, need) for i in range(min(workers, len(strips)))]
    made = [None] * len(arenas)

    def task(worker, job):
        n, r0, r1 = job
        arena = arenas[worker]
        if made[worker] is None:
            space = arena.array(slots, dtype)
            made[worker] = _Strip(space, space, (R, tx, C, F), W, bias), arena.mark()
        strip, mark = made[worker]
        strip.transform_input(sources[n], r0, 0, M * (r1 - r0) + 2, H, arena)
        arena.release(mark)
        D, P = (arena.array(s, dtype) for s in private)
        for v in range(N):
            strip.multiply(v, U[v], r1 - r0, D, P)
        arena.release(mark)
        strip.transform_output(sinks[n], r0, 0, M * (r1 - r0), H, arena)
        arena.release(mark)

    parallel(task, strips, workers)


def _by_frequencies(sources, sinks, taps, bias, geometry, strips, workers, workspace):
    """All workers share one strip: they divide its rows, then the frequencies, then its rows again.

    For pictures so small that there is not a strip for every worker. Each frequency's filters are transformed by the
    worker that needs them and never leave its cache.
    """
    H, W, tx, R = geometry
    C, F = taps.channels
    dtype = taps.dtype
    jobs, columns = _products(F, workers)
    slots = _Strip.slots(R, tx, C, F)
    private = (N, R * tx, C), (N, R * tx, columns), (N, C, columns)
    rows = sources[0].need(M * R + 2) + sinks[0].need(M * R)
    need = max(Arena.need(dtype, *private), rows)  # one after the other
    arenas = [workspace.arena(i, need) for i in range(workers)]
    # one v's X is read and its Z written by one job, unless F is divided: then they lie apart
    apart = len(jobs) > N
    common = workspace.arena("shared", (1 + apart) * Arena.need(dtype, slots))
    space = common.array(slots, dtype)
    strip = _Strip(space, common.array(slots, dtype) if apart else space, (R, tx, C, F), W, bias)
    for n, r0, r1 in strips:

        def rows_in(worker, part, n=n, r0=r0):
            arenas[worker].release(0)
            strip.transform_input(sources[n], r0, *part, H, arenas[worker])

        def multiply(worker, job, r0=r0, r1=r1):
            v, f0, f1 = job
            arenas[worker].release(0)
            D = arenas[worker].array((N, (r1 - r0) * tx, C), dtype)
            P = arenas[worker].array((N, (r1 - r0) * tx, f1 - f0), dtype)
            U = taps.frequency(v, f0, f1, arenas[worker].array((N * C * (f1 - f0),), dtype))
            strip.multiply(v, U, r1 - r0, D, P, f0)

        def rows_out(worker, part, n=n, r0=r0):
            arenas[worker].release(0)
            strip.transform_output(sinks[n], r0, *part, H, arenas[worker])

        parallel(rows_in, _parts(M * (r1 - r0) + 2, workers, 1), workers)
        parallel(multiply, jobs, workers)
        parallel(rows_out, _parts(M * (r1 - r0), workers, 2), workers)  # 2: pooling windows stay whole


def _products(F, workers):
    """[(frequency, from, to of the F columns), …] and the most columns: divided where workers outnumber frequencies."""
    columns = -(-F // max(1, workers // N)) if workers > N else F
    columns = max(1, min(F, -(-columns // 32) * 32))
    return [(v, f, min(f + columns, F)) for v in range(N) for f in range(0, F, columns)], columns


def _parts(total, count, unit):
    """[(start, stop), …]: `total` in at most `count` parts of a multiple of `unit`."""
    step = -(-total // (count * unit)) * unit
    return [(i, min(i + step, total)) for i in range(0, total, step)]


class _Strip:
    """The working arrays of a strip and its three steps.

    X  (6v, 4R+2, tx, C)     input, transformed along x
    D  (6u, T, C)            one v: transformed along y as well
    P  (6u, T, F)            one v: D[u] @ U[v, u]
    Z  (7, 4R, tx, F)        transformed back along y; Z[6] is the bias, which the last product adds

    Z[v] may lie where X[v] lay: once P is there, X[v] is not needed any more.
    """

    def __init__(self, space_x, space_z, shape, W, bias):
        R, tx, C, F = shape
        dtype = space_x.dtype
        X = space_x[:N, : (M * R + 2) * tx * C].reshape(N, M * R + 2, tx, C)
        Z = space_z[:, : M * R * tx * F].reshape(N + 1, M * R, tx, F)
        self.X, self.Z, self.W, self.tx = X, Z, W, tx
        _, self.BT, self.AT = matrices(dtype)
        self.AT1 = self.AT
        if bias is not None:
            self.AT1 = np.ascontiguousarray(np.hstack([self.AT, np.ones((M, 1), dtype)]))
            Z[N] = bias
        self.X1 = X.transpose(1, 2, 0, 3)  # (4R+2, tx, 6, C)
        self.Z1 = Z[: self.AT1.shape[1]].transpose(1, 2, 0, 3)  # (4R, tx, 6 or 7, F)

    @staticmethod
    def slots(R, tx, C, F):
        """Shape of the memory for X and Z: seven slots, each as large as the larger of X[v] and Z[v]."""
        return N + 1, max((M * R + 2) * C, M * R * F) * tx

    def transform_input(self, source, r0, i0, i1, H, arena):
        """X[v, i, t] = Σ_j BT[v, j] x[4·r0 - 1 + i, 4t - 1 + j] for i0 ≤ i < i1; x is 0 outside the picture."""
        top = M * r0 - 1
        y0, y1 = max(0, top + i0), min(H, top + i1)
        X1, BT, W, tx = self.X1, self.BT, self.W, self.tx
        X1[i0 : max(i0, y0 - top)] = 0
        X1[max(i0, y1 - top) : i1] = 0
        if y1 <= y0:
            return
        x, first = source.rows(y0, y1, arena)
        x = x[y0 - first : y1 - first]
        X1 = X1[y0 - top : y1 - top]
        n = min(N - 1, W)  # tile 0: its first column lies outside
        np.matmul(BT[:, 1 : 1 + n], x[:, :n], out=X1[:, 0])
        last = max(1, (W - 1) // M)  # tiles 1..last-1 lie inside
        if last > 1:
            s = x.strides
            shape, strides = (len(x), last - 1, N, x.shape[2]), (s[0], M * s[1], s[1], s[2])
            inside = np.ndarray(shape, x.dtype, x, (M - 1) * s[1], strides)
            np.matmul(BT, inside, out=X1[:, 1:last])
        if last < tx:
            start = M * last - 1
            np.matmul(BT[:, : W - start], x[:, start:], out=X1[:, last])

    def multiply(self, v, U, R, D, P, f0=0):
        """For one v and the first R tile rows: D = BT X[v], P = D U, Z[v] = AT P, the outer two along y.

        U  (6, B, C, b)   the filters' columns f0..f0+F', F' = B·b
        """
        tx = self.tx
        B, C, b = U.shape[1:]
        F = B * b
        T = R * tx
        X = self.X[v, : M * R + 2].reshape(M * R + 2, tx * C)
        D, P = D.reshape(-1)[: N * T * C].reshape(N, T, C), P.reshape(-1)[: N * T * F].reshape(N, T, F)
        c = divisor(tx * C)
        s = X.strides
        tiles = np.ndarray((R, tx * C // c, N, c), X.dtype, X, 0, (M * s[0], c * s[1], s[0], s[1]))
        np.matmul(self.BT, tiles, out=D.reshape(N, R, -1, c).transpose(1, 2, 0, 3))
        halves = 2 if B > 1 and T * C * b > UNPACKED and T % 2 == 0 else 1
        blocks = P.reshape(N, halves, T // halves, B, b).transpose(0, 3, 1, 2, 4)
        np.matmul(D.reshape(N, 1, halves, T // halves, C), U[:, :, None], out=blocks)
        Z = self.Z[v, : M * R]  # (4R, tx, F of all)
        if Z.shape[2] == F:
            c = divisor(tx * F)
            Z = Z.reshape(R, M, -1, c).transpose(0, 2, 1, 3)
            np.matmul(self.AT, P.reshape(N, R, -1, c).transpose(1, 2, 0, 3), out=Z)
        else:
            Z = Z.reshape(R, M, tx, -1)[..., f0 : f0 + F].transpose(0, 2, 1, 3)
            np.matmul(self.AT, P.reshape(N, R, tx, F).transpose(1, 2, 0, 3), out=Z)

    def transform_output(self, sink, r0, i0, i1, H, arena):
        """out[4·r0 + i, 4t + j] = Σ_v AT[j, v] Z[v, i, t] + bias for i0 ≤ i < i1, what lies inside the picture."""
        y0, y1 = M * r0 + i0, min(H, M * r0 + i1)
        if y1 <= y0:
            return
        Z, W = self.Z1[i0 : i0 + y1 - y0], self.W
        out = sink.target(y0, y1, arena)
        whole = W // M
        n, w, F = out.shape
        s = out.strides
        if whole:
            tiles = np.ndarray((n, whole, M, F), out.dtype, out, 0, (s[0], M * s[1], s[1], s[2]))
            np.matmul(self.AT1, Z[:, :whole], out=tiles)
        if W % M:
            np.matmul(self.AT1[: W % M], Z[:, whole], out=out[:, M * whole :])
        sink.finish(y0, y1, out, arena)
