"""What light a picture's numbers stand for, where the file says so without an ICC profile: → sRGB.

cICP (ITU-T H.273) names primaries and transfer function by number, and is how HDR is marked (PQ, HLG); PNG's gAMA and
cHRM give a gamma and the primaries themselves. Profiles are profiles.py's.
"""

import numpy as np

WHITE_NITS = 203.0  # of diffuse white in HDR (ITU-R BT.2408): what is brighter becomes white
D65 = (0.3127, 0.3290)
# x, y of white, red, green and blue (H.273, table 2)
PRIMARIES = {
    1: (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    12: (*D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
SRGB_LIKE = (1, 2, 6, 13, 14, 15)  # 2: unspecified; BT.709's curve is shown as sRGB's
PQ, HLG = 16, 18
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def from_cicp(codes, notes):
    """A function rgb 0..255 → sRGB 0..255 from (primaries, transfer, matrix, full range), or None where it is sRGB."""
    primaries, transfer, _, full = codes
    curves = {4: lambda v: v**2.2, 5: lambda v: v**2.8, 8: lambda v: v, PQ: _pq, HLG: _hlg}
    if transfer in (PQ, HLG):
        name = "PQ" if transfer == PQ else "HLG"
        notes.append(f"HDR ({name}) brought to sRGB: what is brighter than {WHITE_NITS:g} nits became white")
    elif transfer not in (*SRGB_LIKE, *curves) or primaries not in (2, *PRIMARIES):
        notes.append(f"its colours (cICP {primaries}/{transfer}) are not known here: taken as sRGB")
        return None
    chromaticities = PRIMARIES.get(primaries, PRIMARIES[1])
    if full and transfer in SRGB_LIKE and chromaticities == PRIMARIES[1]:
        return None
    convert = _converter(curves.get(transfer, _srgb), chromaticities)
    return convert if full else lambda rgb: convert((rgb.clip(16, 235) - 16) * np.float32(255 / 219))


def from_gamma(gamma, chromaticities):
    """The same from PNG's gAMA (0.45455) and cHRM (x, y of white, red, green, blue), either of them None.

    None where it is sRGB, or nothing that could be.
    """
    plain = gamma is None or abs(gamma - 1 / 2.2) < 0.01 or not 0.05 < gamma < 20
    own = chromaticities is None or np.allclose(chromaticities, PRIMARIES[1], atol=0.002)
    if not own and not _possible(chromaticities):
        own = True
    if plain and own:
        return None
    curve = _srgb if plain else lambda v: v ** np.float32(1 / gamma)
    return _converter(curve, PRIMARIES[1] if own else chromaticities)


def _possible(chromaticities):
    """Whether these are the coordinates of a triangle with its white inside."""
    c = np.asarray(chromaticities)
    if (c[1::2] <= 0).any():
        return False
    columns = np.stack([c[2::2], c[3::2], 1 - c[2::2] - c[3::2]])
    if abs(np.linalg.det(columns)) < 1e-4:
        return False
    return bool((np.linalg.solve(columns, [c[0] / c[1], 1, (1 - c[0] - c[1]) / c[1]]) > 0).all())


def _converter(curve, chromaticities):
    matrix = (np.linalg.inv(_to_xyz(PRIMARIES[1])) @ _to_xyz(chromaticities)).astype(np.float32)
    same = np.allclose(matrix, np.eye(3), atol=2e-3)

    def convert(rgb):
        light = curve(np.float32(1 / 255) * np.asarray(rgb, np.float32))
        return encoded(light if same else light @ matrix.T)

    return convert


def encoded(light):
    """Linear light of sRGB's primaries, cut to 0..1 → sRGB 0..255."""
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - 0.055)


def _to_xyz(chromaticities):
    """(3, 3): linear RGB → XYZ under D65, adapted from the file's own white (Bradford)."""
    c = np.asarray(chromaticities, float)
    columns = np.stack([c[2::2], c[3::2], 1 - c[2::2] - c[3::2]])  # of red, green and blue
    white = np.array([c[0], c[1], 1 - c[0] - c[1]]) / c[1]
    matrix = columns * np.linalg.solve(columns, white)
    target = np.array([D65[0], D65[1], 1 - sum(D65)]) / D65[1]
    cones = (_BRADFORD @ target) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ (cones[:, None] * _BRADFORD) @ matrix


def _srgb(v):
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** np.float32(2.4))


def _pq(v):
    """SMPTE ST 2084: 1 = 10000 nits."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    p = v.astype(np.float64) ** (1 / m2)
    return ((p - c1).clip(0) / (c2 - c3 * p)) ** (1 / m1) * np.float64(10000 / WHITE_NITS)


def _hlg(v):
    """ITU-R BT.2100's hybrid log-gamma on a screen of 1000 nits."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(v <= 0.5, v * v / 3, (np.exp((v - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
    return scene * luminance[..., None] ** 0.2 * (1000 / WHITE_NITS)
