"""The colours of one picture given to another: mean and covariance by one matrix, or the whole distribution.

Colours are (n, 3) or (H, W, 3), RGB 0..255. Weights (H, W) or (n,), or None, say how much a pixel counts: what is
transparent does not. MATH.md 3 and 4 derive what is here.
"""

import math
from dataclasses import dataclass

import numpy as np

from .oklab import STRIP, by_strips

FLAT = 0.25  # grey levels²: a variance below it is that of rounding to 8 bits and of what JPEG leaves, no colour
SAMPLE = 1 << 15  # pixels from which a distribution is read
LEVELS = 257  # quantiles of each channel
ROTATIONS = 12
LATTICE = 33  # colours a side of the cube on which a map of colours is stored


def runs(rgb, use):
    """use(k, (n, 3)) of STRIP pixels at a time, the first the picture's k-th; of an array, or of a file's rows."""
    if isinstance(rgb, np.ndarray):
        flat = rgb.reshape(-1, 3)
        for k in range(0, len(flat), STRIP):
            use(k, flat[k : k + STRIP])
        return
    left, at = np.empty((0, 3), np.float32), 0

    def take(_, rows):
        nonlocal left, at
        left = np.concatenate([left, rows.reshape(-1, 3)])
        while len(left) >= STRIP:
            use(at, left[:STRIP])
            left, at = left[STRIP:], at + STRIP

    rgb.each(0, rgb.shape[0], take)
    if len(left):
        use(at, left)


# ------------------------------------------------------------------------------------------ mean and covariance


