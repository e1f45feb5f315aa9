"""Files of 16 bits a sample keep them on the way in: PNG and TIFF, whatever their profile."""

import numpy as np
import pytest
import tifffile
from picture_files import ADOBE, LINEAR, PROPHOTO, chunk, file_of, formula, power, rgb_profile, table, table_profile
from PIL import Image, ImageCms

from style.pictures import deep, images, profiles, saving

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
