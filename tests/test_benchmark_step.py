"""benchmarks/step.py: its table's ratios, and what a worker hands back, without PyTorch; bfloat16 with it."""

import threading
from multiprocessing import Pipe

import numpy as np
import pytest

from benchmarks import common, step
from benchmarks.peer import TorchObjective


@pytest.fixture
def narrow(monkeypatch):
    """Filters of 4 to 8 channels in place of a file's."""
    params = common.vgg_shaped(np.random.default_rng(0), (4, 5, 6, 7, 8))
    monkeypatch.setattr(step, "load_params", lambda spec: params)
    return params


def cells(rows):
    """{path: {heading: text}}"""
    found = [dict(zip(step.HEADINGS, (c.strip() for c in row.strip("|").split("|")), strict=True)) for row in rows]
    return {row["path"]: row for row in found}


def test_ratios_are_to_the_fastest_of_each_precision(narrow):
    results = {
        "fast": step.Found([2.0, 1.0, 3.0], 2**20, 1e-6),
        "torch nchw": step.Found([5.0], 2**20),
        "torch compiled": step.Found([4.0], 2**21),
        "torch bfloat16": step.Found([3.0], 2**20, 0.05),
        "torch bfloat16 compiled": "RuntimeError: no compiler",
    }
    rows = cells(step.table("mini", 32, results, 100))
    assert {p: r["PyTorch ÷ this"] for p, r in rows.items()} == {
        "fast": "2.00",
        "torch nchw": "0.80",
        "torch compiled": "1.00",
        "torch bfloat16": "1.33",
        "torch bfloat16 compiled": "",
    }
    assert rows["fast"]["its bfloat16 ÷ this"] == "1.50"
    assert rows["fast"]["gradient's error"] == "1.0e-06"
    assert rows["fast"]["peak memory"] == "1 MB, 0.50"
    assert rows["torch bfloat16 compiled"]["seconds: median (range)"] == "RuntimeError: no compiler"


def test_without_pytorch_the_ratios_stay_empty(narrow):
    row = cells(step.table("mini", 32, {"fast": step.Found([1.0], 2**20, 1e-6)}, 100))["fast"]
    assert (row["PyTorch ÷ this"], row["its bfloat16 ÷ this"], row["peak memory"]) == ("", "", "1 MB")


def test_a_worker_gives_seconds_and_its_gradient(narrow):
    gradients = {}
    for path in ("fast", step.REFERENCE):
        ours, theirs = Pipe()
        thread = threading.Thread(target=step.worker, args=(theirs, path, "mini", 32))
        thread.start()
        assert ours.recv() == "ready"
        ours.send("evaluate")
        taken, _ = ours.recv()
        assert taken > 0
        gradients[path] = step.last_gradient(ours)
        thread.join()
    assert gradients[step.REFERENCE].dtype == np.float64
    assert 0 < step.relative_error(gradients["fast"], gradients[step.REFERENCE]) < 1e-4


def test_bfloat16_costs_digits_and_float32_none(narrow):
    pytest.importorskip("torch", reason="PyTorch is not installed: the peer's own path is not run")
    pictures = common.pictures(32, 32)
    single, half = (
        TorchObjective(narrow, *pictures[:2], layout="channels_last", bfloat16=b).evaluate(pictures[2])
        for b in (False, True)
    )
    assert half[0] == pytest.approx(single[0], rel=0.05)
    assert half[1].numpy().dtype == np.float32
    assert 1e-3 < step.relative_error(half[1].numpy(), single[1].numpy()) < 0.5
