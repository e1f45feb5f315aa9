"""A narrow network that stands in for a wide one, in closed form: layer by layer, by linear least squares.

The student has the teacher's layers with fewer channels. At each layer a linear map A carries its activation S to the
teacher's T ≈ A S; how much of T is lost, |T - A S|² / |T|², says how good the layer is. Nothing here is iterative:
channels are chosen greedily, maps and filters are regressions on second moments.
"""

import itertools

import numpy as np

from minivgg import layers
from minivgg.vgg import VGG
from style import losses

RIDGE = 1e-5  # of the mean square of a regressor: keeps the normal equations regular where channels nearly coincide


def choose_channels(moments, count):
    """Channels from which the others can be told best, by greedy column selection.

    moments  (C, C) second moments Σ T Tᵀ
    chosen   (count,) increasing

    Pivoted QR of T takes the channel with the largest rest at each step; here the one that lowers the sum of all
    rests the most: Σ_i R[i, j]² / R[j, j] with R the moments of what the channels so far do not explain.
    """
    rest = np.array(moments, dtype=np.float64)
    floor = 1e-12 * max(np.trace(rest), 1e-300)
    chosen = []
    for _ in range(count):
        diagonal = rest.diagonal().copy()
        gain = np.where(diagonal > floor, (rest**2).sum(axis=0) / np.maximum(diagonal, floor), -1.0)
        gain[chosen] = -2.0
        j = int(np.argmax(gain))
        chosen.append(j)
        if diagonal[j] > floor:
            rest -= np.outer(rest[:, j], rest[:, j]) / diagonal[j]
    return np.sort(chosen)


def moments(a, b):
    """Σ a bᵀ over pictures and places in double precision. a (N, C, H, W), b (N, D, H, W) → (C, D)."""
    N, C, H, W = a.shape
    products = a.reshape(N, C, H * W) @ b.reshape(N, b.shape[1], H * W).transpose(0, 2, 1)
    return products.sum(axis=0, dtype=np.float64)


def regress(cross, gram, ridge=RIDGE, prior=None):
    """Map A with the least Σ |t - A s|² + λ |A - prior|², λ = ridge · mean of the gram's diagonal.

    cross  (C, D) = Σ t sᵀ
    gram   (D, D) = Σ s sᵀ
    A      (C, D): zero derivative gives A (gram + λ 1) = cross + λ prior
    """
    D = gram.shape[0]
    strength = ridge * np.trace(gram) / D + 1e-30
    right = cross if prior is None else cross + strength * prior
    return np.linalg.solve(gram + strength * np.eye(D), right.T).T


def compose(w, A):
    """Filters that see T through A: out = w * (A s), so w'[f, s, i, j] = Σ_c w[f, c, i, j] A[c, s]."""
    return np.einsum("fcij,cs->fsij", w, A, optimize=True)


def closed_form(teacher, crops, widths, *, log=None):
    """Filters of a student, layer by layer, each fitted to the teacher on what the layers before it deliver.

    teacher  {"conv1_1": (w, b), …}
    crops    list of batches (N, 3, H, W), mean taken off
    widths   {"conv1_1": channels, …}: the student's layers, a beginning of the teacher's
    params   {"conv1_1": (w, b), …} float32
    maps     {"conv1_1": A, …}: T ≈ A S after each layer's ReLU
    log      called with (layer, |T - A S|² / |T|²)
    """
    T = S = crops
    params, maps, A, previous = {}, {}, np.eye(3), None
    for name, width in widths.items():
        if previous is not None and previous[4] != name[4]:
            T, S = _pool(T), _pool(S)
            # the maximum of A S is not A times the maximum: the map is fitted again behind the pooling
            A = regress(_total(T, S), _total(S, S))
        w, b = teacher[name]
        Z = [layers.conv2d_forward(t, w, b, pad=1, param_grads=False)[0] for t in T]
        T = [np.maximum(z, 0) for z in Z]
        chosen = choose_channels(_total(T, T), width)
        Z = [z[:, chosen] - b[chosen, None, None] for z in Z]
        params[name] = _fit_filters(Z, S, compose(w[chosen], A)), b[chosen].copy()
        S = [np.maximum(layers.conv2d_forward(s, *params[name], pad=1, param_grads=False)[0], 0) for s in S]
        A = regress(_total(T, S), _total(S, S))
        maps[name] = A
        if log is not None:
            log(name, lost(A, _total(T, S), _total(S, S), _total_squares(T)))
        previous = name
    return params, maps


