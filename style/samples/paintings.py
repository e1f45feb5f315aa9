"""Two paintings drawn by the project's own code, as styles: brush strokes and a mosaic. Units as in drawing.py."""

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from style.samples.drawing import ASPECT, blend, finish, grid, noise, ramp, step

# --------------------------------------------------------------------------------------------- brush strokes

BLUES = [(18, 30, 92), (30, 70, 160), (38, 128, 190), (96, 190, 196), (206, 230, 206)]
WARM = [(255, 240, 170), (252, 206, 62), (244, 142, 38), (216, 70, 40), (150, 28, 58)]
FIELDS = [(120, 150, 50), (232, 176, 50), (206, 84, 42), (60, 110, 66), (246, 210, 110), (150, 44, 66), (40, 82, 90)]
SUNS = [(0.93, 0.27, 0.085, 1.0), (0.33, 0.24, 0.0, -0.8), (0.64, 0.44, 0.0, 0.35)]  # x, y, radius, spin


def strokes(size: int = 512, seed: int = 0) -> np.ndarray:
    """A painting: a sun and its whirls over fields, in thick curved brush strokes. (3/4·size, size, 3) float32."""
    rng = np.random.default_rng(seed)
    x, y = grid(round(size * 1.5))  # painted finer, then reduced
    colour, angle = _composition(rng, *grid(384))
    ground = Image.fromarray(finish(0.7 * colour).astype(np.uint8)).resize((x.size, y.size))
    picture, relief = np.array(ground, dtype=float), np.zeros((y.size, x.size))
    for count, width, length in ((420, 0.062, 0.30), (1500, 0.032, 0.19), (3600, 0.018, 0.11), (2200, 0.0115, 0.075)):
        _paint(rng, picture, relief, colour, angle, count, width, length)
    relief = gaussian_filter(relief, y.size / 900)
    down, across = np.gradient(relief, 1 / y.size)
    light = -(0.75 * down + 0.65 * across) / 55
    picture *= 1 + np.clip(light, -0.5, 0.45)[..., None]
    picture += 90 * np.clip(light - 0.22, 0, 0.4)[..., None]
    H, W = max(1, round(size / ASPECT)), size
    fine = Image.fromarray(finish(picture).astype(np.uint8))
    return np.array(fine.resize((W, H), Image.Resampling.LANCZOS), dtype=np.float32)


def _composition(rng, x, y):
    """What is painted: colour (H, W, 3), and the direction of the brush (H, W) in radians."""
    wobble = noise(rng, x, y, 3, octaves=3)
    vx, vy = 1 + 0 * wobble, 0.5 * noise(rng, x, y, 3)
    bands = 9 * y + 1.2 * wobble
    for sx, sy, _, spin in SUNS:
        dx, dy = x - sx, y - sy
        near = np.exp(-(dx**2 + dy**2) / 0.045) * 9 * spin
        vx, vy = vx - near * dy * 4, vy + near * dx * 4
        r = np.hypot(dx, dy)
        bands = bands + 3.2 * abs(spin) * np.exp(-r / 0.16) * np.cos(60 * r + 2 * np.arctan2(dy, dx))
    t = 0.5 + 0.5 * np.sin(bands)
    colour = ramp(np.clip(0.15 + 0.75 * t + 0.2 * (y - 0.3), 0, 1), list(zip(np.linspace(0, 1, 5), BLUES)))
    sx, sy, radius, _ = SUNS[0]
    away = np.hypot(x - sx, y - sy) + 0.006 * wobble
    rings = ramp(away / (3.1 * radius), list(zip((0, 0.3, 0.52, 0.78, 1), WARM)))
    blend(colour, step(2.6 * radius - away, 0, 0.03) * (0.62 + 0.38 * np.cos(away * 75)), rings)
    blend(colour, step(radius - away, 0, 0.015), WARM[0])
    moon = np.hypot(x - SUNS[1][0], y - SUNS[1][1])
    blend(colour, step(0.075 - moon, 0, 0.03), (244, 240, 200))
    blend(colour, step(0.035 - moon, 0, 0.02), (250, 214, 110))
    hill = 0.64 + 0.05 * np.sin(3.2 * x + 0.5) + 0.02 * np.sin(9 * x)
    depth = (y - hill) / (1 - hill)  # fields: bands that widen towards us, cut by slanting lanes
    band = np.floor(5.2 * np.sqrt(np.clip(depth, 0, 1)) + 0.25 * np.sin(5 * x + 9 * depth))
    field = (band * 3 + np.floor(x * 2.3 / (0.6 + depth) - 0.9 * depth + 0.37 * band)).astype(int) % len(FIELDS)
    rows = 0.84 + 0.22 * np.sin(160 * depth / (0.6 + depth) + 8 * x)
    land = step(depth, 0, 0.02)
    blend(colour, land, np.array(FIELDS, dtype=float)[field] * rows[..., None])
    along = 0.16 * np.cos(3.2 * x + 0.5) + 0.18 * np.cos(9 * x) + 0.35 * np.sin(4 * x + 6 * depth)
    angle = np.where(land > 0.5, np.arctan(along), np.arctan2(vy, vx))
    return _cypress(rng, x, y, colour, angle)


