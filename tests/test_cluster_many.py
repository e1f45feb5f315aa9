"""Many pictures over ranks: what one machine makes and says, on demand; failures, signals and deaths on the way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cases
import numpy as np
import pytest
from launch import LONGEST, are_gone, ended, over_ranks, ranks_of, start
from launch import run as over

from minivgg import limits, program
from minivgg import start as start_of_all
from style import run
from style.many import several, sweeps
from style.pictures import images, saving

OPTIONS = {"weights": "narrow.npz", "size": 48, "device": "cpu", "lag": 1, "margin": 0}
FLAGS = ["--weights", "narrow.npz", "--size", "48", "--device", "cpu", "--lag", "1", "--margin", "0"]
MANY = 5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with photos/0.png to 4.png, style.png and narrow.npz."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    contents = {f"photos/{k}.png": (5 + k % 2, 7) for k in range(MANY)}
    cases.lay_out(tmp_path, contents | {"style.png": (6, 4)})
    return tmp_path


def pixels(path):
    return images.read(path).rgb


def status(path):
    return saving.read_metadata(path)["result"]["status"]


def names(folder):
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


# ------------------------------------------------------------------------------------- without MPI


def test_cells_that_start_from_one_another_are_one_row(folder):
    """Rows are made by a rank each: none may wait for another's picture."""
    options = OPTIONS | {"evaluations": 2}

    def rows(swept, **more):
        found = sweeps.Sweep("photos/0.png", "style.png", swept, **options, **more)
        return [[cell.number for cell in row] for row in found.rows]

    assert rows({"style_weight": [1, 2], "content_weight": [1, 2]}) == [[1, 2, 3, 4]]
    assert rows({"style_weight": [1, 2], "style_scale": [0.5, 1.0]}) == [[1, 2], [3, 4]]
    assert rows({"style_weight": [1, 2]}, alone=True) == [[1], [2]]


def test_the_machine_is_shared_by_its_ranks_and_a_process_own_limit_is_not(monkeypatch):
    monkeypatch.setattr(limits, "_sharing", 1)
    monkeypatch.setattr(limits, "machine", lambda: limits.Limit(1200, "free memory"))
    monkeypatch.setattr(limits, "control_groups", lambda root: [])
    monkeypatch.setattr(limits, "address_space", lambda: [limits.Limit(500, "own")])
    assert limits.smallest() == limits.Limit(500, "own")
    limits.share_among(3)
    assert limits.smallest() == limits.Limit(400, "free memory, for 3 processes")


def test_what_processes_say_on_one_stream_comes_in_whole_lines():
    pieces = []
    program.say("one line", SimpleNamespace(write=pieces.append, flush=lambda: None))
    assert [piece for piece in pieces if piece] == ["one line\n"]


@pytest.mark.parametrize("environ, count", [({}, 1), ({"PMI_RANK": "0"}, 1), ({"PMI_RANK": "2"}, 0)])
def test_of_ranks_that_are_interrupted_while_they_load_one_says_so(environ, count, monkeypatch):
    said, codes = [], []
    monkeypatch.setattr(
        start_of_all, "os", SimpleNamespace(environ=environ, write=lambda *a: said.append(a), _exit=codes.append)
    )
    start_of_all.end(15, None)
    assert (len(said), codes) == (count, [143])


