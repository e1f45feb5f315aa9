"""What pages are told: the runs that are under way, each time that something of them has changed; curves; the history.

All is read from the desk's folder, by one task for all pages, so that whoever comes later knows as much.
"""

import asyncio
import importlib.util
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from ..many.jobqueue import DONE, FAILED, RUNNING
from ..report.listener import NEEDED
from .desk import ACTIVE, LATEST, LOG, PICTURE, PLAN, Desk
from .small_files import read_json

LOOK = 0.25  # seconds between two looks at the folder
WHOLE = 2.0  # seconds after which all is looked at again, whatever times the disk keeps
NEWEST = 24  # runs that have ended, by which a page sees whether the history is another one
TAIL = 16 << 10  # bytes of a log in which its last line is
POINTS = 1 << 20  # bytes of a log that are read at once
REPORTS = all(importlib.util.find_spec(name) for name in NEEDED)  # whether there is what makes them
KINDS = ("content", "style", "tv")


class Feed:
    """Tells what is under way. `changed` is awaited by pages; look() runs as long as the program does."""

    def __init__(self, desk: Desk):
        self.desk, self.version, self.text = desk, 0, ""
        self.closing, self.trouble = False, lambda: ""  # gives a line for all pages, or nothing
        self._wake = asyncio.Condition()
        self._seen: tuple[int, ...] = ()
        self._at = 0.0

    async def look(self) -> None:
        while not self.closing:
            try:
                text = await asyncio.to_thread(self._look)
            except OSError:  # something was removed meanwhile, or the disk is in trouble: the next look may tell
                text = None
            if text is not None and text != self.text:
                self.text = text
                self.version += 1
                async with self._wake:
                    self._wake.notify_all()
            await asyncio.sleep(LOOK)
        async with self._wake:
            self._wake.notify_all()

    def end(self) -> None:
        """Let all that waits end soon; may be called from anywhere."""
        self.closing = True

    async def changed(self, version: int, wait: float) -> bool:
        """Wait until there is something else than `version`; whether there is."""
        async with self._wake:
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait_for(lambda: self.version != version or self.closing)
            except TimeoutError:
                return False
        return self.version != version

    def _look(self):
        """The text of what is under way, or None where nothing can have changed."""
        seen, now = self._times(), time.monotonic()
        if seen == self._seen and now - self._at < WHOLE:
            return None
        self._seen, self._at = seen, now
        return json.dumps(active(self.desk) | {"trouble": self.trouble()})

    def _times(self):
        """Times of change of the folders, and of what the running ones write."""
        places = [self.desk.place("0" * 16, s).parent for s in ("waiting", RUNNING, DONE, FAILED, "paused")]
        held = [p.name.partition(".")[0] for p in places[1].glob("[0-9a-f]*")]
        files = [self.desk.runs / id / name for id in held for name in ("", LOG, LATEST)]
        return tuple(map(_time, [*places, self.desk.runs, *files]))


def active(desk: Desk) -> dict[str, Any]:
    """{runs: those that wait, run or are paused; ended: ids of others, the latest first, NEWEST at most}"""
    found = desk.statuses()
    return {
        "runs": [entry(desk, id, status) for id, status in found.items() if status in ACTIVE],
        "ended": [id for id, status in found.items() if status not in ACTIVE][: -NEWEST - 1 : -1],
    }


def entry(desk: Desk, id: str, status: str) -> dict[str, Any]:
    """What is told of a run."""
    run, asked, plan = desk.run(id), desk.asked(id), read_json(desk.run(id) / PLAN) or {}
    last = last_of(run / LOG)
    return {
        "id": id,
        "status": status,
        "wish": desk.wish(id) if status in ACTIVE else "",
        "names": asked.get("names", []),
        "preset": asked.get("preset"),
        "options": asked.get("options", {}),
        "from": asked.get("from"),
        "created": asked.get("created", 0),
        "stages": plan.get("stages", []),
        "evaluation": last.get("evaluation", 0),
        "scale": last.get("scale", 0),
        "loss": finite(last.get("loss")),
        "seconds": last.get("seconds", 0),
        "latest": _time(run / LATEST),
        "picture": (run / PICTURE).exists(),
        "report": REPORTS and (run / PICTURE).exists(),
        "follows": (run / "then").exists(),
        "reason": desk.reason(id) if status == FAILED else "",
    }


def last_of(path: Path) -> dict[str, Any]:
    """The last whole line of a log, as far as it is one."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().split(b"\n")
        return json.loads(lines[-2]) if len(lines) > 1 else {}
    except (OSError, ValueError):
        return {}


def points(path: Path, start: int) -> dict[str, Any]:
    """The curves from byte `start` of a log on: {points: [[evaluation, scale, loss, content, style, tv], …], next}.

    A log that has become shorter, as one of a run that went on from an earlier state, is given from its beginning.
    """
    found = []
    try:
        with open(path, "rb") as file:
            start = start if 0 <= start <= os.fstat(file.fileno()).st_size else 0
            file.seek(start)
            text = file.read(POINTS)
    except OSError:
        return {"points": [], "start": 0, "next": 0}
    whole = text[: text.rfind(b"\n") + 1]
    for line in whole.splitlines():
        try:
            r = json.loads(line)
            values = [r["loss"], *(r.get(kind) for kind in KINDS)]
            if finite(r["loss"]) is not None:
                found.append([r["evaluation"], r["scale"], *map(finite, values)])
        except (ValueError, KeyError):
            continue
    return {"points": found, "start": start, "next": start + len(whole)}


def finite(value):
    """A number as JSON has it: None for one that is not finite, which a browser would not read."""
    return value if value is not None and math.isfinite(value) else None


def _time(path):
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
