"""A lake at sunset, drawn by arithmetic."""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from style.samples.drawing import ASPECT, Pen, blend, finish, grid, noise, noise_line, ramp, rough_line, step

HORIZON = 0.60
SUN = (0.50, 0.475)


def scene(size: int = 512, seed: int = 0) -> np.ndarray:
    """A lake at sunset: clouds, mountains, a lighthouse, a boat, pines and grass. (3/4·size, size, 3) float32."""
    rng = np.random.default_rng(seed)
    x, y = grid(size)
    picture = _sky(rng, x, y)
    _mountains(rng, x, y, picture)
    _headland(rng, x, y, picture)
    _lake(rng, x, y, picture)
    _boat(picture)
    _shore(rng, x, y, picture)
    return finish(picture)


def _sky(rng, x, y):
    stops = [(0, (36, 58, 122)), (0.3, (88, 104, 172)), (0.55, (190, 136, 170))]
    stops += [(0.78, (250, 168, 122)), (1, (255, 220, 150))]
    away = np.hypot(x - SUN[0], (y - SUN[1]) * 1.25)
    picture = ramp(np.clip(y / HORIZON + 0.05 - 0.1 * away, 0, 1), stops)
    blend(picture, 0.75 * np.exp(-away / 0.16), (255, 226, 150))
    billows = noise(rng, x, y, 7, stretch=3.2, octaves=6)
    density = billows + 0.5 * noise(rng, x, y, 3, stretch=3) + 0.12
    lit = np.gradient(gaussian_filter(density, y.size / 150), 1 / y.size, axis=0)  # thinner downwards: lit from below
    light = np.clip(0.55 - 0.035 * lit + 0.35 * np.exp(-away / 0.4), 0, 1)
    clouds = ramp(light, [(0, (86, 78, 136)), (0.45, (196, 122, 150)), (0.75, (255, 176, 130)), (1, (255, 238, 196))])
    blend(picture, step(density, 0.0, 0.9) * step(HORIZON - y, 0.02, 0.25) * 0.92, clouds)
    blend(picture, step(0.042 - np.hypot(x - SUN[0], y - SUN[1]), -1 / y.size, 1 / y.size), (255, 250, 218))
    return picture


def _mountains(rng, x, y, picture):
    """Four ranges, each nearer, darker and rougher than the one behind it, lit from the sun's side."""
    haze = np.array([238, 168, 140.0])
    side = np.tanh((x - SUN[0]) / 0.12)
    for k, (base, height, rough) in enumerate([(0.53, 0.13, 4), (0.565, 0.20, 3), (0.60, 0.13, 4), (0.605, 0.05, 9)]):
        ridge = sum(0.55**o * (0.8 - np.abs(noise_line(rng, x[0], rough * 2**o))) for o in range(6))
        far = np.abs(x[0] - SUN[0])
        top = base - height * (0.1 + 0.45 * ridge + 0.5 * step(far, 0.0, 0.5))  # the valley opens towards the sun
        depth = y - top[None]
        folds = sum(0.6**o * np.abs(noise(rng, x, y, (6 + 2 * k) * 2**o, stretch=0.6)) for o in range(5))
        lean = np.gradient(folds, ASPECT / x.size, axis=1) * side + 0.35 * np.gradient(folds, 1 / y.size, axis=0)
        light = step(lean / (20 + 4 * k), -1.1, 1.1)
        near = (k + 1) / 4
        dark = (1 - near) * haze + near * np.array([30, 44, 84])
        bright = (1 - 0.7 * near) * haze + 0.7 * near * np.array([216, 128, 104])
        rock = dark + light[..., None] * (bright - dark)
        if k == 1:  # snow on the high range
            snow = step(0.085 - 0.05 * folds - depth, 0, 0.012)
            rock += snow[..., None] * (np.array([150, 140, 190]) + light[..., None] * (105, 90, 30) - rock) * 0.9
        mist = step(depth, 0.03, 0.2)[..., None] * 0.45 * (1 - 0.6 * near)
        blend(picture, step(depth, -0.7 / y.size, 0.7 / y.size), rock + mist * (haze - rock))


