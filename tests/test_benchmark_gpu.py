"""benchmarks/gpu/ without a card: the dry run, and its GPU branches on the stand-in device."""

import argparse
import json

import cuda_twins
import numpy as np
import pytest
from strict_device import StrictModule

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import speed as gpu_speed
from benchmarks.gpu import tools as gpu_tools
from minivgg import backend, fast_gpu

QUICK = [name for name in gpu.SECTIONS if name != "gradients"]  # whose table has its own test


def failures(sections):
    """What failed, rows within sections included."""
    found = {name: entry["error"] for name, entry in sections.items() if "error" in entry}

    def walk(name, value):
        if isinstance(value, dict):
            if isinstance(value.get("error"), str):
                found[name] = value["error"]
            for key, inner in value.items():
                walk(f"{name}, {key}", inner)

    for name, entry in sections.items():
        walk(name, entry.get("result"))
    return found


def test_dry_run(tmp_path, capsys):
    out = tmp_path / "gpu.json"
    assert gpu.main(["--dry-run", "--out", str(out), "--only", *QUICK]) == 0
    found = json.loads(out.read_text())
    assert found["dry run"] is True
    assert found["versions"]["numpy"] == np.__version__
    assert list(found["sections"]) == QUICK
    without_torch = {k: v for k, v in failures(found["sections"]).items() if "torch" not in k}
    assert without_torch == {}
    assert "agreement: 0 failed" in capsys.readouterr().out


@pytest.mark.slow
def test_dry_run_of_the_gradient_table(tmp_path):
    assert gpu.main(["--dry-run", "--out", str(tmp_path / "gpu.json"), "--only", "gradients"]) == 0


def test_a_card_is_asked_for_in_one_line(capsys, monkeypatch):
    def missing():
        raise backend.BackendError("no GPU: CuPy is not installed; use --device cpu")

    monkeypatch.setattr(backend, "_cupy", missing)
    assert gpu.main(["--only", "ceilings"]) == 1
    assert capsys.readouterr().err == "benchmarks.gpu: no GPU: CuPy is not installed; use --device cpu\n"


@pytest.mark.slow
def test_sections_for_a_card_run_on_the_stand_in(tmp_path, monkeypatch):
    """Only PyTorch's rows fail: it has no stand-in."""
    xp = StrictModule(cuda_twins.engine)
    monkeypatch.setattr(backend, "_cupy", lambda: xp)
    setup = gpu.make_setup(argparse.Namespace(dry_run=True))
    setup.device, setup.precisions = backend.resolve_device("gpu"), fast_gpu.PRECISIONS
    results = gpu.run_sections(setup, QUICK, str(tmp_path / "gpu.json"))
    found = {k: v for k, v in failures(results["sections"]).items() if "torch" not in k}
    assert found == {}
    assert results["sections"]["agreement"]["result"]["failed"] == 0
    assert results["sections"]["objective"]["result"]["failed"] == 0
    rows = results["sections"]["timing"]["result"]["32"]
    assert rows["ours float32, graph"]["gradient against the first"] == 0
    assert "gemm" in xp.launches
    assert any("optimiser's share" in line for line in gpu.verdicts(results["sections"]))


def test_a_failing_section_is_recorded_and_the_rest_runs(tmp_path, monkeypatch):
    def fails(setup):
        raise MemoryError("out of memory\nsecond line")

    monkeypatch.setitem(gpu.SECTIONS, "timing", fails)
    out = tmp_path / "gpu.json"
    assert gpu.main(["--dry-run", "--out", str(out), "--only", "timing", "ceilings"]) == 1
    sections = json.loads(out.read_text())["sections"]
    assert sections["timing"]["error"] == "MemoryError: out of memory"
    assert "result" in sections["ceilings"]


def test_least_counts_what_the_docstring_says():
    """conv1_2 at 512: 5.5 times its arrays of 134 MB, and a quarter of 19.3 GFLOP."""
    found = gpu_speed.least(64, 64, 512, "float32")
    filters = 36 * 64 * 64 * 4 / 1e6
    assert found["MB"] - filters == pytest.approx(5.5 * 4 * 512**2 * 128 / 1e6)
    assert found["GFLOP"] == pytest.approx(2 * 9 * 64 * 64 * 512**2 / 4 / 1e9)


def test_pictures_repeat_and_differ():
    first, again = gpu_tools.pictures(40), gpu_tools.pictures(40)
    assert [p.shape for p in first] == [(1, 3, 40, 40)] * 3
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first[0], first[1])
