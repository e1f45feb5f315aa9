"""NumPy twins of the kernels in kernels.cu and pairs.cu: same names and arguments, same tiles, whole arrays at a time.

engine(code, options) is made for strict_device.StrictModule. The twins use the matrices of fast_cpu/taps.py, where
the kernels have their numbers written out, and NumPy's padding, where the kernels look at their indices.
"""

import numpy as np

from minivgg.fast_cpu.taps import matrices

CODE = np.arange(16)


def engine(code, options):
    """{kernel's name: function(grid, block, args)}"""
    half = "-DHALF" in options
    kernels = {"maxpool_forward": maxpool, "avgpool_forward": avgpool, "pool_backward": pool_backward}
    for kind in ("plain", "relu", "relu_max", "relu_avg"):
        kernels[f"input_{kind}"] = _bound(input_transform, kind, half)
        kernels[f"output_{kind}"] = _bound(output_transform, kind, half)
        kernels[f"first_{kind}"] = _bound(first_forward, kind)
        kernels[f"first_backward_{kind}"] = _bound(first_backward, kind)
        kernels[f"unmask_{kind}"] = _bound(unmask, kind)
    kernels |= {"write_pair": write_pair, "products": products, "combine": combine, "keep": keep}
    if half:
        kernels["max_abs"] = max_abs
    return {name: _host(function) for name, function in kernels.items()}


def _bound(function, *first):
    return lambda *args: function(*first, *args)


def _host(function):
    """The arguments' values; a null pointer is None where the twin takes an array."""
    return lambda grid, block, args: function(*[getattr(a, "_values", a) for a in args])


