"""Runs that are killed and interrupted at random moments: nothing that exists is half, nothing is lost, all go on.

`MINIVGG_KILLS=100 pytest -m slow tests/test_kills.py` does each kind a hundred times.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cases
import numpy as np
import pytest
from PIL import Image

import style
import weights
from style.pictures import saving

ROOT = Path(__file__).resolve().parent.parent
COUNT = int(os.environ.get("MINIVGG_KILLS", "3"))
RUN = [sys.executable, "-m", "style.run"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
OPTIONS = ["--weights", "narrow.npz", "--device", "cpu", "--size", "120", "--scales", "2", "--evaluations", "60"]
ARGS = [*OPTIONS, "-o", "out.png", "--log", "log", "--checkpoint", "run.state", "--checkpoint-every", "7"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """(folder with the inputs, the picture of a run that nothing interrupts, its seconds)."""
    folder = tmp_path_factory.mktemp("reference")
    for name, picture in zip(("content", "style"), cases.blocks(((5, 7), (6, 4))), strict=True):
        saving.save(folder / f"{name}.png", picture)
    weights.save_compact(cases.make_network(), folder / "narrow.npz")
    begun = time.monotonic()
    command = [*RUN, "content.png", "style.png", *ARGS, "--quiet"]
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, timeout=120)
    return folder, pixels(folder / "out.png"), time.monotonic() - begun


@pytest.fixture
def folder(reference, tmp_path):
    for name in ("content.png", "style.png", "narrow.npz"):
        (tmp_path / name).write_bytes((reference[0] / name).read_bytes())
    return tmp_path


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).copy()


def start(folder, *args):
    return subprocess.Popen([*RUN, *args], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def check_whole(folder):
    """Every file is whole: pictures, the state, the lines of the log."""
    for path in folder.glob("*.png"):
        pixels(path)
    if (folder / "run.state").exists():
        style.State.load(folder / "run.state")
    if (folder / "log").exists():
        text = (folder / "log").read_text()
        assert text == "" or text.endswith("\n")
        for line in text.splitlines():
            json.loads(line)


def go_on(folder, expected):
    """Continue from whatever is there, to the picture of a run that nothing interrupts; no temporary file stays."""
    args = ["--resume", "run.state"] if (folder / "run.state").exists() else None
    args = args or ["content.png", "style.png", *ARGS, "--overwrite"]
    done = subprocess.run([*RUN, *args], cwd=folder, env=ENVIRONMENT, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert np.array_equal(pixels(folder / "out.png"), expected)
    assert not list(folder.glob(".*"))
    assert not (folder / "run.state").exists()
    records = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert [r["evaluation"] for r in records] == [*range(1, 91)]


def is_pythons_own(error):
    """Whether what was said comes from before the first line of ours, while Python itself was starting."""
    return b"Traceback" in error and os.fsencode(ROOT) + b"/" not in error


@pytest.mark.parametrize("seed", range(COUNT))
def test_killed(reference, folder, seed):
    _, expected, seconds = reference
    process = start(folder, "content.png", "style.png", *ARGS)
    time.sleep(random.Random(seed).uniform(0, seconds))
    process.kill()
    process.communicate(timeout=60)
    check_whole(folder)
    go_on(folder, expected)


@pytest.mark.parametrize("seed", range(COUNT))
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_interrupted(reference, folder, name, seed):
    """By one signal, or by up to thirty of one who is impatient; several times in one run."""
    _, expected, seconds = reference
    rng = random.Random(f"{name} {seed}")
    args = ["content.png", "style.png", *ARGS]
    for _ in range(2):
        process = start(folder, *args)
        time.sleep(rng.uniform(0, seconds))
        for _ in range(rng.choice([1, 2, 5, 30])):
            process.send_signal(getattr(signal, name))
            time.sleep(rng.uniform(0, 0.01))
        _, error = process.communicate(timeout=60)
        code = getattr(signal, name)
        assert process.returncode in (0, 128 + code) or process.returncode == -code or is_pythons_own(error)
        assert b"Traceback" not in error or is_pythons_own(error), error.decode()
        assert error.count(b"\n") <= 1 or is_pythons_own(error), error.decode()
        assert not list(folder.glob(".*"))
        check_whole(folder)
        logged = len((folder / "log").read_text().splitlines()) if (folder / "log").exists() else 0
        assert (folder / "out.png").exists() or logged == 0, error.decode()
        if not (folder / "run.state").exists():
            break
        args = ["--resume", "run.state"]
    if process.returncode != 0:
        go_on(folder, expected)
