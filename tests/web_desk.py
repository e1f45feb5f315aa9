"""What the tests of the page share: a desk with pictures on it, a client that may ask, a narrow network as the best."""

import contextlib
import functools
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import ClassVar

import cases
import httpx
import numpy as np
import psutil
from PIL import Image
from starlette.testclient import TestClient

import weights
from style.many.worker import Worker
from style.pictures import saving
from style.web import runner
from style.web.app import Pages, make_app
from style.web.desk import Desk, new_id
from style.web.security import Access

ROOT = Path(__file__).resolve().parent.parent
PORT = 8421
ADDRESS = f"http://127.0.0.1:{PORT}"


def narrow_network(folder, monkeypatch):
    """The best network that is there is a narrow one, in this process and in those that it starts."""
    folder.mkdir()
    weights.save_compact(cases.make_network(), folder / "vgg19.npz")
    monkeypatch.setenv("MINIVGG_CACHE", str(folder))


def make_desk(folder):
    """(Desk, ids of a photograph and a painting that came in)."""
    desk, ids = Desk(folder), []
    for name, picture in zip(("photo.png", "painting.png"), cases.blocks(((5, 7), (6, 4))), strict=True):
        ids.append(new_id("0"))
        for suffix in (".png", ".jpg"):
            saving.save(desk.uploads / f"{ids[-1]}{suffix}", picture)
        about = {"id": ids[-1], "name": name, "width": picture.shape[1], "height": picture.shape[0], "notes": []}
        (desk.uploads / f"{ids[-1]}.json").write_text(json.dumps(about))
    return desk, ids


@contextlib.contextmanager
def client(desk):
    """A TestClient whose requests have an Origin and the token's cookie, unless they say otherwise (None: not at all).

    Its lifespan is the block's.
    """
    access = Access(PORT)
    pages = Pages(desk)
    with TestClient(make_app(pages, access), base_url=f"{ADDRESS}{access.place}") as found:
        own = {"Origin": ADDRESS, "Cookie": f"{access.cookie}={access.token}"}

        def request(method, path, headers=None, **more):
            found.cookies.clear()
            headers = own | (headers or {})
            return TestClient.request(
                found, method, path, headers={k: v for k, v in headers.items() if v is not None}, **more
            )

        found.request, found.access, found.desk, found.pages = request, access, desk, pages
        yield found


def work(desk, *more):
    """Do what a runner does with the queue, until nothing waits or a run is paused; [(id, status, message)].

    more  listeners beside its own
    """
    found = []
    for made in Worker(desk.queue).each(lambda item: [*runner.listeners(desk, item), *more]):
        runner.told(desk, made)
        found.append((made.item.content.removesuffix(".json"), made.status, made.message))
    return found


class Server:
    """`python -m style.web` on a folder, as a process; asked as its page would."""

    started: ClassVar[list] = []

    def __init__(self, folder, *args):
        command = [sys.executable, "-m", "style.web", "--no-browser", "--port", "0", "--folder", str(folder), *args]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, env=environment, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.started.append(self)
        said = ""
        while "token=" not in said:
            said = self.process.stdout.readline()
            assert said, self.process.communicate()[1]
        self.url = said.split()[-1]
        self.base = self.url.partition("/?")[0]
        self.client = httpx.Client(headers={"Origin": self.base}, timeout=60)
        opened = self.client.get(self.url).raise_for_status()
        self.place = re.search('url=([^"]+)/"', opened.text)[1]
        self.client.base_url = f"{self.base}{self.place}"

    def post(self, path, data=None):
        answer = self.client.post(path, json=data or {})
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def submit(self, ids, **options):
        return self.post("/runs", {"content": ids[0], "styles": [ids[1]], "size": 64, "evaluations": 6} | options)["id"]

    def status(self, id):
        return self.client.get(f"/runs/{id}").json()["status"]

    def wait(self, test, seconds=90):
        end = time.monotonic() + seconds
        while not test():
            assert time.monotonic() < end, "it did not come about in time"
            time.sleep(0.1)

    def kill(self):
        """As a machine does that loses its power: all processes at once."""
        found = [self.process.pid, *(p.pid for p in psutil.Process(self.process.pid).children(recursive=True))]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()

    @classmethod
    def kill_all(cls):
        """Those that a test that failed has left."""
        for server in cls.started:
            if server.process.poll() is None:
                server.kill()
        cls.started.clear()

    def end(self):
        """Ctrl-C; (exit code, what was said on standard error)."""
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        _, error = self.process.communicate(timeout=30)
        return self.process.returncode, error


def png_bytes():
    """A PNG of noise."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@functools.cache
def bomb():
    """A PNG of 13000 x 13000 black pixels in half a megabyte."""
    return png_head(13000, 13000, bytes(13000 * (1 + 13000 * 3)))


def png_head(width, height, data):
    """A PNG that says it is so large, and holds `data`."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
