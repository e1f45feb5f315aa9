"""The exercises: what runs passes its judge, what is wrong does not, and the road is walked from end to end."""

import inspect
import os
import re
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from study import child, source
from study.__main__ import NOTES, main
from study.checks import Check, judged
from study.road import EXERCISES, STEPS

ROOT = Path(__file__).resolve().parent.parent
OFF = 1.001  # 0.1 %
each = pytest.mark.parametrize("name", EXERCISES)

# A typical mistake in each body: what stands there, and what is written in its place
MISTAKES = {
    "conv2d": ("w[f, c, i, j] * x", "w[f, c, KH - 1 - i, KW - 1 - j] * x"),  # a convolution, not a correlation
    "im2col": ("padded[:, :, pad : pad + H, pad : pad + W] = x", "padded[:, :, :H, :W] = x"),
    "col2im": ("+= cols[:, :, i, j]", "= cols[:, :, i, j]"),  # patches that overlap do not add up
    "conv2d_forward": ("+ b[:, None]", ""),
    "conv2d_backward": ("w.reshape(F, -1).T @ dout2", "w[:, :, ::-1, ::-1].reshape(F, -1).T @ dout2"),
    "relu_forward": ("get_xp(x).maximum(x, x.dtype.type(0))", "np.where(x > 0, x, 0.0)"),  # hides a NaN
    "relu_backward": ("dout * mask", "dout * (dout > 0)"),
    "maxpool2d_forward": ("quarters[k] > out", "quarters[k] >= out"),  # the last of several, not the first
    "maxpool2d_backward": ("index == k", "index >= k"),
    "avgpool2d_forward": ("/ (POOL * POOL)", "/ POOL"),
    "avgpool2d_backward": ("dout / (POOL * POOL)", "dout"),
    "content_loss": ("(2.0 * share)", "(1.0 * share)"),
    "tv_loss": ("dimage[..., 1:, :W] += gy", "dimage[..., :-1, :W] += gy"),
    "gram_forward": ("matmul(F, F.T)", "matmul(F, F.T) / F.shape[1]"),
    "gram_backward": ("dG + dG.T", "2 * dG"),  # right where dG is symmetric
    "style_loss": ("(2.0 / (C**3 * M))", "(2.0 / (C**2 * M))"),
    "adam": ("xp.sqrt(v / (1 - betas[1] ** self.t))", "xp.sqrt(v)"),
    "two_loop": ("q, alphas = g.copy(), []", "q, alphas = g, []"),  # the gradient is overwritten
    "matrices": ("BT[1:-1] *= p[1:, None]", ""),
    "winograd_textbook": ("padded[:, :, 1 : H + 1, 1 : W + 1] = x", "padded[:, :, :H, :W] = x"),
    "halo": ("1 << (level(n) - start_level)", "1 << level(n)"),
    "wasserstein_loss": ("- 2 * roots.sum()", "- roots.sum()"),
}  # fmt: skip


def function_of(exercise, text):
    """The function that an exercise's file defines."""
    space = {}
    exec(compile(text, f"{exercise.name}.py", "exec"), space)
    return space[exercise.function.__name__]


def failures(exercise, function):
    return [check for check in judged(exercise, function, f"{exercise.name}.py") if not check.passed]


# --- judges ----------------------------------------------------------------------------------------------------------


@each
def test_the_real_body_passes(name):
    """What runs, and the file with its body put in: the same lines."""
    exercise = EXERCISES[name]
    checks = list(judged(exercise, exercise.function))
    assert len(checks) > 1 and all(check.passed for check in checks), checks
    text = source.solution(exercise)
    assert source.body(exercise.function) in text and source.head(exercise.function) in text
    assert failures(exercise, function_of(exercise, text)) == []


def scaled(function, k):
    """The function with its k-th number or array 0.1 % too large; None in .done if it has no k-th."""

    def wrong(*args, **options):
        count = -1

        def scale(value):
            nonlocal count
            if isinstance(value, tuple):
                return tuple(map(scale, value))
            if value is None:
                return None
            count += 1
            return value * OFF if count == k else value

        return scale(function(*args, **options))

    return wrong


