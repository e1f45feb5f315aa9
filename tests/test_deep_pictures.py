"""Files of more than 8 bits a sample keep them on the way in, whatever their profile, or say that they do not."""

import numpy as np
import pytest
import tifffile
from picture_files import ADOBE, LINEAR, PROPHOTO, chunk, file_of, formula, power, rgb_profile, table, table_profile
from PIL import Image, ImageCms, features

from style.pictures import ImageError, deep, images, profiles, saving

RNG = np.random.default_rng(5)
DEEP = RNG.integers(0, 65536, (40, 30, 3)).astype(np.uint16)
PROFILES = {
    "linear": rgb_profile(PROPHOTO, LINEAR),
    "power": rgb_profile(ADOBE, power(2.19921875)),
    "table": rgb_profile(ADOBE, table(1.8)),
    "formula 0": rgb_profile(PROPHOTO, formula(0, 1.8)),
    "formula 1": rgb_profile(ADOBE, formula(1, 2.2, 1.02, -0.02)),
    "formula 2": rgb_profile(ADOBE, formula(2, 2.2, 0.9, 0.1, -(0.1**2.2))),
    "formula 3": rgb_profile(PROPHOTO, formula(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
    "formula 4": rgb_profile(ADOBE, formula(4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0, 0)),
}


def written(path, pixels, profile):
    """A PNG or TIFF of 16 bits, by what writes ours."""
    path.write_bytes({".png": deep.png, ".tif": deep.tiff}[path.suffix](pixels, icc_profile=profile))
    return path


@pytest.mark.parametrize(
    "name", [n if n in ("power", "formula 3") else pytest.param(n, marks=pytest.mark.slow) for n in PROFILES]
)
def test_a_profile_of_a_matrix_is_followed_at_full_depth(tmp_path, name):
    """As littleCMS does it with 16 bits, through another binding, and alike in both formats."""
    cms = pytest.importorskip("imagecodecs").cms_transform
    srgb, intent = profiles.srgb_profile(), ImageCms.Intent.RELATIVE_COLORIMETRIC
    flags = ImageCms.Flags.NOOPTIMIZE | ImageCms.Flags.BLACKPOINTCOMPENSATION
    expected = cms(DEEP, PROFILES[name], srgb, colorspace="rgb", outdtype="u2", intent=intent, flags=flags) / 257
    found = [images.read(written(tmp_path / f, DEEP, PROFILES[name])) for f in ("a.png", "a.tif")]
    np.testing.assert_array_equal(found[0].rgb, found[1].rgb)
    np.testing.assert_allclose(found[0].rgb, expected, atol=0.1)  # of which its integers lose some in the dark
    assert found[0].notes == found[1].notes == ()


def test_what_littlecms_sees_otherwise_is_followed_at_8_bits(tmp_path):
    """Tables, and curves that do not begin at black, which littleCMS compensates."""
    for profile in (table_profile(), rgb_profile(ADOBE, formula(1, 2.2, 1 / 1.05, 0.05 / 1.05))):
        picture = images.read(written(tmp_path / "a.png", DEEP, profile))
        rounded = Image.fromarray(np.rint(DEEP / 257).astype(np.uint8))
        shallow = images.read(file_of(tmp_path, rounded, "b.png", icc_profile=profile))
        np.testing.assert_array_equal(picture.rgb, shallow.rgb)
        assert picture.notes == (profiles.AT_EIGHT,)
        assert shallow.notes == ()


def test_a_broken_profile_costs_no_depth(tmp_path):
    for name in ("a.png", "a.tif"):
        picture = images.read(written(tmp_path / name, DEEP, b"nonsense"))
        np.testing.assert_allclose(picture.rgb, DEEP / 257, atol=1e-4)
        assert "profile ignored" in picture.notes[0]


def test_inks_of_16_bits_are_noted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([DEEP, DEEP[..., 0]]), photometric="separated", metadata=None)
    assert profiles.AT_EIGHT in images.read(tmp_path / "a.tif").notes


@pytest.mark.parametrize("colour_type, samples", [(2, 3), (4, 2), (6, 4)])
def test_interlaced(tmp_path, colour_type, samples):
    """Adam7's seven passes, each a small picture of its own."""
    import struct
    import zlib

    values, rows = RNG.integers(0, 65536, (19, 21, samples)), b""
    values[..., -1] = 65535 if samples != 3 else values[..., -1]
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    for top, left, down, across in passes:
        rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in values[top::down, left::across])
    header = struct.pack(">IIBBBBB", 21, 19, 16, colour_type, 0, 0, 1)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    colours = np.broadcast_to(values[..., : 1 if samples == 2 else 3], (19, 21, 3))
    np.testing.assert_allclose(images.read(tmp_path / "a.png").rgb, colours / 257, atol=1e-3)


@pytest.mark.slow
def test_a_picture_that_was_saved_in_16_bits_is_the_start_that_it_was(tmp_path, make_job):
    """The loss of a run that starts from it is the loss that it was saved with."""
    for name in ("a.png", "a.tif"):
        first = make_job(depth=16).run()
        first.save(tmp_path / name)
        again = make_job(init=tmp_path / name, evaluations=1).run()
        assert again.losses[0] == pytest.approx(first.outcome.saved, rel=1e-6)


