"""The command line as a user meets it: the picture, the plan, the log, exit codes, one line for every mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import weights
from benchmarks import autodiff
from style import images, run, saving

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of its own with content.png, style.png and narrow.npz."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, size in (("content", (40, 56)), ("style", (48, 32))):
        saving.save(f"{name}.png", np.repeat(rng.uniform(0, 255, (*size, 1)), 3, 2))
    params = {n: tuple(a.astype(np.float32) for a in pair) for n, pair in autodiff.narrow_params().items()}
    weights.save_compact(weights.Network("narrow", "vgg19", params, [123.7, 116.8, 103.9]), "narrow.npz")
    return tmp_path


BASE = ["content.png", "style.png", "--weights", "narrow.npz", "--iterations", "6", "--device", "cpu"]


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
        "l-bfgs-b from content, seed 0: 6 at 56x40 evaluations",
        "the first evaluation",
        "wrote",
    ):
        assert word in out, word


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
    assert main("-o", "out.png", "--log", "log.jsonl") == 0
    records = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert [r["evaluation"] for r in records] == list(range(1, 7))
    for r in records:
        assert set(r) == {"evaluation", "iteration", "loss", "content", "style", "tv", "seconds"}
        assert r["loss"] == pytest.approx(r["content"] + r["style"] + r["tv"])


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
        (["--weights", "vgg20"], 1, "vgg20"),
        (["--weights", "content.png"], 1, "content.png"),
        (["--init", "nowhere.png"], 2, "nowhere.png"),
        (["--log", "no/such/log"], 2, "no/such/log"),
        (["--save-every", "0"], 2, "--save-every"),
        (["--device", "tpu"], 1, "tpu"),
    ],
)
def test_mistakes_get_one_line_before_the_work(folder, capsys, args, code, says):
    lines = 1
    try:
        found = main(*args)
    except SystemExit as e:  # argparse's own line comes after its usage
        found, lines = e.code, None
    captured = capsys.readouterr()
    assert found == code
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert lines is None or len(captured.err.strip().splitlines()) == lines
    assert not list(folder.glob("out*"))


@pytest.mark.parametrize("name", ["absent.png", "truncated.png", "text.png", "."])
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
    real = saving.save

    def full_disk(path, *args, **kwargs):
        if Path(path).name == "out.png":
            raise images.ImageError("out.png: cannot be written (No space left on device)")
        real(path, *args, **kwargs)

    monkeypatch.setattr(saving, "save", full_disk)
    assert main("-o", "out.png") == 1
    err = capsys.readouterr().err
    assert "the picture is in" in err
    assert len(list(folder.glob("minivgg-style-*.png"))) == 1


def test_unknown_sample(folder, capsys):
    assert run.main(["sample:nothing"]) == 1
    assert "scene" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_writes_the_best_picture_so_far(folder):
    args = [
        *BASE[:4],
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
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
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
    assert main("-o", "out.png", "--memory", "lots") == 2
    assert "--memory" in capsys.readouterr().err
    assert main("-o", "out.png", "--memory", "1GB") == 0
    assert "of 1.0 GB" in capsys.readouterr().out