RETURNED = {
    "conv2d_backward": 3,
    "content_loss": 2,
    "tv_loss": 2,
    "style_loss": 2,
    "matrices": 3,
    "wasserstein_loss": 3,
}


@pytest.mark.parametrize(
    ("name", "k"), [(n, k) for n in EXERCISES if n != "adam" for k in range(RETURNED.get(n, 1))], ids=str
)
def test_a_judge_rejects_what_is_a_thousandth_off(name, k):
    exercise = EXERCISES[name]
    wrong = scaled(exercise.function, k)
    wrong.__signature__ = inspect.signature(exercise.function)
    found = failures(exercise, wrong)
    assert found and not any(check.method == "runs" for check in found), found
    assert any("expected" in check.words or "<v, J u>" in check.words for check in found)


@pytest.mark.parametrize("array", ["x", "m", "v"])
def test_adams_judge_rejects_what_is_a_thousandth_off(array):
    exercise = EXERCISES["adam"]

    def wrong(self, evaluate):
        exercise.function(self, evaluate)
        getattr(self, array)[...] *= OFF

    assert failures(exercise, wrong)


@each
def test_a_judge_rejects_a_typical_mistake(name):
    exercise, (right, wrong) = EXERCISES[name], MISTAKES[name]
    text = source.solution(exercise)
    assert text.count(right) == 1
    found = failures(exercise, function_of(exercise, text.replace(right, wrong)))
    assert found and not any(check.method == "runs" for check in found), found


# Bodies that are right and not ours
ANOTHER = {
    "conv2d": """
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="wrap" if padding == "circular" else "constant")
    patches = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    return np.einsum("ncpqij,fcij->nfpq", patches, w) + b[:, None, None]""",
    "relu_forward": """
    return np.where(x > 0, x, 0 * x), (x > 0,)""",
    "avgpool2d_backward": """
    (shape,) = cache
    N, C, H, W = dout.shape
    dx = np.zeros(shape, dout.dtype)
    dx[:, :, : 2 * H, : 2 * W] = dout.repeat(2, axis=2).repeat(2, axis=3) / 4
    return dx""",
    "content_loss": """
    share = share or 1 / F.size
    return share * np.sum((F - P) ** 2), 2 * share * (F - P) if gradient else None""",
    "gram_forward": """
    return np.einsum("im,jm->ij", F, F)""",
    "matrices": """
    points = np.array(POINTS)
    V = [np.vstack([points[:, None] ** np.arange(k), np.eye(k)[-1:]]) for k in (3, 4, 6)]
    c = np.r_[1, points[1:], 1][:, None]
    return tuple(a.astype(dtype) for a in (V[0] / c, np.linalg.inv(V[2]).T * c, V[1].T))""",
    "halo": """
    place = 0
    for name in reversed(table):
        place = place + 1 if name.startswith("conv") else 2 * place if name.startswith("pool") else place
    return place""",
}


@pytest.mark.parametrize("name", ANOTHER)
def test_a_judge_takes_another_way_to_the_same(name):
    exercise = EXERCISES[name]
    text = source.solution(exercise).replace(source.body(exercise.function), ANOTHER[name])
    assert ANOTHER[name] in text
    assert failures(exercise, function_of(exercise, text)) == []


def test_the_first_wrong_index_is_shown_with_both_values():
    exercise = EXERCISES["gram_forward"]

    def wrong(F, **options):
        G = exercise.function(F, **options)
        G[1, 0] += 1
        G[1, 1] += 5
        return G

    check = failures(exercise, wrong)[-1]
    assert check.words == "G[1, 0] is 4, expected 3; 2 of 4 entries are wrong"


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "G is None, expected an array"),
        ([[1.0]], "G is a list, expected an array"),
        (np.zeros((2, 3)), "G has the shape (2, 3), expected (4, 4)"),
        (np.zeros((4, 4), object), "G has the type object"),
        (np.full((4, 4), np.nan), "G[0, 0] is nan"),
    ],
    ids=["None", "list", "shape", "type", "NaN"],
)
def test_other_things_than_the_array_are_named(returned, words):
    (check,) = [c for c in failures(EXERCISES["gram_forward"], lambda F, **_: returned) if c.method == "definition"]
    assert words in check.words


