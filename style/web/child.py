"""The program of a process that does one thing within limits and ends: decode an upload, plan a job, report.

A request comes as JSON on standard input, the answer goes as JSON to standard output: {"refused": "why"}, or what was
asked for. A file that makes a decoder take all memory, or all time, ends this process and no other.
"""

import contextlib
import json
import os
import sys
from typing import Any

from minivgg.program import first_line
from style.job import Job
from style.many.batches import FAILURES
from style.pictures import ImageError, images, saving
from style.settings import settings_from
from weights import WeightsError

from ..report.curve import ReportError
from ..report.listener import write_page
from .asked import LARGEST

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

PIXELS = 64_000_000  # of an upload
ROOM = 1_600_000_000  # bytes that decoding may take, as it is counted before
MEMORY = 4 << 30  # bytes of address space: the libraries', the threads' and ROOM
SECONDS = 60  # of processor time
WRITTEN = 512 << 20  # bytes of a file
SMALL = 480  # pixels of the small picture


def main() -> int:
    asked = json.load(sys.stdin)
    what: Any = {"decode": decode, "draw": draw, "plan": plan, "report": report}[asked.pop("do")]
    limit(own=what in (plan, report))
    try:
        answer = what(**asked)
    except MemoryError:
        answer = {"refused": "takes more memory than there is for it"}
    except (*FAILURES, WeightsError, ReportError) as error:
        answer = {"refused": _without_path(first_line(error), asked)}
    json.dump(answer, sys.stdout)
    return 0


def limit(own: bool) -> None:
    """The limits of this process. own  whether all that it reads was written here: a job's memory is what it plans"""
    if resource is None:
        return
    wished = [(resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_FSIZE, WRITTEN), (resource.RLIMIT_CORE, 0)]
    for what, most in wished if own else [*wished, (resource.RLIMIT_AS, MEMORY)]:
        with contextlib.suppress(ValueError, OSError):  # a lower one holds already
            resource.setrlimit(what, (most, most))


def decode(file: str, out: str, small: str) -> dict[str, Any]:
    """Read a picture of anybody's and write it as a PNG that is upright, in sRGB, no larger than LARGEST."""

    def need(H, W):
        if H * W > PIXELS:
            raise ImageError(f"{W}x{H} pixels: expected at most {PIXELS // 10**6} million")
        return images.fit(LARGEST, H, W)

    return _keep(images.read(file, need=need, room=ROOM), out, small)


def draw(name: str, out: str, small: str) -> dict[str, Any]:
    """One of our own pictures."""
    return _keep(images.as_picture(f"sample:{name}:640"), out, small)


def _keep(picture, out, small):
    W, H = picture.size
    for path, side in ((out, LARGEST), (small, SMALL)):
        hw = images.fit(side, H, W) if max(H, W) > side else (H, W)
        saving.save(path, picture.resized(hw), alpha=picture.opacity(hw))
    return {"width": W, "height": H, "notes": list(picture.notes)}


def plan(content: str, styles: list[str], preset: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """What a job will take, before it is begun. Sizes are (width, height), memory in bytes, seconds or None."""
    settings = settings_from(preset, **options)
    job = Job(content, styles, settings)
    stages = [
        {"size": s.size[::-1], "evaluations": s.evaluations, "memory": job.plans[s].describe()} for s in job.stages
    ]
    return {
        "content": job.content.size,
        "size": job.size[::-1],
        "styles": [s[::-1] for s in job.style_sizes],
        "stages": stages,
        "peak": max(p.peak for p in job.plans.values()),
        "memory": min(p.memory for p in job.plans.values()),
        "seconds": job.forecast(),
        "network": job.network.name,
        "device": str(job.device),
        "notes": [*job.filters.notes, *job.content.notes],
    }


def report(picture: str, log: str, film: str, out: str) -> dict[str, Any]:
    """The page that tells everything about a run that is over."""
    from ..report.facts import facts_of, read_from  # here: these take longer to load than all the rest
    from ..report.page import page

    animation = film if os.path.exists(film) else None
    with read_from(picture):
        text = page(facts_of(picture, log, animation=animation))
    write_page(out, text, True)
    return {}


def _without_path(words, asked):
    """A message without the names of files: they are this program's own."""
    for value in asked.values():
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str):
                words = words.removeprefix(f"{path}: ").replace(path, "the picture")
    return words


if __name__ == "__main__":
    sys.exit(main())
