"""What ranks read of a TIFF: rows alone where that is possible, with the values of the ordinary way, to the bit."""

import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from picture_files import ADOBE, power, rgb_profile
from PIL import Image, ImageCms
from rank_threads import spread

from style.cluster import reading
from style.cluster.pictures import mirrored
from style.pictures import ImageError, decode, images, oklab, parts, profiles, strips
from style.pictures.filters import Filters
from style.schedule import Stage
from style.settings import settings_from

SIZE = (150, 210)
WIDE = rgb_profile(ADOBE, power(2.19921875))
KINDS = {
    "strips": {"rowsperstrip": 16},
    "tiles": {"tile": (32, 48)},
    "deflate": {"tile": (64, 64), "compression": "adobe_deflate", "predictor": 2},
    "planes": {"rowsperstrip": 13, "planarconfig": "separate"},
}


def picture(dtype=np.uint8, size=SIZE):
    """Smooth colours and some noise, (H, W, 3)."""
    y, x = np.mgrid[: size[0], : size[1]] / 100
    waves = np.stack([np.sin(5 * x + y), np.cos(3 * y), np.sin(4 * x * y)], axis=-1)
    values = (waves / 2 + np.random.default_rng(0).uniform(0, 1, (*size, 3)) + 0.5) / 2
    return (values * np.iinfo(dtype).max).astype(dtype)


def written(path, dtype=np.uint8, kind="tiles", **more):
    values = picture(dtype)
    values = np.moveaxis(values, -1, 0) if kind == "planes" else values
    tifffile.imwrite(path, values, photometric="rgb", **{**KINDS[kind], "metadata": None, **more})
    return path


def by_rows(path, **more):
    return parts.read(path, parts.sha256_of(path), **more)