def lost(A, cross, gram, energy):
    """|T - A S|² / |T|² from the moments: (Σ|t|² - 2 <A, cross> + <A gram, A>) / Σ|t|²."""
    return float((energy - 2 * np.sum(A * cross) + np.sum((A @ gram) * A)) / energy)


def _fit_filters(Z, S, prior):
    """Filters w with the least Σ |z - w * s|², near `prior` where the pictures leave them open. Z, S lists of batches.

    Regressing on the patches of S lets a filter make up at one place for what the map A lost at its neighbours.
    """
    F, C, KH, KW = prior.shape
    gram, cross = 0.0, 0.0
    for z, s in zip(Z, S, strict=True):
        for n in range(s.shape[0]):
            cols = layers.im2col(s[n : n + 1], KH, KW, 1, 1)[0]  # (C·KH·KW, M)
            gram = gram + (cols @ cols.T).astype(np.float64)
            cross = cross + (z[n].reshape(F, -1) @ cols.T).astype(np.float64)
    fitted = regress(cross, gram, ridge=1e-3, prior=prior.reshape(F, -1))
    return fitted.reshape(prior.shape).astype(np.float32)


def _total(a, b):
    return sum(moments(x, y) for x, y in zip(a, b, strict=True))


def _total_squares(a):
    return sum(float(np.sum(x * x, dtype=np.float64)) for x in a)


def _pool(batches):
    return [layers.maxpool2d_forward(x)[0] for x in batches]


# --- scales -------------------------------------------------------------------------------------------------

CONTENT_LAYERS = ("conv4_2", "conv5_2")  # what recipes take their content loss from; the others serve style


def scale_channels(params, scales):
    """The same network with its activations multiplied by positive factors: relu(s z) = s relu(z).

    scales  {"conv1_1": (F,), …}: channel f of the layer comes out scales[f] times as large; the next layer's filters
            divide by it, so nothing else changes
    """
    out, before = {}, None
    for name, (w, b) in params.items():
        s = np.asarray(scales[name], dtype=np.float64)
        w = w * s[:, None, None, None]
        if before is not None:
            w = w / before[None, :, None, None]
        out[name] = w.astype(np.float32), (b * s).astype(np.float32)
        before = s
    return out


def map_scales(maps):
    """Factors for scale_channels that give each channel the weight it has in the teacher: |A[:, f]|."""
    return {name: np.maximum(np.linalg.norm(A, axis=0), 1e-6 * np.linalg.norm(A)) for name, A in maps.items()}


def loss_scales(params, teacher, batches):
    """One factor a layer that makes losses with `params` as large as with `teacher`, in the geometric mean over pairs.

    batches  list of (N, 3, H, W), mean taken off; neighbours in a batch are the pairs, N at least 2

    Style layers match the style loss, which grows with the fourth power of the activations; CONTENT_LAYERS match the
    content loss, which grows with the second. So a recipe's weights mean the same with either network.
    """
    logs = {name: [] for name in params}
    for x in batches:
        ours, theirs = _layer_losses(params, x), _layer_losses(teacher, x)
        for name in params:
            logs[name].append(np.log(theirs[name]) - np.log(ours[name]))
    scales = {}
    for name, (_, b) in params.items():
        power = 2 if name in CONTENT_LAYERS else 4
        scales[name] = np.full(b.shape, np.exp(np.mean(logs[name]) / power))
    return scales


def _layer_losses(params, x):
    """{"conv1_1": (N - 1,) losses between neighbours of the batch, after the layer's ReLU}"""
    net = VGG(params)
    relus = [name.replace("conv", "relu") for name in params]
    feats, _ = net.forward(x, relus)
    out = {}
    for name, relu in zip(params, relus, strict=True):
        F = [losses.features(f[None]) for f in feats[relu]]
        pairs = list(itertools.pairwise(F))
        if name in CONTENT_LAYERS:
            values = [losses.content_loss(p, q)[0] for p, q in pairs]
        else:
            M = F[0].shape[1]
            values = [losses.style_loss(losses.gram_forward(p), losses.gram_forward(q), M)[0] for p, q in pairs]
        out[name] = np.maximum(np.array(values, dtype=np.float64), 1e-30)
    return out