def _headland(rng, x, y, picture):
    """A rocky point on the right with a lighthouse and a house."""
    rise = 0.085 * step(x[0], 0.90, 1.12) + 0.012 * rough_line(rng, x[0], 8, 4) * step(x[0], 0.88, 1.0)
    depth = y - (HORIZON - rise)[None]
    grain = noise(rng, x, y, 16, octaves=4)
    light = np.clip(0.5 + np.gradient(grain, ASPECT / x.size, axis=1) / -90, 0, 1)[..., None]
    rock = np.array([44, 40, 62]) + light * np.array([150, 92, 62])
    turf = np.array([52, 84, 60]) + light * np.array([110, 84, 10])
    rock += (step(0.022 + 0.008 * grain - depth, 0, 0.012))[..., None] * (turf - rock)
    blend(picture, step(depth, -0.7 / y.size, 0.7 / y.size) * (x > 0.86), rock)
    pen = Pen(picture.shape)
    _lighthouse(pen, 1.10, 0.525)
    _house(pen, 1.19, 0.53)
    pen.lay_over(picture)
    lamp = np.hypot(x - 1.10, y - 0.268)
    blend(picture, np.clip(0.9 * np.exp(-lamp / 0.022), 0, 1), (255, 244, 190))


def _lighthouse(pen, cx, foot):
    band, wide, narrow = 0.0375, 0.034, 0.021
    top = foot - 6 * band
    for k in range(6):  # bands, each shaded in slices from the lit left to the dark right
        y0, y1 = foot - k * band, foot - (k + 1) * band
        a, b = wide + (narrow - wide) * k / 6, wide + (narrow - wide) * (k + 1) / 6
        base = np.array([246, 238, 226] if k % 2 else [206, 60, 50])
        for s in range(8):
            l, r = -1 + s / 4, -1 + (s + 1) / 4
            corners = [(cx + l * a, y0), (cx + r * a, y0), (cx + r * b, y1), (cx + l * b, y1)]
            pen.polygon(corners, np.clip(base * (1.04, 1.02, 0.99) * (1 - 0.07 * s), 0, 255))
    pen.box(cx - 0.029, top - 0.007, cx + 0.029, top, (58, 48, 62))
    pen.box(cx - 0.016, top - 0.036, cx + 0.016, top - 0.007, (255, 236, 160))
    for dx in (-0.016, -0.005, 0.005, 0.016):
        pen.line([(cx + dx, top - 0.007), (cx + dx, top - 0.036)], (70, 54, 62), 0.002)
    pen.polygon([(cx - 0.021, top - 0.035), (cx + 0.021, top - 0.035), (cx, top - 0.066)], (150, 42, 46))
    pen.polygon([(cx, top - 0.066), (cx + 0.021, top - 0.035), (cx + 0.004, top - 0.035)], (104, 30, 44))
    for k in (1, 3):
        y1 = foot - k * band - 0.012
        pen.box(cx - 0.005, y1 - 0.014, cx + 0.003, y1, (70, 58, 74))


def _house(pen, cx, foot):
    def at(*points):
        """Points in half widths to the right and wall heights up from the middle of the foot."""
        return [(cx + 0.052 * px, foot - 0.05 * py) for px, py in points]

    def box(x0, y0, x1, y1, colour):
        pen.polygon(at((x0, y0), (x1, y0), (x1, y1), (x0, y1)), colour)

    box(-1, 0, 0.35, 1, (240, 214, 180))
    pen.polygon(at((0.35, 0), (1, 0.08), (1, 1), (0.67, 1.75), (0.35, 1)), (138, 108, 118))
    pen.polygon(at((-1.1, 0.95), (0.35, 0.95), (0.68, 1.8), (-0.8, 1.8)), (186, 82, 56))
    for t in (0.2, 0.4, 0.6, 0.8):
        pen.line(at((-1.1 + 0.3 * t, 0.95 + 0.85 * t), (0.35 + 0.33 * t, 0.95 + 0.85 * t)), (146, 58, 46), 0.0017)
    pen.line(at((0.35, 0.95), (0.68, 1.82), (1.06, 0.95)), (104, 44, 44), 0.0045)
    box(-0.45, 1.6, -0.2, 2.2, (150, 92, 78))
    for px in (-0.78, -0.12):
        box(px, 0.3, px + 0.28, 0.72, (84, 60, 58))
        box(px + 0.03, 0.34, px + 0.25, 0.68, (255, 216, 110))
    box(-0.4, 0, -0.2, 0.55, (112, 62, 50))
    box(0.58, 0.45, 0.76, 0.85, (255, 200, 96))


