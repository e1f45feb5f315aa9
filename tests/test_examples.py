"""The programs in examples/ run, and do what their first lines say."""

import importlib.util
import itertools

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