# (exercise, body, what is said first): mistakes whose first words were once of no use
SAID = {
    "a rougher type": (
        "conv2d",
        "return _right(x.astype(np.float32), w, b, stride=stride, pad=pad).astype(np.float32)",
        "out has the type float32, expected float64",
    ),
    "another cache": ("relu_forward", "return np.maximum(x, 0), x > 0", "relu_backward finds another cache than it "),
    "shapes": ("gram_backward", "return F @ dG", "; called with dG (4, 4), F (4, 15)"),
    "the order": ("content_loss", "return F - P, 0.0", "loss is an array of the shape (4, 15), expected a number"),
    "outside": ("conv2d", "return _right(x, w, b, stride=stride, pad=pad)", "out[0, 0, 0, 0] is "),  # not "circular"
    "no padding": (
        "col2im",
        "x = np.pad(_right(cols, x_shape, KH, KW, stride, pad), [(0, 0)] * 2 + [(pad, pad)] * 2)\n"
        "    return x[:, :, pad:-pad, pad:-pad]",
        "x has the shape (1, 2, 0, 0), expected (1, 2, 4, 5)",
    ),
    "what it takes": (
        "avgpool2d_forward",
        "return _right(x) if min(x.shape[2:]) > 1 else (x, (x.shape,))",
        "returns, expected it to raise ValueError; called with (1, 1, 1, 4)",
    ),
    "a number": ("content_loss", "return np.mean((F - P) ** 2), 0.0", "dF is a number, expected an array of the shape"),
}


@pytest.mark.parametrize("what", SAID)
def test_what_is_said_of_a_mistake_helps(what):
    name, body, words = SAID[what]
    exercise = EXERCISES[name]
    text = source.solution(exercise).replace(source.body(exercise.function), f"    {body}")
    space = {"_right": exercise.function}
    exec(compile(text, f"{name}.py", "exec"), space)
    assert words in failures(exercise, space[exercise.function.__name__])[0].words


def test_adams_arrays_are_compared_in_the_order_in_which_they_are_computed():
    exercise = EXERCISES["adam"]
    text = source.solution(exercise)
    for right, wrong, said in (("self.t += 1", "pass", "t is 3"), ("g * g - v", "g - v", "v[0, 0] is")):
        assert text.count(right) == 1
        found = failures(exercise, function_of(exercise, text.replace(right, wrong)))
        assert found[0].words.startswith(said)


def test_adams_arrays_stay_the_same_arrays():
    exercise = EXERCISES["adam"]

    def rebound(self, evaluate):
        self.m = self.m.copy()
        exercise.function(self, evaluate)

    found = failures(exercise, rebound)
    assert {check.method for check in found} == {"in place"}
    assert found[0].words == "self.m is another array after the step; change it: self.m[...] = …"


def test_the_judge_does_not_stumble_over_what_it_has_found_wrong():
    found = failures(EXERCISES["gram_forward"], lambda F, **_: F.T @ F)
    assert [check.method for check in found] == ["definition"]


def test_other_than_the_parts_are_named():
    for returned, words in ((np.ones(3), "an array"), ((1, 2), "2 values"), (None, "None")):
        (check,) = failures(EXERCISES["conv2d_backward"], lambda dout, cache, r=returned, **_: r)
        assert f"returns {words}, expected the 3 values dx, dw, db" in check.words


def test_another_type_than_the_inputs_is_named():
    exercise = EXERCISES["relu_backward"]
    found = failures(exercise, lambda dout, cache: exercise.function(dout, cache).astype(np.float64))
    assert {check.words for check in found} == {"dx has the type float64, expected float32, as the input has"}


