"""Several contents in one go: what is made, left, refused; what a failure, an interrupt and a second start do."""

import signal
from pathlib import Path

import cases
import numpy as np
import pytest

import style
from style import run
from style.many import batches
from style.options import SettingsError
from style.pictures import ImageError, images, saving

OPTIONS = {"weights": "narrow.npz", "size": 48, "evaluations": 3, "device": "cpu", "lag": 1, "margin": 0}
FLAGS = ["--weights", "narrow.npz", "--size", "48", "--evaluations", "3"]
FLAGS += ["--device", "cpu", "--lag", "1", "--margin", "0"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with photos/a.png, b.png and c.png, style.png and narrow.npz."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    contents = {"photos/a.png": (5, 7), "photos/b.png": (6, 6), "photos/c.png": (7, 5)}
    cases.lay_out(tmp_path, contents | {"style.png": (6, 4)})
    return tmp_path


def pixels(path):
    return images.read(path).rgb


def main(*args):
    return run.main([*args, *FLAGS])


@pytest.mark.parametrize(
    "contents",
    [
        ["photos", "style.png"],
        ["photos/*.png", "style.png"],
        ["--contents", "photos/a.png", "photos/b.png", "photos/c.png", "--out-dir", "out", "style.png"],
        ["style.png", "--contents", "photos/?.png"],
    ],
)
def test_each_picture_is_that_of_its_own_run(folder, capsys, contents):
    assert main(*contents, "--out-dir", "out") == 0
    assert capsys.readouterr().out.endswith("3 of 3 pictures\n")
    assert main("photos/b.png", "style.png", "-o", "alone.png", "--quiet") == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["a-style.png", "b-style.png", "c-style.png"]
    assert np.array_equal(pixels("out/b-style.png"), pixels("alone.png"))
    assert not np.array_equal(pixels("out/b-style.png"), pixels("photos/b.png"))


def test_styles_are_computed_once(folder, monkeypatch):
    made = []
    monkeypatch.setattr(style.engine, "VGG", lambda *a, **k: made.append(1) or weights_net(*a, **k))
    weights_net = cases.VGG
    batch = batches.Batch(["photos/a.png", "photos/a.png"], "style.png", style.settings_from(**OPTIONS), out_dir="out")
    batch.run()
    assert len(made) == 1
    assert len(batch.engine._targets) == 5  # one a layer, for both


def test_a_failing_picture_stops_no_other(folder, capsys):
    Path("photos/b.png").write_bytes(b"no picture")
    assert main("photos", "style.png", "--out-dir", "out") == 1
    error = capsys.readouterr().err.splitlines()
    assert error[0].startswith("style.run: photos/b.png: not a picture")
    assert error[-1] == "style.run: 2 of 3 pictures; failed: b.png"
    assert sorted(p.name for p in Path("out").iterdir()) == ["a-style.png", "c-style.png"]


def test_a_picture_too_large_for_the_memory_fails_alone(folder):
    found = style.batch(["photos/a.png", np.zeros((4, 4, 3))], "style.png", out_dir="out", **OPTIONS)
    assert [m.status for m in found] == ["done", "failed"]
    assert isinstance(found[1].error, ImageError)


def test_a_disk_that_takes_nothing_fails_and_the_picture_is_kept(folder, capsys, monkeypatch, tmp_path):
    real, refuge = saving.save, tmp_path / "refuge"
    refuge.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(refuge))

    def save(path, *args, **more):
        if Path(path).name == "a-style.png":
            raise ImageError(f"{path}: cannot be written (No space left on device)")
        real(path, *args, **more)

    monkeypatch.setattr(saving, "save", save)
    assert main("photos", "style.png", "--out-dir", "out") == 1
    error = capsys.readouterr().err
    assert "No space left on device); the picture is in" in error
    assert error.endswith("2 of 3 pictures; failed: a.png\n")
    assert pixels(next(refuge.glob("*.png"))).shape == (34, 48, 3)


def test_what_is_there_is_left_and_the_missing_is_made(folder, capsys):
    assert main("photos", "style.png", "--out-dir", "out") == 0
    Path("out/b-style.png").unlink()
    before = Path("out/a-style.png").stat().st_mtime_ns
    assert main("photos", "style.png", "--out-dir", "out") == 0
    assert Path("out/a-style.png").stat().st_mtime_ns == before
    assert Path("out/b-style.png").exists()
    assert capsys.readouterr().out.endswith("3 of 3 pictures; 2 there already\n")


def test_what_was_made_otherwise_is_not_taken_for_it(folder, capsys):
    assert main("photos", "style.png", "--out-dir", "out") == 0
    Path("out/c-style.png").write_bytes(b"precious")
    before = pixels("out/a-style.png")
    assert main("photos", "style.png", "--out-dir", "out", "--style-weight", "7") == 1
    assert "a-style.png: exists already, and was made otherwise" in capsys.readouterr().err
    assert np.array_equal(pixels("out/a-style.png"), before)
    assert Path("out/c-style.png").read_bytes() == b"precious"
    assert main("photos", "style.png", "--out-dir", "out", "--style-weight", "7", "--overwrite") == 0
    assert saving.read_metadata("out/a-style.png")["settings"]["style_weight"] == 7


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_ctrl_c_ends_the_picture_and_the_batch_which_goes_on_later(folder, capsys, monkeypatch):
    begun, real = [], style.running.Run._counted

    def counted(self, event, *rest):
        begun.append(event)
        if len(begun) == 5:  # the second evaluation of the second picture
            signal.raise_signal(signal.SIGINT)
        return real(self, event, *rest)

    monkeypatch.setattr(style.running.Run, "_counted", counted)
    assert main("photos", "style.png", "--out-dir", "out") == 130
    best = f"{Path('out/b-style.png')} is the best picture so far"
    assert capsys.readouterr().err.splitlines() == [f"style.run: interrupted: 1 of 3 pictures; {best}"]
    assert saving.read_metadata("out/b-style.png")["result"]["status"] == "interrupted"
    assert not Path("out/c-style.png").exists()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert main("photos", "style.png", "--out-dir", "out") == 0
    assert capsys.readouterr().out.endswith("3 of 3 pictures; 1 there already\n")
    assert saving.read_metadata("out/b-style.png")["result"]["status"] == "done"


