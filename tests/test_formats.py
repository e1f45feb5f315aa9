"""What files say of themselves beside their pixels: PNG chunks, HDR, odd kinds of JPEG and TGA, other formats."""

import importlib.util
import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from picture_files import chunk, file_of, smooth
from PIL import Image, features

from style.pictures import ImageError, images, kinds, light

RNG = np.random.default_rng(3)


def png(values, colour_type, bits, *extra):
    """A PNG by hand: values (H, W, S) integers of 1 to 16 bits."""
    H, W, _ = values.shape
    each = (values.reshape(H, -1)[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(each.reshape(H, -1).astype(np.uint8), axis=1)
    data = np.hstack([np.zeros((H, 1), np.uint8), rows]).tobytes()
    header = struct.pack(">IIBBBBB", W, H, bits, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PNG_KINDS = (
    [(0, b) for b in (1, 2, 4, 8, 16)] + [(3, b) for b in (1, 2, 4, 8)] + [(t, b) for t in (2, 4, 6) for b in (8, 16)]
)


@pytest.mark.parametrize(
    ("colour_type", "bits", "transparent"),
    [(*kind, t) for kind in PNG_KINDS for t in (False, True) if not (t and kind[0] in (4, 6))],
)
def test_png_of_every_kind(tmp_path, colour_type, bits, transparent):
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    values = RNG.integers(0, 2**bits, (24, 20, samples))
    alpha, extra = np.ones((24, 20)), []
    if colour_type == 3:
        palette = RNG.integers(0, 256, (2**bits, 3)).astype(np.uint8)
        extra, expected = [chunk(b"PLTE", palette.tobytes())], palette[values[..., 0]].astype(float)
        if transparent:
            table = RNG.integers(0, 256, 2**bits).astype(np.uint8)
            extra.append(chunk(b"tRNS", table.tobytes()))
            alpha = table[values[..., 0]] / 255
    else:
        levels = values * (255 / (2**bits - 1))
        expected = levels[..., : samples - (colour_type in (4, 6))]
        alpha = levels[..., -1] / 255 if colour_type in (4, 6) else alpha
        if transparent:
            values[:8, :, :] = values[0, 0]
            expected = (values * (255 / (2**bits - 1)))[..., :samples]
            extra = [chunk(b"tRNS", struct.pack(f">{samples}H", *values[0, 0]))]
            alpha = (values != values[0, 0]).any(axis=2).astype(float)
    (tmp_path / "a.png").write_bytes(png(values, colour_type, bits, *extra))
    picture = images.read(tmp_path / "a.png")
    expected = alpha[..., None] * expected + (1 - alpha[..., None]) * 255
    np.testing.assert_allclose(picture.rgb, np.broadcast_to(expected, (24, 20, 3)), atol=1e-3)
    if picture.alpha is not None:
        np.testing.assert_allclose(picture.alpha, alpha, atol=1e-6)
    else:
        assert alpha.min() == 1


# -------------------------------------------------------------------------------------------------- colours

GREYS = np.repeat(np.arange(0, 256, 3)[None, :, None], 20, axis=0).repeat(3, axis=2)


def with_chunks(tmp_path, values, *extra):
    (tmp_path / "a.png").write_bytes(png(values, 2, 8, *extra))
    return images.read(tmp_path / "a.png")


def test_gamma(tmp_path):
    linear = with_chunks(tmp_path, GREYS, chunk(b"gAMA", struct.pack(">I", 100000)))
    v = GREYS / 255
    np.testing.assert_allclose(
        linear.rgb, 255 * np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055), atol=0.01
    )
    for same in (chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"gAMA", bytes(4))):
        np.testing.assert_array_equal(with_chunks(tmp_path, GREYS, same).rgb, GREYS)
    rules = (chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 100000)))
    np.testing.assert_array_equal(with_chunks(tmp_path, GREYS, *rules).rgb, GREYS)


