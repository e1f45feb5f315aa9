"""What shows a run as it grows: one picture that is replaced, and an animation, bounded and whole."""

import dataclasses
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import style
from style import run, watching
from style.events import Evaluated, Finished, Planned
from style.pictures import ImageError, images, saving

FLAGS = ["--weights", "narrow.npz", "--size", "48", "--evaluations", "6"]
FLAGS += ["--device", "cpu", "--lag", "1", "--margin", "0"]


def main(*args):
    return run.main(["photo.png", "style.png", "-o", "out.png", *args, *FLAGS])


def pixels(path):
    return images.read(path).rgb


def frames(path):
    """[(H, W, 3) uint8], their milliseconds."""
    found, times = [], []
    with Image.open(path) as image:
        for k in range(image.n_frames):
            image.seek(k)
            found.append(np.asarray(image.convert("RGB")))
            times.append(image.info.get("duration"))
    return found, times


def distance(a, b):
    return np.abs(a.astype(float) - b).mean()


def test_latest_is_the_last_picture_at_the_end(folder):
    assert main("--latest", "latest.png") == 0
    assert np.array_equal(pixels("latest.png"), pixels("out.png"))
    assert main("--latest", "latest.png", "--overwrite", "--style-weight", "3") == 0
    assert main("--latest", "latest.png", "--overwrite") == 0
    assert np.array_equal(pixels("latest.png"), pixels("out.png"))


def test_latest_takes_the_place_of_its_own_and_of_nothing_else(folder, capsys):
    assert main("--latest", "latest.png") == 0
    Path("out.png").unlink()
    assert main("--latest", "latest.png") == 0
    Path("latest.png").write_bytes(b"precious")
    Path("out.png").unlink()
    assert main("--latest", "latest.png") == 2
    assert "latest.png: exists already" in capsys.readouterr().err
    assert Path("latest.png").read_bytes() == b"precious"


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def evaluated(number, loss, seen):
    def to_rgb():
        seen.append(number)
        return np.full((20, 30, 3), float(number))

    return Evaluated(number, number, loss, {"style": loss}, 0.1, None, scale=1, scales=1, to_rgb=to_rgb)


def latest(make_job, path, cost=0.0):
    clock, seen, said = Clock(), [], []
    listener = watching.Latest(path, said.append, clock)
    real = listener._save

    def save(*args):
        clock.now += cost
        real(*args)

    listener._save = save
    listener(Planned(make_job()))
    return listener, clock, seen, said


def test_latest_is_written_once_a_second(make_job, tmp_path):
    listener, clock, seen, _ = latest(make_job, tmp_path / "l.png")
    for number in range(1, 31):
        listener(evaluated(number, 1 / number, seen))
        clock.now += 0.3
    assert seen == [1, 5, 9, 13, 17, 21, 25, 29]


def test_latest_costs_a_twentieth_of_the_time(make_job, tmp_path):
    listener, clock, seen, _ = latest(make_job, tmp_path / "l.png", cost=1.0)
    for number in range(1, 201):
        listener(evaluated(number, 1 / number, seen))
        clock.now += 1.0
    assert len(seen) <= 0.05 * clock.now + 1


def test_a_step_that_was_only_tried_is_not_shown(make_job, tmp_path):
    listener, clock, seen, _ = latest(make_job, tmp_path / "l.png")
    for number, loss in enumerate((5.0, 900.0, 4.0, 4.5, 3.0), 1):
        listener(evaluated(number, loss, seen))
        clock.now += 2
    assert seen == [1, 3, 5]


def test_latest_that_cannot_be_written_is_said_once_and_the_run_goes_on(folder, capsys, monkeypatch):
    real = saving.save

    def save(path, *args, **more):
        if Path(path).name == "latest.png":
            raise ImageError("latest.png: cannot be written (No space left on device)")
        real(path, *args, **more)

    monkeypatch.setattr(saving, "save", save)
    assert main("--latest", "latest.png") == 0
    assert capsys.readouterr().err.count("No space left") == 1
    assert Path("out.png").exists()


def test_latest_of_a_batch_is_of_the_picture_in_work(folder):
    args = ["style.png", "--contents", "photo.png", "style.png", "--out-dir", "out", "--latest", "l.png"]
    assert run.main([*args, *FLAGS]) == 0
    last = sorted(Path("out").iterdir())[-1]
    assert np.array_equal(pixels("l.png"), pixels(last))


@pytest.mark.parametrize("name", ["run.gif", "run.webp", "run.png"])
def test_animation_begins_with_the_content_and_ends_with_the_picture(folder, name):
    assert main("--animation", name, "--init", "noise") == 0
    found, times = frames(name)
    assert 2 < len(found) <= 8
    ends = images.to_uint8(images.resize(pixels("photo.png"), (34, 48))), images.to_uint8(pixels("out.png"))
    for frame, own, other in ((found[0], *ends), (found[-1], *ends[::-1])):
        assert frame.shape == (34, 48, 3)
        if name == "run.png":
            assert np.array_equal(frame, own)
        else:  # a palette; a lossy format
            assert distance(frame, own) < 0.5 * distance(frame, other)
    assert times[-1] >= times[0] + 1000 * watching.HELD - 20