def _lake(rng, x, y, picture):
    """What is above the horizon, mirrored and broken by ripples that grow towards us; the sun's path on it."""
    H, W = picture.shape[:2]
    below = y[:, 0] > HORIZON
    near = (y - HORIZON) / (1 - HORIZON)
    ripples = noise(rng, x, y, 48, stretch=9, octaves=2) * 0.6 + noise(rng, x, y, 22, stretch=7)
    rows = (2 * HORIZON - y - 0.004 + 0.035 * near * ripples) * H - 0.5
    columns = (x + 0.012 * near * ripples) / ASPECT * W - 0.5
    rows, columns = (np.clip(rows, 0, HORIZON * H - 1.5))[below], columns[below]
    mirror = np.stack(
        [map_coordinates(picture[..., c], [rows, columns], order=1, mode="nearest") for c in range(3)], -1
    )
    water = mirror * (0.92, 0.88, 0.88) + near[below][..., None] * ((-34, -14, 14) + ripples[below][..., None] * 13.0)
    path = np.exp(-(((x - SUN[0]) / (0.045 + 0.11 * near)) ** 2))
    glitter = step(noise(rng, x, y, 56, stretch=5, octaves=2) + 0.9 * path, 1.1, 1.9) * path
    picture[below] = water
    blend(picture, glitter * (y > HORIZON) * 0.9, (255, 232, 170))
    shore = np.exp(-(((y - HORIZON - 0.003) / 0.0035) ** 2)) * 0.45
    blend(picture, shore, (255, 226, 190))


def _boat(picture):
    pen = Pen(picture.shape)
    cx, cy, s = 0.76, 0.705, 0.085
    hull = [(-0.62, -0.10), (0.72, -0.12), (0.50, 0.10), (-0.46, 0.10)]
    main, jib = [(-0.02, -0.18), (-0.02, -1.35), (-0.62, -0.24)], [(0.05, -0.18), (0.05, -1.2), (0.62, -0.22)]

    def at(points, flip=1.0):
        return [(cx + s * px, cy + 0.1 * s + s * flip * (py - 0.1)) for px, py in points]

    for points, colour in ((main, (206, 150, 130, 150)), (jib, (170, 120, 130, 150)), (hull, (70, 40, 60, 190))):
        pen.polygon(at(points, -0.8), colour)
    pen.polygon(at(main), (255, 246, 224))
    pen.polygon(at([(-0.02, -0.18), (-0.02, -1.35), (-0.2, -0.2)]), (236, 206, 190))
    pen.polygon(at(jib), (240, 160, 96))
    pen.polygon(at([(0.05, -0.18), (0.05, -1.2), (0.25, -0.2)]), (214, 120, 88))
    pen.line(at([(0.015, 0), (0.015, -1.42)]), (74, 46, 44), 0.004)
    pen.polygon(at(hull), (128, 48, 48))
    pen.polygon(at([(-0.62, -0.10), (0.72, -0.12), (0.69, -0.06), (-0.59, -0.04)]), (246, 226, 200))
    for k in range(5):
        w, yk = 0.9 - 0.14 * k, cy + 0.012 + 0.009 * k
        pen.line([(cx - s * w, yk), (cx + s * (w - 0.25), yk)], (255, 226, 190, 120), 0.0022)
    pen.lay_over(picture)


