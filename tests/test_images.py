"""Reading and resizing pictures: every mode Pillow gives, profiles, hostile files."""

import os
import struct
import zlib

import numpy as np
import pytest
from picture_files import WHITE_POINT, chunk, file_of, icc, smooth, upright
from PIL import Image, ImageCms

from style.pictures import images, profiles, saving
from style.pictures.images import ImageError

RNG = np.random.default_rng(7)


def png_bytes(values, colour_type, depth, extra=b""):
    """A PNG written by hand, for what Pillow does not write: (H, W, n) values of 8 or 16 bits."""
    H, W = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", W, H, depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def srgb_with_red_and_blue_exchanged():
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    r, b = data.index(b"rXYZ"), data.index(b"bXYZ")
    data[r : r + 4], data[b : b + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


# ---------------------------------------------------------------------------------------- formats and modes


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.tif", {}, 0),
        ("a.tif", {"compression": "tiff_lzw"}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.bmp", {}, 0),
        ("a.jpg", {"quality": 95, "subsampling": 0}, 6),
        ("a.webp", {"quality": 95}, 12),
    ],
)
def test_reads_what_people_have(tmp_path, name, options, tolerance):
    a = smooth()
    picture = images.read(file_of(tmp_path, Image.fromarray(a), name, **options))
    assert picture.rgb.dtype == np.float32 and picture.rgb.shape == a.shape
    assert picture.alpha is None and picture.size == (20, 24) and picture.mode == "RGB"
    assert np.abs(picture.rgb - a).max() <= tolerance
    assert len(picture.sha256) == 64 and picture.path.name == name


def test_the_hash_is_the_files(tmp_path):
    import hashlib

    path = file_of(tmp_path, Image.fromarray(smooth()), "a.png")
    assert images.read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["o.png", "o.tif", "o.webp", "o.jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, name, orientation):
    a = smooth()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"o.webp": {"lossless": True}, "o.jpg": {"quality": 98, "subsampling": 0}}.get(name, {})
    path = file_of(tmp_path, Image.fromarray(a), name, exif=exif, **options)
    expected = upright(a, orientation)
    rgb = images.read(path).rgb
    assert rgb.shape == expected.shape
    assert np.abs(rgb - expected).max() <= (6 if name.endswith("jpg") else 0)


def test_orientation_turns_alpha_too(tmp_path):
    a = np.dstack([smooth(), smooth()[..., :1]])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = images.read(file_of(tmp_path, Image.fromarray(a), "a.png", exif=exif))
    np.testing.assert_allclose(picture.alpha, upright(a[..., 3], 6) / 255, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F"])
def test_every_mode_from_memory(mode):
    """Mid grey comes out as mid grey whatever the mode."""
    value = {"I": 128 * 257, "I;16": 128 * 257, "F": 128 / 255}.get(mode)
    if value is not None:
        image = Image.new(mode, (20, 24), value)
    elif mode == "LAB":
        image = Image.new("LAB", (20, 24), (137, 128, 128))  # L* = 53.6
    elif mode == "HSV":
        image = Image.new("HSV", (20, 24), (0, 0, 128))
    else:
        image = Image.new("RGB", (20, 24), (128, 128, 128)).convert("RGBA").convert(mode if mode != "CMYK" else "RGB")
        image = image.convert("CMYK") if mode == "CMYK" else image
    picture = images.from_pil(image)
    assert picture.rgb.shape == (24, 20, 3)
    if mode == "1":
        assert set(np.unique(picture.rgb)) <= {0, 255} and abs(picture.rgb.mean() - 128) < 32
    else:
        assert np.abs(picture.rgb - 128).max() <= 2, picture.rgb[0, 0]
    assert picture.mode == mode


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (20, 24), 1)
    image.putpalette([255, 0, 0, 0, 0, 200, 0, 255, 0])
    image.paste(0, (0, 0, 10, 24))
    image.paste(2, (0, 0, 20, 5))
    picture = images.read(file_of(tmp_path, image, "p.png", transparency=bytes([255, 255, 51])))
    np.testing.assert_array_equal(picture.rgb[10, 2], [255, 0, 0])
    np.testing.assert_array_equal(picture.rgb[10, 15], [0, 0, 200])
    np.testing.assert_allclose(picture.alpha[0, 0], 0.2, atol=1e-6)
    np.testing.assert_allclose(picture.rgb[0, 0], [204, 255, 204], atol=1e-3)  # 0.2·green + 0.8·white


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_one_transparent_colour(tmp_path, mode):
    colour = 7 if mode == "L" else (7, 8, 9)
    image = Image.new(mode, (20, 20), 100 if mode == "L" else (100, 100, 100))
    image.paste(colour, (0, 0, 5, 20))
    picture = images.read(file_of(tmp_path, image, "t.png", transparency=colour))
    assert picture.alpha[0, 0] == 0 and picture.alpha[0, 10] == 1
    assert (picture.rgb[0, 0] == 255).all() and (picture.rgb[0, 10] == 100).all()


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_sixteen_bit_png_is_scaled_not_clipped(tmp_path, colour_type):
    n = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    values = np.linspace(0, 65535, 24 * 20).astype(int).reshape(24, 20, 1).repeat(n, axis=2)
    if n in (2, 4):
        values[..., -1] = 65535
    path = tmp_path / "deep.png"
    path.write_bytes(png_bytes(values, colour_type, 16))
    rgb = images.read(path).rgb
    np.testing.assert_allclose(rgb, (values[..., :1] / 257).repeat(3, axis=2), atol=1e-3)


