"""What is written: 16 bits, qualities, AVIF, names that are too long."""

import numpy as np
import pytest
from picture_files import smooth
from PIL import Image, features

import style
from style import run
from style.pictures import ImageError, images, profiles, saving
from style.pictures.colour import ColourSpace
from style.settings import settings_from

FINE = np.linspace(0, 255, 24 * 20 * 3).reshape(24, 20, 3)


@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits(tmp_path, name, with_alpha):
    """By a second reader, to the last bit, with profile and metadata."""
    imagecodecs = pytest.importorskip("imagecodecs")
    tifffile = pytest.importorskip("tifffile")
    alpha = np.linspace(0, 1, 480).reshape(24, 20) if with_alpha else None
    path = tmp_path / name
    saving.save(path, FINE, alpha=alpha, metadata={"a": "☃"}, depth=16)
    found = imagecodecs.png_decode(path.read_bytes()) if name == "a.png" else tifffile.imread(path)
    assert found.dtype == np.uint16 and found.shape == (24, 20, 4 if with_alpha else 3)
    np.testing.assert_array_equal(found[..., :3], np.rint(FINE * 257))
    if with_alpha:
        np.testing.assert_array_equal(found[..., 3], np.rint(alpha * 65535))
    assert saving.read_metadata(path) == {"a": "☃"}
    with Image.open(path) as image:
        assert image.info["icc_profile"] == profiles.srgb_profile()
    first = path.read_bytes()
    saving.save(path, FINE, alpha=alpha, metadata={"a": "☃"}, depth=16)
    assert path.read_bytes() == first
    back = images.read(path)
    expected = FINE if alpha is None else 255 + alpha[..., None] * (FINE - 255)
    assert np.abs(back.rgb - expected).max() <= 0.005


def test_a_print_of_sixteen_bits_has_its_resolution(tmp_path):
    for name in ("a.png", "a.tif"):
        found = []
        for depth in (8, 16):
            saving.save(tmp_path / name, FINE, depth=depth, dpi=300)
            with Image.open(tmp_path / name) as image:
                found.append(image.info["dpi"])
        assert found[0] == found[1] == pytest.approx((300, 300), rel=1e-4)


def test_sixteen_bits_where_they_fit(tmp_path):
    for name in ("a.jpg", "a.webp"):
        with pytest.raises(ImageError, match=r"holds 8 bits a sample, not 16; choose \.png or \.tif"):
            saving.check_output(tmp_path / name, depth=16)
        with pytest.raises(ImageError, match="8 bits a sample"):
            saving.save(tmp_path / name, FINE, depth=16)
    with pytest.raises(style.SettingsError, match="depth 12: use 8 or 16"):
        settings_from(depth=12)


def test_the_loss_as_saved_follows_the_depth(make_job):
    rgb = np.array([[[0.0, 0.4, 0.6], [254.6, 255.0, 100.002]]], np.float32)
    for depth, step in ((8, 1), (16, 1 / 257)):
        colours = ColourSpace(np.array([103.939, 116.779, 123.68]), depth=depth)
        found = colours.to_rgb(colours.as_saved(colours.to_input(rgb)))
        np.testing.assert_allclose(found, np.rint(rgb / step) * step, atol=1e-4)
    eight, sixteen = (make_job(depth=d, style_weight=1e5, evaluations=8).run() for d in (8, 16))
    assert eight.outcome.loss == sixteen.outcome.loss
    gap = [abs(r.outcome.saved - r.outcome.loss) for r in (eight, sixteen)]
    assert gap[1] < gap[0] / 10
    assert sixteen.depth == 16


NO_AVIF = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", pytest.param("a.avif", marks=NO_AVIF)])
def test_quality(tmp_path, name):
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    sizes = [len(saving.encode(tmp_path / name, noisy, metadata={"a": 1}, quality=q)) for q in (30, None, 100)]
    assert sizes[0] < sizes[1] < sizes[2]
    saving.save(tmp_path / name, smooth(64, 64), metadata={"a": 1})
    assert saving.read_metadata(tmp_path / name) == {"a": 1}
    assert np.abs(images.read(tmp_path / name).rgb - smooth(64, 64)).mean() < 3


def test_the_command_line_writes_what_is_asked_for(tmp_path, monkeypatch, network_file, capsys):
    monkeypatch.chdir(tmp_path)
    common = ["sample:scene:64", "sample:strokes:64", "--weights", str(network_file), "--evaluations", "2", "--quiet"]
    assert run.main([*common, "-o", "a.tif", "--depth", "16", "--size", "32"]) == 0
    assert saving.read_metadata("a.tif")["settings"]["depth"] == 16
    with Image.open("a.tif") as image:
        assert image.tag_v2[258] == (16, 16, 16)
    assert run.main([*common, "-o", "low.jpg", "--quality", "20"]) == 0
    assert run.main([*common, "-o", "high.jpg", "--size", "original"]) == 0
    assert (tmp_path / "low.jpg").stat().st_size < (tmp_path / "high.jpg").stat().st_size
    with Image.open("high.jpg") as image:
        assert image.size == (64, 48)
    for options, code, says in (
        (["-o", "b.png", "--quality", "20"], 2, "--quality: works with -o of .jpg, .webp or .avif"),
        (["-o", "b.jpg", "--quality", "0"], 2, "--quality 0: expected 1 to 100"),
        (["-o", "b.jpg", "--depth", "16"], 2, "--depth 16: b.jpg: JPEG holds 8 bits a sample"),
        (["-o", "x" * 248 + ".png", "--save-every", "1"], 2, "a name of 258 bytes"),
    ):
        assert run.main([*common, *options]) == code
        assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("b.*")) and not list(tmp_path.glob("x*"))


@pytest.mark.parametrize("name, longest", [("a.jpg", None), ("a.webp", 40)])
def test_transfer_finds_before_the_run_what_its_output_cannot_hold(tmp_path, monkeypatch, network_file, name, longest):
    """Afterwards the picture would be lost: `save` raises, and nothing is handed back."""
    monkeypatch.setattr(style.Job, "run", lambda *a, **k: pytest.fail("it has begun"))
    monkeypatch.setitem(saving.LONGEST_SIDE, "WEBP", longest)
    options = {
        "weights": str(network_file),
        "output": tmp_path / name,
        "size": 48,
        "depth": 16 if longest is None else 8,
    }
    with pytest.raises(ImageError, match=r"holds (8 bits a sample|at most 40 a side)"):
        style.transfer(smooth(64, 64), smooth(64, 64), **options)


def test_a_name_that_is_too_long_is_found_at_the_start(tmp_path):
    saving.check_output(tmp_path / ("a" * 251 + ".png"))
    for name in ("a" * 252 + ".png", "ü" * 126 + ".png"):
        with pytest.raises(ImageError, match=r"a name of 25\d bytes; the folder takes 255, give a shorter one"):
            saving.check_output(tmp_path / name)
