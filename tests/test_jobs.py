"""A folder of jobs: claimed once, gone on with after a kill, put aside with the reason; several processes at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cases
import numpy as np
import pytest
from PIL import Image

import style
from style import run
from style.many import jobqueue
from style.many.jobqueue import LostError, Queue
from style.options import SettingsError
from style.pictures import images, saving
from style.state import State

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = {"weights": "narrow.npz", "size": 48, "evaluations": 4, "device": "cpu", "lag": 1, "margin": 0}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder "jobs" with photo.png, style.png and narrow.npz."""
    monkeypatch.chdir(tmp_path)
    Path("jobs").mkdir()
    cases.lay_out(tmp_path / "jobs", {"photo.png": (5, 7), "style.png": (6, 4)})
    return tmp_path / "jobs"


def order(folder, name, **more):
    found = {"content": "photo.png", "styles": ["style.png"], "options": OPTIONS} | more
    (folder / name).write_text(json.dumps(found))


def main(*args):
    return run.main(["--jobs", "jobs", *args])


def names(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_jobs_are_done_and_the_bad_one_is_put_aside(folder, capsys):
    order(folder, "a.json")
    order(folder, "b.json", output="../b.jpg")
    order(folder, "bad.json", content="missing.png")
    (folder / "c.toml").write_text(
        'content = "photo.png"\nstyle = "style.png:0.5"\npreset = "gatys"\n[options]\nsize = 48\nevaluations = 3\n'
        'weights = "narrow.npz"\nstyle-layers = "relu1_1"\n'
    )
    (folder / "notes.txt").write_text("no job")
    assert main() == 1
    assert capsys.readouterr().err.endswith("3 of 4 pictures; failed: bad.json\n")
    assert names(folder / "done") == ["a.json", "a.png", "b.json", "c.png", "c.toml"]
    assert names(folder / "failed") == ["bad.json", "bad.json.txt"]
    assert "missing.png: " in (folder / "failed" / "bad.json.txt").read_text()
    assert names(folder / "running") == names(folder / "states") == []
    assert saving.read_metadata(folder.parent / "b.jpg")["result"]["status"] == "done"
    assert saving.read_metadata(folder / "done" / "c.png")["settings"]["style_layers"] == {"relu1_1": 1.0}
    own = style.transfer(folder / "photo.png", folder / "style.png", **OPTIONS | {"weights": folder / "narrow.npz"})
    assert np.array_equal(images.read(folder / "done" / "a.png").rgb, own.image)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "nothing in it"),
        ("{", "not JSON"),
        ("[1]", "nothing in it; expected content"),
        ('{"content": 3, "style": "style.png"}', "expected content ="),
        ('{"content": "photo.png"}', "expected content ="),
        ('{"content": "photo.png", "styles": []}', "expected content ="),
        ('{"content": "photo.png", "style": "style.png", "size": 4}', "'size' is none of content"),
        ('{"content": "photo.png", "style": "style.png", "options": 4}', "a table of options"),
        ('{"content": "photo.png", "style": "style.png", "options": {"size": "big"}}', "--size 'big'"),
        ('{"content": "photo.png", "style": "style.png", "options": {"sise": 4}}', "did you mean size?"),
        ('{"content": "photo.png", "style": "style.png", "output": 4}', "output 4"),
        ('{"content": "photo.png", "style": "style.png", "output": "x.gif"}', ".gif"),
        (
            '{"content": "photo.png", "style": "style.png", "output": "photo.png"}',
            "is the content file; give another output",
        ),
        ('{"content": "photo.png", "style": "style.png", "preset": "best"}', "--preset 'best'"),
        ('{"content": "photo.png", "style": "style.png", "options": {"weights": "none.npz"}}', "none.npz"),
        ('{"content": "photo.png", "style": "style.png", "options": {"device": "oven"}}', "oven"),
        ('{"content": "photo.png", "style": "style.png", "options": {"weights": "photo.png"}}', "photo.png"),
        ('{"content": "photo.png", "style": "style.png", "preset": 3}', "--preset 3"),
        ("\udcff", "not text"),
    ],
)
def test_what_is_wrong_with_a_job_is_said_in_a_line(folder, capsys, text, said):
    (folder / "x.json").write_bytes(text.encode(errors="surrogateescape") or b"{}")
    assert main() == 1
    reason = (folder / "failed" / "x.json.txt").read_text()
    assert said in reason and reason.count("\n") == 1, reason
    assert capsys.readouterr().err.startswith("style.run: x.json: ")
    assert images.read(folder / "photo.png").rgb.shape == (40, 56, 3)