def _shore(rng, x, y, picture):
    """The near bank: a slope of grass and flowers, and pines on the left."""
    bank = 0.905 - 0.16 * step(0.62 - x[0], 0, 0.62) - 0.06 * step(x[0], 1.0, ASPECT)
    bank += 0.008 * rough_line(rng, x[0], 9, 3)
    depth = y - bank[None]
    grain = noise(rng, x, y, 24, stretch=0.7, octaves=4)
    lit = np.clip(0.42 - 2.2 * depth + 0.14 * grain, 0, 1)
    soil = ramp(lit, [(0, (26, 44, 46)), (0.45, (60, 92, 52)), (1, (206, 170, 70))])
    blend(picture, step(depth, -0.8 / y.size, 0.8 / y.size), soil)
    pen = Pen(picture.shape)
    for px, height in ((0.335, 0.30), (0.03, 0.50), (0.235, 0.40), (0.125, 0.58)):
        _pine(rng, pen, px, np.interp(px, x[0], bank) + 0.015, height)
    _grass(rng, pen, x[0], bank)
    pen.lay_over(picture)


def _pine(rng, pen, cx, foot, height):
    pen.polygon([(cx - 0.008, foot), (cx + 0.008, foot), (cx + 0.002, foot - height)], (58, 36, 40))
    tiers = 17
    for k in range(tiers):  # from the bottom up, each tier a fan of drooping twigs, lit on the sun's side
        t = k / tiers
        yk, reach = foot - height * (0.10 + 0.88 * t), height * 0.25 * (1 - t) ** 0.85 + 0.004
        for side in np.linspace(-1, 1, 19):
            length = reach * rng.uniform(0.72, 1.1)
            tip = (cx + side * length, yk + 0.30 * reach * (1 - 0.4 * side**2) + rng.uniform(-0.006, 0.006))
            root = (cx + 0.25 * side * length, yk - 0.16 * reach)
            light = np.clip(0.25 + 0.5 * side + rng.uniform(-0.2, 0.25), 0, 1)
            colour = ramp(light, [(0, (18, 40, 48)), (0.5, (38, 74, 58)), (1, (168, 140, 66))])
            bend = ((root[0] + tip[0]) / 2, (root[1] + tip[1]) / 2 - 0.004)
            pen.line([root, bend, tip], colour, 0.0075 * (1.1 - 0.5 * t))


def _grass(rng, pen, x, bank):
    n = 2600
    px = rng.uniform(0, ASPECT, n)
    down = np.sort(rng.uniform(0, 1, n) ** 0.8)  # the nearest last
    top = np.interp(px, x, bank)
    py = top + 0.012 + down * (1.06 - top)
    length = (0.02 + 0.05 * down) * rng.uniform(0.6, 1.5, n)
    lean = rng.normal(0.25, 0.35, n) * length
    warm = np.clip(rng.normal(0.5, 0.22, n) - 0.25 * down + 0.1, 0, 1)
    colours = ramp(warm, [(0, (22, 52, 48)), (0.4, (62, 110, 56)), (0.7, (160, 156, 66)), (1, (250, 206, 110))])
    for k in range(n):
        bend, tip = (px[k] + 0.35 * lean[k], py[k] - 0.6 * length[k]), (px[k] + lean[k], py[k] - length[k])
        pen.line([(px[k], py[k]), bend, tip], colours[k], 0.0022 + 0.0016 * down[k])
    petals = np.array([(240, 92, 84), (255, 196, 70), (250, 236, 226), (196, 112, 196)])
    for k in range(0, n, 14):
        r = 0.003 + 0.0055 * down[k]
        cx, cy, colour = px[k] + lean[k], py[k] - length[k], petals[rng.integers(4)]
        for a in range(5):
            turn, shade = 2 * np.pi * a / 5, rng.uniform(0.85, 1)
            pen.disc(cx + r * np.cos(turn), cy + 0.8 * r * np.sin(turn), 0.62 * r, colour * shade)
        pen.disc(cx, cy, 0.45 * r, (120, 70, 40))