def test_inputs_that_change_are_named():
    def wrong(dout, cache):
        dout *= cache[0]
        return dout

    (check,) = failures(EXERCISES["relu_backward"], wrong)
    assert check.words == "changes its input dout"


# --- the files -------------------------------------------------------------------------------------------------------


@each
def test_every_exercise_has_hints_of_its_own_section(name):
    exercise = EXERCISES[name]
    found = source.hints(exercise)
    assert found and found[0].startswith(exercise.since)
    assert not any(hint.startswith("```") for hint in found)  # a formula comes with the words that lead to it
    assert any("$`" in hint or "```math" in hint for hint in found)
    text = (ROOT / exercise.text).read_text(encoding="utf-8")
    assert all(hint in text for hint in found)
    code = text.split(f"\n## {exercise.section}. ")[1].split("check:")[0]  # the section's signpost
    known = {"adam": "Adam", "conv2d": "conv2d"}
    assert f"`{known.get(name, name)}`" in code


def test_functions_of_ours_are_explained():
    text = source.blank(EXERCISES["halo"])
    assert "# level(name): Poolings between the picture and the activation at `name`" in text
    assert "# matrices(dtype): " in source.blank(EXERCISES["winograd_textbook"])


def test_steps_are_short():
    assert len(STEPS) == 12
    for step in STEPS:
        written = [source.body(exercise.function).splitlines() for exercise in step.exercises]
        assert sum(map(len, written)) < 60


@each
def test_a_blank_says_that_it_is_to_be_written(name):
    exercise = EXERCISES[name]
    text = source.blank(exercise)
    assert source.body(exercise.function) not in text
    (check,) = failures(exercise, function_of(exercise, text))
    assert check.words == "still to be written"


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys, *args):
    """(exit code, lines, lines on standard error)"""
    try:
        code = main(list(args))
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def test_the_road_is_walked(folder, capsys):
    """Every step in order: listed, written, looked at, solved, judged."""
    code, lines, _ = said(capsys, "list")
    assert code == 0 and sum(line[:2].strip().isdigit() for line in lines) == 12
    for number, step in enumerate(STEPS[:-1], 1):
        assert said(capsys, str(number))[0] == 0
        for exercise in step.exercises:
            file = folder / f"{exercise.name}.py"
            assert file.read_text(encoding="utf-8") == source.blank(exercise)
            code, lines, _ = said(capsys, exercise.name, "--solution")
            assert code == 0 and "\n".join(lines) == source.body(exercise.function)
            file.write_text(source.solution(exercise), encoding="utf-8")
    code, lines, _ = said(capsys, *map(str, range(1, len(STEPS))))
    assert code == 0, lines
    assert lines[-1] == f"{len(EXERCISES)} of {len(EXERCISES)} pass"
    assert all(" ok" in line for line in lines[:-1]) and len(lines) > 100


def test_a_file_that_is_there_stays_and_fails(folder, capsys):
    exercise = EXERCISES["relu_backward"]
    file = folder / "relu_backward.py"
    text = source.solution(exercise).replace("dout * mask", "dout * mask * 1.001")
    file.write_text(text)
    code, lines, _ = said(capsys, "relu_backward")
    assert code == 1 and lines[-1] == "fails" and file.read_text() == text
    assert any("FAILED  dx[0, " in line and "expected" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def relu_backward(dout, cache):\n    return 1 / 0", "line 2: raises ZeroDivisionError: division by zero"),
        ("import sys\ndef relu_backward(dout, cache):\n    sys.exit(0)", "line 3: ends the program (sys.exit)"),
        ("import sys\nsys.exit(0)", "relu_backward.py: line 2: ends the program (sys.exit)"),
        ("import os\nos._exit(0)", "relu_backward.py: the code ended the process (exit code 0)"),
        ("def relu_backward(dout, cache)\n    return dout", "relu_backward.py: line 1: expected ':'"),
        ("import nowhere", "relu_backward.py: line 1: raises ModuleNotFoundError"),
        ("def relu(x):\n    return x", "relu_backward.py: has no function relu_backward"),
        ("def relu_backward(dout):\n    return dout", "raises TypeError"),
        ("\0", "relu_backward.py: "),
        ("x = '\udcff'", "relu_backward.py: line 1: "),
        ("def relu_backward(dout, cache):\n    input()", "raises EOFError"),
    ],
    ids=[
        "raises",
        "exits",
        "exits at once",
        "ends",
        "syntax",
        "imports",
        "name",
        "arguments",
        "zero",
        "bytes",
        "input",
    ],
)
def test_code_that_does_not_answer_gets_a_line(folder, capfd, text, words):
    (folder / "relu_backward.py").write_bytes(text.encode("utf-8", "surrogateescape"))
    code, lines, errors = said(capfd, "relu_backward")
    assert code == 1 and errors == []
    assert len(lines) == 2 and "FAILED" in lines[0] and words in lines[0], lines


