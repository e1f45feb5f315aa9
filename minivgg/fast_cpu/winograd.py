"""3×3 convolution with padding 1 by Winograd's algorithm F(4×4, 3×3), strip by strip, channels last.

Each 4×4 tile of the output needs 36 products a channel pair instead of 144. Nothing is gathered or scattered: the
transforms are small matrix products that read the tiles where they lie and write them where they belong (MATH.md,
"Winograd"). A strip is a few rows of tiles, small enough that what lies between input and output stays in the cache.

Names: t counts tiles along a row, v and u the six frequencies along x and along y, R tile rows in a strip,
T = R·tx tiles in a strip, C channels in, F channels out.
"""

import itertools

from ..threads import cores, one_blas_thread, parallel
from .memory import Arena
from .strip import Strip, edges, tallest
from .taps import M, N

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
    cuts = edges(ty, tx, *taps.channels)
    R = tallest(cuts)
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
    cuts = edges(ty, tx, C, F)
    R, strips = tallest(cuts), len(cuts) - 1
    slots = (N + 1) * (M * R + 2) * tx * max(C, F)  # Strip's X and Z, in the same place
    products = N * R * tx * (C + F)  # D and P
    rows = (M * R + 4) * W * 3 * max(C, F) // 2  # in the place of the products, before and after them
    if _enough(strips, workers):
        return itemsize * (slots + max(products, rows)), 0, itemsize * N * N * C * F
    apart = 2 if workers > N else 1
    return itemsize * max(products + N * C * F, rows), itemsize * apart * slots, 0


def _enough(strips, workers):
    """Whether there are strips enough for every worker to take whole ones, and nobody to wait at the end."""
    return strips >= 2 * workers or (strips > 1 and strips % workers == 0)


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
    slots = Strip.slots(R, tx, C, F)
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
            made[worker] = Strip(space, space, (R, tx, C, F), W, bias), arena.mark()
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
    slots = Strip.slots(R, tx, C, F)
    private = (N, R * tx, C), (N, R * tx, columns), (N, C, columns)
    rows = sources[0].need(M * R + 2) + sinks[0].need(M * R)
    need = max(Arena.need(dtype, *private), rows)  # one after the other
    arenas = [workspace.arena(i, need) for i in range(workers)]
    # one v's X is read and its Z written by one job, unless F is divided: then they lie apart
    apart = len(jobs) > N
    common = workspace.arena("shared", (1 + apart) * Arena.need(dtype, slots))
    space = common.array(slots, dtype)
    strip = Strip(space, common.array(slots, dtype) if apart else space, (R, tx, C, F), W, bias)
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