def test_names(folder):
    assert main("photos", "style.png", "--out-dir", "out", "--name", "{number:02}-{content}.jpg", "--quiet") == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["01-a.jpg", "02-b.jpg", "03-c.jpg"]


def test_names_that_would_be_taken_twice_are_numbered(folder):
    found = batches.items(["x/a.png", "y/a.jpg", "z/b.png"], ["s.png", "t.png"], Path("out"))
    assert [str(i.output) for i in found] == [str(Path("out") / n) for n in ("a-s-t.png", "a-s-t-2.png", "b-s-t.png")]


def test_outputs_in_the_folder_of_the_contents_are_no_contents_later(folder, capsys):
    assert main("photos", "style.png", "--out-dir", "photos") == 0
    assert main("photos", "style.png", "--out-dir", "photos") == 0
    out = capsys.readouterr().out
    assert "left out 3 of the pictures" in out
    assert out.endswith("3 of 3 pictures; 3 there already\n")
    assert len(list(Path("photos").iterdir())) == 6


@pytest.mark.parametrize(
    "args, said",
    [
        (["photos", "style.png", "-o", "out.png"], "-o: works with one content picture"),
        (["photos", "style.png", "--log", "log"], "--log: works with one content picture"),
        (["photos", "style.png", "--resume", "x"], "--resume: works with one content picture"),
        (["photos", "style.png", "--animation", "x.gif"], "--animation: works with one content picture"),
        (["photos", "style.png", "--name", "{size}.png"], "--name '{size}.png': expected {content}"),
        (["photos", "style.png", "--name", "{content.x}.png"], "--name '{content.x}.png': expected {content}"),
        (["photos", "style.png", "--name", "{"], "--name '{': expected {content}"),
        (["photos", "style.png", "--name", "x/{content}.png"], "a name without a folder"),
        (["photos", "style.png", "--name", "{content}"], "expected an end such as .png"),
        (["photos", "style.png", "--name", ""], "--name ''"),
        (["photos", "style.png", "--out-dir", "style.png"], "--out-dir style.png: a file"),
        (["photos", "style.png", "--out-dir", ""], "--out-dir '': expected"),
        (["photos", "style.png", "--out-dir", "photos", "--name", "{content}.png"], "and is read as well"),
        (["photos", "style.png", "--out-dir", ".", "--name", "style.png"], "and is read as well"),
        (["photos", "style.png", "--style-weight", "-1"], "--style-weight -1.0: expected 0 or more"),
        (["photos", "style.png", "--quality", "5"], "--quality: works with"),
        (["photos", "style.png", "--name", "{content}.jpg", "--depth", "16"], "JPEG holds 8 bits a sample, not 16"),
        (["--contents", "photos/a.png", "style.png"], "--contents: no STYLE"),
        (["photos", "style.png", "--overwrite", "--latest", "photos/b.png"], "--latest photos/b.png: is the content"),
        (["photos", "style.png", "--overwrite", "--latest", "style.png"], "--latest style.png: is the style file"),
        (["photos", "style.png", "--latest", "a-style.png"], "is the --latest file"),
        (["empty", "style.png"], "empty: a folder without pictures"),
        (["nothing*.png", "style.png"], "nothing*.png: no file has such a name"),
    ],
)
def test_refused_before_any_work(folder, capsys, args, said):
    Path("empty").mkdir()
    assert main(*args) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
    assert not list(Path("photos").glob("*-*"))


def test_a_style_that_cannot_be_read_is_said_once(folder, capsys):
    Path("style.png").write_bytes(b"no picture")
    assert main("photos", "style.png", "--out-dir", "out") == 1
    error = capsys.readouterr().err
    assert "style.png: not a picture" in error and error.count("\n") == 1
    assert not Path("out").exists()


def test_library(folder):
    heard = []
    found = style.batch(
        ["photos/a.png", "photos/b.png"],
        ["style.png", "photos/c.png"],
        out_dir="out",
        listeners=lambda item: [lambda event: heard.append((item.number, type(event).__name__))],
        **OPTIONS,
    )
    assert [(m.status, m.output.name) for m in found] == [("done", "a-style-c.png"), ("done", "b-style-c.png")]
    assert all(m.loss > 0 for m in found)
    assert {(1, "Planned"), (2, "Finished")} <= set(heard)
    with pytest.raises(SettingsError, match="no content pictures"):
        style.batch([], "style.png", **OPTIONS)
    for one in ("photos/a.png", Path("photos/a.png"), np.zeros((32, 32, 3))):  # whose letters or rows are no pictures
        with pytest.raises(SettingsError, match=r"^contents: one picture, .*; expected a list of them$"):
            style.batch(one, "style.png", **OPTIONS)
    with pytest.raises(SettingsError, match="style_weight"):
        style.batch(["photos/a.png"], "style.png", **OPTIONS | {"style_weight": -1})