@pytest.mark.parametrize(
    "args, said",
    [
        (["--jobs", "missing"], "--jobs missing: no such folder"),
        (["--jobs", ""], "--jobs ''"),
        (["--jobs", "jobs", "--size", "64"], "--size: stands in the job's file"),
        (["photo.png", "--jobs", "jobs"], "CONTENT: stands in the job's file"),
        (["--jobs", "jobs", "-o", "x.png"], "-o: works with one picture, without --jobs"),
        (["--jobs", "jobs", "--sweep", "size=64"], "--sweep: works with one picture, without --jobs"),
        (["--jobs", "jobs", "--checkpoint", "x"], "--checkpoint: works with one picture, without --jobs"),
        (["--jobs", "jobs", "--jobs-lease", "soon"], "--jobs-lease 'soon': expected a time"),
        (["--jobs-lease", "5s"], "--jobs-lease: works with --jobs"),
        (["--jobs-wait"], "--jobs-wait: works with --jobs"),
    ],
)
def test_refused_before_any_work(folder, capsys, args, said):
    assert run.main(args) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error


def test_a_job_is_claimed_once(folder):
    order(folder, "a.json")
    one, other = Queue(folder), Queue(folder)
    claim = one.claim()
    assert claim.name == "a.json" and claim.attempt == 1
    assert other.claim() is None and not other.is_empty()
    claim.give_back()
    again = other.claim()
    assert again.name == "a.json"
    with pytest.raises(LostError):
        claim.check()
    with pytest.raises(LostError):
        claim.done()
    again.done()
    assert one.is_empty() and names(folder / "done") == ["a.json"]


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_claim_that_nobody_renews_is_taken_again_three_times(folder):
    order(folder, "a.json")
    queue = Queue(folder, lease=100)
    claim = queue.claim()
    for attempt in (2, 3):
        age(claim.path, 90)
        assert queue.claim() is None
        age(claim.path, 110)
        claim = queue.claim()
        assert claim.attempt == attempt
    age(claim.path, 110)
    assert queue.claim() is None
    assert names(folder / "failed") == ["a.json", "a.json.txt"]
    assert "3 processes ended without a word" in (folder / "failed" / "a.json.txt").read_text()


def test_a_claim_is_renewed_while_it_is_ours(folder):
    order(folder, "a.json")
    queue = Queue(folder, lease=0.3)
    with queue.claim() as claim:
        age(claim.path, 110)
        end = time.monotonic() + 10
        while time.time() - claim.path.stat().st_mtime > 50 and time.monotonic() < end:
            time.sleep(0.01)
        assert queue.claim() is None


def test_who_has_lost_the_claim_writes_nothing(folder, monkeypatch):
    order(folder, "a.json")
    real = style.Job.run

    def slow(job, *listeners, **more):
        result = real(job, *listeners, **more)
        (claimed,) = (folder / "running").iterdir()
        claimed.rename(folder / "running" / "a.json@2-another")
        return result

    monkeypatch.setattr(style.Job, "run", slow)
    queue = Queue(folder)
    (made,) = style.many.worker.Worker(queue).run(told=lambda made: (folder / "running" / "a.json@2-another").unlink())
    assert made.status == "failed" and "another's now" in made.message
    assert names(folder / "done") == names(folder / "failed") == []


def test_a_job_whose_picture_is_there_already_is_done(folder, capsys):
    """A process that was killed between the picture and the rename."""
    order(folder, "a.json")
    assert main() == 0
    before = (folder / "done" / "a.png").stat().st_mtime_ns
    (folder / "done" / "a.json").rename(folder / "a.json")
    assert main() == 0
    assert (folder / "done" / "a.png").stat().st_mtime_ns == before
    assert "skipped" in capsys.readouterr().out
    order(folder, "a.json", options=OPTIONS | {"seed": 5, "init": "noise"})
    assert main() == 1
    assert "was made otherwise" in (folder / "failed" / "a.json.txt").read_text()


