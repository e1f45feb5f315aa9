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
    assert "texture  64x96" in out and "content " not in out
    assert images.read("out.png").rgb.shape == (96, 64, 3)
    record = saving.read_metadata("out.png")
    assert record["settings"]["content_layers"] == {} and record["settings"]["style_size"] == 48
    assert [n.split()[0] for n in record["result"]["terms"]] == ["style"] * 5


def test_a_texture_again_and_from_several(folder, capsys):
    assert run.main(["--texture", "a.png", "b.png:2", "--size", "48", *BASE]) == 0
    first = images.read("out.png").rgb
    assert saving.read_metadata("out.png")["settings"]["style_blend"] == [1.0, 2.0]
    assert run.main(["--again", "out.png", "-o", "again.png"]) == 0
    assert np.array_equal(images.read("again.png").rgb, first)
    assert run.main(["--again", "out.png", "--photo-weight", "1", "-o", "no.png"]) == 2  # still of no content picture
    assert "a texture has none" in capsys.readouterr().err and not (folder / "no.png").exists()
    assert run.main(["--again", "out.png", "b.png", "a.png", "--size", "32", "-o", "other.png"]) == 0
    assert [s["name"] for s in saving.read_metadata("other.png")["style"]] == ["b.png", "a.png"]


def seam(rgb):
    """Steps across the edges that meet in a picture laid side by side, as a multiple of those within it."""
    across = np.abs(rgb[:, 0] - rgb[:, -1]).mean() + np.abs(rgb[0] - rgb[-1]).mean()
    return across / (np.abs(np.diff(rgb, axis=1)).mean() + np.abs(np.diff(rgb, axis=0)).mean())


def test_a_texture_that_tiles(folder, capsys):
    layers = ["--style-layers", "relu1_1,relu2_1,relu3_1"]
    options = ["--texture", "sample:strokes", "--size", "66", "--evaluations", "12", "--weights", "mini", *layers]
    found = {}
    for name, more in (("plain", []), ("tiles", ["--wrap"])):
        assert run.main([*options, *more, "--device", "cpu", "-o", f"{name}.png"]) == 0
        found[name] = images.read(f"{name}.png").rgb
    assert found["plain"].shape == (50, 66, 3) and found["tiles"].shape == (48, 64, 3)
    assert seam(found["tiles"]) < 1.2 < seam(found["plain"])
    out = capsys.readouterr().out
    assert "wrap     opposite edges meet; sides are multiples of 4" in out and "texture  64x48" in out
    settings = saving.read_metadata("tiles.png")["settings"]
    assert settings["wrap"] is True and settings["margin"] == 0


def test_wrap_with_content_in_two_scales_and_again(folder):
    assert run.main(["b.png", "a.png", "--wrap", "--size", "64", "--scales", "2", *BASE]) == 0
    first, record = images.read("out.png").rgb, saving.read_metadata("out.png")
    assert first.shape == (48, 64, 3) and [s["size"] for s in record["stages"]] == [[32, 16], [64, 48]]
    assert images.read("out-32x16.png").rgb.shape == (16, 32, 3)
    assert run.main(["--again", "out.png", "-o", "again.png"]) == 0
    assert np.array_equal(images.read("again.png").rgb, first)


def test_wrap_beside_a_style_of_which_nothing_is_taken(folder):
    none = ["--style-layers", "none", "--content-layers", "relu2_2", "--init", "noise"]
    assert run.main(["b.png", "a.png", "--wrap", "--size", "48", *none, *BASE]) == 0
    assert images.read("out.png").rgb.shape == (34, 48, 3)


def test_sizes_with_wrap_are_multiples_of_the_deepest_layers_places(folder):
    shallow = ["--style-layers", "relu1_1,relu2_1", "--content-layers", "relu2_2", "--size", "47"]
    assert run.main(["b.png", "a.png", "--wrap", *shallow, *BASE]) == 0
    assert images.read("out.png").rgb.shape == (34, 48, 3)


