"""The table of gradients: it says which gradient is off and where, and the program ends as it should."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, assert_passed

from minivgg import gradcheck, layers
from minivgg.backend import Device
from minivgg.gradcheck import __main__ as program
from minivgg.gradcheck import rows as table

OFF = 1.001  # 0.1 %


def row(error):
    return table.Row("a", "", "", "", gradcheck.Deviation("dx", (), 0.0, 0.0, error), 1.0)


# --- rows ----------------------------------------------------------------------------------------------------------


def test_a_row_passes_up_to_its_bound():
    assert row(1.0).passed and not row(1.01).passed and not row(float("nan")).passed and not row(np.inf).passed


PLANTED = (1, 0, 2, 1)


@pytest.fixture
def off_in_one_entry_of_dw(monkeypatch):
    """The first convolution's dw is off by 0.1 % in its entry PLANTED."""
    right = layers.conv2d_backward

    def wrong(dout, cache, **options):
        dx, dw, db = right(dout, cache, **options)
        dw[PLANTED] *= OFF
        return dx, dw, db

    monkeypatch.setattr(layers, "conv2d_backward", wrong)
    monkeypatch.setattr(table, "CONV_CASES", table.CONV_CASES[:1])


def test_a_row_says_which_gradient_and_where(off_in_one_entry_of_dw):
    found = {row.method: row for row in table.layer_rows(Device("cpu")) if row.name.startswith("conv2d")}
    assert not found["central difference"].passed and not found["complex step"].passed
    assert found["against float64"].passed  # both have it
    for method in ("central difference", "complex step"):
        worst = found[method].worst
        assert (worst.gradient, worst.index) == ("dw", PLANTED)
        assert worst.found / worst.expected == pytest.approx(OFF, rel=1e-6)
        assert str(found[method]).startswith("conv2d 3x3 stride 1 pad 1, 3 to 4, numpy textbook, ")
        assert f"dw[1, 0, 2, 1] is {worst.found:.10g}, expected {worst.expected:.10g}; rel" in str(found[method])
    adjoint = found["adjoint identity"]
    assert not adjoint.passed and adjoint.worst.gradient == "<dw, u>" and adjoint.worst.found != adjoint.worst.expected


def test_the_table_says_so_too(off_in_one_entry_of_dw, capsys, monkeypatch):
    monkeypatch.setattr(table, "all_rows", lambda device, weights: table.layer_rows(device))
    assert program.main(["--device", "cpu"]) == 1
    lines = capsys.readouterr().out.splitlines()
    first = next(n for n, line in enumerate(lines) if line.endswith("FAILED"))
    assert " dw " in lines[first]
    assert lines[first + 1].startswith("    dw[1, 0, 2, 1] is ")


def test_a_failed_test_says_so_too(off_in_one_entry_of_dw):
    with pytest.raises(pytest.fail.Exception) as caught:
        assert_passed(table.layer_rows(Device("cpu")))
    assert str(caught.value).count("dw[1, 0, 2, 1] is ") == 2  # central difference and complex step
    assert "3 of" in str(caught.value)


def test_random_params_by_number_by_block_and_by_layer():
    def shapes(**options):
        return {n: w.shape[:2] for n, (w, _) in table.random_params(np.random.default_rng(0), **options).items()}

    assert shapes(widths=4, last="conv2_1") == {"conv1_1": (4, 3), "conv1_2": (4, 4), "conv2_1": (5, 4)}
    assert shapes(widths=(2, 7), last="conv2_1") == {"conv1_1": (2, 3), "conv1_2": (2, 2), "conv2_1": (7, 2)}
    assert shapes(widths={"conv1_1": 5, "conv1_2": 6}) == {"conv1_1": (5, 3), "conv1_2": (6, 5)}
    assert list(shapes())[-1] == "conv5_1" and len(shapes(arch="vgg16", last="conv5_3")) == 13
    params = table.random_params(np.random.default_rng(0), widths=40, bias=0, dtype=np.float32)
    assert {a.dtype for pair in params.values() for a in pair} == {np.dtype(np.float32)}
    w, b = params["conv3_1"]
    assert not b.any() and np.sqrt((w**2).mean()) == pytest.approx(np.sqrt(2 / (9 * w.shape[1])), rel=0.05)


