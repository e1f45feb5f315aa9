"""Pictures are reduced while they are decoded, and counted before: as exact as from the whole, within the memory."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from picture_files import file_of
from PIL import Image

import style
from style.pictures import ImageError, images
from style.settings import settings_from


def detailed(h, w):
    """A picture with structure at many sizes: (h, w, 3) uint8, no symmetry."""
    y, x = np.mgrid[:h, :w]
    waves = [np.sin(x / a + y / b) for a, b in ((9, 31), (40, 17), (150, -90))]
    return np.clip(np.stack(waves, axis=2) * 90 + 128 + 60 * (y / h - x / w)[..., None], 0, 255).astype(np.uint8)


def to(size):
    return lambda H, W: images.fit(size, H, W)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7, 8])
def test_as_from_the_whole_picture(tmp_path, name, orientation):
    """Also where squares do not divide the sides, and turned: nothing is shifted."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"a.webp": {"lossless": True}, "a.jpg": {"quality": 95, "subsampling": 0}}.get(name, {})
    path = file_of(tmp_path, Image.fromarray(detailed(419, 613)), name, exif=exif, **options)
    whole, reduced = images.read(path), images.read(path, need=to(48))
    assert reduced.size == whole.size == whole.rgb.shape[1::-1]
    assert reduced.rgb.size < whole.rgb.size / 9
    size = images.fit(48, *whole.size[::-1])
    difference = np.abs(reduced.resized(size) - whole.resized(size))
    assert difference.mean() < 0.7
    assert difference.max() < 8
    shifted = images.resize(np.roll(whole.rgb, 4, axis=1), size)  # a third of a pixel there
    assert difference.mean() < 0.25 * np.abs(shifted - whole.resized(size)).mean()


def test_alpha_is_composited_before_it_is_averaged(tmp_path):
    rgba = np.zeros((128, 128, 4), np.uint8)
    rgba[:, ::2] = 255, 0, 0, 255  # every second column red, the others transparent black
    picture = images.read(file_of(tmp_path, Image.fromarray(rgba), "a.png"), need=to(16))
    np.testing.assert_allclose(picture.rgb[4, 4], [255, 127.5, 127.5], atol=0.01)
    np.testing.assert_allclose(picture.alpha, 0.5)


def test_deep_tiffs_too(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    a = detailed(200, 310)
    tifffile.imwrite(
        tmp_path / "a.tif", np.moveaxis(a.astype(np.uint16) * 257, -1, 0), planarconfig="separate", photometric="rgb"
    )
    picture = images.read(tmp_path / "a.tif", need=to(48))
    assert picture.size == (310, 200) and picture.rgb.shape == (100, 155, 3)
    np.testing.assert_allclose(picture.rgb[0, 0], a[:2, :2].mean(axis=(0, 1)), atol=0.01)


def test_what_is_little_larger_is_taken_whole(tmp_path):
    path = file_of(tmp_path, Image.fromarray(detailed(120, 180)), "a.png")
    picture = images.read(path, need=to(48))
    assert picture.rgb.shape == (120, 180, 3) and picture.box is None


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_job_plans_with_the_upright_whole_size(tmp_path, make_job, network_file, orientation, capsys):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = file_of(tmp_path, Image.fromarray(detailed(300, 451)), "a.jpg", exif=exif)
    job = style.Job(
        path, detailed(64, 64), settings_from(size=48, weights=str(network_file), device="cpu", evaluations=1)
    )
    expected = (32, 48) if orientation == 1 else (48, 32)
    assert job.size == expected
    assert job.content.size == ((451, 300) if orientation == 1 else (300, 451))
    assert job.content.rgb.size < 300 * 451
    from style.printing import plan_lines

    line = dict(plan_lines(job, tmp_path / "out.png"))["content"]
    assert line == ("a.jpg 451x300 -> 48x32" if orientation == 1 else "a.jpg 300x451 -> 32x48")


def test_the_original_size(tmp_path, network_file):
    path = file_of(tmp_path, Image.fromarray(detailed(60, 90)), "a.png")
    options = {"weights": str(network_file), "device": "cpu", "evaluations": 1, "scales": 1}
    job = style.Job(path, detailed(64, 200), settings_from(size="original", **options))
    assert job.size == (60, 90) and job.style_sizes == ((29, 90),)
    with pytest.raises(style.SettingsError, match="size 'own': expected a number of pixels or original"):
        settings_from(size="own")


# --------------------------------------------------------------------------------------------------- memory


def large(tmp_path, name):
    return file_of(tmp_path, Image.new("RGBA" if name.endswith("png") else "RGB", (3000, 3000), "red"), name)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_what_does_not_fit_is_refused_before_it_is_decoded(tmp_path, name, monkeypatch):
    path = large(tmp_path, name)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"3000x3000 pixels take \d+ MB to decode, 50 MB are left; scale .* --memory"):
        images.read(path, need=to(48), room=50_000_000)


def test_a_deep_tiff_is_reduced_by_strips(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    a = np.full((3000, 3000, 3), 257 * 9, np.uint16)
    options = {"photometric": "rgb", "compression": "adobe_deflate"}
    tifffile.imwrite(tmp_path / "a.tif", a, rowsperstrip=64, **options)
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif", need=to(48), room=80_000_000).rgb, 9)
    tifffile.imwrite(tmp_path / "a.tif", a, rowsperstrip=3000, **options)
    with pytest.raises(ImageError, match="to decode"):  # all of it is one strip
        images.read(tmp_path / "a.tif", need=to(48), room=80_000_000)


def test_a_jpeg_is_reduced_by_its_decoder(tmp_path):
    path = large(tmp_path, "a.jpg")
    assert images.read(path, need=to(48), room=80_000_000).rgb.shape == (188, 188, 3)
    with pytest.raises(ImageError, match="to decode"):
        images.read(path, room=80_000_000)
    path = file_of(tmp_path, Image.new("RGB", (3000, 3000), "red"), "p.jpg", progressive=True, subsampling=0)
    with pytest.raises(ImageError, match="to decode"):  # its coefficients are kept whole
        images.read(path, need=to(48), room=80_000_000)


PEAK = """
import resource, sys
import numpy as np
from PIL import Image
from style.pictures import images
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
picture = images.read(sys.argv[1], need=lambda H, W: images.fit(64, H, W))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *picture.rgb.shape)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("resource") is None, reason="this system does not tell a process's peak")
@pytest.mark.parametrize(
    ("name", "mode", "options", "most"),
    [
        ("a.jpg", "RGB", {}, 120),
        ("a.png", "RGBA", {"compress_level": 1}, 36 * 4 + 120),
        ("one.png", "1", {}, 36 + 120),
        ("a.tif", "RGB", {}, 36 * 4 + 120),
    ],
)
def test_peak_of_36_megapixels(tmp_path, name, mode, options, most):
    """In MB: no more than the samples as the decoder holds them, and what is converted at a time."""
    path = file_of(tmp_path, Image.new(mode, (7200, 5000)), name, **options)
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    kilobytes = int(done.stdout.split()[0])
    assert kilobytes / 1000 < most
