"""Pictures that come in: counted while they arrive, decoded in a process with limits, kept under ids of our own."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ..samples import SAMPLES
from .asked import ID, Refused, check_id
from .children import Children
from .desk import Desk, new_id
from .small_files import read_json, write_json

BYTES = 64 << 20  # of an upload
KEPT = 100  # uploads; a run has links of its own to those that it uses
FREE = 512 << 20  # bytes that stay free on the disk
NAME = 80  # characters
INCOMING = ".incoming-"


class Uploads:
    def __init__(self, desk: Desk, children: Children):
        self.folder, self.children = desk.uploads, children

    async def receive(self, chunks: AsyncIterator[bytes], name: str) -> dict[str, Any]:
        """Store what arrives; {id, name, width, height, notes}. Raises Refused.

        name  as the client calls it: shown, and no part of any path
        """
        self._check_disk()
        id = new_id("0")
        raw = self.folder / f"{INCOMING}{id}"
        try:
            await _write(raw, chunks)
            return await self._keep(id, name, "decode", file=str(raw))
        finally:
            raw.unlink(missing_ok=True)

    async def sample(self, name: str) -> dict[str, Any]:
        """One of our own pictures, in the same way."""
        if name not in SAMPLES:
            raise Refused(f"sample: expected one of {', '.join(SAMPLES)}", 404)
        for path in self.folder.glob("*.json"):
            found = read_json(path)
            if found and found.get("sample") == name:
                return found
        return await self._keep(new_id("0"), f"{name} (sample)", "draw", sample=name)

    def small(self, id: str) -> Path:
        """The file of the small picture. Raises Refused."""
        path = self.folder / f"{check_id(id)}.jpg"
        if not path.exists():
            raise Refused("no such picture: choose it again", 404)
        return path

    def path(self, id: str) -> str:
        """The file of the picture. Raises Refused."""
        path = self.folder / f"{check_id(id)}.png"
        if not path.with_suffix(".json").exists():
            raise Refused("a picture is not here any more: choose it again", 409)
        return str(path)

    def tidy(self) -> None:
        """Remove what a killed process left, and the oldest of too many. At the start alone nothing is arriving."""
        whole = {p.stem for p in self.folder.glob("*.json")}
        for path in self.folder.iterdir():
            if path.name.startswith(INCOMING) or (ID.fullmatch(path.stem) and path.stem not in whole):
                path.unlink(missing_ok=True)
        self._thin()

    async def _keep(self, id, name, do, sample=None, **more):
        out, small, about = (self.folder / f"{id}{suffix}" for suffix in (".png", ".jpg", ".json"))
        if sample:
            more["name"] = sample
        try:
            found = await self.children.ask(do, out=str(out), small=str(small), **more)
            about_it = {"id": id, "name": clean(name), **found} | ({"sample": sample} if sample else {})
            await asyncio.to_thread(write_json, about, about_it)
        except BaseException:
            for path in (out, small):
                path.unlink(missing_ok=True)
            raise
        self._thin()
        return about_it

    def _thin(self):
        for path in sorted(self.folder.glob("*.json"))[:-KEPT]:
            for suffix in (".json", ".png", ".jpg"):
                path.with_suffix(suffix).unlink(missing_ok=True)

    def _check_disk(self):
        if shutil.disk_usage(self.folder).free < FREE:
            raise Refused("the disk is nearly full: free some space first", 507)


async def _write(path, chunks):
    """Write what arrives to a file that only this user may read."""
    count = 0
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags, 0o600), "wb") as f:
            async for chunk in chunks:
                count += len(chunk)
                if count > BYTES:
                    raise Refused(f"more than {BYTES >> 20} MiB: save it smaller", 413)
                await asyncio.to_thread(f.write, chunk)
    except OSError as error:
        raise Refused(f"cannot be stored ({error.strerror})", 507) from None
    if count == 0:
        raise Refused("empty: expected a picture")


def clean(name: str) -> str:
    """A name as it may be shown: one line, no control characters, not too long."""
    return "".join(c for c in name if c.isprintable())[:NAME].strip() or "picture"