def test_primaries(tmp_path):
    """Red's and blue's places exchanged exchange red and blue; impossible ones are not followed."""
    values = RNG.integers(0, 256, (20, 20, 3))
    x = [31270, 32900, 15000, 6000, 30000, 60000, 64000, 33000]
    swapped = with_chunks(tmp_path, values, chunk(b"cHRM", struct.pack(">8I", *x)))
    np.testing.assert_allclose(swapped.rgb, values[..., ::-1], atol=0.5)
    x[2:4] = x[4:6]
    assert np.isfinite(with_chunks(tmp_path, values, chunk(b"cHRM", struct.pack(">8I", *x))).rgb).all()
    assert np.isfinite(with_chunks(tmp_path, values, chunk(b"cHRM", bytes(32))).rgb).all()


def test_cicp(tmp_path):
    values = RNG.integers(90, 160, (20, 20, 3))
    p3 = with_chunks(tmp_path, values, chunk(b"cICP", bytes([12, 13, 0, 1])))
    to_linear = lambda v: np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)  # noqa: E731
    to_srgb = np.array([[1.22494, -0.22494, 0], [-0.042057, 1.042057, 0], [-0.019638, -0.078636, 1.098274]])
    light_ = to_linear(values / 255) @ to_srgb.T
    np.testing.assert_allclose(p3.rgb, 255 * (1.055 * light_.clip(0.0031308, 1) ** (1 / 2.4) - 0.055), atol=0.5)
    np.testing.assert_array_equal(with_chunks(tmp_path, values, chunk(b"cICP", bytes([1, 13, 0, 1]))).rgb, values)
    narrow = with_chunks(tmp_path, values, chunk(b"cICP", bytes([1, 13, 0, 0])))
    np.testing.assert_allclose(narrow.rgb, (values - 16) * 255 / 219, atol=0.01)
    strange = with_chunks(tmp_path, values, chunk(b"cICP", bytes([77, 99, 0, 1])))
    assert "77/99" in strange.notes[0]


@pytest.mark.parametrize(("name", "code", "white", "tenth"), [("PQ", 16, 0.580689, 0.345), ("HLG", 18, 0.75, 0.286)])
def test_hdr_white_is_white_and_noted(tmp_path, name, code, white, tenth):
    """Diffuse white of 203 nits (BT.2408) becomes white; a tenth of its light, a tenth of it."""
    values = np.full((20, 20, 3), round(255 * white))
    picture = with_chunks(tmp_path, values, chunk(b"cICP", bytes([9, code, 0, 1])))
    assert np.abs(picture.rgb - 255).max() < 3
    assert f"HDR ({name})" in picture.notes[0]
    values[:, 10:] = round(255 * tenth)
    dark = with_chunks(tmp_path, values, chunk(b"cICP", bytes([9, code, 0, 1]))).rgb[0, 15]
    assert 60 < dark[0] < 110  # 89 is a tenth
    assert np.ptp(dark) < 1


def test_curves_go_through_their_standards_points():
    assert light._pq(np.array([1.0])) * light.WHITE_NITS == pytest.approx(10000)
    assert light._pq(np.array([0.5081])) * light.WHITE_NITS == pytest.approx(100, rel=0.01)
    peak = light._hlg(np.ones((1, 3), np.float32)) * light.WHITE_NITS
    np.testing.assert_allclose(peak, 1000, rtol=1e-3)


def test_a_profile_that_names_hdr(tmp_path):
    """ICC profiles of HDR carry the same numbers in a tag; the profile's own curve would be flat and dark."""
    profile = bytearray(
        b"\0" * 128 + struct.pack(">I4sII", 1, b"cicp", 144, 12) + b"cicp\0\0\0\0" + bytes([9, 16, 0, 1])
    )
    profile[0:4] = struct.pack(">I", len(profile))
    image = Image.new("RGB", (20, 20), (148, 148, 148))
    picture = images.read(file_of(tmp_path, image, "a.png", icc_profile=bytes(profile)))
    assert np.abs(picture.rgb - 255).max() < 3
    assert "HDR (PQ)" in picture.notes[0]