# --- the program ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", [("textbook",), pytest.param(None, marks=pytest.mark.slow)])  # None: all
def test_the_table_has_every_layer_loss_and_the_objective_and_passes(kernels, capsys, monkeypatch):
    if kernels is not None:
        monkeypatch.setattr(table, "kernel_sets", lambda device: kernels)
    assert program.main(["--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    for what in ("conv2d 5x3", "relu", "maxpool2d", "avgpool2d", "vgg19", "content_loss", "gram", "style_loss"):
        assert what in printed
    for what in ("tv_loss", "objective", "central difference", "complex step", "adjoint identity", ", 0 failed"):
        assert what in printed


@pytest.mark.parametrize(
    "module, name, row",
    [
        ("minivgg.layers", "conv2d_backward", "conv2d 3x3 stride 1 pad 1, 3 to 4"),
        pytest.param("minivgg.layers", "relu_backward", "relu 6x4", marks=pytest.mark.slow),
        pytest.param("minivgg.layers", "maxpool2d_backward", "maxpool2d 7x5", marks=pytest.mark.slow),
        pytest.param("minivgg.layers", "avgpool2d_backward", "avgpool2d 7x5", marks=pytest.mark.slow),
        pytest.param("style.losses", "gram_backward", "gram", marks=pytest.mark.slow),
        pytest.param("style.losses", "content_loss", "content_loss", marks=pytest.mark.slow),
        pytest.param("style.losses", "style_loss", "style_loss", marks=pytest.mark.slow),
        pytest.param("style.losses", "tv_loss", "tv_loss beta 2.5", marks=pytest.mark.slow),
    ],
)
def test_the_program_fails_when_one_gradient_is_off(monkeypatch, capsys, module, name, row):
    """0.1 % on any one gradient: exit code 1, FAILED on its row and on the objective's."""
    right = getattr(sys.modules[module], name)

    def wrong(*args, **kwargs):
        result = right(*args, **kwargs)
        if not isinstance(result, tuple):
            return OFF * result
        return tuple(g if (i == 0 and "loss" in name) or g is None else OFF * g for i, g in enumerate(result))

    monkeypatch.setattr(sys.modules[module], name, wrong)
    monkeypatch.setattr(table, "kernel_sets", lambda device: ("textbook",))
    assert program.main(["--device", "cpu"]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.endswith("FAILED")]
    assert any(line.startswith(row) for line in failed)
    assert any(line.startswith("objective") for line in failed)


def test_unusable_weights_and_devices_are_one_line(monkeypatch, capsys, tmp_path, has_cupy):
    """And they are found before the first row is computed."""
    monkeypatch.setattr(table, "all_rows", lambda *_: pytest.fail("rows are being computed"))
    (tmp_path / "page.mat").write_text("<html>not found</html>")
    for path in (tmp_path / "page.mat", tmp_path / "missing.mat"):
        assert program.main(["--device", "cpu", "--weights", str(path)]) == 1
        out, error = capsys.readouterr()
        assert not out and error.startswith("gradcheck: ") and error.count("\n") == 1 and path.name in error
    if not has_cupy:
        assert program.main(["--device", "gpu"]) == 1
        assert "CuPy is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_interrupted(monkeypatch, capsys, name, code):
    number = getattr(signal, name)

    def rows(*_):
        yield from [row(0.0)] * 2
        assert signal.getsignal(number) is not signal.SIG_DFL  # which would end the tests
        signal.raise_signal(number)

    monkeypatch.setattr(table, "all_rows", rows)
    assert program.main(["--device", "cpu"]) == code
    assert capsys.readouterr().err == "gradcheck: interrupted after 2 checks\n"


def start(**options):
    command = [sys.executable, "-m", "minivgg.gradcheck", "--device", "cpu"]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}  # or nothing is left for the flush at exit, which may fail too
    return subprocess.Popen(command, cwd=ROOT, env=buffered, stderr=subprocess.PIPE, text=True, **options)


def test_a_reader_that_goes():
    """`| head -2`: no row more is computed, and not a word."""
    process = start(stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith("what") and process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(60) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full")
def test_a_full_disk():
    with open("/dev/full", "w") as full, start(stdout=full) as process:
        assert process.stderr.read() == "gradcheck: standard output: cannot be written (No space left on device)\n"
    assert process.returncode == 1


def test_real_weights_add_the_whole_objective(capsys, vgg19_mat):
    assert program.main(["--device", "cpu", "--weights", str(vgg19_mat)]) == 0
    assert "objective, vgg19, 64x48" in capsys.readouterr().out


def test_minivgg_does_not_import_style():
    code = (
        "import sys, minivgg, minivgg.gradcheck.__main__; sys.exit('style' in sys.modules or 'weights' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
