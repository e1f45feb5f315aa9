"""Writing pictures: what is stored and read back, refusals, files that appear whole or not at all."""

import errno
import io
import json
import os

import numpy as np
import pytest
from cases import behind_a_link
from picture_files import file_of, smooth
from PIL import Image, ImageCms

from style.pictures import images, profiles, saving
from style.pictures.images import ImageError

PARAMETERS = {"version": "0.1", "content": "Tübingen ☃.jpg", "losses": {"style": 1.5e-7}, "seed": 3, "list": [1, None]}


@pytest.mark.parametrize("name", ["o.png", "o.jpg", "o.jpeg", "o.webp", "o.tif", "o.TIFF"])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_save_and_read_back(tmp_path, name, with_alpha):
    a = smooth(48, 40).astype(np.float32) + 0.3
    alpha = np.linspace(0.2, 1, 48 * 40).reshape(48, 40) if with_alpha else None
    path = tmp_path / name
    saving.save(path, a, alpha=alpha, metadata=PARAMETERS, quality=100)
    assert saving.read_metadata(path) == PARAMETERS
    picture = images.read(path)
    lossy = name.startswith("o.j")
    expected = a if alpha is None else 255 + alpha[..., None] * (a - 255)
    assert np.abs(picture.rgb - expected).max() <= (6 if lossy else 2)
    if with_alpha and not lossy:
        assert np.abs(picture.alpha - alpha).max() < 0.003
    else:
        assert picture.alpha is None
    with Image.open(path) as image:
        description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"])))
    assert "sRGB" in description
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_the_same_picture_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "a.jpg", "a.webp", "a.tif"):
        saving.save(tmp_path / name, smooth(), metadata=PARAMETERS)
        first = (tmp_path / name).read_bytes()
        profiles.srgb_profile.cache_clear()
        profiles._srgb.cache_clear()
        saving.save(tmp_path / name, smooth(), metadata=PARAMETERS)
        assert (tmp_path / name).read_bytes() == first


def test_metadata_of_other_programs_is_not_ours(tmp_path):
    path = file_of(tmp_path, Image.fromarray(smooth()), "a.png")
    assert saving.read_metadata(path) is None
    for text in ("not json", "[1]", '{"other": 1}', f'{{"{saving.METADATA_KEY}": 5}}', "3"):
        path = file_of(tmp_path, Image.fromarray(smooth()), "a.tif", description=text)
        assert saving.read_metadata(path) is None
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "hello".encode("utf-16")
    assert saving.read_metadata(file_of(tmp_path, Image.fromarray(smooth()), "a.jpg", exif=exif)) is None
    with pytest.raises(ImageError, match="no such file"):
        saving.read_metadata(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(ImageError, match="cannot be read"):
        saving.read_metadata(tmp_path / "text.png")


def test_metadata_takes_numpy_values_and_paths(tmp_path):
    path = tmp_path / "m.png"
    saving.save(path, smooth(), metadata={"a": np.float32(1.5), "b": np.arange(3), "c": tmp_path})
    assert saving.read_metadata(path) == {"a": 1.5, "b": [0, 1, 2], "c": str(tmp_path)}
    with Image.open(path) as image:  # where other programs will look for it
        assert json.loads(image.text["minivgg-style"])["minivgg-style"]["a"] == 1.5


def test_too_much_metadata_for_jpeg(tmp_path):
    metadata = {"text": "x" * 70000}
    with pytest.raises(ImageError, match="bytes of metadata"):
        saving.save(tmp_path / "m.jpg", smooth(), metadata=metadata)
    saving.save(tmp_path / "m.webp", smooth(), metadata=metadata)
    assert saving.read_metadata(tmp_path / "m.webp") == metadata


@pytest.mark.parametrize(
    ("name", "rgb", "alpha", "words"),
    [
        ("a.gif", smooth(), None, r'suffix "\.gif"; expected one of \.png'),
        ("a", smooth(), None, "no suffix"),
        ("a.png", smooth()[..., :2], None, "shape"),
        ("a.png", smooth()[..., 0], None, "shape"),
        ("a.png", np.where(smooth() == 0, np.nan, 1.0), None, "not finite"),
        ("a.png", smooth(), np.zeros((5, 5)), "alpha"),
        ("a.webp", np.zeros((2, 16384, 3)), None, "holds at most 16383"),
        ("missing/a.png", smooth(), None, "cannot be written"),
    ],
)
def test_save_refuses(tmp_path, name, rgb, alpha, words):
    with pytest.raises(ImageError, match=words):
        saving.save(tmp_path / name, rgb, alpha=alpha)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    saving.save(path, smooth())
    before = path.read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ImageError) as caught:
        saving.save(path, 255 - smooth())
    assert str(caught.value) == f"{path}: cannot be written (No space left on device)"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_that_came_meanwhile_is_left_alone(tmp_path):
    saving.save(tmp_path / "a.png", smooth(), replace=False)
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(saving.OutputExistsError, match=r"a\.png: exists already"):
        saving.save(tmp_path / "a.png", 255 - smooth(), replace=False)
    assert (tmp_path / "a.png").read_bytes() == before


def test_check_output(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    assert saving.check_output(path, size_hw=(100, 100)) == path
    assert list(tmp_path.iterdir()) == []
    for bad, words in [
        (tmp_path / "a.xyz", r"\.xyz"),
        (tmp_path / "none" / "a.png", "does not exist"),
    ]:
        with pytest.raises(ImageError, match=words):
            saving.check_output(bad)
    with pytest.raises(ImageError, match="holds at most 16383"):
        saving.check_output(tmp_path / "a.webp", size_hw=(20000, 30))
    with pytest.raises(ImageError, match=r"needed; free some space"):
        saving.check_output(path, size_hw=(10**7, 10**7))
    saving.save(path, smooth())
    before = path.read_bytes()
    with pytest.raises(ImageError, match="--overwrite"):
        saving.check_output(path)
    saving.check_output(path, overwrite=True)
    assert path.read_bytes() == before
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="a folder"):
        saving.check_output(tmp_path / "folder.png", overwrite=True)

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ImageError, match="Permission denied"):
        saving.check_output(tmp_path / "b.png")
    with pytest.raises(ImageError, match="Permission denied"):
        saving.save(tmp_path / "b.png", smooth())


def test_an_output_behind_a_link_is_tried_where_it_will_be_written(tmp_path, monkeypatch):
    link, opened = behind_a_link("out.png", tmp_path, monkeypatch)
    saving.check_output(link)
    saving.save(link, np.zeros((4, 5, 3)))
    assert opened == ["there", "there"]
    assert link.is_symlink()