def open_code(planes, kind, bits_of):
    """What a code lets through, (…, 4, 4): bits_of(planes) are (…) numbers of 16 bits."""
    bits = bits_of[..., None, None]
    r, s = CODE.reshape(4, 4) // 4, CODE.reshape(4, 4) % 4
    if kind == "relu_max":
        return (bits >> 4 * (2 * (r // 2) + s // 2) & 15) == 4 + 2 * (r % 2) + s % 2
    return (bits >> 4 * r + s & 1).astype(bool)


def spread(x, add, code, kind, H, W, TH, TW):
    """The gradient by a convolution's output (planes, 4·TH, 4·TW): unpooled, masked, zero outside the picture."""
    pooled = kind in ("relu_max", "relu_avg")
    h, w = (H // 2, W // 2) if pooled else (H, W)
    x = x.reshape(-1, h, w) + (add.reshape(-1, h, w) if isinstance(add, np.ndarray) else 0)
    if pooled:
        x = x.repeat(2, axis=1).repeat(2, axis=2) * x.dtype.type(0.25 if kind == "relu_avg" else 1)
    whole = np.zeros((len(x), 4 * TH, 4 * TW), x.dtype)
    whole[:, : x.shape[1], : x.shape[2]] = x
    if kind != "plain":
        through = open_code(None, kind, code.reshape(-1, TH, TW))  # (planes, TH, TW, 4, 4)
        whole *= through.transpose(0, 1, 3, 2, 4).reshape(whole.shape)
    return whole


def patches(whole, TH, TW):
    """(planes, TH, TW, 6, 6): patch of tile (ty, tx) is whole[4ty-1 … 4ty+4, 4tx-1 … 4tx+4], zero outside."""
    padded = np.pad(whole, ((0, 0), (1, 1), (1, 1)))
    return np.lib.stride_tricks.sliding_window_view(padded, (6, 6), axis=(1, 2))[:, ::4, ::4]


def _scale(half, peak, span):
    if not half:
        return 1.0
    return np.float32(2.0 ** np.floor(np.log2(np.float32(span) / max(peak.sum(), np.float32(1e-30)))))


def _columns(row0, T, TW, planes, TH, channels):
    """Rows (n, ty) of tiles row0, row0+1, … for T tiles, as an index of (N, channels, TH, TW, …) arrays."""
    rows = np.arange(row0, row0 + T // TW)
    return rows // TH, rows % TH


def input_transform(kind, half, x, add, code, V, peak, span, C, H, W, TH, TW, row0, T, ld, vec, reverse):
    BT = matrices(x.dtype)[1]
    d = patches(spread(x, add, code, kind, H, W, TH, TW), TH, TW)
    n, ty = _columns(row0, T, TW, None, TH, C)
    d = d.reshape(-1, C, TH, TW, 6, 6)[n, :, ty]  # (rows, C, TW, 6, 6)
    v = BT @ d @ BT.T * _scale(half, peak, span)
    v = v.transpose(3, 4, 1, 0, 2).reshape(36, C, T)
    V[:, :, :T] = v[::-1] if reverse else v


def output_transform(kind, half, M, b, out, code, peak, span, unit, F, H, W, TH, TW, row0, T, ld, vec, reverse):
    AT = matrices(out.dtype)[2]
    m = M[:, :, :T].astype(out.dtype)
    m = (m[::-1] if reverse else m).reshape(6, 6, F, T // TW, TW).transpose(3, 2, 4, 0, 1)
    o = AT @ m @ AT.T * out.dtype.type(unit / _scale(half, peak, span))  # (rows, F, TW, 4, 4)
    if isinstance(b, np.ndarray):
        o = o + b[None, :, None, None, None]
    _store(kind, o, out, code, F, H, W, TH, TW, row0)


def _store(kind, o, out, code, F, H, W, TH, TW, row0):
    """Tiles o (rows, F, TW, 4, 4), from tile row row0 on, through ReLU and pooling into out, and their code."""
    out, code = (out.reshape(-1, F, *out.shape[-2:]), code if kind == "plain" else code.reshape(-1, F, TH, TW))
    for k, tiles in enumerate(o):
        n, ty = (row0 + k) // TH, (row0 + k) % TH
        rows = tiles.transpose(0, 2, 1, 3).reshape(F, 4, 4 * TW)
        inside = np.zeros((1, 4, 4 * TW), bool)
        inside[:, : H - 4 * ty, :W] = True
        if kind == "plain":
            out[n, :, 4 * ty : 4 * ty + 4] = rows[:, : H - 4 * ty, :W]
            continue
        positive = np.maximum(rows, 0)
        if kind == "relu":
            out[n, :, 4 * ty : 4 * ty + 4] = positive[:, : H - 4 * ty, :W]
        else:
            windows = positive.reshape(F, 2, 2, 2 * TW, 2).transpose(0, 1, 3, 2, 4).reshape(F, 2, 2 * TW, 4)
            v, best = largest(windows) if kind == "relu_max" else (windows.mean(axis=3), None)
            out[n, :, 2 * ty : 2 * ty + 2] = v[:, : H // 2 - 2 * ty, : W // 2]
        if kind == "relu_max":
            alive = np.take_along_axis(windows, best[..., None], axis=3)[..., 0] > 0
            nibbles = np.where(alive, 4 + best, 0)  # (F, 2, 2·TW)
            nibbles = nibbles.reshape(F, 2, TW, 2).transpose(0, 2, 1, 3).reshape(F, TW, 4)
            code[n, :, ty] = (nibbles << 4 * np.arange(4)).sum(axis=2)
        else:
            bits = (rows > 0) & inside
            bits = bits.reshape(F, 4, TW, 4).transpose(0, 2, 1, 3).reshape(F, TW, 16)
            code[n, :, ty] = (bits.astype(int) << CODE).sum(axis=2)


def first_forward(kind, x, w, b, out, code, F, H, W, TH, TW, T, vec, vec_out):
    d = patches(spread(x, None, None, "plain", H, W, TH, TW), TH, TW).reshape(-1, 3, TH, TW, 6, 6)
    windows = np.lib.stride_tricks.sliding_window_view(d, (3, 3), axis=(4, 5))  # (N, 3, TH, TW, 4, 4, 3, 3)
    o = np.einsum("nctxrsij,fcij->ntfxrs", windows, w).reshape(-1, F, TW, 4, 4)
    if isinstance(b, np.ndarray):
        o = o + b[None, :, None, None, None]
    _store(kind, o, out, code, F, H, W, TH, TW, 0)


def first_backward(kind, dout, add, code, w, part, N, F, H, W, TH, TW, T, vec, vec_out):
    d = patches(spread(dout, add, code, kind, H, W, TH, TW), TH, TW).reshape(N, F, TH, TW, 6, 6)
    windows = np.lib.stride_tricks.sliding_window_view(d, (3, 3), axis=(4, 5))
    groups = len(part)
    for g in range(groups):
        own = slice(F * g // groups, F * (g + 1) // groups)
        o = np.einsum("nftxrsij,fcij->ntcxrs", windows[:, own], w[own, :, ::-1, ::-1]).reshape(-1, 3, TW, 4, 4)
        _store("plain", o, part[g], None, 3, H, W, TH, TW, 0)


def unmask(kind, dout, add, code, dconv, F, H, W, TH, TW, T, vec, vec_out):
    dconv[...] = spread(dout, add, code, kind, H, W, TH, TW)[:, :H, :W].reshape(dconv.shape)


def max_abs(x, peak, size):
    peak[0] = np.maximum(peak[0], abs(x).max())


def _windows(x, H, W):
    x = x.reshape(-1, H, W)[:, : H // 2 * 2, : W // 2 * 2]
    return x.reshape(len(x), H // 2, 2, W // 2, 2).transpose(0, 1, 3, 2, 4).reshape(len(x), H // 2, W // 2, 4)


def largest(windows):
    """Windows (…, 4) -> their maximum (…), NaN if one of the four is, and the place of the first largest number.

    One place after the other: beside a NaN the place is the last that a comparison found larger, as in the kernels.
    """
    v, best = windows[..., 0], np.zeros(windows.shape[:-1], int)
    for k in range(1, 4):
        best = np.where(windows[..., k] > v, k, best)
        v = np.maximum(v, windows[..., k])
    return v, best


def maxpool(x, out, index, H, W, size):
    v, best = largest(_windows(x, H, W))
    out[...], index[...] = v.reshape(out.shape), best.reshape(out.shape)


def avgpool(x, out, H, W, size):
    out[...] = _windows(x, H, W).mean(axis=3).reshape(out.shape)


def pool_backward(dout, index, dx, H, W, size):
    dx[...] = 0
    for k in range(4):
        quarter = dx[:, :, k // 2 : H // 2 * 2 : 2, k % 2 : W // 2 * 2 : 2]
        quarter[...] = dout * (index == k) if isinstance(index, np.ndarray) else dout / 4


def _padded(g, rows):
    """A flat gradient as blocks (nblocks, width), 0 beyond its end."""
    padded = np.zeros(rows.shape[::2], g.dtype)
    padded.reshape(-1)[: g.size] = g.reshape(-1)
    return padded


def write_pair(rows, x_new, m_new, R, metric, s, size, padded):
    rows[:, s] = x_new - rows[:, R - 1]
    rows[:, s + 1] = _padded(m_new, rows) - rows[:, metric]


def products(rows, g_new, m_new, parts, R, size, nblocks):
    g, m = _padded(g_new, rows), _padded(m_new, rows)
    factors = np.concatenate([rows[:, : R - 1], g[:, None]], axis=1)
    groups, _, _, lanes = parts.shape
    with_y = np.concatenate(
        [np.broadcast_to((g - rows[:, R - 2])[:, None], rows[:, : R - 1].shape), m[:, None]], axis=1
    )
    for group in range(groups):
        own = slice(group, None, groups)
        for k, by in enumerate((g[:, None], with_y)):
            found = (factors[own] * by[own]).reshape(-1, R, by.shape[-1] // lanes, lanes)
            parts[group, k] = found.sum(axis=(0, 2))


def combine(rows, factors, out, R, padded):
    out[...] = 0
    for r in np.flatnonzero(factors):
        out += factors[r] * rows[:, r]


def keep(rows, x_new, g_new, m_new, R, metric, s, factor, exact, size, padded):
    g = _padded(g_new, rows)
    if exact:
        rows[:, R - 1], rows[:, metric], rows[:, R - 2] = x_new, _padded(m_new, rows), g
        return
    rows[:, s : s + 2] *= rows.dtype.type(factor)
    rows[:, R - 1] += rows[:, s]
    if metric < R - 2:
        rows[:, R - 2] += rows.dtype.type(factor) * (g - rows[:, R - 2])
    rows[:, metric] += rows[:, s + 1]
