"""Sweeps: each cell is what it says, neighbours save evaluations, the sheet holds all, bad values are found before."""

from pathlib import Path

import numpy as np
import pytest

import style
from style import run
from style.many import sheet, sweeps
from style.options import SettingsError
from style.pictures import ImageError, images, saving

OPTIONS = {"weights": "narrow.npz", "size": 48, "evaluations": 4, "device": "cpu", "lag": 1, "margin": 0}
FLAGS = ["--weights", "narrow.npz", "--evaluations", "4", "--device", "cpu", "--lag", "1", "--margin", "0"]


def main(*args):
    return run.main(["photo.png", "style.png", *args, *FLAGS])


def test_sheet_has_all_cells_and_their_metadata(folder, capsys):
    args = ["--sweep", "style-weight=1,10,100", "--sweep", "tv-weight=0,2", "--size", "48", "-o", "sheet.png"]
    assert main(*args, "--out-dir", "cells") == 0
    stored = saving.read_metadata("sheet.png")
    assert stored["sweep"] == ["style_weight", "tv_weight"]
    assert [list(c["values"].values()) for c in stored["cells"]] == [[w, tv] for tv in (0, 2) for w in (1, 10, 100)]
    for cell in stored["cells"]:
        assert cell["settings"]["style_weight"] == cell["values"]["style_weight"]
        assert cell["result"]["status"] == "done"
    singles = sorted(Path("cells").iterdir())
    assert [p.name for p in singles][:2] == [
        "sheet-01-style-weight-1-tv-weight-0.png",
        "sheet-02-style-weight-10-tv-weight-0.png",
    ]
    layout = sheet._Layout((34, 48), 3, 6)
    rgb = images.read("sheet.png").rgb
    assert rgb.shape[:2] == layout.size
    for k, path in enumerate(singles):
        x, y = layout.place(k)
        y += layout.text
        assert np.array_equal(rgb[y : y + 34, x : x + 48], images.read(path).rgb)
    assert "picture  6 of 6: style weight 100, tv weight 2" in capsys.readouterr().out


def test_a_cell_alone_is_the_picture_of_its_own_run(folder):
    found = style.sweep("photo.png", "style.png", {"style_weight": [3, 30]}, alone=True, **OPTIONS)
    for cell, result in found.results:
        own = style.transfer("photo.png", "style.png", **OPTIONS, **cell.values)
        assert np.array_equal(own.rgb, result.rgb)


def test_a_cell_starts_from_its_neighbour_with_half_the_evaluations(folder):
    found = style.sweep("photo.png", "style.png", {"style_weight": [3, 30], "content_weight": [1, 2]}, **OPTIONS)
    assert [c.like and c.like.number for c, _ in found.results] == [None, 1, 1, 3]
    assert [r.outcome.evaluations for _, r in found.results] == [4, 2, 2, 2]
    (_, first), (_, second) = found.results[:2]
    assert second.metadata["init"]["sha256"] == images.from_array(first.rgb).sha256


def test_the_neighbour_saves_evaluations(folder):
    """Started from the neighbour's picture, half the evaluations come at least as low as all of them do alone."""
    options = OPTIONS | {"evaluations": 60}
    alone = style.sweep("photo.png", "style.png", {"style_weight": [20, 60]}, alone=True, **options)
    near = style.sweep("photo.png", "style.png", {"style_weight": [20, 60]}, **options)
    assert near.results[1][1].outcome.evaluations == 30
    assert near.results[1][1].outcome.loss < 1.05 * alone.results[1][1].outcome.loss


@pytest.mark.parametrize(
    "option, values", [("style_scale", [0.5, 1.0]), ("size", [32, 48]), ("pooling", ["avg", "max"])]
)
def test_what_is_no_factor_starts_by_itself(folder, option, values):
    options = {k: v for k, v in OPTIONS.items() if k != option}
    found = sweeps.Sweep("photo.png", "style.png", {option: values}, **options)
    assert [c.like for c in found.cells] == [None, None]
    assert all(r.outcome.status == "done" for _, r in found.run().results)