def test_animation_over_scales_has_frames_of_one_size(folder):
    assert main("--animation", "run.png", "--scales", "2") == 0
    assert {f.shape for f in frames("run.png")[0]} == {(34, 48, 3)}


def test_animation_is_bounded(make_job, tmp_path):
    """However long the run and however large the picture: thinned out evenly, and small."""
    listener, seen = watching.Animation(tmp_path / "a.png", True, pytest.fail), []
    job = make_job()
    job.size = (2000, 3000)
    listener(Planned(job))
    job_size, kept = listener.size, []
    assert job_size == (320, 480)
    for number in range(1, 1001):
        listener(evaluated(number, 1 / number, seen))
        kept.append(len(listener.frames))
    assert max(kept) <= watching.FRAMES - 2
    assert len(listener.frames) >= watching.FRAMES // 2 - 2
    levels = [int(f[0, 0, 0]) for f in listener.frames]
    assert len(seen) < 400  # no more are computed than may be kept
    gaps = np.diff([n for n in range(1, 1001) if n % listener.stride == 0])
    assert len(set(gaps.tolist())) == 1
    assert len(levels) == len(set(id(f) for f in listener.frames))


def test_animation_of_an_interrupted_run_is_written(folder, monkeypatch):
    real = style.running.Run._counted

    def counted(self, event, *rest):
        if event.evaluation == 4:
            raise KeyboardInterrupt
        return real(self, event, *rest)

    monkeypatch.setattr(style.running.Run, "_counted", counted)
    assert main("--animation", "run.gif") == 130
    assert len(frames("run.gif")[0]) > 1


def test_animation_that_cannot_be_written_costs_no_picture(folder, capsys, monkeypatch):
    def broken(path, frames, replace=True):
        raise ImageError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(watching, "write_animation", broken)
    assert main("--animation", "run.gif") == 0
    assert "run.gif: cannot be written (No space left on device)" in capsys.readouterr().err
    assert Path("out.png").exists()


@pytest.mark.parametrize(
    "args, said",
    [
        (["--animation", "run.jpg"], 'run.jpg: the suffix ".jpg"; expected .gif, .webp, .png'),
        (["--animation", "run"], "run: no suffix"),
        (["--animation", "photo.png"], "is the content file"),
        (["--animation", "out.png"], "is the output file"),
        (["--animation", "missing/run.gif"], "missing/run.gif: cannot"),
        (["--animation", "there.gif"], "there.gif: exists already"),
        (["--animation", "folder.gif"], "folder.gif: a folder"),
        (["--animation", ""], "--animation ''"),
        (["--latest", "latest.gif"], 'latest.gif: the suffix ".gif"'),
        (["--latest", "photo.png"], "is the content file"),
        (["--latest", "out.png"], "is the output file"),
        (["--latest", "x.png", "--animation", "x.png"], "is the --latest file"),
        (["--latest", "missing/x.png"], "does not exist"),
        (["--latest", ""], "--latest ''"),
    ],
)
def test_refused_before_any_work(folder, capsys, args, said):
    Path("there.gif").write_bytes(b"precious")
    Path("folder.gif").mkdir()
    assert main(*args) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
    assert Path("there.gif").read_bytes() == b"precious"


def test_a_run_that_goes_on_replaces_its_animation(folder, monkeypatch):
    real = style.running.Run._counted

    def counted(self, event, *rest):
        if event.evaluation == 4:
            signal.raise_signal(signal.SIGINT)
        return real(self, event, *rest)

    monkeypatch.setattr(style.running.Run, "_counted", counted)
    assert main("--animation", "run.gif", "--checkpoint", "state") == 130
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    before = Path("run.gif").read_bytes()
    assert run.main(["--resume", "state"]) == 0
    assert Path("run.gif").read_bytes() != before


def test_library(pictures, network_file, tmp_path):
    job = style.Job(
        *pictures, style.settings_from(size=48, evaluations=4, weights=str(network_file), device="cpu", margin=0)
    )
    show = style.watching.Latest(tmp_path / "latest.png", pytest.fail)
    film = style.watching.Animation(tmp_path / "run.gif", True, pytest.fail)
    result = job.run(show, film)
    assert np.array_equal(pixels(tmp_path / "latest.png"), result.image)
    assert len(frames(tmp_path / "run.gif")[0]) >= 2
    empty = dataclasses.replace(result.outcome, values={})
    show(Finished(dataclasses.replace(result, outcome=empty)))  # nothing finite: what is there stays
    assert np.array_equal(pixels(tmp_path / "latest.png"), result.image)
