"""The programs in examples/ run, and do what their first lines say."""

import importlib.util
import itertools
from pathlib import Path

import cases
import numpy as np
import pytest
from conftest import ROOT

from style.pictures import images

FAST = {"weights": "mini", "device": "cpu", "evaluations": 4}


@pytest.fixture
def example(tmp_path, monkeypatch):
    """example(name) -> its module; the working folder is an empty one."""
    monkeypatch.chdir(tmp_path)

    def load(name):
        spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_every_example_is_run_here():
    source = (ROOT / "tests/test_examples.py").read_text(encoding="utf-8")
    for path in (ROOT / "examples").glob("*.py"):
        assert f'example("{path.stem}")' in source, path.stem


def test_blend(example):
    example("blend").main(64, **FAST | {"evaluations": 15})
    pictures = [images.read(f"blend-{s}.png").rgb for s in (25, 50, 75)]
    assert all(np.abs(a - b).mean() > 0.1 for a, b in itertools.pairwise(pictures))


def test_regions(example):
    from style import samples

    example("regions").main(96, **FAST)
    found, scene = images.read("regions.png").rgb, samples.scene(96)
    kept = (slice(27, 33), slice(73, 79))
    assert np.abs(found[kept] - scene[kept]).max() <= 0.5
    assert np.abs(found - scene).mean() > 1
    assert images.read("regions-overlay.png").rgb.shape == found.shape


def test_watch(example, capsys):
    example("watch").main(96, **FAST | {"evaluations": 20})
    assert "of the first loss" in capsys.readouterr().out
    assert images.read("watch-48.png").rgb.shape == (36, 48, 3)
    assert images.read("watch.png").rgb.shape == (72, 96, 3)


def test_resume(example, capsys):
    example("resume").main(64, **FAST | {"evaluations": 14})
    assert "the same picture: True" in capsys.readouterr().out


def test_step(example):
    before, after = example("step").main(64)
    assert after < before


@pytest.mark.slow
def test_figures(example, capsys):
    figures = example("figures")
    args = ["--size", "32", "--evaluations", "1", "--weights", "mini", "--device", "cpu", "--out", "sheet.png"]
    assert figures.program(args) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in out[:-1]] == [
        *(f"1 content relu{k}_2" for k in range(1, 6)),
        *(f"1 style to relu{k}_1" for k in range(1, 6)),
        "2 both",
        "3 in manner 2",
    ]
    assert out[-1] == "wrote sheet.png"
    sheet = images.read("sheet.png").rgb
    assert sheet.shape[1] > 5 * 32 and sheet.shape[0] > 4 * 24


@pytest.mark.parametrize(
    "args, code, words",
    [
        (["none.jpg"], 1, "none.jpg: no such file"),
        (["--size", "4"], 2, "--size 4: expected 16"),
        (["--size", "x"], 2, "argument --size: invalid int value: 'x'"),
        (["--evaluations", "0"], 2, "--evaluations 0: expected 1"),
        (["--weights", "none.npz"], 1, "none.npz"),
        (["--device", "abacus"], 2, "abacus"),
        (["--sise", "4"], 2, "--sise is not an option, did you mean --size?"),
        (["--out", "sheet.xyz"], 1, "sheet.xyz"),
        (["--out", "there.png"], 1, "there.png: exists already"),
        (["--weights", "narrow.npz"], 2, "narrow: layer 'relu5_2' is not in this network"),
    ],
)
def test_figures_says_what_is_wrong_before_the_work(example, capsys, args, code, words):
    figures = example("figures")
    cases.lay_out(Path(), {"there.png": (1, 1)})
    try:
        found = figures.program(["--size", "32", "--weights", "mini", "--device", "cpu", *args])
    except SystemExit as exit:
        found = exit.code
    out, error = capsys.readouterr()
    assert (found, out, error.count("\n")) == (code, "", 1) and words in error
