"""The loss pairs: content, Gram/style and total variation, each value beside its gradient.

A feature matrix F is (C, M): C channels, M = H·W places. The style loss comes in three steps so that a picture may be
cut into tiles without changing a digit: gram_forward adds up over tiles, style_loss needs the whole sum,
gram_backward is local again. Losses are summed in float64 and come back as 0-d values on the arrays' own device, so
that nothing waits for the host; see MATH.md for the derivations. `matmul` is the product to take in place of `@`:
a network's kernels have one that is faster on these shapes (minivgg.kernels.Kernels.matmul).
"""

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

from minivgg.backend import Array, get_xp

Product: TypeAlias = Callable[[Array, Array], Array]  # of two matrices


def features(feat: Array) -> Array:
    """Feature matrix (C, M) of one picture's activation (1, C, H, W); a view where the memory allows."""
    N, C, H, W = feat.shape
    if N != 1:
        raise ValueError(f"losses take one picture at a time, found {N}")
    return feat.reshape(C, H * W)


def content_loss(F: Array, P: Array, *, share: Any = None, gradient: bool = True) -> tuple[Array, Any]:
    """Content loss: mean squared difference of the features (Gatys et al. 2016, eq. 1, without its 1/2). MATH.md 2.

    F, P  (C, M) or any equal shapes: features of the picture, of the content
    share what a value counts, where these are a part of a whole of n: 1 / n; None: these are all
    loss  mean (F - P)²
    dF    forward: loss = Σ (F - P)² / n, so dF = 2 (F - P) / n; None without `gradient`
    """
    diff = F - P
    share = 1.0 / diff.size if share is None else share
    return _sum_squares(diff) * share, diff * (2.0 * share) if gradient else None


def gram_forward(F: Array, *, matmul: Product = operator.matmul) -> Array:
    """Gram matrix: G[i, j] = Σ_m F[i, m] F[j, m] (Gatys et al. 2016, eq. 3; MATH.md 3, (2)). Raw sum: tiles add up.

    F       (C, M)
    G       (C, C) = F Fᵀ
    matmul  the product of two matrices: the arrays' own, or that of a set of kernels (Kernels.matmul)
    """
    return matmul(F, F.T)


def gram_backward(dG: Array, F: Array, *, matmul: Product = operator.matmul) -> Array:
    """forward: G = F Fᵀ, F stands there twice, so dF = (dG + dGᵀ) F. MATH.md 3, (3).

    dG  (C, C)
    F   (C, M)
    dF  (C, M)
    """
    return matmul(dG + dG.T, F)


def style_loss(G: Array, A: Array, M: float | Array) -> tuple[Array, Array]:
    """Style loss of one layer: mean over the C×C entries of ((G - A) / (C·M))². MATH.md 3, (4).

    Gatys et al. 2016, eq. 4, in another unit.

    G, A  (C, C)  Gram matrices in the same unit: G of the picture over M places, A the style's scaled to M places
    M     places the picture has at this layer
    loss  Σ ((G - A) / (C·M))² / C²
    dG    forward: loss = Σ (G - A)² / (C⁴ M²), so dG = 2 (G - A) / (C⁴ M²)
    """
    C = G.shape[0]
    diff = (G - A) / (C * M)
    return _sum_squares(diff) / C**2, diff * (2.0 / (C**3 * M))


def tv_loss(image: Array, *, beta: float = 2.0, gradient: bool = True) -> tuple[Array, Any]:
    """Total variation: differences to the right and lower neighbour, a mean over all pixels and channels. MATH.md 4.

    image   (1, C, H, W), grey levels
    beta=1  (Σ |dx| + Σ |dy|) / n                      absolute (anisotropic); derivative 0 where a difference is 0
    beta=2  (Σ dx² + Σ dy²) / n                        squared
    other   Σ (dx² + dy²)^(β/2) / n over the (H-1)·(W-1) places that have both neighbours
    n       C·H·W

    dx[h, w] = image[h, w+1] - image[h, w], dy[h, w] = image[h+1, w] - image[h, w]; each difference d that stands in
    the loss with derivative g gives -g to its left (upper) pixel and +g to its right (lower) one.
    """
    xp = get_xp(image)
    n = image.size
    dx = image[..., :, 1:] - image[..., :, :-1]
    dy = image[..., 1:, :] - image[..., :-1, :]
    if not gradient:
        return _tv_sum(dx, dy, beta) / n, None
    loss, dimage = _tv_sum(dx, dy, beta) / n, xp.zeros_like(image)
    if beta == 2:
        gx, gy = dx * (2.0 / n), dy * (2.0 / n)
    elif beta == 1:
        gx, gy = xp.sign(dx) / n, xp.sign(dy) / n
    else:
        dx, dy = dx[..., :-1, :], dy[..., :, :-1]
        s = dx**2 + dy**2
        # forward: s^(β/2), so its derivative by s is β/2 s^(β/2-1); ds = 2 dx ddx + 2 dy ddy. Where s = 0, dx and dy
        # are 0 and any number does in place of the negative power of 0
        power = beta / 2 * xp.where(s > 0, s, 1) ** (beta / 2 - 1)
        gx, gy = 2.0 / n * power * dx, 2.0 / n * power * dy
    H, W = gx.shape[-2], gy.shape[-1]
    dimage[..., :H, 1:] += gx
    dimage[..., :H, :-1] -= gx
    dimage[..., 1:, :W] += gy
    dimage[..., :-1, :W] -= gy
    return loss, dimage.astype(image.dtype, copy=False)


def _tv_sum(dx, dy, beta):
    if beta == 2:
        return _sum_squares(dx) + _sum_squares(dy)
    if beta == 1:
        return _sum(abs(dx)) + _sum(abs(dy))
    return _sum((dx[..., :-1, :] ** 2 + dy[..., :, :-1] ** 2) ** (beta / 2))


def _sum_squares(a):
    """Σ a² in double precision (complex stays complex: the complex-step check goes through here)."""
    return _sum(a * a)


def _sum(a):
    xp = get_xp(a)
    return a.sum(dtype=xp.complex128 if a.dtype.kind == "c" else xp.float64)
