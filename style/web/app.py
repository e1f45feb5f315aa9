"""The application: addresses and what answers them, a few lines each around desk, uploads, children or feed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from minivgg.program import first_line

from ..settings import DEFAULT_SIZE, presets
from .asked import LARGEST, MOST_STYLES, Asked, Refused
from .children import Children
from .desk import ACTIVE, FILM, LATEST, LOG, PAUSE, PICTURE, REMOVE, SMALL, STOP, Desk
from .exchange import chunks, file_of, json_of, length, unless_gone
from .feed import REPORTS, Feed, entry, points
from .security import Access, Guard
from .uploads import BYTES, Uploads, clean

STATIC = Path(__file__).parent / "static"
WHOLE = 300.0  # seconds that a body may take
AT_ONCE = 8  # uploads that arrive at the same time
KEEP_ALIVE = 15.0  # seconds between two words to a page that hears nothing else
SHOWN = 24  # of the history, in one answer


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
        recipes = {name: f"{p['source']}: {p['about']}" for name, p in presets().items()}
        return JSONResponse({"limits": limits, "presets": recipes, "size": DEFAULT_SIZE})

    # --- pictures that come in ----------------------------------------------------------------------------------

    async def upload(self, request):
        if request.headers.get("content-type", "").partition("/")[0] not in ("image", "application"):
            raise Refused("expected a picture", 415)
        if length(request) > BYTES:
            raise Refused(f"more than {BYTES >> 20} MiB: save it smaller", 413)
        if self.arriving >= AT_ONCE:
            raise Refused("too many uploads at once: try again", 429)
        self.arriving += 1
        try:
            async with asyncio.timeout(WHOLE):
                name = unquote(request.headers.get("x-name", ""))
                return JSONResponse(await self.uploads.receive(chunks(request), name), 201)
        except TimeoutError:
            raise Refused("the upload took too long", 408) from None
        finally:
            self.arriving -= 1

    async def sample(self, request):
        return JSONResponse(await self.uploads.sample(request.path_params["name"]), 201)

    async def small(self, request):
        return await file_of(self.uploads.small(request.path_params["id"]))

    # --- runs ---------------------------------------------------------------------------------------------------

    async def plan(self, request):
        asked = Asked.of(await json_of(request))
        content, *styles = [self.uploads.path(id) for id in (asked.content, *asked.styles)]
        options = asked.job_options()
        work = self.children.ask("plan", content=content, styles=styles, preset=asked.preset, options=options)
        return JSONResponse(await unless_gone(request, work))

    async def submit(self, request):
        asked = Asked.of(await json_of(request))
        return JSONResponse({"id": await asyncio.to_thread(self.desk.submit, asked)}, 201)

    async def vary(self, request):
        options = await json_of(request)
        if not isinstance(options, dict) or not options:
            raise Refused("expected options that are to be other ones")
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
        text = request.query_params.get("start", "0")
        start = int(text) if text.isdecimal() and len(text) < 16 else 0
        path = self.desk.run(request.path_params["id"]) / LOG
        return JSONResponse(await asyncio.to_thread(points, path, start))

    async def latest(self, request):
        return await file_of(self.desk.run(request.path_params["id"]) / LATEST)

    async def listed(self, request):
        """A small picture of a run that has ended; of another one, the photograph."""
        run = self.desk.run(request.path_params["id"])
        return await file_of(run / SMALL if (run / SMALL).exists() else run / "content.jpg")

    async def own(self, request):
        """The small one of a run's own pictures."""
        name = request.path_params["name"]
        if name not in ("content", *(f"style-{k}" for k in range(1, MOST_STYLES + 1))):
            raise Refused("no such picture", 404)
        return await file_of(self.desk.run(request.path_params["id"]) / f"{name}.jpg")

    async def picture(self, request):
        id = request.path_params["id"]
        return await file_of(self.desk.run(id) / PICTURE, f"{self._called(id)}.png")

    async def report(self, request):
        """To be saved, not to be shown: what it shows itself with, this page's policy does not let in."""
        id = request.path_params["id"]
        run = self.desk.run(id)
        if not REPORTS:
            raise Refused('needs pip install "minivgg-style[report]"', 404)
        try:
            out = self.desk.report(id)
        except FileNotFoundError:
            raise Refused("there is no report", 404) from None
        if not out.exists():
            files = {"picture": run / PICTURE, "log": run / LOG, "film": run / FILM, "out": out}
            asking = self.children.ask("report", **{name: str(path) for name, path in files.items()})
            await unless_gone(request, asking)
        return await file_of(out, f"{self._called(id)}.html")

    def _called(self, id):
        """A name for what is saved of a run."""
        names = [clean(name).rpartition(".")[0] or name for name in self.desk.asked(id).get("names", [])]
        return "-".join(name.replace("/", "_") for name in names[:3]) or "picture"

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
        found = [id for id in found if not after or id[1:] < after[1:]]  # it may have been removed since
        entries = await asyncio.to_thread(lambda: [entry(self.desk, id, statuses[id]) for id in found[:SHOWN]])
        return JSONResponse({"runs": entries, "more": len(found) > SHOWN})


def make_app(pages: Pages, access: Access, *parts: Any) -> Guard:
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

    handlers = {Refused: _refused, HTTPException: _failed, OSError: _unwritten}
    inner = Starlette(routes=_routes(pages), lifespan=lifespan, exception_handlers=handlers)
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
        Route(f"{run}/small", pages.listed),
        Route(f"{run}/report", pages.report),
        Route(f"{run}/pictures/{{name}}", pages.own),
        Route(f"{run}/vary", pages.vary, methods=["POST"]),
        Route(f"{run}/{{what}}", pages.steer, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


async def _refused(request, error):
    return JSONResponse({"refused": error.message}, error.status)


async def _unwritten(request, error):
    return JSONResponse({"refused": f"could not be done ({first_line(error)})"}, 507)


async def _failed(request, error):
    return JSONResponse({"refused": error.detail}, error.status_code)