def test_a_loop_without_an_end_is_stopped(folder, capsys, monkeypatch):
    monkeypatch.setattr(child, "SECONDS", 1)
    (folder / "gram_forward.py").write_text("def gram_forward(F, **options):\n    while True:\n        pass\n")
    code, lines, _ = said(capsys, "gram_forward")
    assert code == 1 and re.search(
        r"gram_forward.py: the code was still running after 1 s(, in line [23])?, and was stopped", lines[0]
    )


def test_a_line_that_goes_on_is_told_before_it_is_stopped(tmp_path, capsys):
    """A process that is waited for twice, while its notes say line 3."""
    child._places(tmp_path / "rows").write_text("3")
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 1:
            raise subprocess.TimeoutExpired("", seconds)
        return 0

    assert child._wait(types.SimpleNamespace(wait=wait), tmp_path / "rows", 30, 5) == 0
    assert waits == [5, 25]
    assert capsys.readouterr().out == "still running after 5 s, in line 3; stopped after 30 s, or now by Ctrl-C\n"


def test_prints_in_a_loop_do_not_bury_the_verdict(folder, capsys):
    text = "import sys\nfor k in range(1000):\n    print(k, file=(sys.stdout, sys.stderr)[k % 2])\n"
    (folder / "halo.py").write_text(text)
    _, lines, _ = said(capsys, "halo")
    assert lines[: child.PRINTED] == [str(k) for k in range(child.PRINTED)]
    assert lines[child.PRINTED] == f"… {1000 - child.PRINTED} more lines printed by the code, left out"
    assert len(lines) == child.PRINTED + 3 and lines[-1] == "fails"


def test_what_passes_names_what_comes_next(folder, capsys, monkeypatch):
    monkeypatch.setattr(child, "judge", lambda names: [(names[0], Check("definition", True))])
    for name, follows in (("conv2d", "im2col"), ("wasserstein_loss", "picture")):
        (folder / f"{name}.py").touch()
        assert said(capsys, name)[1][-1] == f"passes; the next is {follows}"


def test_the_line_of_a_loop_is_noted(tmp_path):
    """A function of a learner's file that goes on while another thread notes where it is."""
    places, stop = child._places(tmp_path / "rows"), threading.Event()
    assert child._at(places) == ""
    lines = [
        "def halo():",
        " line = ''",
        " while not line:",
        "  line = places.exists() and places.read_text()",
        " return line",
    ]
    space = {"places": places}
    exec(compile("\n".join(lines), "halo.py", "exec"), space)
    threading.Thread(target=child._note, args=(tmp_path / "rows", stop), daemon=True).start()
    assert space["halo"]() in ("3", "4")
    stop.set()
    places.write_text("4")
    assert child._at(places) == ", in line 4"


def test_a_folder_in_the_place_of_the_file(folder, capsys):
    (folder / "halo.py").mkdir()
    code, lines, _ = said(capsys, "halo")
    assert code == 1 and "halo.py: Is a directory" in lines[0]


