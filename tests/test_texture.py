"""Pictures without content, and sizes as a printer has them."""

import cases
import numpy as np
import pytest
from PIL import Image

import style
from style import run
from style.pictures import images, saving
from style.units import parse_lengths


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases.lay_out(tmp_path, {"a.png": (6, 4), "b.png": (5, 7)})
    return tmp_path


BASE = ["--weights", "narrow.npz", "--evaluations", "4", "--device", "cpu", "-o", "out.png"]


def test_a_texture_larger_than_its_sample(folder, capsys):
    assert run.main(["--texture", "a.png", "--size", "96", *BASE]) == 0
    out = capsys.readouterr().out
    assert "style    a.png 32x48 -> 32x48" in out and "layers   style relu1_1" in out and "from noise" in out
    assert images.read("out.png").rgb.shape == (96, 64, 3)
    record = saving.read_metadata("out.png")
    assert record["settings"]["content_layers"] == {} and record["settings"]["style_size"] == 48
    assert [n.split()[0] for n in record["result"]["terms"]] == ["style"] * 5


def test_a_texture_again_and_from_several(folder):
    assert run.main(["--texture", "a.png", "b.png:2", "--size", "48", *BASE]) == 0
    first = images.read("out.png").rgb
    assert saving.read_metadata("out.png")["settings"]["style_blend"] == [1.0, 2.0]
    assert run.main(["--again", "out.png", "-o", "again.png"]) == 0
    assert np.array_equal(images.read("again.png").rgb, first)


def test_a_texture_of_the_library(network_file, pictures):
    options = {"weights": str(network_file), "size": 40, "evaluations": 3, "device": "cpu"}
    found = style.transfer(None, pictures[1], content_layers="none", init="noise", **options)
    assert found.rgb.shape == (40, 27, 3)
    with pytest.raises(style.SettingsError, match="a texture has no content picture"):
        style.transfer(None, pictures[1], **options)
    with pytest.raises(style.SettingsError, match="a texture has no content picture"):
        style.transfer(None, pictures[1], content_layers="none", init="content", **options)
    for name in ("photo_weight", "laplacian_weight"):
        with pytest.raises(style.SettingsError, match=f"{name}: a texture has no content picture to compare with"):
            style.transfer(None, pictures[1], content_layers="none", init="noise", **{name: 1.0}, **options)


def test_a_texture_is_named_after_its_style(folder):
    assert run.main(["--texture", "a.png", "--size", "48", *BASE[:-2]]) == 0
    assert (folder / "a.png").exists() and (folder / "a-2.png").exists()


@pytest.mark.parametrize(
    "text, inches",
    [("90x60cm", (90 / 2.54, 60 / 2.54)), ("300mm", (300 / 25.4,)), ("24 x 36 in", (24, 36)), ("1.5×2IN", (1.5, 2))],
)
def test_lengths(text, inches):
    assert parse_lengths(text) == pytest.approx(inches)


@pytest.mark.parametrize(
    "text", ["", "90", "90x60", "x60cm", "90x60x3cm", "0cm", "-3cm", "90cmx60cm", "nancm", "99999in"]
)
def test_lengths_that_are_none(text):
    with pytest.raises(ValueError, match="expected"):
        parse_lengths(text)


def test_a_print(folder):
    assert run.main(["b.png", "a.png", "--print", "0.4x0.25in", "--dpi", "200", *BASE]) == 0
    with Image.open("out.png") as picture:
        assert picture.size == (80, 57)
        assert picture.info["dpi"] == pytest.approx((200, 200), abs=0.01)


@pytest.mark.parametrize(
    "args, found",
    [
        (["--print", "big"], "--print 'big': expected a size with a unit"),
        (["--dpi", "300"], "--dpi: works with --print"),
        (["--print", "9cm", "--size", "100"], "--print: in place of --size; give one of them"),
        (["--print", "9000in"], "--size 2700000: expected 16 to 65500"),
        (["--texture", "--init", "content"], "a texture has no content picture"),
        (["--texture", "--content-layers", "relu4_2"], "a texture has no content picture"),
    ],
)
def test_wrong_values_get_a_line(folder, capsys, args, found):
    assert run.main(["b.png", "a.png", *args, *BASE]) == 2
    error = capsys.readouterr().err
    assert found in error and error.count("\n") == 1