def test_another_start_than_the_content_is_kept(folder):
    found = sweeps.Sweep("photo.png", "style.png", {"style_weight": [3, 30]}, init="noise", **OPTIONS)
    assert [c.like for c in found.cells] == [None, None]


@pytest.mark.parametrize(
    "args, said",
    [
        (["--sweep", "style-weight=1,-2"], "--sweep style-weight=-2: --style-weight -2.0: expected 0 or more"),
        (["--sweep", "tv-weight=1,2", "--sweep", "tv-beta=2,9"], "--sweep tv-weight=1 tv-beta=9: --tv-beta 9.0"),
        (["--sweep", "style-weight=1,x"], "'x': expected a number"),
        (["--sweep", "style-wieght=1,2"], "did you mean style-weight?"),
        (["--sweep", "style-weight"], "expected OPTION=VALUE,VALUE"),
        (["--sweep", "style-weight="], "expected OPTION=VALUE,VALUE"),
        (["--sweep", "style-weight=1,1"], "a value stands there twice"),
        (["--sweep", "style-weight=1", "--sweep", "style-weight=2"], "style-weight stands there twice"),
        (["--sweep", "iterations=3,4"], "--evaluations: is swept; leave it away"),
        (["--sweep", "keep-colors=yes,perhaps"], "'perhaps': expected yes or no"),
        (
            ["--sweep", "seed=1", "--sweep", "tv-weight=1", "--sweep", "style-weight=1"],
            "3 options; expected one or two",
        ),
        (["--sweep", "seed=" + ",".join(map(str, range(101)))], "101 cells; expected at most 100"),
        (["--sweep", "style-weight=1,2", "--resume", "x"], "--resume: works with one picture, without --sweep"),
        (["--sweep", "style-weight=1,2", "--log", "x"], "--log: works with one picture, without --sweep"),
        (["--sweep", "style-weight=1,2", "--name", "{content}.png"], "--name: works with one picture, without"),
        (["--sweep", "style-weight=1,2", "-o", "photo.png"], "photo.png"),
        (["--sweep", "style-weight=1,2", "-o", "style.png", "--overwrite"], "is the style file"),
        (["--sweep", "style-weight=1,2", "-o", "photo.png", "--overwrite"], "is the content file"),
        (["--sweep", "style-weight=" + ",".join(map(str, range(1, 20))), "-o", "x.jpg"], "does not hold the metadata"),
        (["--sweep-alone"], "--sweep-alone: works with --sweep"),
        (["--sweep", "style-weight=1,2", "--depth", "16"], "--depth: works with --out-dir"),
        (["--sweep", "depth=8,16"], "--depth: works with --out-dir"),
        (["--sweep", "seed=1,2"], "--seed: works with --init noise or blend"),
    ],
)
def test_refused_before_any_work(folder, capsys, monkeypatch, args, said):
    monkeypatch.setattr(style.Job, "run", lambda *a, **k: pytest.fail("it has begun"))
    assert main(*args) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error


def test_several_contents_are_refused(folder, capsys):
    assert run.main(["*.png", "style.png", "--sweep", "style-weight=1,2", *FLAGS]) == 2
    assert "--sweep: of one content picture" in capsys.readouterr().err


def test_existing_files_are_kept(folder, capsys):
    Path("cells").mkdir()
    name = Path("cells/s-02-style-weight-2.png")
    name.write_bytes(b"precious")
    args = ["--sweep", "style-weight=1,2", "--size", "48", "-o", "s.png", "--out-dir", "cells"]
    assert main(*args) == 2
    assert "s-02-style-weight-2.png: exists already" in capsys.readouterr().err
    assert name.read_bytes() == b"precious"
    assert main(*args, "--overwrite") == 0
    assert images.read(name).rgb.shape == (34, 48, 3)


def test_ctrl_c_keeps_the_cells_there_are(folder, capsys, monkeypatch):
    real = style.Job.run
    done = []

    def interrupted(job, *listeners, **more):
        done.append(job)
        if len(done) == 3:
            raise KeyboardInterrupt
        return real(job, *listeners, **more)

    monkeypatch.setattr(style.Job, "run", interrupted)
    assert main("--sweep", "style-weight=1,2,3,4", "--size", "48", "-o", "sheet.png") == 130
    assert capsys.readouterr().err == "style.run: interrupted: 2 of 4 cells\n"
    assert ["result" in c for c in saving.read_metadata("sheet.png")["cells"]] == [True, True, False, False]