def _cypress(rng, x, y, colour, angle):
    """Dark flames of trees before the fields: drawn over the colours, brushed upwards."""
    for cx, foot, height, width in ((0.17, 0.95, 0.60, 0.070), (0.29, 0.91, 0.32, 0.052)):
        up = (foot - y) / height
        sway = cx + 0.009 * np.sin(8 * up + 20 * cx)
        half = width * np.sqrt(np.clip(up, 0, 1)) * np.clip(1 - up, 0, 1) ** 0.65 * 1.7
        inside = (np.abs(x - sway) < half) & (up > 0) & (up < 1)
        flicker = 0.5 + 0.5 * np.sin(70 * (x - sway) / (0.5 + half * 6) + 14 * up)
        leaf = ramp(flicker, [(0, (14, 32, 44)), (0.6, (28, 74, 60)), (1, (92, 130, 58))])
        blend(colour, inside * 1.0, leaf)
        angle = np.where(inside, -np.pi / 2 + 0.2 * np.cos(8 * up + 20 * cx) - 2.5 * (x - sway), angle)
    return colour, angle


_HAIRS, _NODES = 24, 12  # of a brush; of a stroke's path


def _paint(rng, picture, relief, colour, angle, count, width, length):
    """One coat of `count` strokes, in place: each a bundle of bristles along `angle`, the later over the earlier.

    Every stroke is a patch of points, along × across. Their numbers are written into a map of owners, where the last
    one stays; only what can be seen is then given its colour.
    """
    H, W = relief.shape
    size = rng.uniform(0.7, 1.25, count)
    path, heading = _paths(rng, angle, length * size)
    along, across = max(2, int(length * 1.47 * H)), max(2, int(width * 1.47 * H))  # dense enough to leave no holes
    s, t = np.linspace(0, 1, along), np.linspace(-1, 1, across)
    hairs = np.linspace(0, _HAIRS - 1, across).round().astype(int)
    first = 0.09 * t**2 + 0.05 * rng.random((count, _HAIRS))[:, hairs]  # where each hair touches and leaves
    last = 1 - 0.08 * t**2 - 0.30 * rng.random((count, _HAIRS))[:, hairs] ** 3
    owner = _owners((H, W), path, heading, width / 2 * size, (s, t), (first, last))
    seen = np.flatnonzero(owner >= 0)
    stroke, point = np.divmod(owner[seen], along * across)
    s, t, hairs = s[point // across], t[point % across], hairs[point % across]
    mix = colour[_cells(path[0], angle.shape)] * rng.uniform(0.84, 1.16, (count, 1)) + rng.normal(0, 9, (count, 3))
    hair = (gaussian_filter(rng.standard_normal((count, _HAIRS)), (0, 0.8)) * 1.6)[stroke, hairs]
    picture.reshape(-1, 3)[seen] = mix[stroke] * (1 + 0.13 * hair - 0.08 * s)[:, None]
    body = np.sqrt(1 - 0.9 * t**2) + 0.35 * np.exp(-(((np.abs(t) - 0.8) / 0.15) ** 2)) + 0.28 * hair
    relief.reshape(-1)[seen] = width * 14 * body * (0.75 + 0.25 * size[stroke]) * (1 - 0.3 * s)


def _cells(points, shape):
    """Where points (…, 2) of x, y fall in an array of `shape`: row and column indices."""
    at = (points / (ASPECT, 1) * (shape[1], shape[0])).astype(int)
    return np.clip(at[..., 1], 0, shape[0] - 1), np.clip(at[..., 0], 0, shape[1] - 1)


def _paths(rng, angle, lengths):
    """Strokes from random places along the field: path (nodes + 1, n, 2) and heading (nodes + 1, n)."""
    n = len(lengths)
    path, heading = [rng.uniform(-0.03, 1.03, (n, 2)) * (ASPECT, 1)], []
    drift = rng.normal(0, 0.12, n)
    for _ in range(_NODES + 1):
        heading.append(angle[_cells(path[-1], angle.shape)] + drift)
        move = np.stack([np.cos(heading[-1]), np.sin(heading[-1])], axis=-1)
        path.append(path[-1] + move * (lengths / _NODES)[:, None])
    return np.array(path[:-1]), np.array(heading)


def _owners(shape, path, heading, half, axes, ends):
    """For each pixel the number of the last point laid on it, counted through all strokes, or −1: (H·W,) int32.

    half (n,): a stroke's half width; axes: positions along 0..1 and across −1..1; ends (n, across) each: the part of
    the way that every hair paints
    """
    (H, W), (s, t) = shape, axes
    k = np.minimum((s * _NODES).astype(int), _NODES - 1)
    f = (s * _NODES - k)[:, None]

    def sampled(nodes):  # (nodes + 1, n) → (n, along, 1) in pixels
        return ((1 - f) * nodes[k] + f * nodes[k + 1]).T.astype(np.float32)[..., None] * np.float32(H)

    x, y, dx, dy = (sampled(a) for a in (*np.moveaxis(path, 2, 0), -np.sin(heading) * half, np.cos(heading) * half))
    across = t.astype(np.float32)
    ids = np.arange(s.size * t.size, dtype=np.int32).reshape(s.size, t.size)
    count = np.int32 if len(half) * ids.size < 2**31 else np.int64  # the latter above 10,000 pixels or so
    owner = np.full(H * W, -1, dtype=count)
    batch = max(1, 300_000 // ids.size)  # so many strokes at a time stay in the cache
    for n in range(0, len(half), batch):
        part = slice(n, n + batch)
        px = np.floor(x[part] + dx[part] * across).astype(np.int32)  # (strokes, along, across)
        py = np.floor(y[part] + dy[part] * across).astype(np.int32)
        shown = (s[:, None] >= ends[0][part, None]) & (s[:, None] <= ends[1][part, None])
        shown &= (px >= 0) & (px < W) & (py >= 0) & (py < H)
        number = np.arange(n, n + len(px), dtype=count)[:, None, None] * ids.size + ids
        owner[(py * W + px)[shown]] = number[shown]  # of several points on one pixel NumPy keeps the last
    return owner


# ---------------------------------------------------------------------------------------------------- mosaic

TILE = 0.026


def mosaic(size: int = 512, seed: int = 0) -> np.ndarray:
    """A mosaic: a sun with rays over waves, in stone and gold glass. (3/4·size, size, 3) float32."""
    rng = np.random.default_rng(seed)
    x, y = grid(size)
    seeds = _tesserae(rng)
    colours = _design(rng, *seeds.T)
    points = np.stack(np.broadcast_arrays(x, y), axis=-1) + 0.0016 * np.stack(
        [noise(rng, x, y, 40), noise(rng, x, y, 40)], axis=-1
    )  # hand-cut: no edge quite straight
    distance, index = cKDTree(seeds).query(points, k=2)
    gap = (distance[..., 1] - distance[..., 0]) / TILE  # 0 on the line between two stones
    own = index[..., 0]
    offset = (points - seeds[own]) / TILE
    tilt = rng.normal(0, 0.16, (len(seeds), 2))
    light = 1 + (tilt[own] * offset).sum(-1) + 0.05 * noise(rng, x, y, 60, octaves=2)
    bevel = step(0.42 - gap, 0, 0.3)
    lean = (offset * (-0.6, -0.8)).sum(-1) / np.maximum(np.hypot(*np.moveaxis(offset, -1, 0)), 1e-6)
    stone = colours[own] * (light + 0.30 * bevel * lean)[..., None] + (22 * bevel * np.clip(lean, 0, 1))[..., None]
    grout = np.array([52, 44, 46]) * (1 + 0.12 * noise(rng, x, y, 90))[..., None]
    soft = 0.6 / (TILE * y.size)
    blend(grout, step(gap, 0.14 - soft, 0.14 + soft), stone)
    return finish(grout)


CENTRE = (ASPECT / 2, 0.40)
BORDER = 2.1 * TILE


def _tesserae(rng):
    """Where the stones lie, in rows that follow the drawing: rings round the sun, waves below, a straight border."""
    rows = []
    for k in range(1, 40):
        r = k * TILE
        n = max(5, round(2 * np.pi * r / TILE))
        a = (np.arange(n) + rng.random()) / n * 2 * np.pi
        rows.append(np.stack([CENTRE[0] + r * np.cos(a), CENTRE[1] + r * np.sin(a)], axis=-1))
    rings = np.concatenate([[CENTRE], *rows])
    rings = rings[rings[:, 1] < _waterline(rings[:, 0]) - 0.35 * TILE]
    waves = []
    for k in range(20):
        px = np.arange(-TILE, ASPECT + TILE, TILE) + rng.random() * TILE
        waves.append(np.stack([px, _waterline(px) + (k + 0.35) * TILE], axis=-1))
    inner = np.concatenate([rings, *waves])
    edge = BORDER - 0.02 * TILE
    inside = (np.minimum(inner[:, 0], ASPECT - inner[:, 0]) > edge + 0.3 * TILE) & (
        np.minimum(inner[:, 1], 1 - inner[:, 1]) > edge + 0.3 * TILE
    )
    return np.concatenate([inner[inside], _border()]) + rng.normal(0, 0.055 * TILE, (inside.sum() + len(_border()), 2))


def _border():
    out = []
    for k in range(2):
        d = (k + 0.5) * BORDER / 2
        nx, ny = round((ASPECT - 2 * d) / TILE), round((1 - 2 * d) / TILE)
        px, py = d + (ASPECT - 2 * d) * np.arange(nx + 1) / nx, d + (1 - 2 * d) * np.arange(1, ny) / ny
        for edge in (d, 1 - d):
            out.append(np.stack([px, np.full(nx + 1, edge)], axis=-1))
        for edge in (d, ASPECT - d):
            out.append(np.stack([np.full(ny - 1, edge), py], axis=-1))
    return np.concatenate(out)


def _waterline(px):
    return 0.70 + 0.022 * np.sin(9.4 * px + 0.6)


def _design(rng, px, py):
    """The colour of the stone at each place: (n, 3)."""
    n = len(px)
    dx, dy = px - CENTRE[0], py - CENTRE[1]
    away, a = np.hypot(dx, dy), np.arctan2(dy, dx)
    pick = rng.random(n)
    # sky: from turquoise round the sun to deep blue
    sky = ramp(
        np.clip(away / 0.75 + 0.12 * (pick - 0.5), 0, 1),
        [(0, (150, 214, 200)), (0.45, (52, 138, 176)), (0.8, (30, 70, 140)), (1, (22, 36, 90))],
    )
    gold = ramp(pick, [(0, (222, 150, 30)), (0.6, (250, 196, 60)), (1, (255, 232, 150))])
    red = ramp(pick, [(0, (150, 34, 34)), (0.7, (206, 66, 40)), (1, (236, 110, 50))])
    out = _sun(away, a, pick, sky, gold, red)
    # water: crests of foam, and under each the water from pale to deep
    depth = py - _waterline(px)
    level = depth / TILE + 1.7 * np.sin(9.4 * px + 2.4) + 0.6 * np.sin(21 * px)
    shades = np.array([(246, 240, 222), (150, 210, 196), (52, 160, 166), (24, 104, 142), (22, 62, 112)], dtype=float)
    water = np.where((depth < TILE)[:, None], shades[0], shades[np.floor(level % 5).astype(int)])
    out = np.where((depth > 0)[:, None], water * (0.88 + 0.24 * pick[:, None]), out)
    side = np.minimum(np.minimum(px, ASPECT - px), np.minimum(py, 1 - py))
    beat = np.floor((px + py) / (2.02 * TILE)) % 2
    frame = np.where((beat > 0)[:, None], red, np.array([58, 24, 44.0]) * (0.9 + 0.3 * pick[:, None]))
    out = np.where((side < BORDER)[:, None], np.where((side < BORDER / 2)[:, None], frame, gold), out)
    return out * rng.uniform(0.9, 1.1, (n, 1)) + rng.normal(0, 5, (n, 3))


def _sun(away, a, pick, sky, gold, red):
    """Disc, rings, and rays over the sky: nine long ones of gold, nine short red ones between, swaying a little."""
    turn = a / (2 * np.pi) * 9 + 0.25 + 0.10 * np.sin(away * 22)
    wedge = np.abs(turn - np.round(turn))
    long = wedge < 0.25
    wedge = np.where(long, wedge, 0.5 - wedge)
    ray = wedge < 0.25 * (1 - away / np.where(long, 0.62, 0.40))
    out = np.where(ray[:, None], np.where(long[:, None], gold, red), sky)
    for r, face in ((0.155, red), (0.125, gold), (0.062, np.array([255, 240, 196.0]) - 14 * pick[:, None])):
        out = np.where((away < r)[:, None], face, out)
    return out
