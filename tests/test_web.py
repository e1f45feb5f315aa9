"""The page's work: from an upload to a picture, paused and gone on with, stopped, varied, taken up after a kill."""

import pytest

pytest.importorskip("starlette", reason='needs pip install -e ".[web]"')

import asyncio
import contextlib
import errno
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import web_desk
from PIL import Image
from web_desk import work

from minivgg.files import FileError
from style.events import Evaluated, Finished
from style.pictures import ImageError, images, saving
from style.state import State
from style.web import __main__ as program
from style.web import child, desk, feed, lock, runner, server, small_files, supervisor, uploads, wishes
from style.web.asked import Asked, Refused, scales
from style.web.desk import PAUSE, REMOVE, STOP, Desk
from style.web.security import Access


@pytest.fixture
def made(tmp_path, monkeypatch):
    """(Desk, Asked) of a photograph and a painting on a narrow network."""
    web_desk.narrow_network(tmp_path / "cache", monkeypatch)
    found, (content, style) = web_desk.make_desk(tmp_path / "web")
    return found, Asked(content, (style,), options={"size": 64, "evaluations": 6})


def at(desk, id, evaluation, wish):
    """A listener that wishes something of a run at an evaluation, or (None) after the last one, once."""
    heard = []

    def listener(event):
        now = event.evaluation if isinstance(event, Evaluated) else None
        if isinstance(event, Evaluated | Finished) and now == evaluation and not heard:
            heard.append(event)
            desk.steer(id, wish)

    return listener


def pixels(desk, id):
    return images.read(desk.run(id) / "picture.png").rgb


def test_from_an_upload_to_a_picture(made):
    """A photograph of a camera, on its side, with its place in it; a name that no file may have."""
    found, asked = made
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif.get_ifd(0x8825)[1] = "N"
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(buffer, "JPEG", exif=exif)
    with web_desk.client(found) as page:
        headers = {"Content-Type": "image/jpeg", "X-Name": "..%2F..%2Fan%20d%C3%BC%0A.jpg"}
        content = page.post("/uploads", content=buffer.getvalue(), headers=headers).json()
        assert (content["width"], content["height"], content["name"]) == (40, 60, "../../an dü.jpg")
        kept = page.get(f"/uploads/{content['id']}")
        assert kept.headers["content-type"] == "image/jpeg"
        assert not Image.open(found.uploads / f"{content['id']}.png").getexif()
        asked = {"content": content["id"], "styles": [*asked.styles], "size": 64, "evaluations": 3}
        plan = page.post("/plan", json=asked).json()
        assert plan["size"] == [43, 64] and plan["stages"] == [plan["stages"][0] | {"size": [43, 64], "evaluations": 3}]
        assert plan["peak"] < plan["memory"] and plan["seconds"] > 0
        id = page.post("/runs", json=asked).json()["id"]
        assert page.get(f"/runs/{id}").json()["status"] == "waiting"
        assert page.get(f"/runs/{id}/picture").status_code == 404
        assert work(found) == [(id, "done", "all 3 evaluations done")]
        (entry,) = page.get("/history").json()["runs"]
        assert entry["id"] == id and entry["evaluation"] == 3 and entry["picture"]
        assert len(page.get(f"/runs/{id}/points").json()["points"]) == 3
        assert page.get(f"/runs/{id}/latest").content[:2] == b"\xff\xd8"
        assert Image.open(io.BytesIO(page.get(f"/runs/{id}/small").content)).size == (43, 64)
        answer = page.get(f"/runs/{id}/picture")
        assert unquote(answer.headers["content-disposition"]).endswith(".._.._an dü-painting.png")
        assert Image.open(io.BytesIO(answer.content)).size == (43, 64)
        stored = saving.read_metadata(found.run(id) / "picture.png")
        assert stored["content"]["name"] == "content.png" and stored["result"]["evaluations"] == 3


def png(width, height):
    """A PNG that says it is so large, and has little of it."""
    return web_desk.png_head(width, height, bytes(1000))