def test_averaged_while_it_is_read(tmp_path):
    """What is larger than it is needed is made smaller from 16 bits, too."""
    saving.save(tmp_path / "a.png", np.full((96, 96, 3), 100.25), depth=16)
    picture = images.read(tmp_path / "a.png", need=lambda H, W: (16, 16))
    assert picture.rgb.shape == (48, 48, 3)
    np.testing.assert_allclose(picture.rgb, 100.25, atol=0.003)


def test_of_a_png_that_pillow_opened_the_lower_bytes_are_missed_aloud(tmp_path):
    for depth in (16, 8):
        saving.save(tmp_path / "a.png", np.full((20, 24, 3), 100.4), depth=depth)
        with Image.open(tmp_path / "a.png") as image:
            notes = images.from_pil(image).notes
        assert [n.partition(",")[0] for n in notes] == ["16 bits a sample"] * (depth == 16)


# ------------------------------------------------------------------------------- formats of 10 and 12 bits

RAMP = np.dstack([*np.meshgrid(np.linspace(0, 65535, 48), np.linspace(0, 65535, 40)), np.full((40, 48), 3e4)])


@pytest.mark.parametrize("mode, bits", [("RGB;16", 10), ("RGB;16", 12), ("RGBA;16", 12), ("I;16", 10)])
def test_a_heic_is_read_at_its_depth(tmp_path, monkeypatch, mode, bits):
    heif = pytest.importorskip("pillow_heif")
    monkeypatch.setattr(heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    planes = {"RGB;16": [0, 1, 2], "RGBA;16": [0, 1, 2, 1], "I;16": [0]}[mode]
    stored = np.ascontiguousarray(RAMP[..., planes]).astype(np.uint16)
    heif.from_bytes(mode, (48, 40), stored.tobytes()).save(tmp_path / "a.heic", quality=-1, chroma=444)
    picture = images.read(tmp_path / "a.heic")
    expected = RAMP[..., :3] / 257 if len(planes) > 1 else np.repeat(RAMP[..., :1] / 257, 3, axis=2)
    if len(planes) == 4:
        alpha = RAMP[..., 1] / 65535
        np.testing.assert_allclose(picture.alpha, alpha, atol=2 / 2**bits)
        expected = alpha[..., None] * expected + (1 - alpha[..., None]) * 255
    np.testing.assert_allclose(picture.rgb, expected, atol=2.5 * 255 / 2**bits)  # YCbCr rounds as well
    assert np.abs(picture.rgb - np.rint(picture.rgb)).max() > 0.4  # values that 8 bits do not have
    assert picture.notes == () and picture.rgb.max() > 254.9
    with Image.open(tmp_path / "a.heic") as image:
        notes = images.from_pil(image).notes
    assert [n.partition(",")[0] for n in notes] == [f"{bits} bits a sample"] * (mode != "I;16")


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_an_avif_of_more_than_8_bits_is_noted(tmp_path, bits):
    encode = pytest.importorskip("imagecodecs").avif_encode
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    stored = np.rint(RAMP / 65535 * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    (tmp_path / "a.avif").write_bytes(encode(stored, level=100, bitspersample=bits))
    picture = images.read(tmp_path / "a.avif")
    np.testing.assert_allclose(picture.rgb, RAMP / 257, atol=2)
    assert [n.partition(";")[0] for n in picture.notes] == [f"read at 8 of its {bits} bits a sample"] * (bits > 8)


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 16, 32])
def test_a_jpeg_xl_of_more_than_8_bits_is_noted(tmp_path, bits):
    pytest.importorskip("pillow_jxl")
    encode = pytest.importorskip("imagecodecs").jpegxl_encode
    dtype, white = {8: (np.uint8, 255), 32: (np.float32, 1)}.get(bits, (np.uint16, 2**bits - 1))
    options = {} if bits == 32 else {"bitspersample": bits}
    for channels in (1, 3, 4):
        stored = (RAMP[..., [0, 1, 2, 2][:channels]] / 65535 * white).astype(dtype)
        (tmp_path / "a.jxl").write_bytes(encode(stored, lossless=True, **options))
        notes = [n.partition(";")[0] for n in images.read(tmp_path / "a.jxl").notes]
        assert notes == [f"read at 8 of its {bits} bits a sample"] * (bits > 8 and channels > 1)  # grey is read whole


def test_a_jpeg_xl_of_16_bits_in_grey_with_transparency_is_refused(tmp_path):
    """Its plugin takes two bytes of a sample for two samples."""
    pytest.importorskip("pillow_jxl")
    encode = pytest.importorskip("imagecodecs").jpegxl_encode
    (tmp_path / "a.jxl").write_bytes(encode(RAMP[..., :2].astype(np.uint16), lossless=True))
    with pytest.raises(ImageError, match="a JPEG XL of 16 bits in grey with transparency; export it as PNG"):
        images.read(tmp_path / "a.jxl")