@pytest.fixture
def narrow(monkeypatch):
    """Bands of few rows, which a small picture has several of."""
    monkeypatch.setattr(decode, "BAND", 40 * SIZE[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "profile", [None, profiles.srgb_profile(), WIDE, "other"], ids=["none", "srgb", "wide", "other"]
)
def test_rows_are_those_of_the_whole(tmp_path, narrow, dtype, kind, profile):
    if profile == "other":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # of other colours: ignored
    path = written(tmp_path / "a.tif", dtype, kind, iccprofile=profile)
    whole, found = images.read(path), by_rows(path)
    for first, last in ((0, 150), (0, 1), (31, 97), (149, 150), (60, 60)):
        assert np.array_equal(found.rgb[first:last], whole.rgb[first:last])
    assert (found.sha256, found.path, found.mode, found.size, found.notes) == (
        *(whole.sha256, whole.path, whole.mode, whole.size, whole.notes),
    )
    assert found.alpha is whole.alpha is None


@pytest.mark.parametrize("size", [(75, 105), (61, 85), (150, 210), (150, 100), (180, 252)])
@pytest.mark.parametrize("method", ["auto", "bilinear"])
def test_a_size_made_by_bands_is_that_of_the_whole(tmp_path, narrow, size, method):
    path = written(tmp_path / "a.tif", np.uint16)
    assert np.array_equal(by_rows(path).resized(size, method=method), images.read(path).resized(size, method=method))


@pytest.mark.parametrize(
    "options",
    [
        {"keep_colors": True},
        pytest.param({"match_colors": "pca", "match_histogram": "content"}, marks=pytest.mark.slow),
        pytest.param({"match_colors": "cholesky", "match_to": "style", "palette": "content"}, marks=pytest.mark.slow),
    ],
)
def test_colours_changed_as_they_are_read_are_those_of_the_whole_changed(tmp_path, narrow, monkeypatch, options):
    monkeypatch.setattr(oklab, "STRIP", 11 * SIZE[1] + 5)
    path, style = written(tmp_path / "a.tif"), images.as_picture("sample:strokes:64")
    whole, found = (Filters(settings_from(**options), p, [style]) for p in (images.read(path), by_rows(path)))
    assert whole.content.rgb.shape == (*SIZE, 3)
    assert np.array_equal(found.content.rgb[:], whole.content.rgb)
    assert np.array_equal(found.content.rgb[31:97], whole.content.rgb[31:97])
    assert np.array_equal(found.content.resized((75, 105)), whole.content.resized((75, 105)))
    assert np.array_equal(found.styles[0].rgb, whole.styles[0].rgb)
    assert (found.content.sha256, found.record) == (whole.content.sha256, whole.record)
    assert np.array_equal(found.after(style.rgb), whole.after(style.rgb))
    assert found.changing <= 2 * style.rgb.nbytes


@pytest.mark.parametrize(
    "more",
    [
        {"extratags": [(274, 3, 1, 6, True)]},
        {"extratags": [(274, 3, 1, 6, True)], "dtype": np.uint16},
        {"extrasamples": ["unassalpha"]},
        {"photometric": "minisblack"},
        {"photometric": "palette"},
        {"rowsperstrip": 150},
        {"compression": "jpeg", "compressionargs": {"outcolorspace": "rgb"}},
        {"pages": 2},
    ],
)
def test_what_needs_more_is_left_to_the_ordinary_way(tmp_path, more):
    values, path = picture(more.get("dtype", np.uint8)), tmp_path / "a.tif"
    if "extrasamples" in more:
        values = np.dstack([values, values[..., 0]])
    if more.get("photometric") == "palette":
        more = more | {"colormap": np.zeros((3, 256), np.uint16)}
    values = values[..., 0] if more.get("photometric") else values
    pages = more.get("pages", 1)
    more = {"photometric": "rgb", "rowsperstrip": 16, **{k: v for k, v in more.items() if k not in ("pages", "dtype")}}
    if more.get("compression") == "jpeg":
        pytest.importorskip("imagecodecs")
    with tifffile.TiffWriter(path) as tiff:
        for _ in range(pages):
            tiff.write(values, metadata=None, **more)
    assert parts.readable(path) is None
    assert parts.sha256_of(path) is None
    assert parts.read(path, "") is None


def test_other_files_and_reduced_ones_are_left_to_the_ordinary_way(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert parts.readable(tmp_path / "a.png") is None
    assert parts.readable(tmp_path / "none.tif") is None
    path = written(tmp_path / "a.tif")
    assert by_rows(path, need=lambda H, W: (H // 7, W // 7)) is None
    assert by_rows(path, need=lambda H, W: (H // 2, W // 2)) is not None


def test_damage_is_found_by_the_rank_whose_rows_they_are(tmp_path):
    path = written(tmp_path / "a.tif", kind="deflate")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[-1]
    data = bytearray(path.read_bytes())
    data[offset : offset + 8] = b"\0" * 8
    path.write_bytes(data)
    rows = by_rows(path).rgb
    assert rows[:64].shape == (64, *SIZE[1:], 3)
    with pytest.raises(ImageError, match=r"a\.tif: "):
        rows[100:150]


@pytest.mark.parametrize("ranks, scales", [(1, 2), (3, 1)])
@pytest.mark.parametrize("dtype, kind", [(np.uint8, "tiles"), (np.uint16, "strips")])
def test_ranks_that_read_their_rows_have_what_they_have_of_the_whole(tmp_path, monkeypatch, ranks, scales, dtype, kind):
    path = written(tmp_path / "a.tif", dtype, kind)
    expected = spread(ranks, images.read(path), size="original", scales=scales)
    decoded, segments = {}, strips.Rows._segments

    def noted(self, k):
        decoded.setdefault(threading.get_ident(), set()).add(k)
        return segments(self, k)

    monkeypatch.setattr(strips.Rows, "_segments", noted)
    found = spread(ranks, path, size="original", scales=scales)
    for one, other in zip(found, expected, strict=True):
        assert one.stages == other.stages
        for stage in one.stages:
            assert one.own.contents[stage].rows == other.own.contents[stage].rows
            assert np.array_equal(one.own.contents[stage].part, other.own.contents[stage].part)
        assert one.made_of() == other.made_of()
    if scales == 1:  # and no other strip or row of tiles is decoded but the first, by which a file is tried
        (stage,), high = one.stages, 32 if kind == "tiles" else 16
        needed = [{0, *(mirrored(job.own.contents[stage].rows, SIZE[0], job.colours.margin) // high)} for job in found]
        assert sorted(map(sorted, decoded.values())) == sorted(map(sorted, needed))
        assert len(needed[1]) < SIZE[0] // high


@pytest.mark.slow
def test_ranks_that_read_their_rows_keep_of_colours_and_masks_what_they_would_of_the_whole(tmp_path, narrow):
    path, mask = written(tmp_path / "a.tif"), np.random.default_rng(0).random(SIZE)
    options = {"size": "original", "scales": 2, "keep": mask, "keep_colors": True}
    expected, found = (spread(3, content, **options) for content in (images.read(path), path))
    for one, other in zip(found, expected, strict=True):
        assert one.made_of() == other.made_of()
        for stage in one.stages:
            assert np.array_equal(one.own.contents[stage].part, other.own.contents[stage].part)
            assert np.array_equal(one.own.beside[stage], other.own.beside[stage])
            assert np.array_equal(one.own.kept[stage], other.own.kept[stage])
            assert one.plans[stage].peak <= other.plans[stage].peak


@pytest.mark.parametrize(
    "dtype, profile, change",
    [(np.uint8, None, None), (np.uint16, None, lambda x: 255 - np.float64(x)), (np.uint16, WIDE, None)],
)
def test_reading_takes_no_more_than_is_planned(tmp_path, narrow, dtype, profile, change):
    path = written(tmp_path / "a.tif", dtype, iccprofile=profile)
    (job,) = spread(1, path, size="original", scales=1)
    found = by_rows(path)
    found = found if change is None else replace(found, rgb=oklab.by_strips(change, found.rgb))
    for size, rows in ((SIZE, (60, 140)), ((75, 105), (0, 10))):
        strip = parts.CUTTING * size[1] * (rows[1] - rows[0])
        planned = strip + (found.rgb.buffer if size == SIZE else found.reading(size))
        tracemalloc.start()
        try:
            job.own._strip(found, size, rows, job.colours)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert 0.3 * planned < most <= planned


def test_the_plan_counts_rows_and_not_the_whole(tmp_path):
    path = written(tmp_path / "a.tif")
    style = images.as_picture("sample:strokes:64")
    at_size, coarse = (Stage(size, (style.rgb.shape[:2],), 1) for size in (SIZE, (75, 105)))
    whole, found = images.read(path), by_rows(path)
    own, none = style.rgb.nbytes, Filters(settings_from(), found, [style])
    assert reading.reading(whole, None, [style], none, at_size) == own + 12 * np.prod(SIZE)
    assert reading.reading(found, None, [style], none, at_size) == own + found.rgb.buffer
    assert reading.reading(found, None, [style], none, coarse) == own + found.reading((75, 105))
    assert [reading.cutting(p, None, at_size) for p in (found, whole)] == [parts.CUTTING * SIZE[1], 0]
    assert reading.cutting(found, None, coarse) == 0
    grey, of_whole = (Filters(settings_from(keep_colors=True), p, [style]) for p in (found, whole))
    assert reading.reading(grey.content, None, grey.styles, grey, at_size) == own + max(
        2 * own, grey.content.rgb.buffer
    )
    both = reading.reading(of_whole.content, None, of_whole.styles, of_whole, at_size)
    assert both == 2 * whole.rgb.nbytes + own + whole.rgb.nbytes + own  # kept, and while they are changed
    assert reading.cutting(grey.content, found, at_size) == (parts.CUTTING + 12) * SIZE[1]