def test_resizing_around_does_not_know_where_a_picture_begins():
    a = np.random.default_rng(0).uniform(0, 255, (32, 48, 3)).astype(np.float32)
    for size, step, there in (((64, 96), (4, 8), (8, 16)), ((48, 64), (8, 9), (12, 12)), ((16, 32), (2, 3), (1, 2))):
        found, rolled = (images.resize_around(x, size) for x in (a, np.roll(a, step, axis=(0, 1))))
        assert found.shape == (*size, 3) and found.dtype == np.float32
        assert np.abs(np.roll(found, there, axis=(0, 1)) - rolled).max() < 1e-3
        middle = np.s_[size[0] // 3 : size[0] // 2, size[1] // 3 : size[1] // 2]
        assert np.abs(found[middle] - images.resize(a, size)[middle]).max() < 1e-3
        edges = np.roll(images.resize(a, size), there, axis=(0, 1)) - images.resize(np.roll(a, step, axis=(0, 1)), size)
        assert np.abs(edges).max() > 1


# --- content alone ----------------------------------------------------------------------------------------------

ALONE = ["b.png", "--style-layers", "none", "--content-layers", "relu2_2", "--size", "48"]


def test_content_alone_needs_no_style_picture(folder, capsys):
    assert run.main([*ALONE, "--report", "run.html", *BASE]) == 0
    out, error = capsys.readouterr()
    assert error == "" and (folder / "run.html").exists()
    assert "style " not in out and "layers   content relu2_2" in out and "from noise" in out
    first, record = images.read("out.png").rgb, saving.read_metadata("out.png")
    assert (
        record["style"] == []
        and record["settings"]["init"] == "noise"
        and [*record["result"]["terms"]] == ["content relu2_2"]
    )
    assert run.main(["--again", "out.png", "-o", "again.png"]) == 0
    assert np.array_equal(images.read("again.png").rgb, first)


def test_content_alone_goes_on_from_a_checkpoint(folder, monkeypatch):
    assert run.main([*ALONE, *BASE]) == 0
    args = ["--checkpoint", "run.state", "--checkpoint-every", "1"]
    with monkeypatch.context() as m:
        m.setattr("style.checkpoint.Checkpoint.remove", lambda self: None)
        assert run.main([*ALONE, *BASE[:-1], "cut.png", *args]) == 0
    assert run.main(["--resume", "run.state"]) == 0
    assert np.array_equal(images.read("cut.png").rgb, images.read("out.png").rgb)


def test_content_alone_of_several_and_in_a_sweep(folder):
    assert run.main([*ALONE[1:], "--contents", "a.png", "b.png", "--out-dir", "made", *BASE[:-2]]) == 0
    assert sorted(p.name for p in (folder / "made").iterdir()) == ["a-alone.png", "b-alone.png"]
    swept = ["--sweep", "content-layers=relu1_1;relu3_1"]
    assert run.main([*ALONE[:3], "--size", "32", *swept, *BASE]) == 0
    assert [c["values"]["content_layers"] for c in saving.read_metadata("out.png")["cells"]] == [
        {"relu1_1": 1.0},
        {"relu3_1": 1.0},
    ]


def test_content_alone_from_several_starts(folder):
    assert run.main([*ALONE[:3], "--size", "32", "--sweep", "init=noise,a.png", *BASE]) == 0
    assert [c["values"]["init"] for c in saving.read_metadata("out.png")["cells"]] == ["noise", "a.png"]


def test_content_alone_of_the_library(network_file, pictures):
    options = {"weights": str(network_file), "size": 32, "evaluations": 3, "device": "cpu", "style_layers": "none"}
    found = [style.transfer(pictures[0], none, init="noise", **options).rgb for none in (None, [])]
    assert np.array_equal(*found)
    with pytest.raises(style.SettingsError, match="init content: content alone is there already"):
        style.transfer(pictures[0], None, **options)
    assert style.transfer(pictures[0], None, tv_weight=1.0, **options).outcome.loss > 0


@pytest.mark.parametrize(
    "args, found",
    [
        (["--init", "content"], "--init content: content alone is there already; expected --init noise"),
        (["--init", "style"], "--init: works with a style picture, and there is none"),
        (["--style-size", "40"], "--style-size: works with a style picture"),
        (["--style-mask", "x.png"], "--style-mask: works with a style picture"),
        (["--mask", "all"], "--mask: works with a style picture"),
        (["--style-blend", "1"], "--style-blend: works with a style picture"),
        (["--match-colors", "pca"], "--match-colors: works with a style picture"),
        (["--match-histogram", "style"], "--match-histogram: works with a style picture"),
        (["--palette", "style:4"], "--palette: works with a style picture"),
        (["--content-weight", "0"], "nothing to optimise"),
        (
            ["--strength", "1"],
            "nothing to optimise: no content, no style, no total variation and no Laplacian, or all of "
            "weight 0 at --strength 1",
        ),
    ],
)
def test_options_that_take_something_of_a_style_ask_for_one(folder, capsys, args, found):
    assert run.main([*ALONE, *args, *BASE]) == 2
    error = capsys.readouterr().err
    assert found in error and error.count("\n") == 1 and not (folder / "out.png").exists()


def test_a_texture_of_the_library(network_file, pictures):
    options = {"weights": str(network_file), "size": 40, "evaluations": 3, "device": "cpu"}
    found = style.transfer(None, pictures[1], content_layers="none", init="noise", **options)
    assert found.rgb.shape == (40, 27, 3)
    again = style.transfer(None, pictures[1], content_layers="none", init=found.rgb, **options)
    assert again.outcome.loss <= found.outcome.loss
    with pytest.raises(style.SettingsError, match="a texture has no content picture"):
        style.transfer(None, pictures[1], **options)
    with pytest.raises(style.SettingsError, match="a texture has no content picture"):
        style.transfer(None, pictures[1], content_layers="none", init="content", **options)


@pytest.mark.parametrize(
    "args",
    [
        ["--photo-weight", "1"],
        ["--laplacian-weight", "1"],
        ["--keep", "a.png"],
        ["--keep-colors"],
        ["--match-colors", "pca"],
        ["--match-histogram", "content"],
        ["--palette", "content:4"],
    ],
)
def test_options_that_take_something_of_a_content_picture_ask_for_one(folder, capsys, args):
    assert run.main(["--texture", "a.png", *args, *BASE]) == 2
    error = capsys.readouterr().err
    assert f"{args[0]}: works with a content picture, and a texture has none" in error and error.count("\n") == 1
    assert not (folder / "out.png").exists()


def test_a_texture_has_no_holes_where_its_sample_has_some(folder):
    sample, holes = cases.blocks([(6, 6)])[0], np.ones((48, 48))
    holes[:24] = 0
    saving.save("holes.png", sample, alpha=holes)
    assert run.main(["--texture", "holes.png", "--size", "48", *BASE]) == 0
    assert images.read("out.png").alpha is None


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
        (["--texture", "--strength", "0"], "weight 0 at --strength 0"),
        (["--wrap", "--margin", "4"], "--margin: works with borders: without --wrap"),
    ],
)
def test_wrong_values_get_a_line(folder, capsys, args, found):
    assert run.main(["b.png", "a.png", *args, *BASE]) == 2
    error = capsys.readouterr().err
    assert found in error and error.count("\n") == 1
