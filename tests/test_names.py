"""What a command reads it does not write over, and what it says of a run that goes on or is repeated holds together."""

import cases
import numpy as np
import pytest
from PIL import Image

import style
from style import checkpoint, run
from style.pictures import images, saving

BASE = ["--weights", "narrow.npz", "--evaluations", "4", "--size", "32", "--device", "cpu", "--quiet"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures a.png and b.png, a mask for a.png, and a network."""
    monkeypatch.chdir(tmp_path)
    cases.lay_out(tmp_path, {"a.png": (6, 4), "b.png": (5, 7)})
    half = np.zeros((48, 32), np.uint8)
    half[:20] = 255
    Image.fromarray(half).save("m.png")
    return tmp_path


@pytest.mark.parametrize(
    "args, what",
    [
        (["-o", "a.png"], "content"),
        (["-o", "./b.png"], "style"),
        (["-o", "link.png"], "content"),
        (["-o", "m.png", "--mask", "not:m.png"], "--mask"),
        (["-o", "m.png", "--keep", "m.png#ffffff"], "--keep"),
        (["-o", "m.png", "--palette", "m.png:2"], "--palette"),
    ],
)
def test_the_picture_does_not_take_the_place_of_one_that_is_read(folder, capsys, args, what):
    """However much may be overwritten: there is no other copy of it."""
    (folder / "link.png").symlink_to("a.png")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert run.main(["a.png", "b.png", "--overwrite", *args, *BASE]) == 2
    assert capsys.readouterr().err == (
        f"style.run: {args[1].removeprefix('./')}: would be written, and is the {what} file; give another -o\n"
    )
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_nor_do_files_beside_the_picture(folder, capsys):
    for mask in ("not:m.png", "m.png#ffffff"):
        assert run.main(["a.png", "b.png", "--mask", mask, "--overlay", "m.png", "--overwrite", *BASE]) == 2
        assert "--overlay m.png: is the --mask file as well" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args, code, said",
    [
        (
            ["http://a.org/x.png", "b.png"],
            1,
            "http://a.org/x.png: a web address; download the picture, and give its file",
        ),
        (
            ["a.png", "b.png", "--checkpoint-every", "5"],
            2,
            "--checkpoint-every: works with --checkpoint, --resume or --jobs",
        ),
    ],
)
def test_what_would_do_nothing_or_is_no_file_is_said_so(folder, capsys, args, code, said):
    assert run.main([*args, "-o", "out.png", *BASE]) == code
    assert capsys.readouterr().err == f"style.run: {said}\n"


def test_the_plan_says_what_a_picture_is_the_start_and_whether_it_is_stretched(folder, capsys):
    for size, said in (((64, 48), "64x48 -> "), ((64, 64), "64x64 -> ")):
        Image.new("RGB", size).save("start.png")
        Image.new("RGB", (64, 48), (9, 99, 9)).save("content.png")
        assert (
            run.main(["content.png", "b.png", "--init", "start.png", "-o", "out.png", "--overwrite", *BASE[:-1]]) == 0
        )
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("start ")]
        assert said in line and line.endswith(", stretched") == (size == (64, 64))


@pytest.mark.slow
def test_a_start_may_become_what_comes_of_it(folder):
    (folder / "out.png").write_bytes((folder / "a.png").read_bytes())
    assert run.main(["a.png", "b.png", "--init", "out.png", "-o", "out.png", "--overwrite", *BASE]) == 0
    assert saving.read_metadata("out.png")["settings"]["init"] == "out.png"


@pytest.mark.slow
@pytest.mark.parametrize("colours", [["--keep-colors"], ["--match-colors", "pca"]])
def test_a_run_that_goes_on_knows_its_picture_whatever_became_of_the_colours(folder, monkeypatch, colours):
    common = ["a.png", "b.png", "-o", "out.png", "--checkpoint", "c", "--checkpoint-every", "1", *colours, *BASE]
    with monkeypatch.context() as m:
        m.setattr(checkpoint.Checkpoint, "remove", lambda self: None)
        assert run.main(common) == 0
    first = images.read("out.png").rgb
    assert run.main(["--resume", "c"]) == 0
    assert np.array_equal(images.read("out.png").rgb, first)
    saving.save("out.png", first)  # another picture of that name
    assert run.main(common) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "more, settings",
    [
        (["--wrap"], {"margin": 0}),
        (["--optimizer", "l-bfgs-b"], {"lag": 1}),
        (["--optimizer", "two-loop"], {"bounds": False, "lag": 1}),
    ],
)
def test_what_followed_from_an_option_follows_from_it_again(folder, more, settings):
    """A record has all values, also those that nobody gave."""
    assert run.main(["a.png", "b.png", "-o", "out.png", "--history", "7", *BASE]) == 0
    assert run.main(["--again", "out.png", "-o", "other.png", *more, "--quiet"]) == 0
    found = saving.read_metadata("other.png")["settings"]
    expected = settings | {"history": 7}  # this one was given
    assert {name: found[name] for name in expected} == expected


NONE = ["a.png", "b.png", "--style-layers", "none", "-o", "out.png", *BASE]


def test_content_alone_beside_a_style_of_which_nothing_is_taken(folder, capsys):
    """From the content picture nothing would come of it but that picture."""
    assert run.main(NONE) == 2
    said = "--init content: content alone is there already; expected --init noise, or a layer in --style-layers"
    assert said in capsys.readouterr().err
    assert not (folder / "out.png").exists()
    with pytest.raises(style.SettingsError, match="init content"):
        style.transfer("a.png", "b.png", style_layers={"relu1_1": 0.0}, weights="narrow.npz", device="cpu")


@pytest.mark.slow
def test_content_alone_from_elsewhere_or_in_other_colours(folder):
    assert run.main([*NONE, "--init", "style"]) == 0
    for colours in (["--palette", "style:3"], ["--match-colors", "pca", "--match-to", "style"]):
        assert run.main([*NONE, "--overwrite", *colours]) == 0
        assert np.abs(images.read("out.png").rgb - images.read("a.png").resized((32, 21))).mean() > 5
