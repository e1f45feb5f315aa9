"""`python -m weights`: what it prints, its exit codes, and that no traceback comes out of it."""

import subprocess
import sys
from pathlib import Path

import matfiles
import numpy as np
import pytest

import weights
from weights import __main__ as cli
from weights import cache

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty cache, and no embedded network."""
    monkeypatch.setenv("MINIVGG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "EMBEDDED", tmp_path / "nowhere" / "mini.npz")
    return tmp_path / "cache"


@pytest.fixture
def mat(tmp_path):
    return matfiles.vgg_mat(tmp_path / "brought.mat")


@pytest.fixture
def run(capsys):
    """run(*arguments) -> exit code, standard output, standard error."""

    def run(*arguments):
        try:
            code = cli.main([str(a) for a in arguments])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


@pytest.mark.parametrize("command", [[], ["fetch"], ["list"], ["verify"], ["convert"], ["path"]])
def test_help(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0 and "usage: python -m weights" in out


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["fetch"], ["fetch", "vgg11"], ["convert"], ["convert", "x", "--precision", "int4"]]
)
def test_usage(run, arguments):
    code, out, err = run(*arguments)
    assert code == 2 and not out and "usage" in err


def test_list(run, mat, folder):
    code, out, _ = run("list")
    assert code == 0 and str(folder) in out and out.count("python -m weights fetch") == 2
    run("convert", mat, "--name", "vgg19")
    code, out, _ = run("list")
    assert code == 0 and "vgg19.npz   <- used when no weights are named" in out


def test_convert_makes_the_entry(run, mat, folder):
    code, out, _ = run("convert", mat, "--name", "vgg19")
    assert code == 0 and out.strip() == str(folder / "vgg19.npz")
    got, want = weights.load("vgg19"), weights.load(mat)
    assert got.name == "vgg19" and got.sha256 == want.sha256
    assert all(np.array_equal(got.params[n][0], want.params[n][0]) for n in want.params)
    code, _, err = run("convert", mat, "--name", "vgg19")
    assert code == 1 and "--overwrite" in err
    assert run("convert", mat, "--name", "vgg19", "--overwrite", "--precision", "uint8")[0] == 0


def test_convert_names(run, mat, folder, tmp_path):
    assert run("convert", mat)[1].strip() == str(folder / "brought.npz")
    for name, said in [
        ("vgg16", "holds vgg19"),
        ("mini", "cannot name"),
        ("../up", "cannot name"),
        ("", "cannot name"),
    ]:
        code, _, err = run("convert", mat, "--name", name)
        assert code == 1 and said in err, name
    assert [p.name for p in folder.iterdir()] == ["brought.npz"]
    target = tmp_path / "elsewhere" / "net.npz"
    assert run("convert", mat, "-o", target) == (0, f"{target}\n", "")
    code, _, err = run("convert", tmp_path / "nothing.mat")
    assert code == 1 and "no such file" in err and err.count("\n") == 1


def test_verify(run, mat, tmp_path):
    code, _, err = run("verify")
    assert code == 1 and "fetch vgg19" in err
    run("convert", mat, "--name", "vgg19")
    code, out, _ = run("verify")
    assert code == 0 and "ok, vgg19 (vgg19, 16 convolutions" in out and "not in the list of published files" in out
    assert run("verify", mat)[0] == run("verify", "vgg19")[0] == 0
    page = tmp_path / "page.mat"
    page.write_text("<html>")
    code, _, err = run("verify", page)
    assert code == 1 and "a web page" in err


def test_verify_looks_at_every_entry(run, mat, folder):
    run("convert", mat, "--name", "vgg19")
    run("convert", mat, "--name", "other")
    (folder / "vgg19.npz").write_bytes(b"PK\x03\x04")
    code, out, err = run("verify")
    assert code == 1 and "vgg19.npz: a damaged" in err and "other.npz: ok" in out


def test_verify_knows_a_published_file(run, vgg19_mat):
    assert "8 bits a value" in run("verify", vgg19_mat)[1]


def test_path(run, mat, folder):
    assert run("path") == (0, f"{folder}\n", "")
    code, out, err = run("path", "vgg19")
    assert code == 1 and not out and "fetch vgg19" in err
    run("convert", mat, "--name", "vgg19")
    assert run("path", "vgg19") == run("path", "best") == (0, f"{folder / 'vgg19.npz'}\n", "")
    code, _, err = run("path", "vgg-19")
    assert code == 1 and "did you mean vgg19" in err


def test_interrupted(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "fetch", interrupted)
    code, out, err = run("fetch", "vgg19")
    assert code == 130 and not out and "goes on" in err


def test_fetch_without_a_network(run):
    code, out, err = run("fetch", "vgg16", "--url", "http://127.0.0.1:9/x.mat")
    assert code == 1 and not out and "convert FILE --name vgg16" in err


def test_as_a_program():
    process = subprocess.run([sys.executable, "-m", "weights", "list"], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0 and "vgg19" in process.stdout and not process.stderr
