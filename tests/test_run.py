"""The command line as a user meets it: the picture, the plan, the log, exit codes, one line for every mistake."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cases
import numpy as np
import pytest

import style
import weights
from style import run
from style.objective import Objective
from style.pictures import images, saving
from style.statistics import STYLE_LOSSES

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of its own with content.png, style.png and narrow.npz."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, size in (("content", (40, 56)), ("style", (48, 32))):
        saving.save(f"{name}.png", np.repeat(rng.uniform(0, 255, (*size, 1)), 3, 2))
    weights.save_compact(cases.make_network(), "narrow.npz")
    return tmp_path


BASE = ["content.png", "style.png", "--weights", "narrow.npz", "--iterations", "6", "--device", "cpu", "--lag", "1"]


def main(*args):
    return run.main([*BASE, *args])


def test_makes_a_picture_and_says_what_it_does(folder, capsys):
    assert main("-o", "out.png") == 0
    assert images.read("out.png").rgb.shape == (40, 56, 3)
    out = capsys.readouterr().out
    for word in (
        "content.png 56x40",
        "narrow",
        "relu4_2",
        "cpu",
        "l-bfgs from content: 6 evaluations at 56x40",
        "s an evaluation: about",
        "wrote",
    ):
        assert word in out, word


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_every_style_loss_lowers_its_loss(folder, capsys, name):
    assert main("-o", "out.png", "--style-loss", name, "--log", "log.jsonl") == 0
    assert name == "gram" or f"compared by {name}" in capsys.readouterr().out
    kind = "style" if name == "gram" else name
    values = [json.loads(line)[kind] for line in Path("log.jsonl").read_text().splitlines() if kind in line]
    assert min(values) < 0.9 * values[0]


def test_style_losses_with_weights_and_terms_of_the_picture(folder, capsys):
    """Each in the log under its own name, by its weight; photo and Laplacian begin at the content, where both are 0."""
    options = ["--photo-weight", "100", "--laplacian-weight", "20", "--log"]
    assert main("-o", "out.png", "--style-loss", "gram:1,nearest:0.5", *options, "log.jsonl") == 0
    out = capsys.readouterr().out
    assert "compared by gram and nearest; matting Laplacian 100; Laplacian 20; avg pooling" in out
    first, *later = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines() if "nearest" in line]
    assert first["photo"] < 1e-3 * max(line["photo"] for line in later)
    assert first["laplacian"] == 0 < later[-1]["laplacian"]
    assert main("-o", "half.png", "--style-loss", "nearest:0.25", "--log", "half.jsonl") == 0
    alone = json.loads(next(line for line in Path("half.jsonl").read_text().splitlines() if "nearest" in line))
    assert first["nearest"] == pytest.approx(2 * alone["nearest"], rel=1e-5)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--style-loss", "nearst"], "--style-loss 'nearst': use gram"),
        (["--style-loss", "gram,nearest:-1"], "weight -1 of nearest: expected a number from 0 up"),
        (["--photo-weight", "-1"], "--photo-weight -1.0: expected 0 or more"),
        (["--laplacian-weight", "much"], "--laplacian-weight: 'much': expected a number"),
    ],
)
def test_wrong_losses_are_refused_in_a_line(folder, capsys, args, says):
    try:
        code = main("-o", "out.png", *args)
    except SystemExit as end:  # argparse's own
        code = end.code
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert says in error


def test_quiet_says_nothing(folder, capsys):
    assert main("-o", "out.png", "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_output_gets_a_free_name(folder):
    assert main() == main() == 0
    assert Path("content-style.png").exists()
    assert Path("content-style-2.png").exists()


def test_existing_output_is_kept_without_overwrite(folder, capsys):
    Path("out.png").write_bytes(b"precious")
    assert main("-o", "out.png") == 2
    assert Path("out.png").read_bytes() == b"precious"
    assert "--overwrite" in capsys.readouterr().err
    assert main("-o", "out.png", "--overwrite") == 0
    assert Path("out.png").read_bytes() != b"precious"


def test_log_has_one_object_a_line(folder):
    assert main("-o", "out.png", "--log", "log.jsonl", "--tv-weight", "2") == 0
    records = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert [r["evaluation"] for r in records] == list(range(1, 7))
    names = {"run", "evaluation", "iteration", "scale", "size", "loss", "content", "style", "tv", "terms", "exact"}
    names |= {"seconds"}
    for r in records:
        assert set(r) == names
        assert r["loss"] == pytest.approx(r["content"] + r["style"] + r["tv"])
        assert r["loss"] == pytest.approx(sum(r["terms"].values()))
        assert r["style"] == pytest.approx(sum(v for k, v in r["terms"].items() if k.startswith("style ")))
        assert (r["scale"], r["size"], r["exact"]) == (1, "56x40", True)


def test_log_lines_say_scale_and_size(folder):
    args = (
        "-o",
        "out.png",
        "--log",
        "log.jsonl",
        "--scales",
        "2",
        "--size",
        "64",
        "--lag",
        "20",
        "--optimizer",
        "l-bfgs",
    )
    assert main(*args) == 0
    records = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert [(r["evaluation"], r["scale"], r["size"]) for r in records] == [
        *((n, 1, "32x23") for n in range(1, 7)),
        *((n, 2, "64x46") for n in range(7, 10)),
    ]
    assert {r["exact"] for r in records} == {True, False}


def test_save_every(folder):
    assert main("-o", "out.png", "--save-every", "2") == 0
    assert sorted(p.name for p in folder.glob("out-*.png")) == ["out-00002.png", "out-00004.png", "out-00006.png"]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--size", "4"], 2, "--size 4"),
        (["--size", "many"], 2, "--size"),
        (["--style-layers", "relu9_1"], 2, "relu9_1"),
        (["--preset", "gattys"], 2, "did you mean gatys"),
        (["--optimizer", "sgd"], 2, "l-bfgs-b or"),
        (["-o", "no/such/folder/out.png"], 2, "no/such/folder"),
        (["-o", "out.docx"], 2, ".docx"),
        (["--weights", "vgg20"], 2, "vgg20"),
        (["--weights", "content.png"], 1, "content.png"),
        (["--init", "nowhere.png"], 2, "nowhere.png"),
        (["--log", "no/such/log"], 2, "no/such/log"),
        (["--save-every", "0"], 2, "--save-every"),
        (["--device", "tpu"], 2, "tpu"),
        (["-o", ""], 2, "-o ''"),
        (["-o", "a" * 300 + ".png"], 2, "a name of 304 bytes"),
        (["--init", "a" * 300], 2, "aaa"),
        (["--log", "content.png"], 2, "is the content file as well"),
        (["--log", "narrow.npz", "--overwrite"], 2, "is the --weights file as well"),
        (["--log", "out.png", "-o", "out.png"], 2, "is the output file as well"),
        (["--log", "kept.txt"], 2, "kept.txt: exists already"),
        (
            ["-o", "start.png", "--scales", "2", "--size", "64", "--overwrite", "--init", "start-32x23.png"],
            2,
            "--init file",
        ),
        (["-o", "kept.png", "--scales", "2", "--size", "64"], 2, "kept-32x23.png: would be written on the way"),
        (["-o", "kept.png", "--save-every", "4"], 2, "kept-00004.png: would be written on the way"),
        (["--learning-rate", "3"], 2, "--learning-rate: works with --optimizer adam"),
        (["--optimizer", "adam", "--history", "5"], 2, "--history: works with"),
        (["--noise-level", "3"], 2, "--noise-level: works with"),
        (["--tv-beta", "1"], 2, "--tv-beta: works with"),
        (["--scales", "32:5,64:3"], 2, "--evaluations: works with"),
        (["--content-weight", "0", "--style-weight", "0"], 2, "nothing to optimise"),
        (["--precision", "tf32"], 2, "--precision tf32: on a GPU only"),
        (["--scales", "²"], 2, "'²'"),
        (["--scales", "64:²"], 2, "64:²"),
        (["--style-wieght", "3"], 2, "--style-wieght is not an option, did you mean --style-weight?"),
        (["--style-wieght=3"], 2, "--style-wieght is not an option, did you mean --style-weight?"),
        (["--no-such-thing"], 2, "--no-such-thing is not an option; --help lists them"),
        (["--styl", "3"], 2, "--styl is not an option"),
        (["-x"], 2, "-x is not an option"),
        (["third.png"], 1, "third.png: no such file; check the name"),
        (["--size"], 2, "--size: expected one argument"),
    ],
)
def test_mistakes_get_one_line_before_the_work(folder, capsys, args, code, says):
    kept = [Path(name) for name in ("kept.txt", "kept-32x23.png", "kept-00004.png")]
    for path in kept:
        path.write_text("precious")
    saving.save("start-32x23.png", np.zeros((20, 20, 3)))
    before = {p: p.read_bytes() for p in folder.iterdir()}
    try:
        found = main(*args)
    except SystemExit as e:  # the parser's own
        found = e.code
    captured = capsys.readouterr()
    assert found == code
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert captured.err.startswith("style.run: ")
    assert captured.err.count("\n") == 1
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["absent.png", "truncated.png", "text.png"])
def test_bad_pictures(folder, capsys, name):
    Path("truncated.png").write_bytes(Path("content.png").read_bytes()[:500])
    Path("text.png").write_text("hello")
    assert run.main([name, *BASE[1:]]) == 1
    err = capsys.readouterr().err
    assert name in err
    assert len(err.strip().splitlines()) == 1


def test_non_finite_loss_says_so_and_writes_nothing_when_nothing_was_good(folder, capsys):
    assert main("-o", "out.png", "--style-weight", "1e300", "--content-weight", "1e300", "--tv-weight", "1e308") == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not Path("out.png").exists()


def test_a_result_that_cannot_be_saved_is_not_lost(folder, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    cases.cannot_be_saved("out.png", monkeypatch)
    assert main("-o", "out.png") == 1
    err = capsys.readouterr().err
    assert "the picture is in" in err
    assert len(list(folder.glob("minivgg-style-*.png"))) == 1


def test_unknown_sample(folder, capsys):
    assert run.main(["sample:nothing"]) == 1
    assert "scene" in capsys.readouterr().err


def test_overwrite_replaces_log_and_pictures_on_the_way(folder):
    args = ("-o", "out.png", "--log", "log.jsonl", "--save-every", "3", "--scales", "2", "--size", "64")
    assert main(*args) == 0
    names = {p.name for p in folder.glob("out*")}
    assert names == {"out.png", "out-32x23.png", "out-00003.png", "out-00006.png", "out-00009.png"}
    before = Path("out-32x23.png").read_bytes()
    assert main(*args) == 2
    assert main(*args, "--seed", "1", "--init", "noise", "--overwrite") == 0
    assert Path("out-32x23.png").read_bytes() != before
    assert len(Path("log.jsonl").read_text().splitlines()) == 9
    assert main("-o", "other.png", "--log", os.devnull) == 0  # a device is no file to lose


@pytest.mark.parametrize("links", [True, False])
def test_a_name_that_is_taken_meanwhile_is_left_alone(folder, capsys, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *args: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    real = run.Job.run

    def meanwhile(self, *args, **more):
        Path("out.png").write_text("mine")
        return real(self, *args, **more)

    monkeypatch.setattr(run.Job, "run", meanwhile)
    assert main("-o", "out.png") == 0
    assert Path("out.png").read_text() == "mine"
    assert images.read("out-2.png").rgb.shape == (40, 56, 3)
    captured = capsys.readouterr()
    assert "wrote    out-2.png" in captured.out
    assert "out.png: exists already" in captured.err
    assert not list(folder.glob(".*"))


def test_an_interrupt_while_the_picture_is_written_does_not_lose_it(folder, capsys, monkeypatch):
    real, calls = saving.save, []

    def interrupted(path, *args, **kwargs):
        calls.append(path)
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        real(path, *args, **kwargs)

    monkeypatch.setattr(saving, "save", interrupted)
    assert main("-o", "out.png") == 0  # all was done
    assert saving.read_metadata("out.png")["result"]["evaluations"] == 6
    assert len(calls) == 1
    assert capsys.readouterr().err == ""


def test_an_interrupt_in_the_first_evaluation(folder, capsys, monkeypatch):
    monkeypatch.setattr(Objective, "compute", lambda self, image: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main("-o", "out.png") == 130
    err = capsys.readouterr().err
    assert err == "style.run: interrupted before the first evaluation was done: nothing was written\n"


class Broken(io.StringIO):
    """A stream that takes `lines` lines and then says what a closed pipe says."""

    def __init__(self, lines):
        super().__init__()
        self.lines = lines

    def write(self, text):
        self.lines -= text.count("\n")
        if self.lines < 0:
            raise BrokenPipeError
        return len(text)


@pytest.mark.parametrize("lines", [0, 3, 11])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_breaks_costs_no_picture(folder, monkeypatch, name, lines):
    monkeypatch.setattr(sys, name, Broken(lines))
    assert main("-o", "out.png") == 0
    assert Path("out.png").exists()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_costs_no_picture(folder, monkeypatch, name):
    monkeypatch.setattr(sys, name, None)
    assert main("-o", "out.png") == 0
    assert Path("out.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX pipes")
@pytest.mark.parametrize("where", ["| head -2", "> /dev/full", "2>&-", ">&- 2>&-"])
def test_the_shell_takes_the_streams_away(folder, where):
    if "/dev/full" in where and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    command = f"{sys.executable} -m style.run {' '.join(BASE)} -o out.png {where}"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": ""}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=env, timeout=60)
    assert "Traceback" not in done.stderr
    assert "Errno" not in done.stderr
    assert Path("out.png").exists()


def test_names_that_the_terminal_cannot_print(folder, monkeypatch):
    Path("content.png").rename("żółw.png")
    command = [sys.executable, "-m", "style.run", "żółw.png", *BASE[1:], "-o", "out.png"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "\\u017c" in done.stdout


def test_the_time_is_said_once_and_for_all_scales(folder, capsys):
    assert main("-o", "out.png", "--scales", "2", "--size", "64") == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("time")]
    assert len(said) == 1
    assert said[0].endswith("for 9")


def test_what_the_memory_takes_away_is_said_and_stored(folder, capsys):
    args = ("--optimizer", "l-bfgs", "--history", "300", "--lag", "5", "--size", "200")
    assert main("-o", "free.png", *args, "--memory", "4GB") == 0
    out = capsys.readouterr().out
    assert "pairs" not in out  # as many as a run of 6 evaluations can fill
    least = int(re.search(r"about (\d+) MB", out)[1])
    for memory in range(least, least - 20, -1):  # between room for all of them and tiles
        code = main("-o", "tight.png", *args, "--memory", f"{memory}MB", "--overwrite")
        out = capsys.readouterr().out
        if code or "pairs" in out:
            break
    stage = saving.read_metadata("tight.png")["stages"][0]
    assert f"L-BFGS keeps {stage['history']} of 6 pairs" in out
    assert 3 <= stage["history"] < 6


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_ctrl_c_writes_the_best_picture_so_far(folder, name, code):
    args = [
        *BASE[:4],
        "--lag",
        "1",
        "--iterations",
        "100000",
        "--size",
        "200",
        "-o",
        "out.png",
        "--log",
        "log.jsonl",
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "style.run", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 60
    log = Path("log.jsonl")
    while time.monotonic() < deadline and not (log.exists() and len(log.read_text().splitlines()) >= 3):
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "best picture so far" in err
    assert "Traceback" not in err
    metadata = saving.read_metadata("out.png")
    assert metadata["result"]["status"] == "interrupted"
    losses = [json.loads(line)["loss"] for line in log.read_text().splitlines()]
    assert metadata["result"]["loss"] <= min(losses)


def test_memory_budget_is_kept_or_refused_with_a_size(folder, capsys):
    assert main("-o", "out.png", "--memory", "1MB", "--size", "400") == 1
    err = capsys.readouterr().err
    assert "does not fit into 1 MB" in err
    assert re.search(r"nor does any smaller size: program, network and pictures as read take \d+ MB", err)
    assert main("-o", "out.png", "--memory", "lots") == 2
    assert "--memory" in capsys.readouterr().err
    assert main("-o", "out.png", "--memory", "1GB") == 0
    assert "of 1.0 GB" in capsys.readouterr().out


def test_help_is_ordered_and_its_usage_is_short(capsys):
    with pytest.raises(SystemExit) as e:
        run.main(["--help"])
    assert e.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m style.run [CONTENT [STYLE …]] [options]\n\n")
    for name in style.presets():
        assert f"\n  {name}" in text


def test_version(capsys):
    with pytest.raises(SystemExit) as e:
        run.main(["--version"])
    assert e.value.code == 0
    assert capsys.readouterr().out == f"minivgg-style {style.__version__}\n"


def test_the_package_runs_as_its_program(folder):
    command = [sys.executable, "-m", "style", *BASE, "-o", "out.png", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert images.read("out.png").rgb.shape == (40, 56, 3)


def test_both_names_of_evaluations(folder):
    assert run.main([*BASE[:4], "--device", "cpu", "--evaluations", "3", "-o", "out.png", "--quiet"]) == 0
    assert saving.read_metadata("out.png")["settings"]["evaluations"] == 3


NINES = "9" * 400


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--size", NINES], "--size"),
        (["--evaluations", NINES], "--evaluations"),
        (["--seed", NINES], "--seed"),
        (["--save-every", NINES + NINES], ""),
        (["--memory", NINES], "expected less than"),
        (["--memory", NINES + "GB"], "expected less than"),
        (["--scales", NINES * 13], "--scales"),
        (["--scales", f"48:{NINES},64"], "--scales"),
        (["--scales", "48:99999999999,64"], "--scales"),
        (["--style-loss", ""], "for no style, --style-layers none"),
        (["--style-loss", "gram:0"], "for no style, --style-layers none"),
        (["--log", "out-00001.png", "--save-every", "1", "-o", "out.png", "--overwrite"], "is the --log file"),
        (["--iter"], "--iterations"),
    ],
)
def test_numbers_of_any_length_and_names_that_meet_end_in_a_line(folder, capsys, args, says):
    try:
        code = main("--quiet", *args)
    except SystemExit as end:  # argparse's own
        code = end.code
    error = capsys.readouterr().err
    if args[0] != "--save-every":  # a number that large only saves nothing
        assert (code, error.count("\n")) == (2, 1)
    assert says in error
    assert "Traceback" not in error


def test_no_folder_is_stored_with_a_picture(folder, capsys):
    """Nor a user's or a machine's name in one: all that is stored of a file is its name."""
    places = {name: folder / name for name in ("content.png", "style.png", "narrow.npz")}
    more = ["--init", str(places["content.png"]), "--palette", f"{places['style.png']}:3"]
    more += ["--mask", f"not:{places['style.png']}", "--size", "40", "--style-mask", str(places["style.png"])]
    saving.save("content.png", np.linspace(0, 255, 48 * 32 * 3).reshape(48, 32, 3), replace=True)
    args = [str(places["content.png"]), str(places["style.png"]), "--weights", str(places["narrow.npz"]), *more]
    assert run.main([*args, "--evaluations", "2", "-o", "out.png"]) == 0
    text = json.dumps(saving.read_metadata("out.png"))
    assert '"init": "content.png"' in text and '"palette": "style.png:3"' in text and "not:style.png" in text
    assert str(folder) not in text and folder.name not in text
    assert run.main(["--again", "out.png", "-o", "again.png"]) == 0
    assert Path("again.png").stat().st_size
    assert np.array_equal(images.read("again.png").rgb, images.read("out.png").rgb)