def test_sixteen_bit_grey_with_a_transparent_value(tmp_path):
    values = np.full((20, 20, 1), 30000)
    values[:, :5] = 500
    path = tmp_path / "t.png"
    path.write_bytes(png_bytes(values, 0, 16, chunk(b"tRNS", struct.pack(">H", 500))))
    picture = images.read(path)
    assert picture.alpha[0, 0] == 0 and picture.alpha[0, 9] == 1 and (picture.rgb[0, 0] == 255).all()


def test_sixteen_bit_and_float_tiff(tmp_path):
    ramp = np.linspace(0, 1, 24 * 20).reshape(24, 20)
    deep = Image.fromarray((ramp * 65535).astype(np.uint16))
    expected = (ramp * 255)[..., None].repeat(3, axis=2)
    np.testing.assert_allclose(images.read(file_of(tmp_path, deep, "i.tif")).rgb, expected, atol=0.01)
    for scale in (1, 255):
        image = Image.fromarray((ramp * scale).astype(np.float32))
        np.testing.assert_allclose(images.read(file_of(tmp_path, image, "f.tif")).rgb, expected, atol=0.01)
    wild = images.read(file_of(tmp_path, Image.fromarray((ramp * 9000 - 50).astype(np.float32)), "w.tif"))
    np.testing.assert_allclose(wild.rgb, expected, atol=0.01)
    assert "stretched" in wild.notes[0]
    ramp[3, 3] = np.nan
    with pytest.raises(ImageError, match="not finite"):
        images.read(file_of(tmp_path, Image.fromarray(ramp.astype(np.float32)), "n.tif"))


def test_alpha_is_composited_on_white_and_kept(tmp_path):
    a = np.dstack([smooth(), np.full((24, 20, 1), 64, np.uint8)])
    a[0, :, 3] = 255
    picture = images.read(file_of(tmp_path, Image.fromarray(a), "a.png"))
    alpha = a[..., 3:] / 255
    np.testing.assert_allclose(picture.rgb, alpha * a[..., :3] + (1 - alpha) * 255, atol=1e-3)
    np.testing.assert_allclose(picture.alpha, alpha[..., 0], atol=1e-6)
    a[..., 3] = 255
    assert images.read(file_of(tmp_path, Image.fromarray(a), "b.png")).alpha is None


def test_grey_with_alpha(tmp_path):
    a = np.full((20, 20, 2), 100, np.uint8)
    a[..., 1] = 51
    picture = images.read(file_of(tmp_path, _la(a), "la.png"))
    np.testing.assert_allclose(picture.rgb, 0.2 * 100 + 0.8 * 255, atol=1e-3)