def test_a_loss_that_overflows_fails_and_is_said(folder, capsys):
    assert main("--sweep", "style-weight=1,1e38", "--size", "48", "-o", "sheet.png", "--sweep-alone") == 1
    assert "1 of 2 cells; not finite: style weight 1e+38" in capsys.readouterr().err
    assert images.read("sheet.png").rgb.shape


def test_values_with_commas_are_parted_by_semicolons():
    found = sweeps.parse_sweep(["style-layers=relu1_1,relu2_1:0.5;relu3_1", "keep-colours=yes;no"])
    assert found == {"style_layers": ["relu1_1,relu2_1:0.5", "relu3_1"], "keep_colors": [True, False]}
    assert sweeps.shown({"relu1_1": 1.0, "relu2_1": 0.5}) == "relu1_1,relu2_1:0.5"


def test_sheet_is_no_larger_than_it_may_be():
    for columns, count in ((10, 10), (3, 9), (1, 1), (50, 100)):
        height, width = sheet.sheet_size((4000, 6000), columns, count)
        assert max(height, width) < 1.3 * sheet.LARGEST
    assert sheet._Layout((30, 40), 10, 10).columns == sheet.COLUMNS  # one option: a row goes on below


def test_labels_fit_into_their_cells():
    label = "style layers relu1_1,relu2_1,relu3_1:0.25"
    rgb = np.full((60, 90, 3), 255.0)
    drawn = sheet.contact_sheet([(label, rgb), ("b", None)], [rgb], (60, 90), 2)
    x, y = sheet._Layout((60, 90), 2, 2).place(1)
    assert (drawn[y : y + 16, x - sheet.GAP : x] == 255).all()  # between the two
    assert (drawn[:, x:] < 200).any()  # a cell without a picture is crossed out


def test_library(folder):
    found = style.sweep("photo.png", "style.png", {"style_weight": [3, 30]}, **OPTIONS)
    assert not found.failed and not found.interrupted
    found.save("sheet.png")
    assert np.array_equal(images.read("sheet.png").rgb, found.rgb)
    with pytest.raises(SettingsError, match="style-weight=-1: style_weight -1: expected 0"):
        style.sweep("photo.png", "style.png", {"style_weight": [3, -1]}, **OPTIONS)
    with pytest.raises(SettingsError, match="expected a list of values"):
        style.sweep("photo.png", "style.png", {"style_weight": 3}, **OPTIONS)
    with pytest.raises(ImageError):
        style.sweep("missing.png", "style.png", {"style_weight": [3]}, **OPTIONS)


def test_values_may_be_arrays_that_look_alike(folder):
    """Of masks too large to be printed, too; the label says what a value is, in a line."""
    masks = [np.zeros((200, 200), bool), np.zeros((200, 200), bool)]
    masks[0][:, 100:], masks[1][:, :100] = True, True
    saving.save("square.png", np.full((200, 200, 3), 90.0))
    found = sweeps.Sweep("square.png", "style.png", {"keep": masks, "style_weight": [3, 30]}, **OPTIONS)
    assert [c.like and c.like.number for c in found.cells] == [None, None, 1, None]
    assert [c.label for c in found.cells][:2] == ["keep array, style weight 3"] * 2
    with pytest.raises(SettingsError, match="a value stands there twice"):
        sweeps.Sweep("square.png", "style.png", {"keep": masks[:1] * 2}, **OPTIONS)


def test_a_cell_starts_from_what_was_optimised_and_not_from_what_was_saved(folder):
    """A palette, or the content's colours, are put on as a picture leaves."""
    found = style.sweep("photo.png", "style.png", {"style_weight": [3, 30]}, palette="#000,#fff", **OPTIONS)
    own = style.transfer("photo.png", "style.png", **OPTIONS | {"style_weight": 3})
    assert found.results[1][1].metadata["init"]["sha256"] == images.from_array(own.rgb).sha256