@dataclass(frozen=True)
class Moments:
    """mean (3,) and covariance (3, 3) of a picture's colours."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, rgb, weights=None):
        """Those of a picture (H, W, 3), summed in double precision; of weight 0 everywhere, all pixels count."""
        w = None if weights is None or not weights.any() else weights.reshape(-1)
        count, total, square = 0.0, np.zeros(3), np.zeros((3, 3))
        H, W, _ = rgb.shape
        row, column = divmod(H * W // 2, W)
        middle = rgb[row : row + 1][0, column].astype(np.float64)  # sums about a colour of it lose no digits

        def add(k, pixels):
            nonlocal count, total, square
            x = pixels - middle
            m = np.ones(len(x)) if w is None else w[k : k + len(x)].astype(np.float64)
            count, total, square = count + m.sum(), total + m @ x, square + (x * m[:, None]).T @ x

        runs(rgb, add)
        mean = total / count
        return cls(mean + middle, square / count - np.outer(mean, mean))

    @classmethod
    def together(cls, several, shares):
        """The moments of several pictures as one, each with its share."""
        shares = np.asarray(shares, np.float64) / np.sum(shares)
        mean = sum(s * m.mean for s, m in zip(shares, several, strict=True))
        spread = [m.covariance + np.outer(m.mean - mean, m.mean - mean) for m in several]
        return cls(mean, sum(s * c for s, c in zip(shares, spread, strict=True)))


def cholesky_map(source, target):
    """A = L_T L_S⁻¹ of covariances S = L_S L_Sᵀ and T = L_T L_Tᵀ; a flat direction is left out."""
    L, R = cholesky(target), cholesky(source, FLAT)
    flat = np.diag(R) == 0
    inverse = np.linalg.inv(R + np.diag(flat.astype(float)))
    inverse[flat] = 0
    return L @ inverse


def pca_map(source, target):
    """A = T^½ S^-½ of covariances S and T."""
    return power(target, 0.5) @ power(source, -0.5, FLAT)


def symmetric_map(source, target):
    """A = S^-½ (S^½ T S^½)^½ S^-½: the symmetric one, which moves colours least."""
    root, inverse = power(source, 0.5, FLAT), power(source, -0.5, FLAT)
    return inverse @ power(root @ target @ root, 0.5) @ inverse


MAPS = {"cholesky": cholesky_map, "pca": pca_map, "symmetric": symmetric_map}


def power(S, exponent, flat=0.0):
    """S^exponent of a symmetric matrix; directions of a variance up to `flat` become 0."""
    values, vectors = np.linalg.eigh((S + S.T) / 2)
    kept = values > flat
    values = np.where(kept, np.where(kept, values, 1) ** exponent, 0)
    return (vectors * values) @ vectors.T


def cholesky(S, flat=1e-12):
    """Lower triangular L with L Lᵀ = S; a column is 0 where what is left of the diagonal is at most `flat`."""
    L = np.zeros_like(S)
    for k in range(len(S)):
        rest = S[k:, k] - L[k:, :k] @ L[k, :k]
        if rest[0] > flat:
            L[k:, k] = rest / np.sqrt(rest[0])
    return L


def match_moments(rgb, source, target, method):
    """A (x − μ_S) + μ_T for each pixel x, not clipped; A by one of MAPS."""
    matrix = MAPS[method](source.covariance, target.covariance)
    return by_strips(lambda x: (x - source.mean) @ matrix.T + target.mean, rgb)


# --------------------------------------------------------------------------------------------- the distribution


def sample(rgb, weights=None, count=SAMPLE):
    """(count, 3) float64: pixels drawn by weight, the same ones each time."""
    at = places(math.prod(rgb.shape[:-1]), weights, count)
    if isinstance(rgb, np.ndarray):
        return rgb.reshape(-1, 3)[at].astype(np.float64)
    found = np.empty((count, 3))

    def take(k, pixels):
        here = (k <= at) & (at < k + len(pixels))
        found[here] = pixels[at[here] - k]

    runs(rgb, take)
    return found


def places(pixels, weights=None, count=SAMPLE):
    """(count,) int64: which of so many pixels, row after row, are in a sample."""
    draws = np.random.default_rng(0).uniform(size=count)
    if weights is None or not weights.any():
        return (draws * pixels).astype(np.int64)
    steps = np.cumsum(weights.reshape(-1), dtype=np.float64)
    return np.minimum(np.searchsorted(steps, draws * steps[-1], side="right"), pixels - 1)


def transport(source, target, rotations=ROTATIONS):
    """(LATTICE, LATTICE, LATTICE, 3): where each colour goes so that a sample of colours becomes spread as another.

    source, target  (n, 3) and (m, 3). Each rotation's three axes are matched one by one, quantile to quantile, and the
    rotations follow each other (Pitié, Kokaram & Dahyot 2007); the first leaves the channels as they are.
    """
    side = np.linspace(0, 255, LATTICE)
    lattice = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    rng = np.random.default_rng(0)
    for k in range(rotations):
        R = np.eye(3) if k == 0 else np.linalg.qr(rng.standard_normal((3, 3)))[0]
        moved, lattice_moved, there = source @ R, lattice @ R, target @ R
        for axis in range(3):
            curve = quantile_map(moved[:, axis], there[:, axis])
            moved[:, axis], lattice_moved[:, axis] = curve(moved[:, axis]), curve(lattice_moved[:, axis])
        source, lattice = moved @ R.T, lattice_moved @ R.T
    return lattice.reshape(LATTICE, LATTICE, LATTICE, 3)


def quantile_map(source, target):
    """The growing function that gives numbers the distribution of others; beyond both ends it moves as at the ends."""
    levels = np.linspace(0, 1, LEVELS)
    x, places = np.unique(np.quantile(source, levels), return_inverse=True)
    y = np.bincount(places, np.quantile(target, levels)) / np.bincount(places)
    return lambda v: np.interp(v, x, y - x) + v


def through(lattice, rgb):
    """Each pixel of `rgb` as the lattice maps it, by trilinear interpolation; (H, W, 3) float32."""
    table = lattice.reshape(-1, 3).astype(np.float32)

    def mapped(x):
        x = np.clip(x.reshape(-1, 3), 0, 255) * np.float32((LATTICE - 1) / 255)
        low = np.minimum(x.astype(np.int32), LATTICE - 2)
        after = (x - low).T[..., None]  # (3, n, 1): how far a colour lies between two of the lattice
        sides = [(1 - share, share) for share in after]
        first = (low[:, 0] * LATTICE + low[:, 1]) * LATTICE + low[:, 2]
        out = np.zeros_like(x)
        for r, g, b in np.ndindex(2, 2, 2):
            corner = np.take(table, first + (r * LATTICE + g) * LATTICE + b, axis=0)
            out += corner * (sides[0][r] * sides[1][g] * sides[2][b])
        return out

    return by_strips(lambda x: mapped(x).reshape(x.shape), rgb)