def _la(a):
    return Image.merge("LA", [Image.fromarray(a[..., 0]), Image.fromarray(a[..., 1])])


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (20, 20), c) for c in ("red", "green", "blue")]
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        options = {"lossless": True} if name == "a.webp" else {}
        path = file_of(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **options)
        picture = images.read(path)
        assert np.abs(picture.rgb - [255, 0, 0]).max() <= 1, name
        assert picture.notes == ("frame 1 of 3; the others are not used",), name


# ------------------------------------------------------------------------------------------ colour profiles


@pytest.mark.parametrize("name", ["c.png", "c.tif", "c.jpg", "c.webp"])
def test_embedded_profile_is_converted(tmp_path, name):
    a = smooth()
    options = {"c.webp": {"lossless": True}, "c.jpg": {"quality": 98, "subsampling": 0}}.get(name, {})
    path = file_of(tmp_path, Image.fromarray(a), name, icc_profile=srgb_with_red_and_blue_exchanged(), **options)
    assert np.abs(images.read(path).rgb - a[..., ::-1]).max() <= (8 if name == "c.jpg" else 1)


def test_profile_leaves_alpha_alone(tmp_path):
    a = np.dstack([smooth(), smooth()[..., 0]])
    path = file_of(tmp_path, Image.fromarray(a), "c.png", icc_profile=srgb_with_red_and_blue_exchanged())
    picture, alpha = images.read(path), a[..., 3:] / 255
    np.testing.assert_allclose(picture.alpha, alpha[..., 0], atol=1e-6)
    np.testing.assert_allclose(picture.rgb, alpha * a[..., 2::-1] + (1 - alpha) * 255, atol=1.01)


def test_srgb_profile_changes_nothing(tmp_path):
    a = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = file_of(tmp_path, Image.fromarray(a), "c.png", icc_profile=profiles.srgb_profile())
    np.testing.assert_array_equal(images.read(path).rgb, a)


def test_srgb_of_another_maker_changes_nothing(tmp_path):
    """Profiles called sRGB differ in the last digits; a picture is not to be rounded again for that."""
    data = bytearray(profiles.srgb_profile())
    at = struct.unpack(">I", data[data.index(b"rXYZ") + 4 :][:4])[0]
    data[at + 8 : at + 12] = struct.pack(">i", struct.unpack(">i", data[at + 8 : at + 12])[0] + 25)
    a = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = file_of(tmp_path, Image.fromarray(a), "c.png", icc_profile=bytes(data))
    np.testing.assert_array_equal(images.read(path).rgb, a)


def test_grey_profile_keeps_sixteen_bits(tmp_path):
    """A linear grey profile: half the light is grey 188 in sRGB."""
    linear = icc(b"GRAY", {b"wtpt": WHITE_POINT, b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0)})
    ramp = np.linspace(0.01, 1, 24 * 20).reshape(24, 20)
    srgb = 255 * (1.055 * ramp ** (1 / 2.4) - 0.055)
    path = file_of(tmp_path, Image.fromarray((ramp * 65535).astype(np.uint16)), "g.png", icc_profile=linear)
    picture = images.read(path)
    assert picture.notes == ()
    np.testing.assert_allclose(picture.rgb, srgb[..., None].repeat(3, axis=2), atol=2)
    assert len(np.unique(picture.rgb)) > 300
    path = file_of(tmp_path, Image.fromarray((ramp * 255).round().astype(np.uint8)), "g8.png", icc_profile=linear)
    np.testing.assert_allclose(images.read(path).rgb[..., 0], srgb, atol=6)  # steps of 8 bits in the dark


def cmyk_profile():
    """CMYK → Lab by corners: cyan is red, the other inks change nothing, black is black."""
    corners = np.array([[255, 128, 128]] * 16, np.uint8).reshape(2, 2, 2, 2, 3)
    corners[1, ..., :] = [136, 209, 195]  # sRGB's red: L* 54, a* 81, b* 70 (D50)
    corners[..., 1, :] = [0, 128, 128]
    ramp = np.arange(256, dtype=np.uint8).tobytes()
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + corners.tobytes() + ramp * 3
    return icc(b"CMYK", {b"wtpt": WHITE_POINT, b"A2B0": lut})