def test_hints_come_one_at_a_time(folder, capsys):
    found = source.hints(EXERCISES["gram_backward"])
    for k in (*range(len(found)), 0):
        code, lines, _ = said(capsys, "gram_backward", "--hint")
        assert code == 0 and lines[0].startswith(f"hint {k + 1} of {len(found)}, ")
        assert "\n".join(lines[1:]) == found[k]
    (folder / NOTES).write_text("[")
    code, _, errors = said(capsys, "gram_backward", "--hint")
    assert code == 1 and errors[0].startswith(f"study: {NOTES}: ") and (folder / NOTES).read_text() == "["


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["conv2d_backwards"], "did you mean conv2d_backward?"),
        (["13"], "no exercise or step"),
        (["list", "relu_forward"], "list: a command of its own"),
        (["11", "12"], "picture (step 12): a command of its own"),
        (["4", "--hint"], "--hint: wants the name of one exercise"),
        (["halo", "--hint", "--solution"], "one of them"),
        (["picture", "--solution"], "--solution: wants"),
        (["halo", "--hints"], "--hints"),
        ([], "NAME"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_command_lines(folder, capsys, args, words):
    code, _, errors = said(capsys, *args)
    assert code == 2 and words in errors[-1]
    assert list(folder.iterdir()) == []


def test_names_of_ours_in_the_folder_change_nothing(folder):
    for name in ("style", "weights", "minivgg"):
        (folder / name).mkdir()
    command, environment = [sys.executable, "-m", "study", "gram_forward"], {**os.environ, "PYTHONPATH": str(ROOT)}
    for code in (0, 1):  # written, judged
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == code and not done.stderr, done.stderr
    assert "still to be written" in done.stdout


# --- the picture -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_picture_by_ones_own_code(folder, capfd):
    """The learner's functions are the ones that run: each says so."""
    used = ("conv2d_forward", "conv2d_backward", "relu_forward", "avgpool2d_backward", "gram_forward", "two_loop")
    for name in used:
        first = source.body(EXERCISES[name].function).splitlines()[0]
        text = source.solution(EXERCISES[name])
        (folder / f"{name}.py").write_text(text.replace(first, f"    open('ran_{name}', 'w').close()\n{first}", 1))
    code, lines, errors = said(capfd, "picture")
    assert code == 0, errors
    assert lines[-1].startswith("picture.png: written; the loss fell from ")
    first, last = map(float, re.search(r"from (\S+) to (\S+) in", lines[-1]).groups())
    assert last < first / 2
    for name in used:
        (folder / f"ran_{name}").unlink()
    code, _, errors = said(capfd, "picture")
    assert code == 1 and errors == ["study: picture.png: exists already; move it away"]


def test_no_picture_by_wrong_code(folder, capsys):
    text = source.solution(EXERCISES["gram_backward"]).replace("dG + dG.T", "2 * dG")
    (folder / "gram_backward.py").write_text(text)
    (folder / "content_loss.py").write_text(source.blank(EXERCISES["content_loss"]))  # ours is taken for it
    code, _, errors = said(capsys, "picture")
    assert code == 1 and errors[0].startswith("study: gram_backward.py: central difference: dF[0, 0] is ")
    assert not (folder / "picture.png").exists()


def test_what_one_is_to_know_beforehand_is_said_of_the_steps_that_there_are():
    text = (ROOT / "docs/before.md").read_text(encoding="utf-8")
    steps = {number: [e.name for e in step.exercises] for number, step in enumerate(STEPS, 1)}
    said = {
        "Adam": "adam",
        "L-BFGS": "two_loop",
        "Winograd": "winograd_textbook",
        "the Wasserstein": "wasserstein_loss",
    }
    found = re.findall(r"^\| (\d+), (Adam|L-BFGS|Winograd|the Wasserstein)", text, re.MULTILINE)
    assert len(found) == len(said)
    for number, what in found:
        assert said[what] in steps[int(number)]
    assert "steps 1 to 7, 10 and 12: layers, losses, tiles, a picture" in text
    assert "tv_loss" in steps[6] and steps[10] == ["halo"] and steps[12] == [] and "style_loss" in steps[7]
