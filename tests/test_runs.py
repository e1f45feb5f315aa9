"""Runs of the command line that are continued, repeated or ended early, and what refuses to be."""

import os
import signal
import threading
from pathlib import Path

import cases
import numpy as np
import pytest

import style
import weights
from minivgg import files, program, threads
from style import printing, run
from style.events import Evaluated
from style.limits import Patience, TimeLimit
from style.pictures import images, saving
from style.units import parse_duration

OPTIONS = ["--weights", "narrow.npz", "--device", "cpu", "--size", "48", "--evaluations", "12", "--quiet"]
BASE = ["content.png", "style.png", *OPTIONS, "-o", "out.png"]
STATE = ["--checkpoint", "run.state", "--checkpoint-every", "3"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of its own with content.png, style.png and narrow.npz."""
    monkeypatch.chdir(tmp_path)
    cases.lay_out(tmp_path, {"content.png": (5, 7), "style.png": (6, 4)})
    return tmp_path


@pytest.fixture
def interrupt(monkeypatch):
    """interrupt(n, name="SIGINT", times=1): the next run gets signals at its nth evaluation."""
    real = printing.Log.__call__

    def at(number, name="SIGINT", times=1):
        def call(self, event):
            real(self, event)
            if isinstance(event, Evaluated) and event.evaluation == number:
                for _ in range(times):
                    signal.raise_signal(getattr(signal, name))

        monkeypatch.setattr(printing.Log, "__call__", call)

    return at


def pixels(path):
    return images.read(path).rgb


@pytest.mark.parametrize("times", [1, 30])
def test_signals_end_in_the_best_picture(folder, interrupt, capsys, times):
    interrupt(5, times=times)
    assert run.main(BASE) == 130
    assert capsys.readouterr().err == (
        "style.run: interrupted after 5 evaluations: out.png is the best picture so far\n"
    )
    assert saving.read_metadata("out.png")["result"]["evaluations"] == 5


@pytest.mark.parametrize("optimizer", ["l-bfgs", "adam", "two-loop"])
def test_a_run_is_continued_to_the_same_picture(folder, interrupt, capsys, optimizer, monkeypatch):
    options = ["--optimizer", optimizer, "--scales", "2", "--size", "96", "--save-every", "5", "--log", "log"]
    assert run.main([*BASE, *options]) == 0
    expected, log = pixels("out.png"), Path("log").read_text()
    assert run.main([*BASE[:-1], "cut.png", *options[:-1], "cut.log", *STATE, "--log", "cut.log"]) == 0
    assert not Path("run.state").exists()
    for path in [*folder.glob("cut*")]:
        path.unlink()
    interrupt(4, "SIGTERM", times=3)
    assert run.main([*BASE[:-1], "cut.png", *options[:-1], "cut.log", *STATE]) == 143
    assert "; go on with --resume run.state\n" in capsys.readouterr().err
    interrupt(14)
    monkeypatch.chdir(folder.parent)  # whole paths are kept
    assert run.main(["--resume", str(folder / "run.state")]) == 130
    interrupt(0)
    assert run.main(["--resume", str(folder / "run.state"), "--quiet"]) == 0
    monkeypatch.chdir(folder)
    assert np.array_equal(pixels("cut.png"), expected)
    assert not Path("run.state").exists()
    cut = [line.partition('"seconds"')[0] for line in Path("cut.log").read_text().splitlines()]
    assert cut == [line.partition('"seconds"')[0] for line in log.splitlines()]
    names = {p.name.replace("cut", "out") for p in folder.glob("cut*.png")}
    assert names == {p.name for p in folder.glob("out*.png")}


@pytest.fixture
def state(folder, interrupt, capsys):
    interrupt(5)
    assert run.main([*BASE, *STATE]) == 130
    interrupt(0)
    capsys.readouterr()
    return folder / "run.state"


@pytest.mark.parametrize(
    "args, code, says",
    [
        (["--size", "64"], 2, "--size 64: in the run that run.state is of, it was 48; leave it away"),
        (["--style-weight", "3"], 2, "--style-weight 3.0: in the run that run.state is of, it was not given"),
        (["style.png"], 2, "CONTENT"),
        (["--again", "out.png"], 2, "--again: works without --resume"),
    ],
)
def test_what_contradicts_a_checkpoint_is_refused(state, capsys, args, code, says):
    kept = state.read_bytes()
    assert run.main(["--resume", "run.state", *args]) == code
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert state.read_bytes() == kept


@pytest.mark.parametrize("name", ["content.png", "style.png", "narrow.npz"])
def test_inputs_that_have_changed_are_named(state, capsys, name):
    if name == "narrow.npz":
        weights.save_compact(cases.make_network(seed=5), name)
    else:
        saving.save(name, 255 - pixels(name))
    assert run.main(["--resume", "run.state"]) == 1
    error = capsys.readouterr().err
    assert f"{name} has changed since" in error and error.count("\n") == 1


def test_a_checkpoint_replaces_nothing_unasked(state, capsys):
    assert run.main([*BASE[:-1], "new.png", *STATE]) == 2
    assert "run.state: exists already; go on with --resume" in capsys.readouterr().err
    assert run.main(["--resume", "content.png"]) == 1
    assert "expected the saved state of a run" in capsys.readouterr().err
    saving.save("out.png", np.zeros((34, 48, 3)))  # another's meanwhile
    assert run.main(["--resume", "run.state"]) == 2
    assert "out.png: exists already" in capsys.readouterr().err
    assert run.main(["--resume", "run.state", "-o", "new.png", "--quiet"]) == 0


def test_where_the_output_cannot_be_written_the_run_is_kept(folder, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    real = saving.save
    cases.cannot_be_saved("out.png", monkeypatch)
    rescue = folder / f"minivgg-style-{os.getpid()}.png"
    rescue.write_text("of an earlier run")
    assert run.main([*BASE, *STATE]) == 1
    error = capsys.readouterr().err
    assert f"the picture is in {rescue.with_stem(rescue.stem + '-2')}, the run in run.state" in error
    assert rescue.read_text() == "of an earlier run"
    monkeypatch.setattr(saving, "save", real)
    assert run.main(["--resume", "run.state", "--quiet"]) == 0  # nothing is left to do
    assert np.array_equal(pixels("out.png"), pixels(rescue.with_stem(rescue.stem + "-2")))


def test_scipys_says_what_it_keeps(folder, interrupt, capsys):
    interrupt(5)
    assert run.main([*BASE, *STATE, "--optimizer", "l-bfgs-b"]) == 130
    assert "keeps its pairs to itself" in capsys.readouterr().err
    interrupt(0)
    assert run.main(["--resume", "run.state", "--quiet"]) == 0
    assert saving.read_metadata("out.png")["result"]["evaluations"] == 12


def test_a_picture_is_made_again(folder, capsys):
    options = ["--optimizer", "adam", "--learning-rate", "3", "--init", "noise", "--seed", "7", "--tv-weight", "1"]
    assert run.main([*BASE, *options]) == 0
    assert run.main(["--again", "out.png", "-o", "same.png", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert np.array_equal(pixels("same.png"), pixels("out.png"))
    settings = saving.read_metadata("out.png")["settings"]
    assert np.array_equal(style.transfer("content.png", "style.png", **settings).image, pixels("out.png"))
    saving.save("content.png", 255 - pixels("content.png"))
    assert run.main(["--again", "out.png", "-o", "other.png", "--quiet"]) == 0
    assert "content.png: another content than the one that out.png was made from" in capsys.readouterr().err
    Path("content.png").unlink()
    assert run.main(["--again", "out.png", "-o", "third.png"]) == 2
    assert "its content was content.png, which is neither" in capsys.readouterr().err
    saving.save("plain.png", np.zeros((20, 20, 3)))
    assert run.main(["--again", "plain.png"]) == 2
    assert "no picture of ours that says how it was made" in capsys.readouterr().err


def test_a_start_that_is_a_picture_begins_at_its_own_scale(folder, capsys):
    saving.save("start.png", np.full((34, 48, 3), 90.0))
    args = ["content.png", "style.png", *OPTIONS[:-1], "--size", "96", "-o", "out.png", "--scales", "3"]
    assert run.main([*args, "--init", "start.png"]) == 0
    out = capsys.readouterr().out
    assert "6 evaluations at 48x34, then 3 at 96x69" in out
    assert "scales coarser than start.png are left out: 24x17" in out


class Clock:
    """Each look at it takes a second."""

    now = -1.0

    def __call__(self):
        self.now += 1
        return self.now


def test_a_time_is_shared_out_between_the_scales(make_job):
    result = make_job(size=96, scales=2, evaluations=400, lag=1).run(TimeLimit(50, Clock()))
    outcome = result.outcome
    assert result.rgb.shape == (69, 96, 3)
    assert outcome.status == "stopped" and outcome.message == "the 50 s are over: stopped after 50 evaluations"
    assert make_job(evaluations=3).run(TimeLimit(50, Clock())).outcome.status == "done"


def test_patience_ends_what_no_longer_improves(make_job):
    options = {"optimizer": "adam", "evaluations": 60, "init": "style", "learning_rate": 200.0}
    outcome = make_job(**options).run(Patience(5)).outcome
    assert outcome.status == "stopped" and outcome.evaluations < 60
    assert outcome.message.startswith("no better by 0.1% in 5 evaluations: stopped after")
    assert make_job(evaluations=6).run(Patience(6)).outcome.status == "done"


def test_a_run_that_never_gets_below_its_start_says_so(make_job):
    outcome = make_job(optimizer="adam", learning_rate=200.0, style_weight=0).run().outcome
    assert outcome.message == "all 4 evaluations done, none was better than the start"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("optimizer", ["l-bfgs", "l-bfgs-b", "two-loop", "adam"])
@pytest.mark.parametrize("weight", [1e30, 1e40])
def test_a_gradient_that_overflows_is_no_convergence(folder, capsys, optimizer, weight):
    code = run.main([*BASE, "--optimizer", optimizer, "--style-weight", str(weight)])
    error = capsys.readouterr().err
    if (optimizer, weight) != ("l-bfgs-b", 1e30):  # SciPy's works in double precision
        assert code == 1 and error.count("\n") == 1


@pytest.mark.parametrize(
    "text, seconds", [("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), ("2 min", 120), ("0.5s", 0.5)]
)
def test_times(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-3s", "0s", "1e3s", "3x", "1m2h", "..s", "9999999h"])
def test_times_that_are_none(text):
    with pytest.raises(ValueError, match="expected a time with its unit"):
        parse_duration(text)


# --- files ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="needs links and pipes")
@pytest.mark.parametrize("args", [["--log", "link"], ["--checkpoint", "link", "--overwrite"]])
def test_a_hard_link_of_what_is_read_is_not_written(folder, capsys, args):
    os.link("content.png", "link")
    before = Path("content.png").read_bytes()
    assert run.main([*BASE, *args]) == 2
    assert "is the content file as well" in capsys.readouterr().err
    assert Path("content.png").read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="needs links and pipes")
def test_what_is_no_file_is_not_replaced(folder, capsys):
    os.mkfifo("out.png")
    assert run.main([*BASE, "--overwrite"]) == 2
    assert "out.png: not a regular file" in capsys.readouterr().err


@pytest.mark.skipif(files.fcntl is None, reason="needs locks")
def test_what_a_killed_program_has_left_is_removed_and_what_is_written_stays(tmp_path):
    dead = tmp_path / f".out.png.0123456789ab{files.SUFFIX}"
    dead.write_bytes(b"half")
    with files.atomic_file(tmp_path / "a.bin") as file:
        files.check_folder(tmp_path / "b.bin")
        assert not dead.exists()
        assert len(list(tmp_path.iterdir())) == 1
        file.write(b"data")
    assert (tmp_path / "a.bin").read_bytes() == b"data"


def test_messages_are_lines(folder, capsys):
    assert run.main([*BASE[:-1], "a\nb\x1b[31m.xyz"]) == 2
    assert capsys.readouterr().err.startswith("style.run: a\\nb\\x1b[31m.xyz: ")
    assert program.printable("é ü 画\u202e") == "é ü 画\\u202e"


def test_no_further_thread_is_a_line(monkeypatch):
    def none_left(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", None)
    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(OSError, match="no further thread can be started: the limit of processes"):
        threads.parallel(lambda worker, item: None, range(4), 2)


def test_options_of_the_library(pictures, network_file):
    options = {"weights": str(network_file), "device": "cpu", "size": 48}
    with pytest.raises(style.SettingsError, match="output 5: expected a file's name"):
        style.transfer(*pictures, output=5, **options)
    with pytest.raises(style.SettingsError, match="iterations: another name of evaluations, which is given as well"):
        style.settings_from(evaluations=3, iterations=4)
    assert style.settings_from(bounds=np.bool_(False)).bounds is False
    with pytest.raises(style.SettingsError, match="size"):
        style.settings_from(size=np.bool_(True))