@pytest.mark.parametrize("name", ["k.jpg", "k.tif"])
def test_cmyk(tmp_path, name):
    image = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    plain = images.read(file_of(tmp_path, image, name))
    assert np.abs(plain.rgb - [0, 255, 255]).max() <= 3 and "CMYK" in plain.notes[0]
    profiled = images.read(file_of(tmp_path, image, name, icc_profile=cmyk_profile()))
    assert profiled.notes == ()
    assert np.abs(profiled.rgb - [255, 0, 0]).max() <= 12, profiled.rgb[0, 0]


def test_broken_or_foreign_profile_is_noted_and_ignored(tmp_path):
    a = smooth()
    for bad in (b"nonsense", srgb_with_red_and_blue_exchanged()[:200], cmyk_profile()):
        picture = images.read(file_of(tmp_path, Image.fromarray(a), "b.png", icc_profile=bad))
        np.testing.assert_array_equal(picture.rgb, a)
        assert "profile ignored" in picture.notes[0] and "\n" not in picture.notes[0]


# ------------------------------------------------------------------------------------------- hostile files


def test_missing_folder_empty_and_foreign(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("this is not a picture\n")
    (tmp_path / "page.jpg").write_text("\n<!DOCTYPE html><html>404</html>")
    (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (tmp_path / "random.png").write_bytes(RNG.bytes(5000))
    for name, words in [
        ("none.png", "no such file"),
        (".", "folder"),
        ("empty.png", "empty"),
        ("text.png", "expected JPEG"),
        ("page.jpg", "web page"),
        ("phone.jpg", "HEI[CF]"),
        ("random.png", "not a picture"),
        ("a\0b.png", "cannot be opened"),
    ]:
        with pytest.raises(ImageError, match=words) as caught:
            images.read(tmp_path / name)
        assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value)


def test_devices_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="regular file"):
        images.read(tmp_path / "pipe.png")


@pytest.mark.parametrize("name", ["t.png", "t.jpg", "t.webp", "t.tif", "t.gif"])
def test_truncated_at_any_length(tmp_path, name):
    noisy = (smooth(60, 50) + RNG.integers(0, 40, (60, 50, 3))).astype(np.uint8)
    data = file_of(tmp_path, Image.fromarray(noisy), name).read_bytes()
    whole = images.read(tmp_path / name).rgb
    refused = 0
    for length in sorted({1, 2, 8, 20, 33, 60, *np.linspace(64, len(data) - 1, 25).astype(int).tolist()}):
        (tmp_path / name).write_bytes(data[:length])
        try:
            rgb = images.read(tmp_path / name).rgb
        except ImageError as error:
            assert "\n" not in str(error)
            refused += 1
        else:  # only the trailer is missing
            assert length > 0.9 * len(data)
            np.testing.assert_array_equal(rgb, whole)
    assert refused >= 25


@pytest.mark.parametrize("name", ["f.png", "f.jpg", "f.webp", "f.tif", "f.gif"])
def test_flipped_bytes_give_a_picture_or_an_error(tmp_path, name, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)  # a flipped width is decoded in full below this: slow
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if name == "f.gif" else {"icc_profile": profiles.srgb_profile(), "exif": exif}
    data = file_of(tmp_path, Image.fromarray(smooth()), name, **options).read_bytes()
    rng = np.random.default_rng(3)
    outcomes = set()
    for _ in range(120):
        hurt = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            hurt[at] = rng.integers(0, 256)
        (tmp_path / name).write_bytes(hurt)
        try:
            picture = images.read(tmp_path / name, min_side=1)
        except ImageError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
        else:
            assert picture.rgb.ndim == 3 and np.isfinite(picture.rgb).all()
            outcomes.add("read")
    assert outcomes == {"read", "refused"}


def test_decompression_bomb(tmp_path):
    path = tmp_path / "bomb.png"
    data = bytearray(png_bytes(np.zeros((1, 1, 3)), 2, 8))
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data[12:33] = header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(data)
    with pytest.raises(ImageError, match="million pixels"):
        images.read(path)