def test_ctrl_c_lets_the_job_wait_and_it_goes_on_to_the_same_digits(folder, capsys, monkeypatch):
    options = OPTIONS | {"evaluations": 12}
    order(folder, "a.json", options=options)
    real = style.running.Run._counted
    heard = []

    def counted(self, event, *rest):
        heard.append(event.evaluation)
        if len(heard) == 6:
            signal.raise_signal(signal.SIGINT)
        return real(self, event, *rest)

    monkeypatch.setattr(style.running.Run, "_counted", counted)
    assert main("--checkpoint-every", "2") == 130
    said = "style.run: interrupted: 0 of 1 picture; a.json waits again, to go on from there\n"
    assert capsys.readouterr().err == said
    assert (folder / "a.json").exists() and names(folder / "running") == []
    at = len(State.load(folder / "states" / "a.json.state").arrays["losses"])
    assert 0 < at < 12
    assert main() == 0
    assert len(heard) <= 6 + 12 - at  # it did not begin again
    own = style.transfer(folder / "photo.png", folder / "style.png", **options | {"weights": folder / "narrow.npz"})
    assert np.array_equal(images.read(folder / "done" / "a.png").rgb, own.image)
    assert names(folder / "states") == []


def test_a_state_of_another_job_is_not_gone_on_with(folder, capsys):
    order(folder, "a.json")
    Queue(folder)
    (folder / "states" / "a.json.state").write_bytes(b"no state")
    assert main() == 0
    assert "a.json: starts afresh: " in capsys.readouterr().err
    assert names(folder / "states") == []


def test_a_job_given_back_replaces_no_other(folder):
    order(folder, "a.json")
    claim = Queue(folder).claim()
    (folder / "a.json").write_text("another")
    claim.give_back()
    assert (folder / "a.json").read_text() == "another"
    assert (folder / "a-2.json").exists()


def test_paths_are_seen_from_the_folder(folder):
    Path("photo.png").write_bytes(b"another one, in the current folder")
    saving.save("jobs/mask.png", np.full((40, 56, 3), [255.0, 0, 0]) * (np.arange(56) < 28)[:, None])
    options = OPTIONS | {"init": "photo.png", "keep": "not:mask.png#ff0000", "mask": "mask.png#ff0000"}
    order(folder, "a.json", options=options)
    assert main() == 0, (folder / "failed" / "a.json.txt").read_text()
    stored = saving.read_metadata(folder / "done" / "a.png")
    assert stored["init"]["name"] == "photo.png" and stored["settings"]["keep"] == "not:mask.png#ff0000"


def test_library(folder):
    order(folder, "a.json")
    order(folder, "b.json", content="missing.png")
    heard = []
    found = style.work(folder, device="cpu", listeners=lambda item: [lambda event: heard.append(item.content)])
    assert [(m.item.content, m.status) for m in found] == [("a.json", "done"), ("b.json", "failed")]
    assert set(heard) == {"a.json"}
    assert style.work(folder) == []
    with pytest.raises(SettingsError, match="stand in its file"):
        style.work(folder, size=64)


