"""Optimise a picture by its spectrum: coarse structure moves as fast as fine structure does.

A step along the gradient treats every pixel alike, but the loss does not treat every frequency alike: it bends much
more along fine patterns than along broad ones, so a method that learns curvature from few pairs spends its first
hundreds of iterations on the broad ones. Natural pictures have amplitudes that fall like 1/frequency. In variables z
with x = P z, where P weighs the cosine transform by frequency^-α, a step of one size in z is a larger step along what
is coarse in x. The minimum stays where it is, for P is invertible; L-BFGS in z is L-BFGS in x with P² in place of the
first guess of the inverse Hessian (Nocedal & Wright 2006, section 7.2, H₀). benchmarks/README.md has what it saves.
"""

import numpy as np

from minivgg.backend import get_fft, get_xp

BROADEST = 1 / 96  # of the highest frequency: waves of 192 pixels, about what relu5_1 sees; all broader ones alike


class Spectrum:
    """P = Cᵀ S C: C the orthonormal cosine transform (DCT-II) of rows and columns, S a positive weight a frequency.

    image  (1, C, H, W) an array of the size, type and device that P is for
    alpha  S[u, v] = max(f, BROADEST)^-α, f = √((u/H)² + (v/W)²), scaled to mean square 1; 0 leaves the picture alone

    P is symmetric, so the gradient by z is P times the gradient by x: x = P z, dL/dz = Pᵀ dL/dx = P dL/dx.
    """

    def __init__(self, image, alpha):
        xp = get_xp(image)
        H, W = image.shape[-2:]
        f = np.hypot(np.arange(H)[:, None] / H, np.arange(W)[None] / W)
        weights = np.maximum(f, BROADEST) ** -alpha
        weights /= np.sqrt((weights**2).mean())
        self.weights = xp.asarray(weights, dtype=image.dtype)
        self.fft = get_fft(xp)

    def apply(self, z):
        """P z, like z."""
        return self._scaled(z, self.weights)

    def invert(self, x):
        """P⁻¹ x, like x."""
        return self._scaled(x, 1 / self.weights)

    def _scaled(self, a, weights):
        c = self.fft.dctn(a, axes=(-2, -1), norm="ortho")
        c *= weights
        return self.fft.idctn(c, axes=(-2, -1), norm="ortho")
