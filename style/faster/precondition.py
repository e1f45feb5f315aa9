"""A first guess of the curvature by frequency: coarse structure moves as fast as fine structure does.

A step along the gradient treats every pixel alike, but the loss does not treat every frequency alike: it bends much
more along fine patterns than along broad ones, so a method that learns curvature from few pairs spends its first
hundreds of iterations on the broad ones. Natural pictures have amplitudes that fall like 1/frequency. So the first
guess of the inverse Hessian, all that L-BFGS knows of the directions that no pair has shown (Nocedal & Wright 2006,
section 7.2, H₀), is γ P Pᵀ in place of γ I: a longer step along what is coarse. It is the same as plain L-BFGS on the
picture's weighted spectrum z, x = P z, but works on pixels, where bounds are simple. Derived in MATH.md 3.
"""

from dataclasses import dataclass

import numpy as np

from minivgg.backend import get_fft, get_xp
from minivgg.threads import cores

BROADEST = 1 / 96  # of the highest frequency: waves of 192 pixels (relu5_1 sees 156); all broader ones alike


class Spectrum:
    """x = P z, P = Qᵀ Λ: Q the orthonormal cosine transform (DCT-II) of rows and columns, Λ a weight a frequency.

    image  (1, C, H, W) an array of the size, type and device that P is for
    alpha  Λ[u, v] = max(f, BROADEST)^-α, f = √((u/H)² + (v/W)²), scaled to mean square 1; 0: the plain coefficients

    Q is orthonormal, so its inverse is Qᵀ, and L-BFGS, which sees scalar products alone, does not notice it: what it
    notices is Λ. All three take and return (1, C, H, W) of the image's type.
    """

    def __init__(self, image, alpha):
        xp = get_xp(image)
        H, W = image.shape[-2:]
        weights = _weights(np.arange(H) / H, np.arange(W) / W, alpha)
        self.weights = xp.asarray(weights, dtype=image.dtype)
        self._fft = get_fft(xp)
        self._options = {"axes": (-2, -1), "norm": "ortho"} | ({"workers": cores()} if xp is np else {})

    def apply(self, z):
        """P z: the picture with these coefficients."""
        return self._fft.idctn(z * self.weights, overwrite_x=True, **self._options)

    def adjoint(self, g):
        """Pᵀ g = Λ Q g: the gradient by z, from the gradient by the picture."""
        c = self._fft.dctn(g, **self._options)
        c *= self.weights
        return c

    def metric(self, g):
        """P Pᵀ g = Qᵀ Λ² Q g: H₀/γ times a gradient."""
        return self.apply(self.adjoint(g))


class Waves:
    """The same for a picture on a torus: F* Λ² F with Fourier's waves, which go round, in place of cosines.

    Cosines are mirrored at the edges: the broad ones among them differ at opposite edges, and steps that are longer
    along them tear a picture that is to tile. A filter by waves is the same when all is shifted.
    """

    def __init__(self, image, alpha):
        xp = get_xp(image)
        H, W = image.shape[-2:]
        rows, cols = (2 * np.minimum(np.arange(n), n - np.arange(n)) / n for n in (H, W))  # 1: the highest frequency
        weights = _weights(rows, cols, alpha)[:, : W // 2 + 1]  # the rest are conjugates
        self.squares = xp.asarray(weights**2, dtype=image.dtype)
        self._fft = get_fft(xp)
        self._options = {"axes": (-2, -1)} | ({"workers": cores()} if xp is np else {})

    def metric(self, g):
        """F* Λ² F g: H₀/γ times a gradient (1, C, H, W)."""
        c = self._fft.rfftn(g, **self._options)
        c *= self.squares
        return self._fft.irfftn(c, s=g.shape[-2:], overwrite_x=True, **self._options)


@dataclass(frozen=True)
class Metric:
    """A metric before its picture is there: called with one, it gives the function g → M g on arrays like it.

    alpha  how much longer steps along coarse structure are, as for Spectrum
    waves  Spectrum, or Waves for a picture on a torus
    """

    alpha: float
    waves: type = Spectrum

    def __call__(self, image):
        return self.waves(image, self.alpha).metric

    def __str__(self):
        return f"precondition {self.alpha:g} ({self.waves.__name__})"


def _weights(rows, cols, alpha):
    """Λ of frequencies along both axes, 0 to 1, scaled to mean square 1."""
    weights = np.maximum(np.hypot(rows[:, None], cols[None]), BROADEST) ** -alpha
    return weights / np.sqrt((weights**2).mean())
