"""Presets as a user meets them: files of one's own, the list, a network that is not there or another than theirs."""

import itertools
import json
import os
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

import style
import weights
from minivgg.table import layer_names, nearest_layer
from style import SettingsError, presets, run, settings_from
from style.pictures import saving
from style.recipes import extended, is_file, markdown, parted, placed


@pytest.fixture
def folder(tmp_path, monkeypatch, network_file, pictures):
    """The current folder: two small pictures, a narrow network, and a cache with nothing fetched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIVGG_CACHE", str(tmp_path / "cache"))
    for name, rgb in zip(("photo", "painting"), pictures, strict=True):
        saving.save(tmp_path / f"{name}.png", rgb)
    shutil.copy(network_file, tmp_path / "narrow.npz")
    return tmp_path


def command(capsys, *args):
    """(exit code, standard output, standard error) of photo.png and painting.png at 32 pixels, 2 evaluations."""
    base = ["photo.png", "painting.png", "--size", "32", "--evaluations", "2", "--device", "cpu", "-o", "out.png"]
    try:
        code = run.main([*base, *args])
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def refused(capsys, *args):
    """The line with which a command is refused."""
    code, _, err = command(capsys, *args)
    assert code == 2 and err.startswith("style.run: ") and err.count("\n") == 1, err
    assert not os.path.exists("out.png")
    return err.removeprefix("style.run: ").rstrip("\n")


# -------------------------------------------------------------------------------------------------- own files


MINE = """
source = "mine"
extends = "gatys"
without = ["side", "size"]
style-weight = 300
iterations = 7
weights = "narrow.npz"
[style_layers]
relu1_1 = 2
"""


def test_a_file_extends_a_built_in_preset_and_sees_its_own_folder(folder):
    (folder / "own").mkdir()
    shutil.move("narrow.npz", "own/narrow.npz")
    (folder / "own" / "my.toml").write_text(MINE)
    s, gatys = settings_from("own/my.toml"), settings_from("gatys")
    assert (s.style_weight, s.evaluations, s.style_layers, s.size) == (300, 7, {"relu1_1": 2.0}, None)
    assert (s.side, s.pooling, s.content_layers) == ("longest", gatys.pooling, gatys.content_layers)
    assert s.weights == str(folder / "own" / "narrow.npz")
    assert settings_from(folder / "own" / "my.toml", style_weight=5).style_weight == 5
    assert settings_from("own/my.toml") == s and s.to_dict()["weights"] == "narrow.npz"


def test_a_file_of_several_recipes_and_one_that_changes_a_built_in_under_its_name(folder):
    (folder / "book.toml").write_text(
        '[soft]\nextends = "gatys"\ntv_weight = 9\n[softer]\nextends = "soft"\nstyle_weight = 50\n'
    )
    (folder / "fast.toml").write_text('[fast]\nextends = "fast"\nevaluations = 9\n')
    assert (settings_from("book.toml:softer").style_weight, settings_from("book.toml:softer").tv_weight) == (50, 9)
    assert settings_from("book.toml:soft").style_weight == 1000
    fast = settings_from("fast.toml")
    assert (fast.evaluations, fast.lag, fast.history) == (9, 40, 60)


BAD = {
    "unknown key": ("style_wieght = 3", "unknown option 'style_wieght', did you mean style_weight?"),
    "nothing like it": ("xyzzy = 3", "unknown option 'xyzzy'; python -m style.run --help lists them"),
    "wrong value": ('pooling = "median"', "--pooling 'median': use max or avg (--preset my.toml sets median)"),
    "wrong type": ('style_weight = "much"', "--style-weight 'much': expected a number, found text (--preset my.toml"),
    "a date": ("size = 2026-11-27", "--size datetime.date(2026, 11, 27): expected a number of pixels"),
    "not a number": ("style_weight = nan", "--style-weight nan: expected"),
    "a picture that is none": ("init = 3", "--preset my.toml: init 3: expected text"),
    "masks that are none": ("mask = [1]", "--preset my.toml: mask [1]: expected text, or a list of texts"),
    "does nothing": ("learning_rate = 3.0", "--learning-rate: works with --optimizer adam (--preset my.toml sets 3.0)"),
    "not TOML": ("size 3", "--preset my.toml: not TOML ("),
    "not text": (b"\xff\xfe\x00", "--preset my.toml: not text; expected a preset in TOML"),
    "too deep": ("a = " + "[" * 5000, "--preset my.toml: not TOML"),
    "empty": ("", "--preset my.toml: nothing in it; expected options"),
    "a comment": ("# later", "--preset my.toml: nothing in it; expected options"),
    "too long": ("#" * 2**20 + "\nsize = 64", "--preset my.toml: more than 1048576 bytes"),
    "unknown base": ('extends = "gattys"', "extends 'gattys': expected a preset, did you mean gatys?"),
    "base of another type": ("extends = 3", "extends 3: expected a preset"),
    "without what is not there": (
        'extends = "gatys"\nwithout = ["sise"]',
        "without 'sise': gatys does not set it, did",
    ),
    "without of another type": ('extends = "gatys"\nwithout = "size"', "without 'size': expected a list"),
    "circle": ('[a]\nextends = "b"\n[b]\nextends = "a"', "extends goes round in a circle: a -> b -> a"),
    "its own base": ('[a]\nextends = "a"', "extends goes round in a circle: a -> a"),
    "two names": ("evaluations = 5\niterations = 5", "iterations: another name of evaluations, which is there as well"),
    "words": ("source = 3\nsize = 64", "source 3: expected text"),
    "several": ("[a]\nsize = 32\n[b]\nsize = 64", "2 recipes in it; say which: my.toml:a, a, b"),
    "wrong in the other": ("[a]\nsize = 32\n[b]\nsise = 64", "2 recipes in it; say which"),
    "an option's table": (
        "[style_layers]\nrelu1_1 = -1",
        "--style-layers: weight -1 of relu1_1: expected a number from",
    ),
    "no such layer": ('[content_layers]\n"relu9_1" = 1', "--preset my.toml sets --content-layers: narrow: layer"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_file_is_refused_in_a_line(folder, capsys, name):
    text, said = BAD[name]
    (folder / "my.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    which = "my.toml:a" if "circle" in said else "my.toml"
    line = refused(capsys, "--preset", which, "--weights", "narrow.npz")
    assert said in line and "my.toml" in line


def test_what_is_no_file_is_refused_in_a_line(folder, capsys):
    (folder / "own").mkdir()
    (folder / "two.toml").write_text("[a]\nsize = 32\n[b]\nsize = 64")
    (folder / "one.toml").write_text("size = 64")
    for preset, said in {
        "absent.toml": "--preset absent.toml: no such file; expected a preset in TOML",
        "absent/my": "--preset absent/my: no such file",
        "own": "--preset own: is a folder; expected a preset in TOML",
        "x" * 300 + ".toml": "cannot be read (File name too long)",
        "two.toml:c": "no recipe 'c' in it: a, b",
        "two.toml:": "no recipe '' in it: a, b",
        "one.toml:a": "no recipe 'a' in it: one",
        "my": "'my' is not known: gatys, ",
        "liste": "did you mean list?",
        "": "'' is not known",
    }.items():
        assert said in refused(capsys, f"--preset={preset}"), preset
    if hasattr(os, "mkfifo"):
        os.mkfifo("fifo.toml")
        assert "not a regular file" in refused(capsys, "--preset", "fifo.toml")


def test_in_python_too_and_the_message_names_arguments(folder):
    (folder / "my.toml").write_text("style_weight = -1")
    with pytest.raises(SettingsError, match=r"^style_weight -1: expected 0 or more \(preset my.toml sets -1\)"):
        style.transfer("photo.png", "painting.png", preset="my.toml")
    for preset in (5, ["a"], b"gatys"):
        with pytest.raises(SettingsError, match="is not known"):
            settings_from(preset)


def test_a_picture_has_the_settings_and_not_the_file(folder, capsys):
    """--again repeats it when the file has gone; --preset beside it would do nothing, and is refused."""
    (folder / "my.toml").write_text(MINE.replace("iterations = 7", ""))
    assert command(capsys, "--preset", "my.toml", "--init", "noise", "--seed", "4")[0] == 0
    first = saving.read_metadata("out.png")
    assert "my.toml" not in json.dumps(first) and first["settings"]["style_weight"] == 300
    (folder / "my.toml").unlink()
    assert run.main(["--again", "out.png", "-o", "again.png", "--quiet"]) == 0
    again = saving.read_metadata("again.png")
    assert (again["settings"], again["result"]["loss"]) == (first["settings"], first["result"]["loss"])
    capsys.readouterr()
    assert run.main(["--again", "out.png", "-o", "third.png", "--preset", "fast"]) == 2
    assert (
        capsys.readouterr().err == "style.run: --preset: works without --again, which has all settings of the picture\n"
    )


def test_a_checkpoint_goes_on_with_the_file_from_another_folder(folder, capsys, monkeypatch):
    (folder / "my.toml").write_text('optimizer = "adam"\nweights = "narrow.npz"\n')
    saved = style.checkpoint.about({"preset": "my.toml", "content": "photo.png"})["options"]
    assert saved["preset"] == str(folder / "my.toml")
    assert style.checkpoint.about({"preset": "fast"})["options"]["preset"] == "fast"
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert settings_from(saved["preset"]).optimizer == "adam"


def test_jobs_batches_and_sweeps_take_it(folder, capsys):
    (folder / "jobs").mkdir()
    for where in (folder, folder / "jobs"):
        (where / "my.toml").write_text(MINE.replace("narrow.npz", str(folder / "narrow.npz")))
    (folder / "jobs" / "my.toml").rename(folder / "jobs" / ".my.toml")  # which no job is taken for
    order = {"content": "../photo.png", "style": "../painting.png", "preset": ".my.toml", "options": {"size": 32}}
    (folder / "jobs" / "a.json").write_text(json.dumps(order | {"options": {"size": 32, "evaluations": 2}}))
    assert run.main(["--jobs", "jobs", "--quiet"]) == 0
    assert saving.read_metadata("jobs/done/a.png")["settings"]["style_weight"] == 300
    (made,) = style.batch(["photo.png"], "painting.png", preset="my.toml", out_dir="out", size=32, evaluations=2)
    assert saving.read_metadata(made.output)["settings"]["style_layers"] == {"relu1_1": 2.0}
    sheet = style.sweep("photo.png", "painting.png", {"strength": [0.4, 0.5]}, preset="my.toml", size=32, evaluations=1)
    assert [r.metadata["settings"]["style_weight"] for _, r in sheet.results] == [300, 300]


def test_a_preset_s_file_is_read_and_not_written(folder, capsys):
    Path("own.toml").write_text("style_weight = 3\n")
    for option in ("--log", "--checkpoint"):
        line = refused(capsys, "--preset", "own.toml", option, "own.toml", "--overwrite")
        assert line == f"{option} own.toml: is the --preset file as well; give another name"
    assert Path("own.toml").read_text() == "style_weight = 3\n"


def test_what_does_nothing_beside_a_preset_is_refused_with_its_name(folder, capsys):
    line = refused(capsys, "--preset", "coursera", "--history", "5")
    assert (
        line
        == "--history: works with --optimizer l-bfgs-b, l-bfgs or two-loop; beside --preset coursera it does nothing"
    )


def test_the_list_is_no_recipe():
    with pytest.raises(SettingsError, match="'list' is not known, it explains them on the command line alone: gatys"):
        settings_from("list")


def test_what_means_a_file(folder):
    (folder / "a.toml:b").touch()
    assert [is_file(p) for p in ("my.toml", "x/y", "photo.png", folder, "my.TOML:x", "gatys", "", 3, None)] == (
        [True] * 5 + [False] * 4
    )
    assert parted("x/my.toml:soft") == ("x/my.toml", "soft") and parted("my.toml") == ("my.toml", None)
    assert parted("a.toml:b") == ("a.toml:b", None)  # a file of that name
    assert placed("my.toml:soft", "/jobs") == os.path.abspath("/jobs/my.toml:soft")
    assert (placed("gatys", "/jobs"), placed(3, "/jobs")) == ("gatys", 3)


def test_extends_takes_neither_words_nor_what_it_is_without():
    book = {"a": {"size": 1, "seed": 2, "about": "a"}, "b": {"extends": "a", "without": ["seed"]}}
    assert extended(book, "b") == {"size": 1}
    assert extended({"c": {"extends": "a"}}, "c", book) == {"size": 1, "seed": 2}


# --------------------------------------------------------------------------------------------------- the list


def test_the_list_explains_every_preset(folder, capsys):
    code, out, err = command(capsys, "--preset", "list")
    assert (code, err) == (0, "") and not os.path.exists("out.png")
    lines = out.splitlines()
    assert len(lines) == 2 * len(presets()) + 2
    for (name, values), first, second in zip(presets().items(), lines[::2], lines[1::2]):
        assert first.split() == [name, *values["source"].split()]
        assert second.strip().startswith(f"{values['about']}; vgg1")
    (narayanan,) = [second for first, second in itertools.pairwise(lines) if first.startswith("narayanan ")]
    assert narayanan.endswith("; vgg16 (not there; with --weights mini, its nearest layers)")
    assert lines[1].endswith("; vgg19 (not there; mini takes its place)")
    assert lines[-2] == "To get what is not there: python -m weights fetch vgg19, python -m weights fetch vgg16"


def test_the_list_knows_what_is_there(folder, capsys, network_file):
    (folder / "cache").mkdir(mode=0o700)
    for name in ("vgg16", "vgg19"):
        shutil.copy(network_file, folder / "cache" / f"{name}.npz")
    assert run.main(["--preset", "list"]) == 0
    out = capsys.readouterr().out
    assert "not there" not in out and out.count("vgg16 (there)") == 2


def test_the_page_has_the_table_that_presets_make():
    """To make it again: PYTHONPATH=. python docs/presets.py"""
    page = (Path(__file__).resolve().parent.parent / "docs" / "presets.md").read_text(encoding="utf-8")
    table = page[page.index("| preset |") :]
    assert table[: table.index("\n\n")].splitlines() == list(markdown())
    assert tomllib.loads(page.split("```toml\n")[1].split("```")[0])["extends"] == "gatys"


# ------------------------------------------------------------------------------------ networks and their layers


@pytest.mark.parametrize(
    "asked, arch, taken",
    [
        ("relu5_3", "vgg16", "relu5_3"),
        ("relu5_4", "vgg16", "relu5_3"),
        ("conv3_4", "vgg16", "conv3_3"),
        ("pool3", "vgg16", "pool3"),
        ("relu1_9", "vgg19", "relu1_2"),
        ("relu6_1", "vgg19", None),
        ("fc7", "vgg19", None),
    ],
)
def test_the_nearest_layer_is_of_the_same_kind_and_block(asked, arch, taken):
    assert nearest_layer(asked, layer_names(arch)) == taken


def test_nearest_layers_of_networks_that_end_early():
    names = ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"]
    assert nearest_layer("relu2_1", names) is None and nearest_layer("pool2", names) is None
    assert nearest_layer("relu1_2", ["relu1_3", "relu1_1"]) == "relu1_1"  # of two as near, the shallower


def test_a_network_that_is_not_there_is_said_first_by_the_preset_s_name(folder, capsys):
    """Before any picture is read, for one picture, several, a sweep and a job; how to get it; what else would do."""
    said = "--preset narayanan is made for vgg16: vgg16 is not in the cache ("
    get = "get it: python -m weights fetch vgg16; or the nearest layers of another network, --weights mini"
    (folder / "photo.png").write_text("no picture")
    (folder / "jobs").mkdir()
    (folder / "jobs" / "a.toml").write_text('content = "x.png"\nstyle = "y.png"\npreset = "narayanan"\n')
    for more in ([], ["--out-dir", "out"], ["--sweep", "strength=0.4,0.5"]):
        assert run.main(["photo.png", "painting.png", "--preset", "narayanan", *more]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"style.run: {said}") and get in err and err.count("\n") == 1
    assert run.main(["--jobs", "jobs", "--quiet"]) == 1
    reason = (folder / "jobs" / "failed" / "a.toml.txt").read_text()
    assert reason.startswith(said) and get in reason
    with pytest.raises(weights.WeightsError, match=r"^--preset narayanan is made for vgg16"):
        style.transfer("photo.png", "painting.png", preset="narayanan")


def test_weights_of_one_s_own_that_are_not_there_are_not_the_preset_s(folder, capsys):
    code, _, err = command(capsys, "--preset", "narayanan", "--weights", "none.npz")
    assert code == 1 and "preset" not in err and "none.npz: no such file" in err


def test_narayanan_runs_on_the_embedded_network_and_says_which_layers_it_took(folder, capsys):
    """The VGG-16 recipe, random start and total variation, without any download."""
    code, out, err = command(capsys, "--preset", "narayanan", "--weights", "mini")
    assert (code, err) == (0, "")
    assert "\n         nearest layers of mini to those of --preset narayanan: relu5_2 for relu5_3\n" in out
    found = saving.read_metadata("out.png")
    assert found["nearest layers"] == {"relu5_3": "relu5_2"}
    s = found["settings"]
    assert s["style_layers"]["relu5_2"] == settings_from("narayanan").style_layers["relu5_3"]
    assert (s["init"], s["tv_beta"], s["weights"]) == ("noise", 2.5, "mini")
    assert {"tv", "style relu5_2", "content relu2_2"} <= found["result"]["terms"].keys()
    assert run.main(["--again", "out.png", "-o", "again.png", "--quiet"]) == 0
    assert saving.read_metadata("again.png")["result"]["loss"] == found["result"]["loss"]


def test_layers_that_become_the_same_add_up_and_what_the_user_typed_is_not_changed(folder, capsys):
    (folder / "deep.toml").write_text("[style_layers]\nrelu5_1 = 1\nrelu5_2 = 2\nrelu5_4 = 4\nrelu1_1 = 8\n")
    job = style.Job("photo.png", "painting.png", settings_from("deep.toml", weights="narrow.npz", size=32))
    assert job.settings.style_layers == {"relu5_1": 7.0, "relu1_1": 8.0}
    assert job.nearest == {"relu5_2": "relu5_1", "relu5_4": "relu5_1"}
    line = refused(capsys, "--preset", "deep.toml", "--weights", "narrow.npz", "--style-layers", "relu5_4")
    assert line.startswith("--style-layers: narrow: layer 'relu5_4' is not in this network")
    plain = style.Job("photo.png", "painting.png", settings_from("gatys", weights="narrow.npz", size=32))
    assert plain.nearest == {} and plain.settings == settings_from("gatys", weights="narrow.npz", size=32)


def test_a_block_that_the_network_has_not_is_refused_by_the_preset_s_name(folder, capsys):
    network = weights.load("narrow.npz")
    network.params = {n: p for n, p in network.params.items() if n < "conv4_1"}
    weights.save_compact(network, "shallow.npz")
    line = refused(capsys, "--preset", "gatys", "--weights", "shallow.npz")
    assert line.startswith("--preset gatys sets --content-layers: narrow: layer 'relu4_2' is not in this network")


def test_jobs_share_an_engine_whose_network_lacks_a_preset_s_layers(folder, monkeypatch):
    """A queue's second job of such a preset does not load the network again."""
    (folder / "jobs").mkdir()
    order = {"content": "../photo.png", "style": "../painting.png", "preset": "tf-tutorial"}
    for name in "ab":
        options = {"size": 32, "evaluations": 1, "weights": str(folder / "narrow.npz"), "device": "cpu"}
        (folder / "jobs" / f"{name}.json").write_text(json.dumps(order | {"options": options}))
    loaded, load = [], weights.load
    monkeypatch.setattr(weights, "load", lambda spec: loaded.append(spec) or load(spec))
    made = style.work("jobs")
    assert [m.status for m in made] == ["done", "done"] and len(loaded) == 1
    assert saving.read_metadata("jobs/done/b.png")["nearest layers"] == {"relu5_2": "relu5_1"}


@pytest.mark.slow
@pytest.mark.parametrize("preset", [*presets()])
def test_every_preset_runs_on_the_embedded_network(folder, capsys, preset):
    own = str(presets()[preset].get("scales"))
    args = ["--scales", "24:1,32:1"] if ":" in own else ["--evaluations", "2"]
    base = ["photo.png", "painting.png", "-o", "out.png", "--size", "32", "--device", "cpu"]
    assert run.main([*base, "--preset", preset, "--weights", "mini", *args]) == 0
    assert capsys.readouterr().err == ""
    found = saving.read_metadata("out.png")
    assert np.isfinite(found["result"]["loss"]) and found["result"]["evaluations"] == 2
    assert ("nearest layers" in found) == (preset == "narayanan")
