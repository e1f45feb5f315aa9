"""Some 300 bad command lines: each ends with code 1 or 2 and one line on standard error, and changes no file.

No argument of a process holds a NUL, so none is tried.
"""

import os
import subprocess
import sys
from pathlib import Path

import cases
import numpy as np
import pytest

import weights
from style import run
from style.options import KINDS, options_of
from style.pictures import saving
from style.settings import Settings
from weights import __main__ as weights_program

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow
BASE = ["content.png", "style.png", "--weights", "narrow.npz", "--evaluations", "1", "--device", "cpu", "--size", "32"]
WRONG = {
    "whole": ["x", "", "1.5", "-1", "9" * 40, "nan", "\udcff", "1\n2", "²", "0x10"],
    "number": ["x", "", "nan", "inf", "-1", "1e999", "\x1b[31m", "1\n2", "1,5"],
    "text": ["nothing-such", "", "a\nb", "\udcff", "\x1b[31m"],
    "text or whole": ["-3", "nothing-such", "", "a\nb", "9" * 400, "1:2:3"],
    "layers": ["relu9_9", "relu1_1:x", "relu1_1:-1", "relu1_1,relu1_1", "a\nb", "relu1_1:nan", ":", "\udcff"],
    "pair": ["1", "x,y", "1,1", "", "0.5,nan", "0.1,0.2,0.3"],
    "path": ["no/such/file", "x" * 300, "a\nb.npz", ".", "\udcff.npz"],
    "mask": ["no/such.png", "", "a\nb", "x" * 300, "."],
    "masks": ["no/such.png", "a\nb", "x" * 300, "."],
    "wholes": ["x", "", "1.5", "1,,2", "-1", "\udcff"],
    "numbers": ["x", "", "nan", "1,x", "a\nb", "-1"],
    "palette": ["#12", "no/such.png", "", "a\nb", "#123456,x", "style:0", "\udcff"],
    "pixels": ["x", "", "1.5", "-1", "9" * 40, "originals", "\udcff"],
    "picture": ["no/such.png", "x" * 300, "a\nb", "\udcff"],
}
NAMES = [
    "absent.png",
    "",
    ".",
    "a\nb.png",
    "\udcff.png",
    "x" * 300,
    "a\x1b[31m",
    "text.png",
    "cut.png",
    "empty.png",
    "fifo.png",
]


def bad_options():
    for name, opt in options_of(Settings).items():
        for value in WRONG.get(opt.kind, ()):
            if not (name == "device" and value == ""):
                yield [f"--{name.replace('_', '-')}={value}"]
    assert {opt.kind for opt in options_of(Settings).values()} - {"switch"} <= WRONG.keys() <= KINDS.keys()


def bad_files():
    for name in NAMES:
        if name != ".":  # a folder: a batch, which has a line for each picture that it cannot read
            yield [name, "style.png"]
        yield ["content.png", name]
        yield ["content.png", "style.png", f"--weights={name or 'none.npz'}"]
    for name in ("absent/out.png", ".", "out", "out.doc", "x" * 300 + ".png", "content.png", ""):
        yield [f"--output={name}"]
    for name in ("absent/log", "content.png", "x" * 300, "."):
        yield [f"--log={name}"]
    for preset in (
        "",
        "gats",
        "a\nb",
        "\udcff",
        "text.png",
        "fifo.png",
        ".",
        "x" * 300,
        "absent.toml",
        "bad.toml",
        "bad.toml:x\n",
    ):
        yield [f"--preset={preset}"]


def kept(folder):
    return {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    rng = np.random.default_rng(0)
    for name in ("content", "style"):
        saving.save(folder / f"{name}.png", rng.uniform(0, 255, (24, 32, 3)))
    (folder / "cut.png").write_bytes((folder / "content.png").read_bytes()[:200])
    (folder / "text.png").write_text("hello")
    (folder / "empty.png").touch()
    (folder / "bad.toml").write_text('size = "a\\nb"')
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "fifo.png")
    weights.save_compact(cases.make_network(), folder / "narrow.npz")
    return folder


def check(main, arguments, capsys):
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    err = capsys.readouterr().err
    assert code in (1, 2), f"code {code}: {err!r}"
    assert err.endswith("\n") and err.count("\n") == 1 and err[:-1].isprintable(), repr(err)
    assert "Traceback" not in err and "Warning" not in err


def in_order(arguments):
    """Pictures of the case's own in place of BASE's, options behind, so that they win."""
    own = [a for a in arguments if not a.startswith("--")]
    return [*(own + BASE[len(own) : 2]), *BASE[2:], *(a for a in arguments if a.startswith("--"))]


@pytest.mark.parametrize("arguments", [*bad_options(), *bad_files()], ids=lambda a: ascii(" ".join(a))[:60])
def test_a_bad_command_line(folder, monkeypatch, capsys, arguments):
    monkeypatch.chdir(folder)
    before = kept(folder)
    check(run.main, in_order(arguments), capsys)
    assert kept(folder) == before


@pytest.mark.parametrize("command", ["verify", "path", "convert"])
@pytest.mark.parametrize("name", NAMES, ids=lambda n: ascii(n)[:30])
def test_a_bad_line_of_weights(folder, monkeypatch, capsys, command, name):
    monkeypatch.chdir(folder)
    if command == "path" and name in ("text.png", "cut.png", "empty.png"):
        pytest.skip("path says where a file lies, whatever is in it")
    before = kept(folder)
    check(weights_program.main, [command, name], capsys)
    assert kept(folder) == before


# --- environments -------------------------------------------------------------------------------------------

GOOD = ["content.png", "style.png", *BASE[2:]]
ENVIRONMENTS = {
    "POSIX": ({"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, [], ""),
    "no HOME": ({"HOME": None, "XDG_CACHE_HOME": None}, [], ""),
    "odd HOME": ({"HOME": "/proc/nothing", "XDG_CACHE_HOME": None}, [], ""),
    "no TMPDIR": ({"TMPDIR": "/no/such/folder"}, [], ""),
    "closed streams": ({}, [], "<&- >&- 2>&-"),
    "closed input": ({}, [], "<&-"),
    "warnings": ({}, ["-W", "error"], ""),
    "optimised": ({}, ["-O"], ""),
    "isolated": ({"PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1"}, ["-OO"], ""),
}


@pytest.mark.parametrize(
    "name",
    ["plain.png", "M\u00f6we \u2603.png", "a\nb.png", b"\xff\xfe.png".decode(errors="surrogateescape"), "-x.png"],
    ids=ascii,
)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_good_run_anywhere(folder, environment, name):
    changed, flags, shell = ENVIRONMENTS[environment]
    if environment not in ("POSIX", "warnings") and name != "plain.png":
        pytest.skip("names matter to few environments")
    settings = {k: v for k, v in {**os.environ, "PYTHONPATH": str(ROOT), **changed}.items() if v is not None}
    (folder / os.fsencode(name).decode(errors="surrogateescape")).write_bytes((folder / "content.png").read_bytes())
    line = ["bash", "-c", f'exec "$@" {shell}', "-", sys.executable, *flags, "-m", "style.run", *BASE[2:]]
    line += ["-o", "made.png", "--overwrite", "--", name, "style.png"]
    process = subprocess.run(line, cwd=folder, env=settings, capture_output=True, timeout=120)
    assert process.returncode == 0 and not process.stderr, process.stderr
    assert saving.read_metadata(folder / "made.png")["result"]["evaluations"] == 1
    assert not [p for p in os.listdir(folder) if p.endswith(".tmp")]
    (folder / "made.png").unlink()
