"""The command line's listeners, each by itself: what the console says, what the log holds, which pictures are left."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from style import SettingsError, printing
from style.events import Evaluated, Finished, Planned
from style.pictures import images, saving


class Stage:
    size, evaluations = (10, 10), 100


@pytest.fixture
def planned():
    """A Planned of a job of one stage, of 100 evaluations."""
    plans = {Stage: SimpleNamespace(time=1.0, lag=1)}
    picture = SimpleNamespace(path=None, mode="RGB", sha256="", origin=None)
    settings = SimpleNamespace(depth=8)
    job = SimpleNamespace(stages=(Stage,), plans=plans, content=picture, started=0, settings=settings)
    job.styles = SimpleNamespace(pictures=[picture])
    job.alpha = lambda size: None
    return Planned(job)


@pytest.fixture
def console(planned, monkeypatch):
    monkeypatch.setattr(printing, "plan_lines", lambda job, output: [("plan", "of the job")])
    console = printing.Console(Path("out.png"))
    console(planned)
    return console


def evaluated(number, seconds=1.0, **more):
    return Evaluated(number, 0, 10.0 / number, {"style relu1_1": 10.0 / number}, seconds, None, **more)


@pytest.mark.parametrize(
    "times, says",
    [
        ((1.0, 1.2, 1.4), "0.20 s an evaluation: about 20 s for 100"),
        ((9.0, 9.5), "9.00 s an evaluation: about 15 min 0 s for 100"),
    ],
)
def test_time_is_taken_from_later_evaluations_unless_the_first_is_long(console, capsys, times, says):
    capsys.readouterr()
    for number, seconds in enumerate(times, 1):
        console(evaluated(number, seconds))
    out = capsys.readouterr().out
    assert says in out
    assert out.count("time ") == 1


def test_with_deferred_terms_the_time_is_an_upper_bound(console, planned, capsys):
    planned.job.plans[Stage].lag = 40
    console(evaluated(1, 9.0))
    assert "at most 15 min" in capsys.readouterr().out


def test_a_pipe_gets_ten_lines_and_a_terminal_a_bar(console, planned, capsys, monkeypatch):
    for number in range(1, 101):
        console(evaluated(number))
    assert sum("loss" in line for line in capsys.readouterr().out.splitlines()) == 10
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    console(planned)
    console(evaluated(1))
    assert console.bar is not None
    console.warn("look out")
    assert "warning: look out" in terminal.getvalue()
    console.close()
    assert console.bar is None
    assert "/100" in terminal.getvalue()


def test_the_end_is_said_by_kind_of_term(console, make_job, capsys):
    result = make_job().run()
    console(Finished(result))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"loss     {result.outcome.loss:.6g} (")
    assert "content " in last
    assert "style " in last
    assert last.endswith("all 4 evaluations done")


def test_the_log_has_a_line_for_each_evaluation(tmp_path, make_job):
    log = printing.Log(tmp_path / "log", False, pytest.fail)
    result = make_job(size=96, scales=2).run(log)
    log.close()
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [r["loss"] for r in records] == result.losses
    assert [(r["scale"], r["size"]) for r in records] == [(1, "48x34")] * 4 + [(2, "96x69")] * 2
    with pytest.raises(SettingsError, match=r"log .*: exists already; give another name or overwrite"):
        printing.Log(tmp_path / "log", False, pytest.fail)
    printing.Log(tmp_path / "log", True, pytest.fail).close()
    assert (tmp_path / "log").read_text() == ""


def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path, make_job):
    class Full(io.FileIO):
        """A disk that takes 500 bytes, the last ones in the middle of a line."""

        def write(self, data):
            room = 500 - self.tell()
            if room <= 0:
                raise OSError(28, "No space left on device")
            return super().write(data[:room])

    said = []
    log = printing.Log(tmp_path / "log", False, said.append)
    log.close()
    log.file = Full(tmp_path / "log", "w")
    assert make_job().run(log).outcome.status == "done"
    assert said == [f"{tmp_path / 'log'}: the log ends here (No space left on device)"]
    text = (tmp_path / "log").read_text()
    assert text.endswith("}\n")
    assert [json.loads(line)["evaluation"] for line in text.splitlines()] == [1]
    printing.Log(None, False, pytest.fail)(evaluated(1))  # no log was asked for


def test_pictures_on_the_way(tmp_path, make_job):
    pictures = printing.Pictures(tmp_path / "out.png", 4, lambda path: False, pytest.fail)
    job = make_job(size=96, scales=2, evaluations=6)
    job.run(pictures)
    names = {"out-00004.png": (34, 48, 3), "out-00008.png": (69, 96, 3), "out-48x34.png": (34, 48, 3)}
    assert {p.name: images.read(p).rgb.shape for p in tmp_path.iterdir()} == names
    assert {Path(p).name for p in printing.names_on_the_way(job, tmp_path / "out.png", 4)} == {*names}
    assert saving.read_metadata(tmp_path / "out-48x34.png")["result"]["evaluations"] == 6


def test_a_picture_on_the_way_that_cannot_be_saved_is_a_warning(tmp_path, planned):
    said = []
    (tmp_path / "out-00001.png").write_text("mine")
    pictures = printing.Pictures(tmp_path / "out.png", 1, lambda path: False, said.append)
    pictures(planned)
    pictures(evaluated(1, to_rgb=lambda: np.zeros((20, 20, 3))))
    assert (tmp_path / "out-00001.png").read_text() == "mine"
    assert len(said) == 1
    assert "exists already" in str(said[0])
