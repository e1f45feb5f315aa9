"""TIFF in every kind that can be written here: each read right, or refused by name; none wrong."""

import collections
import importlib.util
import itertools

import numpy as np
import pytest

pytest.importorskip("imagecodecs", reason="the matrix is written with imagecodecs; pip install imagecodecs")

import tiff_matrix
import tifffile
from PIL import Image
from tiff_matrix import Case, cases, judge, write

from style.pictures import ImageError, images, tiff
from style.pictures.strips import Rows


def counted(found, tmp_path):
    counts, wrong = collections.Counter(), []
    for case in found:
        verdict, words = judge(case, tmp_path / "case.tif")
        counts[verdict] += 1
        if verdict == "wrong":
            wrong.append(f"{case}: {words}")
    return counts, wrong


def test_a_sample_of_the_matrix(tmp_path):
    counts, wrong = counted(itertools.islice(cases(), 0, None, 37), tmp_path)
    assert not wrong, wrong[:5]
    assert counts["right"] > 300
    assert counts["refused"] <= 3


@pytest.mark.slow
def test_the_whole_matrix(tmp_path):
    counts, wrong = counted(cases(), tmp_path)
    assert not wrong, wrong[:5]
    assert counts["right"] > 11_000
    assert counts["refused"] <= 7  # six big-endian BigTIFFs, and JPEG of 12 bits


def without_imagecodecs(monkeypatch):
    def missing(*_, **__):
        raise ValueError("requires the 'imagecodecs' package")

    from tifffile import _imagecodecs

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "imagecodecs" else real(name, *a))
    monkeypatch.setattr(tifffile.tifffile, "imagecodecs", _imagecodecs)


def read_without(case, path, monkeypatch):
    """(rgb or the refusal, what should be seen)"""
    expected = write(case, path)[0]
    with monkeypatch.context() as patch:
        without_imagecodecs(patch)
        tifffile.TIFF.DECOMPRESSORS._codecs.clear()
        try:
            return images.read(path).rgb, expected
        except ImageError as error:
            return str(error), expected
        finally:
            tifffile.TIFF.DECOMPRESSORS._codecs.clear()


@pytest.mark.parametrize("step", [53])
def test_without_imagecodecs_nothing_is_wrong_either(tmp_path, monkeypatch, step):
    counts = collections.Counter()
    for case in itertools.islice(cases(), 0, None, step):
        try:
            found, expected = read_without(case, tmp_path / "case.tif", monkeypatch)
        except (ValueError, IndexError):  # not written
            continue
        if isinstance(found, str):
            counts["refused"] += 1
            assert "minivgg-style[tiff]" in found or "BigTIFF" in found, found
        else:
            counts["right"] += 1
            difference = np.abs(found - expected)
            assert (difference.mean() if case.compression == "jpeg" else difference.max()) <= 4, case
    assert counts["right"] > 60
    assert counts["refused"] > 20


def test_what_people_have_is_read_without_imagecodecs(tmp_path, monkeypatch):
    for case in (
        Case("rgb", "u1", 8, compression="lzw"),
        Case("rgb", "u2", 16, compression="lzw", predictor=True),
        Case("rgb", "u2", 16, planar=True),
        Case("rgb", "f4", 32),
        Case("separated", "u1", 8, compression="lzw"),
        Case("minisblack", "u2", 12),
        Case("minisblack", "u2", 16, ">", compression="adobe_deflate"),
    ):
        found, expected = read_without(case, tmp_path / "case.tif", monkeypatch)
        assert not isinstance(found, str), found
        assert np.abs(found - expected).max() <= 2.01, case


def test_bits_that_are_not_read_without_imagecodecs_are_noted(tmp_path, monkeypatch):
    for compression, noted in (("lzw", True), ("adobe_deflate", False)):
        write(Case("rgb", "u2", 16, compression=compression), tmp_path / "a.tif")
        assert images.read(tmp_path / "a.tif").notes == ()
        with monkeypatch.context() as patch:
            without_imagecodecs(patch)
            notes = images.read(tmp_path / "a.tif").notes
        assert [n.partition(";")[0] for n in notes] == ["16 bits a sample, read as 8"] * noted


def test_the_judge_finds_what_is_wrong(tmp_path, monkeypatch):
    """Were all kinds left to Pillow, some would be wrong without a word."""
    monkeypatch.setattr(tiff, "by_pillow", lambda tags: True)
    verdicts = {
        judge(case, tmp_path / "case.tif")[0]
        for case in (
            Case("rgb", "u2", 16, planar=True),
            Case("minisblack", "i2", 16, ">", compression="adobe_deflate"),
            Case("rgb", "u1", 8),
        )
    }
    assert verdicts == {"wrong", "right"}
    shifted = tiff_matrix.seen
    monkeypatch.setattr(tiff_matrix, "seen", lambda values, case: shifted(values, case) - 5)
    assert judge(Case("rgb", "u1", 8), tmp_path / "case.tif")[0] == "wrong"


