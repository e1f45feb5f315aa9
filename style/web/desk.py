"""The folder of a page: what was asked for, where each run stands, what came of it. Nothing is known elsewhere.

    uploads/ID.json, .png, .jpg   a picture that came in: what it is, decoded and upright, and small
    jobs/                         a jobqueue.Queue of ID.json
    jobs/paused/ID.json           a run that waits to be gone on with
    runs/ID/asked.json            what was asked for
    runs/ID/content.png, style-1.png, start.png   its own pictures
    runs/ID/plan.json, log.jsonl, latest.jpg      written by the runner while it works; small.jpg, film.webp
    runs/ID/wish.none             empty; its name is what the runner is to do with it: wish.pause, .stop, .remove
    runs/ID/then                  the id of the run that goes on from its picture
    runs/ID/picture.png           what came of it
    runs/ID/report-N.html         all about it, once somebody has asked for it; N tells which picture it is of
    runs/.gone-…                  what is being removed

A run changes hands by a rename, as in jobqueue.py; where ID.json lies says where the run stands.
"""

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

from minivgg.files import FileTakenError
from minivgg.program import UsageError

from ..many.jobqueue import DONE, FAILED, RUNNING, STATES, Queue
from .asked import ID, Asked, Refused, check_id, checked, new_id, picture_names
from .lock import hold
from .small_files import link, read_json, read_text, write_json, write_text
from .wishes import NOTHING, PAUSE, REMOVE, STOP, begin, set_wish, wish_of

WAITING, PAUSED = "waiting", "paused"
ACTIVE = (WAITING, RUNNING, PAUSED)
MOST_WAITING = 100
PICTURE, LATEST, LOG, PLAN, ASKED = "picture.png", "latest.jpg", "log.jsonl", "plan.json", "asked.json"
FILM, REPORT, SMALL = "film.webp", "report-*.html", "small.jpg"
GONE = ".gone-"
MARK = "minivgg-style.web"  # an empty file by which the folder is known