def test_an_animated_png_with_a_still_picture_of_its_own(tmp_path):
    frames = [Image.new("RGB", (20, 20), c) for c in ("red", "green", "blue")]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], default_image=True)
    picture = images.read(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.rgb[0, 0], [255, 0, 0])
    assert "animation behind it" in picture.notes[0]


# ------------------------------------------------------------------------------------------------ transparency


def test_alpha_of_0_everywhere_is_not_used(tmp_path):
    a = smooth()
    for name in ("a.png", "a.webp", "a.tif"):
        image = Image.fromarray(np.dstack([a, np.zeros(a.shape[:2], np.uint8)]))
        options = {"lossless": True, "exact": True} if name == "a.webp" else {}
        picture = images.read(file_of(tmp_path, image, name, **options))
        np.testing.assert_array_equal(picture.rgb, a)
        assert picture.alpha is None
        assert picture.notes == ("transparent everywhere: its alpha is not used",)


def test_one_colour_on_white_is_noted(tmp_path):
    shape = np.full((24, 20, 4), 255, np.uint8)
    shape[:12, :, 3] = 0  # a white drawing
    picture = images.read(file_of(tmp_path, Image.fromarray(shape), "a.png"))
    assert "one colour throughout" in picture.notes[0]


@pytest.mark.parametrize("bits", [0, 8])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_tga_says_whether_its_fourth_channel_is_alpha(tmp_path, mode, bits):
    rgba = Image.fromarray(np.dstack([smooth(), np.full((24, 20), 100, np.uint8)])).convert(mode)
    data = bytearray(file_of(tmp_path, rgba, "a.tga").read_bytes())
    data[17] = data[17] & 0xF0 | bits
    (tmp_path / "a.tga").write_bytes(data)
    picture = images.read(tmp_path / "a.tga")
    assert (picture.alpha is None) == (bits == 0)
    assert picture.notes == (() if bits else ("its fourth channel is not declared as transparency: not used",))


def test_bmp_with_and_without_alpha(tmp_path):
    rgba = np.dstack([smooth(), np.full((24, 20), 100, np.uint8)])
    picture = images.read(file_of(tmp_path, Image.fromarray(rgba), "a.bmp"))
    expected = rgba[..., :3] if picture.alpha is None else 255 + (rgba[..., :3].astype(float) - 255) * 100 / 255
    np.testing.assert_allclose(picture.rgb, expected, atol=0.01)
    plain = struct.pack("<2sIHHI", b"BM", 54 + 24 * 20 * 4, 0, 0, 54)
    plain += struct.pack("<IiiHHIIiiII", 40, 20, -24, 1, 32, 0, 24 * 20 * 4, 0, 0, 0, 0)  # a fourth byte, no alpha
    (tmp_path / "b.bmp").write_bytes(plain + rgba[..., [2, 1, 0, 3]].tobytes())
    picture = images.read(tmp_path / "b.bmp")
    np.testing.assert_array_equal(picture.rgb, rgba[..., :3])
    assert picture.alpha is None