# ------------------------------------------------------------------------------------------------ refusals


def changed(path, tag, value):
    with tifffile.TiffFile(path, mode="r+b") as tiff_file:
        tiff_file.pages[0].tags[tag].overwrite(value)


def test_raw_files_are_not_their_preview(tmp_path):
    small, large = np.zeros((24, 32, 3), np.uint8), np.zeros((48, 64), np.uint16)
    for name, options in (("a.nef", {}), ("b.tif", {"extratags": [(50706, 1, 4, b"\1\4\0\0", True)]}), ("c.dng", {})):
        with tifffile.TiffWriter(tmp_path / name) as file:
            file.write(small, photometric="rgb", metadata=None, **options)
    with tifffile.TiffWriter(tmp_path / "d.tif") as file:  # the sensor's values in a page inside the first
        file.write(small, photometric="rgb", subifds=1, metadata=None)
        file.write(large, photometric="cfa", metadata=None, extratags=[(33421, 3, 2, (2, 2), True)])
    (tmp_path / "e.RAF").write_bytes(b"FUJIFILMCCD-RAW 0201" + bytes(200))
    (tmp_path / "f.cr3").write_bytes(b"\0\0\0\x18ftypcrx " + bytes(200))
    (tmp_path / "g.jpg").write_bytes(b"II\x1a\0\0\0HEAPCCDR" + bytes(200))
    for name in ("a.nef", "b.tif", "c.dng", "d.tif", "e.RAF", "f.cr3", "g.jpg"):
        with pytest.raises(ImageError, match=r"raw file.*develop it first"):
            images.read(tmp_path / name)


def test_what_is_not_supported_is_named_and_not_called_damaged(tmp_path):
    path = tmp_path / "a.tif"
    for options, words in (
        ({"dtype": "c8"}, "complex"),
        ({"tag": ("PhotometricInterpretation", 10)}, "8-bit integer"),
        ({"dtype": "i1", "tag": ("SampleFormat", 5)}, "complex or undefined"),
    ):
        tifffile.imwrite(path, np.zeros((20, 24, 3), options.get("dtype", "u1")), photometric="rgb", metadata=None)
        if "tag" in options:
            changed(path, *options["tag"])
        with pytest.raises(ImageError, match=words) as caught:
            images.read(path)
        assert "export it as" in str(caught.value)
        assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate"])
def test_strips_that_are_missing_are_damage(tmp_path, compression):
    """Readers fill them with black, or with what was there before."""
    path = tmp_path / "a.tif"
    rgb = np.random.default_rng(0).integers(0, 65536, (64, 60, 3)).astype(np.uint16)
    tifffile.imwrite(path, rgb, photometric="rgb", compression=compression, rowsperstrip=8, metadata=None)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3000])
    with pytest.raises(ImageError, match="of 8 strips or tiles are missing"):
        images.read(path)
    path.write_bytes(whole)
    with tifffile.TiffFile(path) as file:
        counts = list(file.pages[0].tags["StripByteCounts"].value)
    if len(counts) > 1:
        changed(path, "StripByteCounts", [0, *counts[1:]])
        with pytest.raises(ImageError, match="1 of 8 strips"):
            images.read(path)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate"])
def test_strips_that_are_too_short_are_not_filled_up(tmp_path, compression, tile, dtype):
    path, name = tmp_path / "a.tif", "TileByteCounts" if tile else "StripByteCounts"
    rgb = np.random.default_rng(0).integers(0, 256, (64, 60, 3)).astype(dtype)
    rows = {"tile": tile} if tile else {"rowsperstrip": 8}
    tifffile.imwrite(path, rgb, photometric="rgb", compression=compression, metadata=None, **rows)
    with tifffile.TiffFile(path) as file:
        counts = list(file.pages[0].tags[name].value)
    counts[2] //= 2
    changed(path, name, counts)
    with pytest.raises(ImageError, match="damaged"):
        images.read(path)