@pytest.mark.parametrize(
    "data, said",
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"GIF89a", "in"),
        (png(60000, 60000), "more than 178 million pixels"),
        (png(9000, 7500), "9000x7500 pixels: expected at most 64 million"),
        (png(900, 700), "damaged"),
        (png(8, 8), "at least 16"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "in"),
        (b"PK\x03\x04" + bytes(100), "in"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, data, said):
    (tmp_path / "in").write_bytes(data)
    with pytest.raises(ImageError, match=said):
        child.decode(str(tmp_path / "in"), str(tmp_path / "out.png"), str(tmp_path / "out.jpg"))
    assert not (tmp_path / "out.png").exists()


def test_nothing_is_left_of_an_upload_that_is_refused(made, monkeypatch):
    found, _ = made
    before = sorted(found.uploads.iterdir())
    answers = []

    async def ask(do, **more):  # what a child does, without one
        asking = SimpleNamespace(stdin=io.StringIO(json.dumps({"do": do, **more})), stdout=io.StringIO())
        with monkeypatch.context() as patched:
            patched.setattr(child, "sys", asking)
            patched.setattr(child, "limit", lambda own: answers.append(own))
            child.main()
        raise Refused(json.loads(asking.stdout.getvalue())["refused"], 422)

    with web_desk.client(found) as page:
        page.pages.children.ask = ask
        answer = page.post("/uploads", content=png(60000, 60000), headers={"Content-Type": "image/png"})
    assert answers == [False]  # an upload is not of our own
    assert answer.status_code == 422 and str(found.folder) not in answer.text
    assert answer.json()["refused"].startswith("more than 178 million pixels")
    assert sorted(found.uploads.iterdir()) == before


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX limits")
def test_a_child_has_limits():
    code = "from style.web import child; child.limit(own=False); bytearray(child.MEMORY)"
    done = subprocess.run([sys.executable, "-c", code], cwd=web_desk.ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.endswith("\nMemoryError\n")


def test_old_uploads_go_and_what_a_killed_process_left(made, monkeypatch):
    found, asked = made
    id = found.submit(asked)
    (found.uploads / f"{uploads.INCOMING}abc").write_bytes(b"half")
    (found.uploads / f"{'1' * 20}.png").write_bytes(b"half")
    (found.runs / ("2" * 20)).mkdir()
    (found.runs / "mine").mkdir()
    (found.uploads / "mine.txt").touch()
    (found.queue.folder / "mine.json").write_text("{}")
    monkeypatch.setattr(uploads, "KEPT", 1)
    uploads.Uploads(found, None).tidy()
    found.tidy()
    (found.queue.folder / "mine.json").unlink()
    assert {p.stem for p in found.uploads.iterdir()} == {asked.styles[0], "mine"}
    assert {p.name for p in found.runs.iterdir()} == {id, "mine"}
    assert found.statuses() == {id: "waiting"}
    with pytest.raises(Refused, match="choose it again"):
        found.submit(asked)
    assert work(found)[0][1] == "done"  # the run has pictures of its own


def test_scales_are_those_of_auto_and_a_coarser_one():
    assert scales(512, 120) == "128:40,256:120,512:60"
    assert scales(256, 20) == "128:20,256:20"
    assert scales(100, 120) == "100:120"


def test_paused_it_lets_others_go_first_and_goes_on_to_the_same_digits(made):
    found, asked = made
    one, whole = found.submit(asked), found.submit(asked)
    assert [(id, status) for id, status, _ in work(found, at(found, one, 4, PAUSE))] == [(one, "interrupted")]
    assert found.status(one) == "paused" and found.wish(one) == ""
    assert [id for id, *_ in work(found)] == [whole]
    found.go_on(one)
    heard = []
    assert work(found, lambda e: heard.append(e))[0][1] == "done"
    first = next(e for e in heard if isinstance(e, Evaluated))
    assert first.evaluation >= 4
    assert np.array_equal(pixels(found, one), pixels(found, whole))
    lines = (found.run(one) / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["evaluation"] for line in lines] == [*range(1, 7)]


def test_where_a_pause_cannot_be_saved_the_run_goes_on_until_it_can(made, monkeypatch):
    found, asked = made
    id, save, tried = found.submit(asked), State.save, []

    def full_at_first(*args):
        tried.append(None)
        if len(tried) < 3:
            raise FileError("state: cannot be written (No space left on device)")
        save(*args)

    monkeypatch.setattr(State, "save", full_at_first)
    assert work(found, at(found, id, 1, PAUSE))[0][1] == "interrupted"
    assert (len(tried), found.status(id)) == (3, "paused")


@pytest.mark.parametrize("wish", [STOP, REMOVE])
def test_on_a_full_disk_a_run_hears_that_it_is_to_end(made, monkeypatch, wish):
    """Where no file can be made, nor any be longer, names can be changed."""
    found, asked = made
    id, really = found.submit(asked), os.open
    hear, heard = at(found, id, 3, wish), []

    def full(path, flags, *more, **options):
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really(path, flags, *more, **options)

    def listener(event):
        if isinstance(event, Evaluated):
            heard.append(event.evaluation)
            if event.evaluation == 3:
                monkeypatch.setattr(os, "open", full)
        hear(event)

    ((of, status, message),) = work(found, listener)
    assert (of, heard) == (id, [1, 2, 3] if wish == REMOVE else [1, 2, 3, 4])  # of six; what is removed hears no fourth
    assert status == "interrupted" if wish == REMOVE else "picture.png: cannot be written" in message
    monkeypatch.undo()
    assert found.statuses() == ({} if wish == REMOVE else {id: "failed"})  # its picture could not be written
    assert found.run(id).exists() == (wish == STOP) and found.wish(id) == ""


def test_a_run_of_an_earlier_version_hears_its_wishes(made):
    found, asked = made
    id = found.submit(asked)
    (found.run(id) / "wish.none").unlink()
    assert work(found, at(found, id, 3, PAUSE))[0][1] == "interrupted"
    assert (found.status(id), found.wish(id)) == ("paused", "")


def test_stopped_it_is_kept_as_it_was(made):
    found, asked = made
    id = found.submit(asked)
    assert work(found, at(found, id, 3, STOP)) == [
        (id, "done", "stopped, and kept as it was: stopped after 4 evaluations")
    ]
    assert saving.read_metadata(found.run(id) / "picture.png")["result"]["evaluations"] == 4
    with pytest.raises(Refused, match="done already"):
        found.steer(id, PAUSE)


def test_a_paused_run_can_be_stopped(made):
    found, asked = made
    id = found.submit(asked)
    work(found, at(found, id, 3, PAUSE))
    found.steer(id, STOP)
    assert work(found)[0][2].startswith("stopped, and kept as it was")
    assert saving.read_metadata(found.run(id) / "picture.png")["result"]["evaluations"] == 5


@pytest.mark.parametrize("when", ["waiting", "paused", "running", "ending", "done", "failed"])
def test_removed_nothing_is_left(made, when):
    found, asked = made
    id = found.submit(asked)
    if when == "failed":
        (found.run(id) / "content.png").unlink()
    wishes = {"paused": (3, PAUSE), "running": (3, REMOVE), "ending": (None, REMOVE)}
    if when != "waiting":
        work(found, *([at(found, id, *wishes[when])] if when in wishes else []))
    if when not in ("running", "ending"):
        assert found.status(id) == when
        found.steer(id, REMOVE)
    left = [p for p in found.folder.rglob(f"*{id}*")]
    assert left == [] and found.statuses() == {}


@pytest.mark.parametrize("wish", [REMOVE, PAUSE])
def test_a_wish_that_comes_as_the_runner_lets_go(made, monkeypatch, wish):
    """It has looked for wishes the last time before this one is written down."""
    found, asked = made
    id, write = found.submit(asked), desk.set_wish
    claim = found.queue.claim()

    def late(*args):
        monkeypatch.setattr(desk, "set_wish", write)
        claim.done()
        found.ended(id, False)
        write(*args)

    monkeypatch.setattr(desk, "set_wish", late)
    if wish == REMOVE:
        found.steer(id, wish)
        assert found.statuses() == {} and not found.run(id).exists()
        return
    with pytest.raises(Refused, match="it is done already"):
        found.steer(id, wish)
    assert found.wish(id) == "" and found.status(id) == "done"


def test_one_that_is_put_aside_as_it_is_told_to_go_on_goes_on(made, monkeypatch):
    found, asked = made
    id = found.submit(asked)
    found.steer(id, PAUSE)
    monkeypatch.setattr(found, "status", lambda id: "running")  # as it was a moment ago
    found.go_on(id)
    assert found.statuses() == {id: "waiting"}


def test_removed_at_a_kill_it_is_gone_after_it(made):
    found, asked = made
    done, waits = found.submit(asked), found.submit(asked)
    found.queue.claim().done()
    for id in (done, waits):
        wishes.set_wish(found.run(id), REMOVE)
    runner.recover(found)
    assert found.statuses() == {} and not [*found.runs.iterdir()]


def test_who_writes_into_a_run_that_is_being_removed_leaves_nothing(made, monkeypatch):
    """A report that is being made takes seconds, and its folder must not stay because of it."""
    found, asked = made
    id, rmdir = found.submit(asked), os.rmdir

    def meanwhile(*args, **more):
        with contextlib.suppress(FileNotFoundError):
            (found.run(id) / "report-1.html").touch()
        rmdir(*args, **more)

    monkeypatch.setattr(os, "rmdir", meanwhile)
    found.steer(id, REMOVE)
    assert not [*found.runs.iterdir()]
    (found.runs / f"{desk.GONE}{id}").mkdir()  # by a process that was killed in the middle
    found.tidy()
    assert not [*found.runs.iterdir()]


def test_another_strength_goes_on_from_the_picture_of_a_run_under_way(made):
    found, asked = made
    one, other = found.submit(asked), found.submit(asked)
    new = []

    def listener(event):
        if isinstance(event, Evaluated) and event.evaluation == 3 and not new:
            new.append(found.vary(one, {"strength": 0.8}))
            assert found.status(new[0]) == "waiting"

    assert [id for id, *_ in work(found, listener)] == [one, new[0], other]  # before all that wait
    record = saving.read_metadata(found.run(new[0]) / "picture.png")
    assert record["settings"]["strength"] == 0.8
    assert record["init"]["sha256"] == images.read(found.run(one) / "picture.png").sha256
    assert np.array_equal(images.read(found.run(new[0]) / "start.png").rgb, pixels(found, one))
    assert found.asked(new[0])["from"] == one and not (found.run(one) / "then").exists()
    for options, said in (({"strength": 7}, "strength 7"), ({"style_blend": [1, 2]}, "expected 1 shares")):
        with pytest.raises(Refused, match=said):
            found.vary(new[0], options)
    assert len(found.statuses()) == len(list(found.runs.iterdir())) == 3
    found.steer(one, REMOVE)
    again = found.vary(new[0], {"strength": 0.2})  # of one that is done, whose own start has gone
    assert [id for id, *_ in work(found)] == [again]


def test_two_tabs_that_go_on_from_one_run_at_once(made, monkeypatch):
    """One gets its run, the other a refusal; none is given an id whose run is lost."""
    found, asked = made
    one = found.submit(asked)
    (found.run(one) / "latest.jpg").touch()
    prepared, first = found._prepared, []

    def meanwhile(*args):
        if not first:
            first.append(None)
            first.append(found.vary(one, {"strength": 0.1}))
        return prepared(*args)

    monkeypatch.setattr(found, "_prepared", meanwhile)
    with pytest.raises(Refused, match="another run goes on from it already"):
        found.vary(one, {"strength": 0.9})
    assert {*found.statuses()} == {one, first[1]} == {p.name for p in found.runs.iterdir()}


def test_what_a_page_moves_while_a_run_is_let_go_costs_nothing(made):
    found, asked = made
    id = found.submit(asked)
    wishes.set_wish(found.run(id), PAUSE)
    found.steer(id, PAUSE)  # it waits again, and ended() has not been there yet
    found.ended(id, True)
    assert found.status(id) == "paused"


def test_a_run_that_waits_for_anothers_picture_may_be_paused_at_a_kill(made):
    found, asked = made
    one = found.submit(asked)
    (found.run(one) / "latest.jpg").touch()
    new = found.vary(one, {"strength": 0.8})
    found.steer(new, PAUSE)
    runner.recover(found)  # it has no job file yet
    assert [id for id, *_ in work(found)] == [one, new]
    assert found.status(new) == "paused"


def test_a_run_that_fails_says_why_and_can_be_tried_again(made):
    found, asked = made
    id = found.submit(asked)
    content = found.run(id) / "content.png"
    content.rename(content.with_suffix(".away"))
    assert work(found)[0][1] == "failed"
    entry = feed.entry(found, id, found.status(id))
    assert entry["status"] == "failed" and entry["reason"].startswith("content.png: no such file")
    why = found.place(id, "failed").with_suffix(".json.txt")
    why.write_text(f"{found.queue.folder}/../runs/{id}/picture.png: cannot be written")
    assert found.reason(id) == "picture.png: cannot be written"
    why.unlink()
    assert "the disk may be full" in found.reason(id)
    content.with_suffix(".away").rename(content)
    found.go_on(id)
    assert work(found)[0][1] == "done"


def ended(found, asked, how):
    """The id of a run that has ended so, with all that one leaves."""
    id = found.submit(asked)
    claim = found.queue.claim()
    for name in ("picture.png", "small.jpg", "film.webp", "latest.jpg", "log.jsonl", "plan.json"):
        (found.run(id) / name).touch()
    getattr(claim, how)(*(["why"] if how == "fail" else []))
    return id


@pytest.mark.parametrize("state", [False, True])
def test_tried_again_nothing_of_the_earlier_attempt_is_shown(made, state):
    """But what led to the state from which it goes on."""
    found, asked = made
    id = ended(found, asked, "fail")
    found.report(id).touch()
    if state:
        (found.queue.folder / "states" / f"{id}.json.state").touch()
    found.go_on(id)
    left = {p.name for p in found.run(id).iterdir()} - {"asked.json", *os.listdir(found.run(found.submit(asked)))}
    assert left == ({"latest.jpg", "log.jsonl", "plan.json"} if state else set())
    entry = feed.entry(found, id, found.status(id))
    assert (entry["status"], entry["picture"], entry["report"], entry["reason"]) == ("waiting", False, False, "")


@pytest.mark.skipif(not feed.REPORTS, reason='needs pip install -e ".[report]"')
def test_a_report_is_of_the_picture_that_is_there(made):
    found, asked = made
    id, asked_for = ended(found, asked, "done"), []

    async def ask(do, **more):
        asked_for.append(do)
        with open(more["out"], "w") as file:
            file.write(f"{do} {len(asked_for)}")

    with web_desk.client(found) as page:
        page.pages.children.ask = ask
        said = [page.get(f"/runs/{id}/report").text for _ in range(2)]
        os.utime(found.run(id) / "picture.png", (1, 1))  # another one
        said.append(page.get(f"/runs/{id}/report").text)
        (found.run(id) / "picture.png").unlink()
        assert page.get(f"/runs/{id}/report").status_code == 404
    assert said == ["report 1", "report 1", "report 2"]


def test_the_history_goes_on_after_a_run_that_was_removed_meanwhile(made):
    found, asked = made
    old, middle, new = sorted(ended(found, asked, "done") for _ in range(3))
    found.steer(middle, REMOVE)
    with web_desk.client(found) as page:
        ids = [[r["id"] for r in page.get(f"/history?after={after}").json()["runs"]] for after in ("", new, middle)]
    assert ids == [[new, old], [old], [old]]


def test_a_message_about_a_painting_names_no_folder():
    words = "/home/me/uploads/1.png: damaged, see /home/me/uploads/0.png"
    asked = {"content": "/home/me/uploads/0.png", "styles": ["/home/me/uploads/1.png"], "options": {}}
    assert child._without_path(words, asked) == "damaged, see the picture"


def test_where_a_disk_has_no_links_a_copy_is_whole_or_not_there(made, tmp_path, monkeypatch):
    def none(*args):
        raise OSError(errno.EPERM, "no links here")

    def full(source, target):
        target.write(source.read(3))
        raise OSError(errno.ENOSPC, "No space left on device")

    found, _ = made
    source = next(found.uploads.glob("*.png"))
    monkeypatch.setattr(os, "link", none)
    small_files.link(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    monkeypatch.setattr(small_files.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        small_files.link(source, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_a_killed_process_had_claimed_is_taken_up_at_once(made):
    """As long as it comes farther each time; one that always ends its process is given up."""
    found, asked = made
    id = found.submit(asked)
    for lines in (0, 1, 1, 3, 3, 3, 3):
        claim = found.queue.claim()
        assert claim.name == f"{id}.json"
        (found.run(id) / "log.jsonl").write_text('{"evaluation": 1}\n' * lines)
        runner.recover(found)
    assert found.queue.claim() is None
    assert found.status(id) == "failed" and "ended without a word" in found.reason(id)
    found.go_on(id)
    assert work(found)[0][1] == "done"


def test_what_was_wished_before_a_kill_is_done_after_it(made):
    found, asked = made
    paused, done = found.submit(asked), found.submit(asked)
    wishes.set_wish(found.run(paused), PAUSE)
    os.rename(found.place(paused, "waiting"), found.queue.folder / "running" / f"{paused}.json@1-abc")
    (found.run(paused) / "log.jsonl").write_text("{}\n")
    runner.recover(found)
    assert found.status(paused) == "paused"
    work(found)
    new = found.vary(done, {"strength": 1.0})
    os.remove(found.place(new, "waiting"))  # as if the process had ended before
    (found.run(done) / "then").write_text(new)
    runner.recover(found)
    assert found.status(paused) == "paused" and found.status(new) == "waiting"
    found.tidy()
    assert [id for id, *_ in work(found)] == [new]


def test_the_feed_tells_whoever_comes_what_there_is(made):
    found, asked = made
    with web_desk.client(found) as page:
        id = page.post("/runs", json={"content": asked.content, "styles": [*asked.styles], "size": 64}).json()["id"]
        pages = page.pages

        async def two_tabs():
            look = asyncio.create_task(pages.feed.look())
            told = [pages._told() for _ in range(2)]
            first = [[await anext(t), await anext(t)][1] for t in told]
            pages.desk.steer(id, PAUSE)
            second = [await anext(t) for t in told]
            pages.feed.end()
            ends = [[part async for part in t] for t in told]
            await look
            return first, second, ends

        pages.feed = feed.Feed(found)
        first, second, ends = asyncio.run(two_tabs())
    assert first[0] == first[1] and f'"id": "{id}", "status": "waiting"' in first[0]
    assert second[0] == second[1] and '"status": "paused"' in second[0]
    assert ends == [[], []]


def test_curves_are_read_on_from_where_they_ended(tmp_path):
    path = tmp_path / "log"
    line = '{"evaluation": %d, "scale": 1, "loss": 2.0, "content": 1.0}\n'
    path.write_text(line % 1 + line % 2 + '{"evaluat')
    first = feed.points(path, 0)
    assert first["points"] == [[1, 1, 2.0, 1.0, None, None], [2, 1, 2.0, 1.0, None, None]]
    assert feed.last_of(path)["evaluation"] == 2
    path.write_text(line % 1 + line % 2 + line % 3)
    second = feed.points(path, first["next"])
    assert [p[0] for p in second["points"]] == [3] and second["start"] == first["next"]
    path.write_text(line % 1)
    assert feed.points(path, second["next"])["start"] == 0  # it has begun anew
    assert feed.points(tmp_path / "none", 5)["points"] == [] and feed.last_of(tmp_path / "none") == {}


def test_a_loss_that_is_not_finite_is_no_json_of_a_browser(made):
    found, asked = made
    id = found.submit(asked)
    line = '{"evaluation": %d, "scale": 1, "loss": %s, "content": %s, "seconds": 1}\n'
    (found.run(id) / "log.jsonl").write_text(line % (1, 3.5, "Infinity") + line % (2, "NaN", 1))
    told = json.dumps([feed.active(found), feed.points(found.run(id) / "log.jsonl", 0)], allow_nan=False)
    assert json.loads(told)[1]["points"] == [[1, 1, 3.5, None, None, None]]


def test_shares_of_several_paintings(made):
    found, asked = made
    two = Asked.of(
        {"content": asked.content, "styles": [asked.content, *asked.styles], "style_blend": [1, 3], "size": 64}
    )
    id = found.submit(two)
    assert work(found, at(found, id, 2, STOP))[0][1] == "done"
    assert saving.read_metadata(found.run(id) / "picture.png")["settings"]["style_blend"] == [1.0, 3.0]


def test_a_process_that_ends_again_and_again_is_told_of(made, monkeypatch):
    found, _ = made
    monkeypatch.setattr(supervisor, "LONGEST", 0.0)
    monkeypatch.setattr(supervisor, "command", lambda *args: [sys.executable, "-S", "-c", "raise SystemExit(3)"])

    async def watch():
        keeper, look = supervisor.Supervisor(found), feed.Feed(found)
        task = asyncio.create_task(keeper.keep())
        while not keeper.trouble():
            await asyncio.sleep(0.01)
        look.trouble = keeper.trouble
        await keeper.close()
        await task
        return json.loads(look._look())["trouble"]

    assert "ends again and again" in asyncio.run(watch())


def test_connections_that_ask_nothing_are_closed():
    class Connection:
        def __init__(self, cycle):
            self.cycle, self.closed, self.transport = cycle, False, self

        def close(self):
            self.closed = True

    silent, busy = Connection(None), Connection(SimpleNamespace(response_complete=False))
    idle = Connection(SimpleNamespace(response_complete=True))
    found = server.Server(None, None, None)
    found.server_state.connections = {silent, busy, idle}
    for now in (0, server.SILENT - 1, server.SILENT + 1):
        assert not silent.closed
        found._drop_silent(now)
    assert (silent.closed, busy.closed, idle.closed) == (True, False, True)


def test_the_queue_is_bounded(made, monkeypatch):
    found, asked = made
    monkeypatch.setattr(desk, "MOST_WAITING", 1)
    found.submit(asked)
    with pytest.raises(Refused, match="1 runs wait already"):
        found.submit(asked)


@pytest.mark.parametrize(
    "args, said, code",
    [
        (["--port", "many"], "--port 'many': expected a number", 2),
        (["--port", "70000"], "--port '70000': expected a number", 2),
        (["--folder", __file__], "a file; expected a folder", 2),
        (["--folder", os.path.dirname(__file__)], "has other files in it", 2),
        (["--host", "256.0.0.1"], "--host 256.0.0.1: cannot listen there", 2),
        (["--prt", "1"], "did you mean --port?", 2),
    ],
)
def test_refused_in_a_line(tmp_path, monkeypatch, capsys, args, said, code):
    monkeypatch.chdir(tmp_path)
    try:
        found = program.main(["--no-browser", "--folder", "web", *args])
    except SystemExit as error:
        found = error.code
    error = capsys.readouterr().err
    assert found == code and said in error and error.count("\n") == 1, error


def test_without_the_packages_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(program, "NEEDED", ("a_package_that_is_missing",))
    assert program.main([]) == 1
    assert capsys.readouterr().err == f"style.web: {program.INSTALL}\n"


@pytest.mark.skipif(lock.fcntl is None, reason="needs file locks")
def test_one_page_at_a_folder_and_one_at_a_port(tmp_path, capsys, monkeypatch):
    Desk(tmp_path)
    with lock.hold(tmp_path / "web.lock"):
        assert program.main(["--no-browser", "--folder", str(tmp_path)]) == 2
    assert "another style.web works there" in capsys.readouterr().err
    with server.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert program.main(["--no-browser", "--folder", str(tmp_path), "--port", str(port)]) == 2
        monkeypatch.setattr(server, "PORT", port)
        with server.listen("127.0.0.1", None) as other:  # the default one is taken: another
            assert other.getsockname()[1] != port
    assert f"--port {port}: cannot be had" in capsys.readouterr().err


def test_a_folder_is_not_called_none(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert program.main(["--no-browser", "--folder", "none"]) == 2
    says = "expected a folder name; leave --folder away, or give ./none for a folder of that name"
    assert capsys.readouterr().err == f"style.web: --folder none: {says}\n"
    assert not list(tmp_path.iterdir())


def test_it_says_aloud_what_it_opens(tmp_path, capsys):
    for host, said in (("127.0.0.1", ""), ("::1", ""), ("0.0.0.0", "every address of this machine is reached")):
        program._announce(SimpleNamespace(host=host, no_browser=True), Access(1), SimpleNamespace(folder=tmp_path))
        out, error = capsys.readouterr()
        assert said in error and bool(error) == bool(said)
        assert "/?token=" in out


@pytest.mark.parametrize("host, begins", [("::1", "[::1]"), ("127.0.0.2", "127.0.0.2"), ("Studio.lan", "Studio.lan")])
def test_the_address_that_is_printed_is_the_one_it_listens_on(tmp_path, capsys, host, begins):
    access = Access(8421, program._hosts(host))
    program._announce(SimpleNamespace(host=host, no_browser=True), access, SimpleNamespace(folder=tmp_path))
    assert f" http://{begins}:8421/?token=" in capsys.readouterr().out
    assert access.is_host(f"{begins.lower()}:8421")  # browsers write names small
