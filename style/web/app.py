"""The application: addresses and what answers them, a few lines each around desk, uploads, children or feed."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..settings import DEFAULT_SIZE, presets
from .asked import LARGEST, MOST_STYLES, SIMPLE, Asked, Refused
from .children import Children
from .desk import ACTIVE, LATEST, LOG, PAUSE, PICTURE, REMOVE, STOP, Desk
from .feed import Feed, entry, points
from .security import Access, Guard
from .uploads import BYTES, Uploads, clean

STATIC = Path(__file__).parent / "static"
JSON_BYTES = 16 << 10
SLOW = 20.0  # seconds without a byte of a body, after which it is given up
WHOLE = 300.0  # seconds that a body may take
AT_ONCE = 8  # uploads that arrive at the same time
KEEP_ALIVE = 15.0  # seconds between two words to a page that hears nothing else
SHOWN = 24  # of the history, in one answer
PART = 256 << 10  # bytes of a file that are sent at once
TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


class Pages:
    """What the addresses lead to."""

    def __init__(self, desk: Desk):
        self.desk, self.children = desk, Children()
        self.uploads, self.feed = Uploads(desk, self.children), Feed(desk)
        self.arriving = 0

    async def index(self, request):
        return FileResponse(STATIC / "index.html")

    async def about(self, request):
        """What the page must know before anything is chosen."""
        limits = {"bytes": BYTES, "size": LARGEST, "styles": MOST_STYLES}
        recipes = {name: p["source"] for name, p in presets().items()}
        return JSONResponse({"limits": limits, "presets": recipes, "size": DEFAULT_SIZE})

    # --- pictures that come in ----------------------------------------------------------------------------------

    async def upload(self, request):
        if request.headers.get("content-type", "").partition("/")[0] not in ("image", "application"):
            raise Refused("expected a picture", 415)
        if _length(request) > BYTES:
            raise Refused(f"more than {BYTES >> 20} MiB: save it smaller", 413)
        if self.arriving >= AT_ONCE:
            raise Refused("too many uploads at once: try again", 429)
        self.arriving += 1
        try:
            async with asyncio.timeout(WHOLE):
                name = unquote(request.headers.get("x-name", ""))
                return JSONResponse(await self.uploads.receive(_chunks(request), name), 201)
        except TimeoutError:
            raise Refused("the upload took too long", 408) from None
        finally:
            self.arriving -= 1

    async def sample(self, request):
        return JSONResponse(await self.uploads.sample(request.path_params["name"]), 201)

    async def small(self, request):
        return await _file(self.uploads.small(request.path_params["id"]))

    # --- runs ---------------------------------------------------------------------------------------------------

    async def plan(self, request):
        asked = Asked.of(await _json(request))
        content, *styles = [self.uploads.path(id) for id in (asked.content, *asked.styles)]
        options = asked.job_options()
        work = self.children.ask("plan", content=content, styles=styles, preset=asked.preset, options=options)
        return JSONResponse(await _unless_gone(request, work))

    async def submit(self, request):
        asked = Asked.of(await _json(request))
        return JSONResponse({"id": await asyncio.to_thread(self.desk.submit, asked)}, 201)

    async def vary(self, request):
        options = await _json(request)
        if not isinstance(options, dict) or not options or not set(options) <= set(SIMPLE):
            raise Refused(f"expected some of {', '.join(SIMPLE)}")
        return JSONResponse({"id": await asyncio.to_thread(self.desk.vary, request.path_params["id"], options)}, 201)

    async def steer(self, request):
        id, what = request.path_params["id"], request.path_params["what"]
        if what == "go-on":
            await asyncio.to_thread(self.desk.go_on, id)
        elif what in (PAUSE, STOP, REMOVE):
            await asyncio.to_thread(self.desk.steer, id, what)
        else:
            raise Refused(f"expected {PAUSE}, go-on, {STOP} or {REMOVE}", 404)
        return Response(status_code=204)

    async def one(self, request):
        id = request.path_params["id"]
        status = await asyncio.to_thread(self.desk.status, id)
        return JSONResponse(await asyncio.to_thread(entry, self.desk, id, status))

    async def points(self, request):
        start = request.query_params.get("start", "0")
        path = self.desk.run(request.path_params["id"]) / LOG
        return JSONResponse(await asyncio.to_thread(points, path, int(start) if start[:12].isdecimal() else 0))

    async def latest(self, request):
        return await _file(self.desk.run(request.path_params["id"]) / LATEST)

    async def own(self, request):
        """The small one of a run's own pictures."""
        name = request.path_params["name"]
        if name not in ("content", *(f"style-{k}" for k in range(1, MOST_STYLES + 1))):
            raise Refused("no such picture", 404)
        return await _file(self.desk.run(request.path_params["id"]) / f"{name}.jpg")

    async def picture(self, request):
        id = request.path_params["id"]
        names = [clean(name).rpartition(".")[0] or name for name in self.desk.asked(id).get("names", [])]
        name = "-".join(name.replace("/", "_") for name in names[:3]) or "picture"
        return await _file(self.desk.run(id) / PICTURE, f"{name}.png")

    # --- what pages are told ------------------------------------------------------------------------------------

    async def events(self, request):
        return StreamingResponse(self._told(), media_type="text/event-stream")

    async def _told(self) -> AsyncIterator[str]:
        version = 0
        yield "retry: 1000\n\n"
        while not self.feed.closing:
            if await self.feed.changed(version, KEEP_ALIVE):
                version = self.feed.version
                yield f"data: {self.feed.text}\n\n"
            else:
                yield ": still here\n\n"

    async def history(self, request):
        """Runs that have ended, the latest first, SHOWN after the one that is named."""
        statuses = await asyncio.to_thread(self.desk.statuses)
        found = [id for id, status in statuses.items() if status not in ACTIVE][::-1]
        after = request.query_params.get("after", "")
        found = found[found.index(after) + 1 :] if after in found else found
        entries = [entry(self.desk, id, statuses[id]) for id in found[:SHOWN]]
        return JSONResponse({"runs": entries, "more": len(found) > SHOWN})


