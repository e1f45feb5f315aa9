"""The matting Laplacian: how far a picture is from a local affine change of the content's colours. MATH.md 8.

Levin, Lischinski & Weiss (2008); as a loss, for photographs that stay photographs, Luan et al. (2017).

matting_forward(x, guide) -> Σ_c x_cᵀ L x_c      a sum over 3×3 windows, without a matrix
matting_backward(x, guide) -> dx = 2 L x
"""

from minivgg.backend import get_xp

from ..terms import Statistic, double

EPSILON = 1e-7 * 255**2  # Levin's and Luan's of colours in 0..1, in grey levels²
N = 9  # pixels of a window


def box(a):
    """Sums over the 3×3 windows that lie inside. (…, h, w) → (…, h-2, w-2)"""
    rows = a[..., :-2, :] + a[..., 1:-1, :] + a[..., 2:, :]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]


def box_adjoint(q):
    """Each window's number added to its nine pixels: the transpose of `box`. (…, h-2, w-2) → (…, h, w)"""
    *more, h, w = q.shape
    padded = get_xp(q).zeros((*more, h + 4, w + 4), dtype=q.dtype)
    padded[..., 2:-2, 2:-2] = q
    return box(padded)


class Windows:
    """What the fits in all windows have in common: means and covariances of the guide, factored as Λ D Λᵀ.

    guide  (3, h, w), grey levels; worked on in double precision, for variances are small differences of squares
    """

    def __init__(self, guide):
        self.guide = guide = guide.astype("float64", copy=False)
        self.mean = box(guide) / N
        a, b, c = guide
        ma, mb, mc = self.mean

        def covariance(p, q, mp, mq):
            return box(p * q) / N - mp * mq

        self.d1 = covariance(a, a, ma, ma) + EPSILON / N
        ab, ac, bc = covariance(a, b, ma, mb), covariance(a, c, ma, mc), covariance(b, c, mb, mc)
        self.l21, self.l31 = ab / self.d1, ac / self.d1
        self.d2 = covariance(b, b, mb, mb) + EPSILON / N - self.l21 * ab
        rest = bc - self.l31 * ab
        self.l32 = rest / self.d2
        self.d3 = covariance(c, c, mc, mc) + EPSILON / N - self.l31 * ac - self.l32 * rest

    def correlated(self, p, mean):
        """y = Λ⁻¹ cov(guide, p): three (h-2, w-2). p (h, w) one channel, `mean` its windows' mean"""
        y1, c2, c3 = box(self.guide * p) / N - self.mean * mean
        y2 = c2 - self.l21 * y1
        return y1, y2, c3 - self.l31 * y1 - self.l32 * y2

    def residual(self, p):
        """Σ over windows of the least Σ (p - a·I - b)² + ε‖a‖², which is N (var p - yᵀ D⁻¹ y)."""
        mean = box(p) / N
        y1, y2, y3 = self.correlated(p, mean)
        fitted = y1 * y1 / self.d1 + y2 * y2 / self.d2 + y3 * y3 / self.d3
        return N * (box(p * p) / N - mean * mean - fitted).sum(dtype=double(p))

    def laplacian(self, p):
        """L p: at each pixel, p less what the windows around it fit there, summed over these windows."""
        mean = box(p) / N
        y1, y2, y3 = self.correlated(p, mean)
        slope = get_xp(p).empty_like(self.mean, dtype=p.dtype)  # a = Λ⁻ᵀ D⁻¹ y
        slope[2] = y3 / self.d3
        slope[1] = y2 / self.d2 - self.l32 * slope[2]
        slope[0] = y1 / self.d1 - self.l21 * slope[1] - self.l31 * slope[2]
        level = mean - (slope * self.mean).sum(axis=0)  # b
        windows = box_adjoint(get_xp(p).ones_like(mean))
        return windows * p - (box_adjoint(slope) * self.guide).sum(axis=0) - box_adjoint(level)


def matting_forward(x, guide):
    """Σ_c x_cᵀ L x_c, L of the guide. x, guide (3, h, w), grey levels; the sum in double precision, 0 below 3 rows"""
    if x.shape[1] < 3:
        return x.sum(dtype=double(x)) * 0
    windows = Windows(guide)
    return sum(windows.residual(p.astype(double(x), copy=False)) for p in x)


def matting_backward(x, guide):
    """forward: Σ_c x_cᵀ L x_c, L symmetric, so dx_c = 2 L x_c. x, guide (3, h, w) → dx (3, h, w)"""
    dx = get_xp(x).zeros_like(x)
    if x.shape[1] >= 3:
        windows = Windows(guide)
        for p, dp in zip(x, dx, strict=True):
            dp[...] = 2 * windows.laplacian(p.astype(double(x), copy=False))
    return dx


class Matting(Statistic):
    """matting_forward / n as a statistic of the picture, n = 3·H·W; the guide is the target.

    A window belongs to the part that has its first row: every window is in one part and no part needs another's.
    """

    per_place, reach, regional = True, 2, False
    smallest = 3
    passing = 40

    def gather(self, part):
        return matting_forward(part.feat[0], part.target[0]), part.own

    def loss(self, S, target):
        total, n = S
        return total / n, (1.0 / n,)

    def spread(self, dS, part):
        return (matting_backward(part.feat[0], part.target[0]) * dS[0])[None]