def test_too_small(tmp_path):
    path = file_of(tmp_path, Image.new("RGB", (40, 15)), "s.png")
    with pytest.raises(ImageError, match="40x15 pixels; each side must have at least 16"):
        images.read(path)
    assert images.read(path, min_side=15).rgb.shape == (15, 40, 3)
    with pytest.raises(ImageError, match="empty picture"):
        images.from_array(np.zeros((0, 20, 3)))


def test_a_disk_that_fails_is_no_damaged_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    saving.save(path, np.zeros((20, 20, 3)))

    def fails(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", fails)
    with pytest.raises(ImageError, match=r"a\.png: cannot be read \(Input/output error\); try again") as error:
        images.read(path)
    assert "damaged" not in str(error.value)


# ------------------------------------------------------------------------------------- pictures from memory


def test_as_picture_takes_paths_arrays_and_pillow_images(tmp_path):
    a = smooth()
    path = file_of(tmp_path, Image.fromarray(a), "a.png")
    for source in (path, str(path), Image.fromarray(a), a, a.astype(np.float64), a.astype(np.uint16) * 257, a.tolist()):
        picture = images.as_picture(source)
        assert picture.rgb.dtype == np.float32
        np.testing.assert_allclose(picture.rgb, a, atol=1e-3)
    assert images.as_picture(picture) is picture
    np.testing.assert_array_equal(images.as_picture(a[..., 0]).rgb, a[..., :1].repeat(3, axis=2))
    rgba = np.dstack([a, a[..., 0]])
    from_array, from_file = images.as_picture(rgba), images.as_picture(Image.fromarray(rgba))
    np.testing.assert_array_equal(from_array.rgb, from_file.rgb)
    np.testing.assert_array_equal(from_array.alpha, from_file.alpha)


def test_samples_by_name():
    from style.samples import SAMPLES

    for name in SAMPLES:
        picture = images.as_picture(f"sample:{name}:64")
        assert picture.rgb.shape == (48, 64, 3) and picture.mode == f"sample:{name}:64" and picture.path is None
        np.testing.assert_array_equal(picture.rgb, SAMPLES[name](64))
    assert images.as_picture("sample:mosaic").rgb.shape == (384, 512, 3)
    for bad, words in [
        ("sample:none", "sample:scene"),
        ("sample:scene:x", "number of pixels"),
        ("sample:scene:9", "from 32"),
        ("sample:scene:99999", "8192"),
    ]:
        with pytest.raises(ImageError, match=words):
            images.as_picture(bad)


def test_the_same_values_have_the_same_hash_and_others_not():
    a = smooth()
    assert images.as_picture(a).sha256 == images.as_picture(a.copy()).sha256
    assert images.as_picture(a).sha256 != images.as_picture(a[::-1]).sha256
    assert images.as_picture(a).sha256 != images.as_picture(a.reshape(20, 24, 3)).sha256


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((20, 20, 2)), "shape"),
        (np.zeros((1, 3, 20, 20)), "shape"),
        (np.zeros((20, 20, 3), complex), "complex"),
        (np.full((20, 20, 3), np.nan), "not finite"),
        (np.full((20, 20, 3), 9000.0), "9000"),
        (np.full((20, 20, 3), 300), "whole numbers from 300 to 300"),
        (np.full((20, 20, 3), -1, np.int16), "whole numbers from -1"),
        ("", "an empty name"),
        (np.full((20, 20, 3), 0.5), "multiply by 255"),
        (None, "shape"),
        ("text", "no such file"),
    ],
)
def test_wrong_arrays_are_named(bad, words):
    with pytest.raises(ImageError, match=words):
        images.as_picture(bad)


def test_inputs_are_not_modified():
    a = smooth().astype(np.float32)
    kept = a.copy()
    picture = images.as_picture(a)
    picture.rgb[:] = 0
    images.resize(a, a.shape[:2])[:] = 0
    images.to_network(a, np.zeros(3), "RGB")[:] = 0
    np.testing.assert_array_equal(a, kept)


# ------------------------------------------------------------------------------------------------- geometry


