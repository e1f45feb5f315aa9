"""Judges of the losses: definitions as index loops, the methods of gradcheck, numbers that one can do by hand."""

import numpy as np

from minivgg import gradcheck
from style import losses
from style.statistics import wasserstein

from ..checks import compare, gradients, keeps_float32, parts

C, M = 4, 15


def _features(count, seed=5):
    return np.random.default_rng(seed).standard_normal((count, C, M))


def _value(f, *args, **options):
    """A loss as a function of its first array."""
    return lambda a: f(a, *args, **options)[0]


def content_loss(f):
    F, P = _features(2)
    loss, dF = parts(f(F, P), "loss", "dF")
    expected = sum((F[k] - P[k]) ** 2 for k in np.ndindex(F.shape)) / F.size
    yield compare("definition", loss=(loss, expected))
    yield from gradients({"dF": dF}, [_value(losses.content_loss, P)], [F], 1.0)
    F = np.array([[1.0, 2.0], [3.0, 4.0]])
    loss, dF = parts(f(F, 0 * F), "loss", "dF")
    yield compare("golden values", loss=(loss, 7.5), dF=(dF, F / 2))
    loss, dF = parts(f(F, 0 * F, share=1 / 8), "loss", "dF")
    yield compare("a part of 8 values (share 1/8)", loss=(loss, 3.75), dF=(dF, F / 4))
    yield keeps_float32(dF=f(F.astype(np.float32), F.astype(np.float32))[1])
    loss, none = parts(f(F, 0 * F, gradient=False), "loss", "dF")
    yield compare("without gradient", loss=(loss, 7.5), **{"number of gradients": (int(none is not None), 0)})


def tv_by_loops(image, beta):
    """The definition, difference by difference."""
    _, channels, H, W = image.shape
    total = 0.0
    for c, h, w in np.ndindex(channels, H, W):
        dx = image[0, c, h, w + 1] - image[0, c, h, w] if w + 1 < W else None
        dy = image[0, c, h + 1, w] - image[0, c, h, w] if h + 1 < H else None
        if beta in (1, 2):
            total += sum(abs(d) ** beta for d in (dx, dy) if d is not None)
        elif dx is not None and dy is not None:
            total += (dx**2 + dy**2) ** (beta / 2)
    return total / image.size


def tv_loss(f):
    image = gradcheck.off_kinks(np.random.default_rng(6), (1, 3, 5, 4), gap=1.0)
    for beta in (2.0, 1.0, 2.5):
        loss, dimage = parts(f(image, beta=beta), "loss", "dimage")
        yield compare(f"definition beta {beta:g}", loss=(loss, tv_by_loops(image, beta)))
        alone = [_value(losses.tv_loss, beta=beta)]
        yield from gradients({"dimage": dimage}, alone, [image], 1.0, case=f"beta {beta:g}", analytic=beta != 1)
    loss, dimage = f(np.array([[[[0.0, 1.0], [3.0, 6.0]]]]))
    yield compare("golden values", loss=(loss, 11), dimage=(dimage, [[[[-2, -2], [0, 4]]]]))
    yield keeps_float32(dimage=f(image.astype(np.float32))[1])
    loss, dimage = f(np.full((1, 1, 3, 4), 7.0), beta=1.5)
    yield compare("a flat picture", loss=(loss, 0), dimage=(dimage, np.zeros((1, 1, 3, 4))))


def gram_forward(f):
    (F,) = _features(1)
    expected = np.zeros((C, C))
    for i, j, m in np.ndindex(C, C, M):
        expected[i, j] += F[i, m] * F[j, m]
    yield compare("definition", G=(f(F), expected))
    yield compare("tiles add up", G=(f(F[:, :7].copy()) + f(F[:, 7:].copy()), expected))
    yield keeps_float32(G=f(F.astype(np.float32)))
    z = F + 1j * F[::-1]
    yield compare(
        "complex numbers, for complex steps", G=(f(z), losses.gram_forward(z))
    )  # no conjugate: the complex step needs it
    yield compare("golden values", G=(f(np.array([[1.0, 2.0, 0.0], [3.0, 0.0, 1.0]])), [[5, 3], [3, 10]]))


def gram_backward(f):
    (F,) = _features(1)
    dG = np.random.default_rng(8).standard_normal((C, C))  # not symmetric
    yield from gradients({"dF": f(dG, F)}, [losses.gram_forward], [F], dG)
    dG, F = np.array([[0.0, 1.0], [0.0, 2.0]]), np.array([[1.0, 2.0], [3.0, 5.0]])
    yield compare("golden values", dF=(f(dG, F), [[3, 5], [13, 22]]))


def style_loss(f):
    F, P = _features(2)
    G, A = F @ F.T, P @ P.T
    loss, dG = parts(f(G, A, M), "loss", "dG")
    expected = sum(((G[k] - A[k]) / (C * M)) ** 2 for k in np.ndindex(G.shape)) / C**2
    yield compare("definition", loss=(loss, expected))
    yield from gradients({"dG": dG}, [_value(losses.style_loss, A, M)], [G], 1.0)
    G = np.array([[4.0, 0.0], [0.0, 0.0]])
    loss, dG = parts(f(G, 0 * G, 2), "loss", "dG")
    yield compare("golden values", loss=(loss, 0.25), dG=(dG, G / 32))


def wasserstein_loss(f):
    F, S = _features(2)
    S = 2 * S + 1
    style = wasserstein.Gaussian.of(*wasserstein.covariance_forward(S), M)
    sums = wasserstein.covariance_forward

    def whole(F):
        loss, sides = parts(f(*sums(F), M, style), "loss", "(ds, dQ)")
        return loss, parts(sides, "ds", "dQ")

    loss, (ds, dQ) = whole(F)
    yield compare("definition", 1e-10, loss=(loss, _distance(F, S, style.ridge)))
    back = wasserstein.covariance_backward(ds, dQ, F)
    alone = [lambda F: wasserstein.wasserstein_loss(*sums(F), M, style)[0]]
    yield from gradients({"dF": back}, alone, [F], 1.0, central_step=1e-5, analytic=False)
    loss, (ds, dQ) = whole(S)
    flat = np.max(abs(wasserstein.covariance_backward(ds, dQ, S)))
    at = "at the style itself"  # where both are 0 but for rounding: of 1, since what is compared is relative
    yield compare("golden values", **{f"1 + loss {at}": (loss + 1, 1), f"1 + largest gradient {at}": (flat + 1, 1)})


def _distance(F, S, ridge):
    """W2² / C, the trace of the root from the eigenvalues of Σ Σ_S, which are those of Σ_S^½ Σ Σ_S^½."""
    (m1, s1), (m2, s2) = ((a.mean(axis=1), np.cov(a, bias=True) + ridge * np.eye(C)) for a in (F, S))
    roots = np.sqrt(np.linalg.eigvals(s1 @ s2).real)
    return (((m1 - m2) ** 2).sum() + s1.trace() + s2.trace() - 2 * roots.sum()) / C