def test_a_job_given_back_counts_as_what_another_rank_made_of_it(folder, capsys, monkeypatch):
    """Of two ranks one is told to end: the other does its job as well."""
    Path("jobs").mkdir()
    for name in "ab":
        order = {"content": "../photos/0.png", "style": "../style.png", "options": OPTIONS | {"evaluations": 2}}
        Path(f"jobs/{name}.json").write_text(
            json.dumps(order | {"options": order["options"] | {"weights": "../narrow.npz"}})
        )

    class Two(several.Alone):
        def gather(self, value):
            back = [several.dataclasses.replace(m, status="interrupted", message="waits again") for m in value]
            return [back, value] if value and hasattr(value[0], "status") else [value]

    monkeypatch.setattr(several, "Alone", Two)
    assert run.main(["--jobs", "jobs", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


# ----------------------------------------------------------------------------------------- with MPI


@over_ranks
@pytest.mark.parametrize("ranks, more", [(1, []), (3, ["--report"])])
def test_a_batch_is_that_of_one_machine(ranks, more, folder, capsys):
    """Names that two contents share, an unreadable one, an output that is another's; the sheet."""
    (folder / "photos/0.bmp").write_bytes((folder / "photos/1.png").read_bytes())
    (folder / "photos/3.png").write_bytes(b"no picture")
    found = {}
    for out in ("alone", "ranks"):
        (folder / out).mkdir()
        (folder / out / "4-style.png").write_bytes(b"precious")
        args = ["photos", "style.png", *FLAGS, "--evaluations", "2", "--out-dir", out]
        args += [word for flag in more for word in (flag, f"{out}.html")]
        code, said, error = (run.main(args), *capsys.readouterr()) if out == "alone" else over(ranks, *args)
        found[out] = code, sorted(error.replace(out, "X").splitlines()), sorted(os.listdir(out)), plan_of(said)
    assert found["ranks"] == found["alone"]
    code, errors, names, _ = found["alone"]
    assert code == 1 and "style.run: 4 of 6 pictures; failed: 3.png, 4.png" in errors
    assert {"0-style.png", "0-style-2.png"} < set(names)
    for name in set(names) - {"4-style.png"}:
        assert np.array_equal(pixels(f"ranks/{name}"), pixels(f"alone/{name}"))
    assert Path("ranks/4-style.png").read_bytes() == b"precious"
    if more:
        sheets = [
            re.findall(r'<a href="(.*?)"|<figcaption>(.*?)(?: in |:|<)', Path(f"{o}.html").read_text()) for o in found
        ]
        assert [[part.replace("ranks", "alone") for part in card] for card in sheets[1]] == [[*c] for c in sheets[0]]
        assert len(sheets[0]) == 4 + 6  # links, and what is said of each
    assert run.main(["photos", "style.png", *FLAGS, "--evaluations", "2", "--out-dir", "ranks", "--quiet"]) == 1
    assert "4 of 6 pictures; 4 there already; failed: 3.png, 4.png" in capsys.readouterr().err


def plan_of(said):
    """The lines of the plan: one rank says them."""
    return [line for line in said.splitlines() if line.startswith(("weights ", "layers ", "run "))]


SLOW = """
import sys, time
from style import run
from style.many import batches

make = batches.Batch._make

def slow(self, item, *rest):
    until, others = time.monotonic() + 60, [i.output for i in self.items if i is not item]
    while item.number == {number} and not all(p.exists() for p in others):
        assert time.monotonic() < until, "the others wait for this rank"
        time.sleep(0.01)
    return make(self, item, *rest)

batches.Batch._make = slow
sys.exit(run.main(sys.argv[1:]))
"""


@over_ranks
@pytest.mark.parametrize("number", [1, 2])
def test_while_a_rank_is_at_a_long_picture_the_other_makes_the_rest(number, folder):
    """The first is rank 0's, which answers meanwhile."""
    args = ["photos", "style.png", *FLAGS, "--evaluations", "1", "--out-dir", "out", "--quiet"]
    assert ended(start(2, "-c", SLOW.format(number=number), *args)) == (0, "", "")
    assert len(os.listdir("out")) == MANY


def begun(ranks, *args, wrote=0):
    """A run of which each rank is at a picture or a job, and so many have been written."""
    process, said, at = start(ranks, "-m", "style.run", *map(str, args)), [], set()
    until = time.monotonic() + LONGEST
    while (len(at) < ranks or sum(line.startswith("wrote") for line in said) < wrote) and time.monotonic() < until:
        said.append(process.stdout.readline())
        assert said[-1], ended(process)
        at |= {found[1] for found in [re.search(r" loss .*\[(.*)\]$", said[-1])] if found}
    return process


BATCH = ["photos", "style.png", *FLAGS, "--evaluations", "600", "--out-dir", "out"]


@over_ranks
@pytest.mark.parametrize("number, whom", [(signal.SIGINT, None), (signal.SIGTERM, 1)])
def test_a_signal_keeps_each_picture_in_work_and_begins_no_other(number, whom, folder):
    """To all by the launcher, or to one rank: then the others end theirs."""
    process = begun(3, *BATCH)
    (process if whom is None else ranks_of(process)[whom]).send_signal(number)
    code, _, error = ended(process)
    assert code == 128 + number, error
    (line,) = [line for line in error.splitlines() if line.startswith("style.run")]
    made = {f"out/{name}": status(f"out/{name}") for name in os.listdir("out")}
    cut = [name for name, how in made.items() if how == "interrupted"]
    assert len(cut) == (3 if whom is None else 1)
    assert len(made) < MANY
    assert line.startswith(f"style.run: interrupted: {len(made) - len(cut)} of {MANY} pictures; out/")
    assert sorted(re.findall(r"(\S+) is the best picture so far", line)) == sorted(cut)


@over_ranks
def test_a_rank_that_is_killed_costs_no_finished_picture(folder):
    process = begun(2, *BATCH, "--evaluations", "200", wrote=1)
    ranks = ranks_of(process)
    ranks[1].kill()
    assert ended(process, seconds=20)[0] != 0
    assert are_gone(ranks)
    left = names("out")
    assert 1 <= len(left) < MANY
    assert all(status(f"out/{name}") == "done" for name in left)


BROKEN = """
import sys
from style import run
from style.many import batches

make = batches.Batch._make

def broken(self, item, *rest):
    if item.number == 2:
        raise RuntimeError("a mistake of ours")
    return make(self, item, *rest)

batches.Batch._make = broken
sys.exit(run.main(sys.argv[1:]))
"""


@over_ranks
def test_a_mistake_of_ours_on_a_rank_ends_all_with_one_line(folder):
    code, _, error = ended(start(2, "-c", BROKEN, *BATCH, "--quiet"), seconds=60)
    assert code == 1
    assert [line for line in error.splitlines() if line.startswith("style.run")] == [
        "style.run: rank 1 of 2: a mistake of ours; all ranks end"
    ]
    assert "Traceback" not in error


@over_ranks
@pytest.mark.parametrize(
    "args, code, says",
    [
        (["empty", "style.png"], 2, "empty: a folder without pictures"),
        (["photos", "photos/bad.png"], 1, "photos/bad.png: not a picture that can be read"),
    ],
)
def test_what_meets_every_picture_is_said_once(args, code, says, folder):
    Path("empty").mkdir()
    Path("photos/bad.png").write_bytes(b"no picture")
    found, said, error = over(2, *args, "--weights", "narrow.npz")
    assert (found, said, error.count("\n")) == (code, "", 1)
    assert says in error


@over_ranks
def test_ranks_with_nothing_to_do_are_told_of(folder):
    args = ["--out-dir", "out", *FLAGS, "--evaluations", "1", "photos/0.png", "style.png"]
    code, said, error = over(2, *args)
    assert (code, error) == (0, "")
    assert said.startswith("ranks    1 of 2 have nothing to do: 1 picture in all\n")
    assert said.endswith("1 of 1 picture\n")


def orders(count, evaluations):
    """jobs/0.json, …; the last one asks for what is not there."""
    Path("jobs").mkdir()
    for k in range(count):
        content = "../photos/none.png" if k == count - 1 else "../photos/0.png"
        options = OPTIONS | {"weights": "../narrow.npz", "evaluations": evaluations, "seed": k, "init": "noise"}
        order = {"content": content, "style": "../style.png", "options": options}
        Path(f"jobs/{k}.json").write_text(json.dumps(order))


@over_ranks
def test_jobs_over_ranks_are_given_back_at_a_signal_and_done_by_others_to_the_same_digits(folder):
    orders(5, 200)
    process = begun(3, "--jobs", "jobs", "--checkpoint-every", "10")
    process.send_signal(signal.SIGTERM)
    code, _, error = ended(process)
    assert code == 143, error
    assert error.startswith("style.run: interrupted: ") and error.count("\n") == 1
    assert error.count("waits again, to go on from there") == 3 == len(names("jobs/states"))
    assert names("jobs/running") == []
    code, said, error = over(2, "--jobs", "jobs")
    assert code == 1
    assert (
        error.splitlines()[-1]
        == f"style.run: {said.count('wrote')} of {said.count('wrote') + 1} pictures; failed: 4.json"
    )
    assert names("jobs/done") == sorted(f"{k}.{end}" for k in range(4) for end in ("json", "png"))
    assert names("jobs/failed") == ["4.json", "4.json.txt"]
    assert names("jobs/states") == names("jobs/running") == []
    own = ["photos/0.png", "style.png", *FLAGS, "--evaluations", "200", "--seed", "0", "--init", "noise", "--quiet"]
    assert run.main([*own, "-o", "own.png"]) == 0
    assert np.array_equal(pixels("jobs/done/0.png"), pixels("own.png"))


@over_ranks
def test_a_sweep_over_ranks_is_that_of_one_machine(folder):
    args = ["photos/0.png", "style.png", *FLAGS, "--evaluations", "4", "--quiet"]
    args += ["--sweep", "style-weight=1,10", "--sweep", "style-scale=0.5,1"]
    for ranks in ("alone", "ranks"):
        more = ["--out-dir", ranks, "-o", f"{ranks}.png"]
        assert (over(3, *args, *more) if ranks == "ranks" else (run.main([*args, *more]), "", "")) == (0, "", "")
    assert np.array_equal(pixels("ranks.png"), pixels("alone.png"))
    cells = [saving.read_metadata(f"{r}.png")["cells"] for r in ("alone", "ranks")]
    assert [c["values"] for c in cells[0]] == [c["values"] for c in cells[1]]
    assert [c["result"]["loss"] for c in cells[0]] == [c["result"]["loss"] for c in cells[1]]
    assert [n.replace("ranks", "alone") for n in names("ranks")] == names("alone")


@over_ranks
def test_an_interrupted_sweep_has_the_cells_of_all_ranks(folder):
    args = ["photos/0.png", "style.png", *FLAGS, "--evaluations", "600", "--sweep-alone", "-o", "sheet.png"]
    process = begun(2, *args, "--sweep", "style-weight=1,2,3,4")
    process.send_signal(signal.SIGINT)
    code, _, error = ended(process)
    assert code == 130
    assert "style.run: interrupted: 0 of 4 cells\n" in error
    assert ["result" in c for c in saving.read_metadata("sheet.png")["cells"]] == [True, True, False, False]


FUNNELED = """
from types import SimpleNamespace
from style.cluster import many
from style.options import SettingsError
many.MPI = SimpleNamespace(Query_thread=lambda: 1, THREAD_SERIALIZED=2)
try:
    many.run("contents", None, None, None)
except SettingsError as error:
    print(error.on_command_line)
"""


@over_ranks
def test_an_mpi_in_which_one_thread_alone_speaks_is_refused():
    found = subprocess.run(
        [sys.executable, "-c", FUNNELED], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert found.stdout.startswith("--contents: this library of MPI lets one thread of a process speak alone")