# ---------------------------------------------------------------------------------------------------- JPEG


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_without_its_end_is_whole_or_damaged(tmp_path, options):
    noisy = (smooth(60, 50) + RNG.integers(0, 40, (60, 50, 3))).astype(np.uint8)
    path = file_of(tmp_path, Image.fromarray(noisy), "a.jpg", quality=90, **options)
    data, whole = path.read_bytes(), images.read(path).rgb
    path.write_bytes(data[:-2])
    picture = images.read(path)
    np.testing.assert_array_equal(picture.rgb, whole)
    assert "mark of the file's end" in picture.notes[0]
    for missing in (30, 300, len(data) // 2):
        path.write_bytes(data[:-missing])
        with pytest.raises(ImageError, match=r"damaged or cut short .*get the file again"):
            images.read(path)


def test_jpeg_kinds_that_are_not_read_are_named(tmp_path):
    path = file_of(tmp_path, Image.fromarray(smooth()), "a.jpg")
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0")
    for marker, bits, words in ((0xC1, 12, "12 bits a sample"), (0xC3, 8, "lossless"), (0xC7, 8, "lossless")):
        data[at + 1], data[at + 4] = marker, bits
        path.write_bytes(data)
        with pytest.raises(ImageError, match=words):
            images.read(path)


# ------------------------------------------------------------------------------------- formats with a plugin


@pytest.mark.parametrize(
    ("start", "module", "extra"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "pillow_heif", "heic"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "pillow_jxl", "jxl"),
        (b"\xff\x0a", "pillow_jxl", "jxl"),
    ],
)
def test_without_their_plugin_they_are_named(tmp_path, monkeypatch, start, module, extra):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == module else real(name, *a))
    (tmp_path / "a.jpg").write_bytes(start + bytes(100))
    with pytest.raises(ImageError, match=rf'pip install "minivgg-style\[{extra}\]", or convert'):
        images.read(tmp_path / "a.jpg")


@pytest.mark.parametrize(("module", "name"), [("pillow_heif", "a.heic"), ("pillow_jxl", "a.jxl")])
def test_with_their_plugin_they_are_read(tmp_path, module, name):
    plugin = pytest.importorskip(module)
    if module == "pillow_heif":
        plugin.register_heif_opener()
    path = file_of(tmp_path, Image.fromarray(smooth(64, 64)), name, quality=95)
    assert np.abs(images.read(path).rgb - smooth(64, 64)).mean() < 3


def test_a_heic_with_a_thumbnail_is_reduced_by_its_own_pixels(tmp_path):
    """Its plugin would give Pillow the thumbnail, which is cut where the picture is cut."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    path = file_of(tmp_path, Image.fromarray(smooth(240, 320)), "a.heic", quality=95, thumbnails=[120])
    picture = images.read(path, need=lambda H, W: (24, 32))
    assert (picture.size, picture.rgb.shape) == ((320, 240), (80, 107, 3))
    whole = images.read(path)
    np.testing.assert_allclose(picture.resized((24, 32)), whole.resized((24, 32)), atol=4)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(tmp_path):
    path = file_of(tmp_path, Image.fromarray(smooth(64, 64)), "a.avif", quality=95, subsampling="4:4:4")
    assert np.abs(images.read(path).rgb - smooth(64, 64)).mean() < 3


def test_formats_that_were_not_compared_are_refused(tmp_path):
    with pytest.raises(ImageError, match="the format XBM is not supported; export it as PNG"):
        images.read(file_of(tmp_path, Image.new("1", (20, 20)), "a.xbm"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("image file is truncated (3 bytes not processed)"), "damaged or cut short"),
        (OSError("broken data stream when reading image file"), "damaged or cut short"),
        (EOFError("no more"), "damaged or cut short"),
        (OSError("Unsupported BMP bitfields layout"), "a kind that is not supported (Uns"),
        (OSError("decoder jpeg2k not available"), "a kind that is not supported (dec"),
        (ValueError("strange"), "damaged, or of a kind that is not supported (strange)"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_damaged_is_said_of_missing_data_alone(error, words):
    said = str(kinds.refusal("a.bmp", io.BytesIO(b"BM"), error))
    assert words in said
    assert ("export it" in said) == ("kind" in said)


def test_integers_from_memory(tmp_path):
    for dtype, top in itertools.product((np.int16, np.int32, np.int64, np.uint32), (255, 256)):
        a = np.full((20, 20, 3), top, dtype)
        if top == 255:
            assert (images.from_array(a).rgb == 255).all()
        else:
            with pytest.raises(ImageError, match="whole numbers from 256"):
                images.from_array(a)
