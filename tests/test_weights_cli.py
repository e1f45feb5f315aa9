"""`python -m weights`: what it prints, its exit codes, and that no traceback comes out of it."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import matfiles
import numpy as np
import pytest

import weights
from weights import __main__ as cli
from weights import cache, store

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


def test_convert_names(run, mat, folder, tmp_path, monkeypatch):
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
    monkeypatch.chdir(tmp_path)
    code, _, err = run("convert", mat, "-o", "off")
    assert code == 2 and "-o off: expected a file name; leave -o away, or give ./off" in err
    assert not (tmp_path / "off").exists()
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


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_interrupted(run, monkeypatch, name, code):
    number = getattr(signal, name)

    def fetch(*_, **__):
        assert signal.getsignal(number) is not signal.SIG_DFL  # which would end the tests
        signal.raise_signal(number)

    monkeypatch.setattr(cli, "fetch", fetch)
    got, out, err = run("fetch", "vgg19")
    assert got == code and not out and "interrupted" in err and "goes on" in err


def test_fetch_without_a_network(run):
    code, out, err = run("fetch", "vgg16", "--url", "http://127.0.0.1:9/x.mat")
    assert code == 1 and not out and "convert FILE --name vgg16" in err


def test_as_a_program():
    process = subprocess.run([sys.executable, "-m", "weights", "list"], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0 and "vgg19" in process.stdout and not process.stderr


# --- names and folders that the system refuses --------------------------------------------------------------

LONG = "x" * 300  # no file system takes it: ENAMETOOLONG


def one_line(code, out, err):
    assert code == 1 and not out and err.startswith("weights: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", LONG),
        ("verify", f"{LONG}.npz"),
        ("path", f"/{LONG}"),
        ("convert", f"{LONG}.mat"),
        ("path", "~no-such-user/net.npz"),
        ("path", "a\0b.npz"),
        ("path", "."),
    ],
)
def test_names_that_no_file_can_have(run, arguments):
    assert arguments[1].replace("\0", "\\x00") in one_line(*run(*arguments))


def test_a_file_that_cannot_be_read_says_why(run, tmp_path):
    for command in ("path", "verify"):
        assert "File name too long" in one_line(*run(command, tmp_path / LONG))
        assert "is a folder" in one_line(*run(command, tmp_path))
        assert "no such file" in one_line(*run(command, tmp_path / "no.npz"))


def test_a_target_whose_name_is_too_long(run, mat, tmp_path):
    for option in (("--name", LONG), ("-o", tmp_path / LONG)):
        assert "cannot be written (File name too long)" in one_line(*run("convert", mat, *option))


@pytest.fixture(params=["no permission", "too long"])
def closed(request, tmp_path, monkeypatch):
    """A cache folder into which nobody can look."""
    if request.param == "too long":
        folder = tmp_path / LONG
    else:  # os.stat as it answers those who are not root
        folder, stat = tmp_path / "closed", os.stat
        folder.mkdir()

        def refuse(path, *args, **kwargs):
            if isinstance(path, str | os.PathLike) and Path(path).parent == folder:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return stat(path, *args, **kwargs)

        monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setenv("MINIVGG_CACHE", str(folder))
    return folder


def test_a_cache_folder_that_may_not_be_entered(run, mat, closed):
    """The embedded network works all the same."""
    store.save_compact(weights.load(mat), cache.EMBEDDED)
    code, out, err = run("list")
    assert code == 0 and not err and f"{cache.EMBEDDED}   <- used" in out
    assert run("path") == (0, f"{closed}\n", "")
    assert run("path", "mini") == run("path", "best") == (0, f"{cache.EMBEDDED}\n", "")
    assert weights.load("mini").path == weights.load().path == cache.EMBEDDED
    assert "vgg19 is not in the cache" in one_line(*run("path", "vgg19"))


def test_an_error_that_nobody_expected_is_one_line(run, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/somewhere")

    monkeypatch.setattr(cli, "present", fails)
    err = one_line(*run("list"))
    assert "Input/output error" in err and "/somewhere" in err


# --- standard output is the result --------------------------------------------------------------------------


def buffered():
    """An environment without PYTHONUNBUFFERED, which leaves nothing for the flush at exit: that must not fail too."""
    return {**os.environ, "PYTHONUNBUFFERED": ""}


def program(command):
    """Run a shell's line in which WEIGHTS stands for the program."""
    line = command.replace("WEIGHTS", f"{sys.executable} -m weights")
    options = {"cwd": ROOT, "env": buffered(), "capture_output": True, "text": True, "timeout": 60}
    return subprocess.run(["sh", "-c", line], **options)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full")
@pytest.mark.parametrize("command", ["list", "path"])
def test_a_full_disk(command):
    process = program(f"WEIGHTS {command} >/dev/full")
    assert process.returncode == 1
    assert process.stderr == "weights: standard output: cannot be written (No space left on device)\n"
    assert program(f"WEIGHTS {command} >/dev/full 2>/dev/full").returncode == 1
    process = program("WEIGHTS path vgg99 2>/dev/full")
    assert (process.returncode, process.stdout, process.stderr) == (1, "", "")


def test_a_reader_that_has_gone():
    read, write = os.pipe()
    os.close(read)  # before the first line, so that it cannot slip through
    command = [sys.executable, "-m", "weights", "list"]
    options = {"cwd": ROOT, "env": buffered(), "text": True, "timeout": 60}
    process = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, **options)
    os.close(write)
    assert process.returncode == 1 and not process.stderr


def test_closed_streams():
    for command, code in [("list >&-", 0), ("list 2>&-", 0), ("path vgg99 >&-", 1), ("path vgg99 >&- 2>&-", 1)]:
        process = program(f"WEIGHTS {command}")
        assert process.returncode == code, command
        assert "Traceback" not in process.stderr and "Exception" not in process.stderr, process.stderr
    assert program("WEIGHTS fly 2>&-").returncode == 2