def test_fit():
    assert images.fit(512, 768, 1024) == (384, 512)
    assert images.fit(512, 1024, 768) == (512, 384)
    assert images.fit(256, 100, 100) == (256, 256)
    assert images.fit(100, 2, 3) == (67, 100) and images.fit(100, 3, 2) == (100, 67)
    assert images.fit(100, 1, 5000) == (1, 100)
    assert images.fit(512, 768, 1024, side="shortest") == (512, 682)  # the sizes of the published curve
    assert images.fit(512, 768, 970, side="shortest") == (512, 646)
    assert images.fit(512, 970, 768, side="shortest") == (646, 512)
    assert images.fit(256, 103, 206, side="shortest") == (256, 512)  # 206 · (256 / 103) would be rounded to below 512


def test_resize_keeps_flat_pictures_means_and_ranges():
    flat = np.full((30, 41, 3), 77.25, np.float32)
    for size in ((13, 17), (60, 90), (30, 20)):
        np.testing.assert_allclose(images.resize(flat, size), np.full((*size, 3), 77.25), rtol=1e-6)
    a = RNG.uniform(0, 255, (64, 48, 3)).astype(np.float32)
    for size in ((16, 12), (100, 99), (64, 20)):
        b = images.resize(a, size)
        assert b.shape == (*size, 3) and b.dtype == np.float32 and b.flags["C_CONTIGUOUS"]
        assert a.min() <= b.min() and b.max() <= a.max()
    np.testing.assert_allclose(images.resize(a, (16, 12)).mean((0, 1)), a.mean((0, 1)), atol=3)
    np.testing.assert_array_equal(images.resize(a, (64, 48)), a)


def test_resize_does_not_round_to_eight_bits():
    ramp = np.linspace(100, 101, 64, dtype=np.float32)[None].repeat(64, axis=0)
    small = images.resize(ramp, (32, 32))
    assert small.shape == (32, 32) and len(np.unique(small[5])) == 32
    np.testing.assert_allclose(small[5, 4:-4], 100 + (np.arange(32)[4:-4] * 2 + 0.5) / 63, atol=1e-3)


def test_resize_antialiases():
    """A checkerboard of single pixels has no picture at half its size: grey."""
    y, x = np.mgrid[:64, :64]
    board = ((x + y) % 2 * 255.0).astype(np.float32)
    assert np.abs(images.resize(board, (31, 31))[4:-4, 4:-4] - 127.5).max() < 12
    assert np.abs(board[::2, ::2] - 127.5).min() > 127  # what skipping pixels would give


def test_bilinear_is_pillows_on_eight_bits():
    a = smooth(60, 80)
    expected = np.asarray(Image.fromarray(a).resize((33, 21), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(images.resize(a.astype(np.float32), (21, 33), method="bilinear"), expected)
    with pytest.raises(ImageError, match="nearest"):
        images.resize(a, (21, 33), method="nearest")


def test_network_input_layout_and_inverse():
    a = smooth().astype(np.float32)
    mean = np.array([123.68, 116.779, 103.939])
    x = images.to_network(a, mean, "RGB")
    assert x.shape == (1, 3, 24, 20) and x.dtype == np.float32 and x.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(x[0, 2, 5, 7], a[5, 7, 2] - 103.939, rtol=1e-6)
    bgr = images.to_network(a, mean[::-1], "BGR")
    np.testing.assert_array_equal(bgr, x[:, ::-1])
    for order, m in (("RGB", mean), ("BGR", mean[::-1])):
        x = images.to_network(a, m, order, dtype=np.float64)
        assert x.dtype == np.float64
        np.testing.assert_array_equal(images.from_network(x, m, order), a)
        x = images.to_network(a, m, order)
        np.testing.assert_allclose(images.from_network(x, m, order), a, atol=2e-5)
        np.testing.assert_array_equal(images.to_uint8(images.from_network(x, m, order)), a)
    with pytest.raises(ImageError, match="GRB"):
        images.to_network(a, mean, "GRB")


def test_to_uint8_rounds_and_clips():
    np.testing.assert_array_equal(
        images.to_uint8(np.array([-3, 0.4, 0.6, 254.5, 254.6, 300])), [0, 0, 1, 254, 255, 255]
    )