def test_by_rows_is_by_all(tmp_path):
    for case in (
        Case("rgb", "u2", 16, rows=5, compression="lzw", predictor=True),
        Case("rgb", "u2", 16, ">", planar=True, tile=True),
        Case("minisblack", "u4", 32, alpha=2, tile=True, compression="zstd"),
    ):
        write(case, tmp_path / "a.tif")
        with (tmp_path / "a.tif").open("rb") as file:
            tags = tiff.read_tags(file, "a")
            rows = tiff.read_samples(file, tags, "a")
            assert isinstance(rows, Rows)
            whole = tifffile.imread(tmp_path / "a.tif")
            whole = np.moveaxis(whole, 0, -1) if case.planar else whole.reshape(rows.shape)
            for a, b in ((0, 37), (3, 4), (14, 18), (36, 37), (0, 16)):
                np.testing.assert_array_equal(rows[a:b], whole[a:b])


def test_not_finite_and_odd_ranges(tmp_path):
    path = tmp_path / "a.tif"
    ramp = np.linspace(-3, 9, 20 * 24 * 3).reshape(20, 24, 3).astype(np.float32)
    tifffile.imwrite(path, ramp, photometric="rgb")
    picture = images.read(path)
    assert "values -3 to 9 stretched" in picture.notes[0]
    np.testing.assert_allclose(picture.rgb, (ramp + 3) / 12 * 255, atol=1e-3)
    ramp[2, 2, 2] = np.inf
    tifffile.imwrite(path, ramp, photometric="rgb")
    with pytest.raises(ImageError, match="not finite"):
        images.read(path)


def test_greys_that_fill_little_of_their_range_are_noted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.linspace(0, 1023, 480).astype(np.uint16).reshape(20, 24))
    assert images.read(tmp_path / "a.tif").notes == (
        "its greys fill 0 to 4 of 0 to 255; stretch them if that is not meant",
    )


def test_a_palette_of_eight_bits_where_sixteen_belong(tmp_path):
    table = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    index = np.arange(480, dtype=np.uint8).reshape(20, 24)
    tifffile.imwrite(tmp_path / "a.tif", index, photometric="palette", colormap=table)
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif").rgb, table.T[index])


def test_a_tiff_opened_in_pillow_is_asked_for_by_its_path(tmp_path):
    write(Case("rgb", "u2", 16, planar=True), tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image, pytest.raises(ImageError, match="give its path"):
        images.from_pil(image)
    write(Case("rgb", "u1", 8), tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image:
        assert images.from_pil(image).rgb.shape == (37, 45, 3)


# --------------------------------------------------------------------------------- what the matrix does not write


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax(tmp_path, compression):
    image = Image.fromarray((255 * tiff_matrix.picture()).astype(np.uint8)).convert("1")
    image.save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif").rgb[..., 0], 255 * np.asarray(image))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_inside(tmp_path, mode):
    image = Image.fromarray((255 * tiff_matrix.picture()).astype(np.uint8)).convert(mode)
    image.save(tmp_path / "a.tif", compression="jpeg", quality=95)
    expected = np.asarray(image.convert("RGB"), float)
    assert np.abs(images.read(tmp_path / "a.tif").rgb - expected).mean() < 3


@pytest.mark.parametrize("compression", ["webp", "jpeg2000", "jpegxl", "lerc"])
def test_rarer_compressions(tmp_path, compression):
    rgb = (255 * tiff_matrix.picture()).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", rgb, photometric="rgb", compression=compression)
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif").rgb, rgb)


def test_colours_of_fewer_pixels_outside_jpeg_are_refused(tmp_path):
    """Four values of Y, then one of Cb and one of Cr for them: neither reader puts them in order."""
    blocks = np.zeros((24, 32, 6), np.uint8)
    tags = {256: [64], 257: [48], 258: [8, 8, 8], 259: [1], 262: [6], 277: [3], 278: [48], 284: [1], 530: [2, 2]}
    (tmp_path / "a.tif").write_bytes(tiff_matrix.assembled("<", tags, [blocks.tobytes()]))
    with pytest.raises(ImageError, match=r"of this kind \(3 x 8-bit integer, YCbCr, not compressed\)"):
        images.read(tmp_path / "a.tif")


# ------------------------------------------------------------------------------------ files beside the project


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("planar16.tif", "ref"),
        ("grey12.tif", "ref_grey"),
        ("grey_uint32.tif", "ref_grey"),
        ("int16_be_deflate.tif", "ref_grey"),
        ("rgb_float.tif", "ref"),
        ("cmyk_alpha.tif", "ref"),
        ("grey_alpha16.tif", "ref_grey"),
        ("alpha0_undeclared.tga", "ref"),
    ],
)
def test_cases_that_went_wrong(shared, name, reference):
    folder = shared / "cases" / "pictures"
    if not (folder / name).exists():
        pytest.skip(f"{folder} has no {name}")
    found, expected = images.read(folder / name), images.read(folder / f"{reference}.png")
    np.testing.assert_allclose(found.rgb, expected.rgb, atol=1.01)
