"""What comes in and goes out, bounded in size and time: bodies as they arrive, files as they are at this moment."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse

from .asked import Refused

JSON_BYTES = 16 << 10
SLOW = 20.0  # seconds without a byte of a body, after which it is given up
PART = 256 << 10  # bytes of a file that are sent at once
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".html": "text/html"}


async def chunks(request: Request) -> AsyncIterator[bytes]:
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


async def json_of(request):
    """A body of JSON. Raises Refused."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused("expected JSON", 415)
    found = b""
    async for chunk in chunks(request):
        found += chunk
        if len(found) > JSON_BYTES:
            raise Refused(f"more than {JSON_BYTES} bytes", 413)
    try:
        return json.loads(found)
    except (ValueError, RecursionError):
        raise Refused("not JSON") from None


def length(request):
    text = request.headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


async def file_of(path, filename=None):
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


async def unless_gone(request, work):
    """The result of `work`, which is given up when nobody waits for it any more."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.wait([task], timeout=0.2)
        if not task.done() and await request.is_disconnected():
            task.cancel()
            raise Refused("nobody waits for it", 499)
    return task.result()