def make_app(pages: Pages, access: Access, *parts) -> Guard:
    """The application. parts  objects with keep() and close(), which live as long as it does (the supervisor)"""

    @contextlib.asynccontextmanager
    async def lifespan(app):
        tasks = [asyncio.create_task(pages.feed.look()), *(asyncio.create_task(p.keep()) for p in parts)]
        try:
            yield
        finally:
            pages.feed.end()
            for part in parts:
                await part.close()
            for task in tasks:
                task.cancel()

    inner = Starlette(
        routes=_routes(pages), lifespan=lifespan, exception_handlers={Refused: _refused, HTTPException: _failed}
    )
    return Guard(inner, access)


def _routes(pages):
    run = "/runs/{id}"
    return [
        Route("/", pages.index),
        Route("/about", pages.about),
        Route("/events", pages.events),
        Route("/history", pages.history),
        Route("/uploads", pages.upload, methods=["POST"]),
        Route("/uploads/{id}", pages.small),
        Route("/samples/{name}", pages.sample, methods=["POST"]),
        Route("/plan", pages.plan, methods=["POST"]),
        Route("/runs", pages.submit, methods=["POST"]),
        Route(run, pages.one),
        Route(f"{run}/points", pages.points),
        Route(f"{run}/latest", pages.latest),
        Route(f"{run}/picture", pages.picture),
        Route(f"{run}/pictures/{{name}}", pages.own),
        Route(f"{run}/vary", pages.vary, methods=["POST"]),
        Route(f"{run}/{{what}}", pages.steer, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """A body as it arrives. Raises Refused where it stops arriving."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(SLOW):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise Refused(f"nothing arrived for {SLOW:.0f} s", 408) from None
        except ClientDisconnect:
            raise Refused("the connection ended before the upload did", 400) from None
        if chunk is None:
            return
        if chunk:
            yield chunk


async def _json(request):
    """A body of JSON. Raises Refused."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused("expected JSON", 415)
    found = b""
    async for chunk in _chunks(request):
        found += chunk
        if len(found) > JSON_BYTES:
            raise Refused(f"more than {JSON_BYTES} bytes", 413)
    try:
        return json.loads(found)
    except (ValueError, RecursionError):
        raise Refused("not JSON") from None


def _length(request):
    text = request.headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


async def _file(path, filename=None):
    """What a file holds at this moment, whether it is replaced or removed meanwhile.

    filename  under which a browser is to save it; None: to be shown
    """
    try:
        file = await asyncio.to_thread(open, path, "rb")
    except OSError:
        raise Refused("there is no such picture, or not yet", 404) from None

    async def parts():
        with file:
            while part := await asyncio.to_thread(file.read, PART):
                yield part

    headers = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
    if filename:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
    return StreamingResponse(parts(), headers=headers, media_type=TYPES[path.suffix])


async def _unless_gone(request, work):
    """The result of `work`, which is given up when nobody waits for it any more."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.wait([task], timeout=0.2)
        if not task.done() and await request.is_disconnected():
            task.cancel()
            raise Refused("nobody waits for it", 499)
    return task.result()


async def _refused(request, error):
    return JSONResponse({"refused": error.message}, error.status)


async def _failed(request, error):
    return JSONResponse({"refused": error.detail}, error.status_code)