def test_waiting_ends_with_a_signal(folder, capsys, monkeypatch):
    order(folder, "a.json")
    looked = []

    def pause(seconds):
        looked.append((folder / "done" / "a.json").exists())
        raise KeyboardInterrupt

    monkeypatch.setattr(style.many.worker, "_pause", pause)
    assert main("--jobs-wait") == 130
    assert looked == [True]
    assert capsys.readouterr().err == "style.run: interrupted: 1 of 1 picture\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_two_processes_one_of_them_killed(folder):
    """Ten jobs: each done once, nothing half-written, nothing left over."""
    count = 10
    for k in range(count):
        order(folder, f"{k}.json", options=OPTIONS | {"evaluations": 60, "seed": k, "init": "noise"})
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "style.run", "--jobs", str(folder), "--jobs-lease", "3s"]
    command += ["--checkpoint-every", "5"]
    processes = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        end = time.monotonic() + 60
        while len(names(folder / "done") if (folder / "done").exists() else []) < 4 and time.monotonic() < end:
            time.sleep(0.02)
        processes[0].kill()
        first, _ = processes[0].communicate(timeout=60)
        second, error = processes[1].communicate(timeout=90)
    finally:
        for process in processes:
            process.kill()
    assert processes[1].returncode == 0, error
    jobs = [f"{k}.json" for k in range(count)]
    assert names(folder / "done") == sorted([*jobs, *(f"{k}.png" for k in range(count))])
    for name in ("running", "states", "failed"):
        assert names(folder / name) == []
    written = [line for line in (first + second).splitlines() if line.startswith("wrote")]
    assert len(written) == len(set(written)) and len(written) >= count - 1  # the kill may have come before the line
    for k in range(count):
        stored = saving.read_metadata(folder / "done" / f"{k}.png")
        assert stored["settings"]["seed"] == k and stored["result"]["evaluations"] == 60
        assert images.read(folder / "done" / f"{k}.png").rgb.shape == (34, 48, 3)
    assert not [p for p in folder.rglob(".*")]


def test_lease_is_longer_than_the_time_between_two_signs_of_life():
    assert jobqueue.BEATS >= 3


@pytest.mark.slow
def test_jobs_without_a_style_or_a_content_picture_are_those_of_the_command_line(folder, monkeypatch):
    alone = OPTIONS | {"style_layers": "none", "content_layers": "relu1_2"}
    order(folder, "alone.json", styles=[], options=alone)
    bare = {k: v for k, v in OPTIONS.items() if k != "weights"}
    (folder / "texture.json").write_text(json.dumps({"texture": True, "style": "style.png", "options": OPTIONS}))
    assert main() == 0
    common = [f"--{name}={value}" for name, value in bare.items()] + ["--weights", "jobs/narrow.npz", "--quiet"]
    none = ["--style-layers", "none", "--content-layers", "relu1_2"]
    assert run.main(["jobs/photo.png", *none, *common, "-o", "alone.png"]) == 0
    assert run.main(["jobs/style.png", "--texture", *common, "-o", "texture.png"]) == 0
    for name in ("alone.png", "texture.png"):
        assert np.array_equal(images.read(folder / "done" / name).rgb, images.read(name).rgb)


@pytest.mark.parametrize(
    "more, said",
    [
        ({"texture": True}, "texture = true has no content picture; all its pictures stand in styles"),
        ({"texture": 1}, "without a content picture texture = true, without a style picture style_layers ="),
        ({"texture": True, "content": None, "styles": []}, "without a content picture texture = true"),
        ({"content": None}, "without a content picture texture = true"),
    ],
)
def test_textures_among_jobs_that_cannot_be(folder, more, said):
    order(folder, "a.json", **more)
    assert main() == 1
    assert said in (folder / "failed" / "a.json.txt").read_text()


def test_styles_of_a_job_are_a_folder_or_a_pattern_as_on_the_command_line(folder):
    Path("more").mkdir()
    for name in ("a.png", "b.png"):
        os.link(folder / "style.png", Path("more") / name)
    order(folder, "a.json", style="../more", styles=None)
    order(folder, "b.json", styles=["../more/?.png"])
    assert main() == 0
    for name in ("a.png", "b.png"):
        assert [r["name"] for r in saving.read_metadata(folder / "done" / name)["style"]] == ["a.png", "b.png"]


def test_a_mask_is_not_lost_to_a_job_that_may_overwrite(folder):
    mask = np.zeros((40, 56), np.uint8)
    mask[:, :20] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    before = (folder / "mask.png").read_bytes()
    order(folder, "a.json", output="mask.png", options=OPTIONS | {"mask": "not:mask.png"})
    assert main("--overwrite") == 1
    assert "is the --mask file; give another output" in (folder / "failed" / "a.json.txt").read_text()
    assert (folder / "mask.png").read_bytes() == before