class Desk:
    """Makes the folders within `folder`, which only this user may read. Raises UsageError for a folder of other things:
    what is not known is removed here (tidy)."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self.folder / MARK).exists():
            if any(self.folder.iterdir()):
                raise UsageError(f"--folder {folder}: has other files in it; give an empty one, or a new name")
            (self.folder / MARK).touch()
        self.uploads, self.runs, jobs = (self.folder / name for name in ("uploads", "runs", "jobs"))
        for made in (self.uploads, self.runs, jobs, jobs / PAUSED):
            made.mkdir(exist_ok=True, mode=0o700)
        self.queue = Queue(jobs)

    # --- where things are ---------------------------------------------------------------------------------------

    def run(self, id: str) -> Path:
        return self.runs / check_id(id)

    def place(self, id: str, status: str) -> Path:
        """Where the job file of a run of this status lies; a running one's name has a mark behind it."""
        return self.queue.folder / ("" if status == WAITING else status) / f"{check_id(id)}.json"

    def statuses(self) -> dict[str, str]:
        """{id: status} of all runs, the earliest first. One that changes hands meanwhile is looked for again."""
        for _ in range(3):
            found: dict[str, str] = {}
            for status in (WAITING, RUNNING, DONE, FAILED, PAUSED):
                with os.scandir(self.place("0" * 16, status).parent) as entries:
                    names = [e.name.partition("@")[0] for e in entries]
                found |= {n.removesuffix(".json"): status for n in names if n.endswith(".json")}
            found = {read_text(p): WAITING for p in self.runs.glob("*/then")} | found
            found = {id: status for id, status in found.items() if ID.fullmatch(id)}
            if all(p.name in found for p in self.runs.iterdir() if ID.fullmatch(p.name)):
                break
        return dict(sorted(found.items(), key=lambda item: item[0][1:]))

    def status(self, id: str) -> str:
        """Raises Refused where there is no such run."""
        found = self.statuses().get(check_id(id))
        if found is None:
            raise Refused("no such run: it has been removed", 404)
        return found

    def report(self, id: str) -> Path:
        """Where the report of a run's picture is, or is to be: a run that is tried again gets another picture. Raises
        FileNotFoundError where there is no picture."""
        return self.run(id) / REPORT.replace("*", str((self.run(id) / PICTURE).stat().st_mtime_ns))

    def asked(self, id: str) -> dict[str, Any]:
        """What was asked for: {names, preset, options, from, created}."""
        return read_json(self.run(id) / ASKED) or {}

    def reason(self, id: str) -> str:
        """Why a run failed, in words without folders."""
        words = read_text(self.place(id, FAILED).with_suffix(".json.txt")).strip()
        for folder in (f"{self.queue.folder}{os.sep}", f"{self.run(id)}{os.sep}", f"../runs/{id}/"):
            words = words.replace(folder, "")
        return words or "It failed, and why could not be written down: the disk may be full."

    # --- what a page asks for -----------------------------------------------------------------------------------

    def submit(self, asked: Asked) -> str:
        """Put a picture that is wished for into the queue; returns its id. Raises Refused."""
        self._check_room()
        sources = [self.uploads / name for name in (asked.content, *asked.styles)]
        labels = [(read_json(s.with_suffix(".json")) or {}).get("name", "") for s in sources]
        if not all(s.with_suffix(".json").exists() for s in sources):
            raise Refused("a picture is not here any more: choose it again", 409)
        id = new_id("1")
        with self._prepared(id, sources, {"names": labels, "preset": asked.preset, "options": asked.options}):
            self._enqueue(id)
        return id

    def vary(self, id: str, options: dict[str, Any]) -> str:
        """A run that goes on from another's picture with other options, before all that wait; returns its id.

        One that is not done is stopped first, and its picture kept.
        """
        self._check_room()
        status, before = self.status(id), self.asked(id)
        if status == FAILED or (self.run(id) / "then").exists():
            raise Refused("it has failed" if status == FAILED else "another run goes on from it already", 409)
        self._check_begun(id, status)
        count = len(before.get("names", ()))
        sources = [(self.run(id) / name).with_suffix("") for name in picture_names(count)]
        new = new_id("0")
        asked = before | {"options": before["options"] | checked(options), "from": id}
        Asked("0" * 16, ("0" * 16,) * (count - 1), asked["preset"], asked["options"]).settings()
        with self._prepared(new, sources, asked):
            try:
                write_text(self.run(id) / "then", new, replace=False)
            except FileTakenError:  # by another tab, since we looked
                raise Refused("another run goes on from it already", 409) from None
        try:
            self.steer(id, STOP)
        except Refused:  # it is done
            self.follow(id)
        return new

    def steer(self, id: str, wish: str) -> None:
        """Pause, stop (and keep the picture) or remove a run, whatever its status. Raises Refused."""
        status = self.status(id)
        if status in (DONE, FAILED) and wish != REMOVE:
            raise Refused("it is done already", 409)
        if wish == PAUSE and status == PAUSED:
            return
        if status != RUNNING and wish in (PAUSE, REMOVE):
            target = self.place(id, PAUSED) if wish == PAUSE else self.run(id) / "removed"
            with contextlib.suppress(FileNotFoundError):  # the runner was faster: it is running
                os.replace(self.place(id, status), target)
                if wish == REMOVE:
                    self.erase(id)
                return
        if wish == STOP:
            self._check_begun(id, status)
        set_wish(self.run(id), wish)
        if status == PAUSED:
            self._release(id)
        elif status == RUNNING and self.statuses().get(id) != RUNNING:
            self._too_late(id, wish)

    def _too_late(self, id, wish):
        """The runner has let go of a run since we looked, perhaps before it could read the wish: do what is still to be
        done. One that waits is stopped when its turn comes."""
        status = self.statuses().get(id)
        if status is not None and (status, wish) != (WAITING, STOP):
            set_wish(self.run(id), NOTHING)
            self.steer(id, wish)

    def go_on(self, id: str) -> None:
        """A paused run, or one that failed, waits again."""
        status = self.status(id)
        set_wish(self.run(id), NOTHING)
        if status == FAILED:
            self._try_again(id)
        elif status == DONE:
            raise Refused("it is done already", 409)
        else:
            self._release(id)  # a running one may be put aside at this moment

    def _try_again(self, id):
        """Let a run that failed wait again. What it has left is no part of the new one, but for a state and what led
        to it."""
        with contextlib.suppress(FileNotFoundError):  # another tab was faster
            os.replace(self.place(id, FAILED), self.place(id, PAUSED))  # nobody works at it meanwhile
            state = self.queue.folder / STATES / f"{id}.json.state"
            names = (PICTURE, SMALL, FILM, *(() if state.exists() else (LOG, LATEST, PLAN)))
            for path in [*(self.run(id) / name for name in names), *self.run(id).glob(REPORT)]:
                path.unlink(missing_ok=True)
            self.place(id, FAILED).with_suffix(".json.txt").unlink(missing_ok=True)
            self._release(id)

    # --- what the runner does -----------------------------------------------------------------------------------

    def wish(self, id: str) -> str:
        """What is wished of a run, or nothing."""
        return wish_of(self.run(id))

    def ended(self, id: str, interrupted: bool) -> None:
        """The runner has let go of a run, which waits again where it was interrupted: do what was wished of it."""
        wish = self.wish(id)
        if wish == REMOVE:  # also where it came to its end before it could be heard
            self.place(id, WAITING).unlink(missing_ok=True)
            self.erase(id)
            return
        if interrupted and wish == PAUSE:
            with contextlib.suppress(FileNotFoundError):  # a page has moved it meanwhile
                os.replace(self.place(id, WAITING), self.place(id, PAUSED))
        if wish and (not interrupted or wish == PAUSE):
            set_wish(self.run(id), NOTHING)
        if not interrupted:
            self.follow(id)

    def follow(self, id: str) -> None:
        """Let the run begin that goes on from this one's picture, where there is one that waits for it."""
        then = self.run(id) / "then"
        if not then.exists():
            return
        with hold(self.folder / "follow.lock", wait=lambda: None):  # a page and the runner may both be here
            if not (new := read_text(then)):
                return
            start = self.run(new) / "start.png"
            if (self.run(id) / PICTURE).exists() and not start.exists():
                link(self.run(id) / PICTURE, start)
            if new not in self.statuses() or not self._has_job(new):
                self._enqueue(new, start if start.exists() else None)
            then.unlink(missing_ok=True)

    def erase(self, id: str) -> None:
        """Remove what is left of a run whose job file has gone; one that waits for its picture goes on without."""
        self.follow(id)
        (self.queue.folder / STATES / f"{id}.json.state").unlink(missing_ok=True)
        for status in (DONE, FAILED):
            self.place(id, status).unlink(missing_ok=True)
        self.place(id, FAILED).with_suffix(".json.txt").unlink(missing_ok=True)
        gone = self.runs / f"{GONE}{id}"
        with contextlib.suppress(OSError):
            os.replace(self.run(id), gone)  # at once: a process that still writes a report there finds no folder
        for path in (gone, self.run(id)):
            shutil.rmtree(path, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a process that was killed had begun: folders of runs that nobody asked for in the end. For the
        start alone, when nobody else is at it."""
        known = self.statuses()
        for path in self.runs.iterdir():
            if path.name.startswith(GONE) or (path.name not in known and ID.fullmatch(path.name)):
                shutil.rmtree(path, ignore_errors=True)

    # --- within -------------------------------------------------------------------------------------------------

    def _check_room(self):
        if sum(s in (WAITING, PAUSED) for s in self.statuses().values()) >= MOST_WAITING:
            raise Refused(f"{MOST_WAITING} runs wait already: remove some first", 409)

    def _check_begun(self, id, status):
        if status == WAITING and not (self.run(id) / LATEST).exists():
            raise Refused("it has not begun: there is no picture yet", 409)

    def _has_job(self, id):
        return any(self.place(id, s).exists() for s in (WAITING, PAUSED, DONE, FAILED)) or any(
            (self.queue.folder / RUNNING).glob(f"{id}.json@*")
        )

    def _release(self, id):
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.place(id, PAUSED), self.place(id, WAITING))

    @contextlib.contextmanager
    def _prepared(self, id, sources, asked):
        """A block with the run's folder, of pictures of its own, each with its small one; gone if the block fails.

        sources  paths without a suffix
        """
        run = self.run(id)
        run.mkdir(mode=0o700)
        try:
            for source, name in zip(sources, picture_names(len(sources)), strict=True):
                for suffix in (".png", ".jpg"):
                    link(source.with_suffix(suffix), run / Path(name).with_suffix(suffix))
            begin(run)
            write_json(run / ASKED, {"created": time.time(), **asked})
            yield
        except BaseException:
            shutil.rmtree(run, ignore_errors=True)
            raise

    def _enqueue(self, id, start=None):
        asked = self.asked(id)
        options = Asked("", (), asked["preset"], asked["options"]).job_options()
        content, *styles = [f"../runs/{id}/{name}" for name in picture_names(len(asked["names"]))]
        job = {"content": content, "styles": styles, "output": f"../runs/{id}/{PICTURE}", "options": options}
        if start is not None:
            options["init"] = f"../runs/{id}/{start.name}"
        write_json(self.place(id, WAITING), job | ({"preset": asked["preset"]} if asked["preset"] else {}))
