"""The page under load, and killed: nothing is lost, nothing is half, nothing grows, no traceback.

`MINIVGG_KILLS=20 pytest -m slow tests/test_web_load.py` kills it twenty times. `MINIVGG_REQUESTS` bad requests (200).
"""

import pytest

pytest.importorskip("starlette", reason='needs pip install -e ".[web]"')

import contextlib
import json
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import web_desk
from web_desk import Server

from style.pictures import images
from style.web.desk import Desk

COUNT = int(os.environ.get("MINIVGG_KILLS", "3"))
REQUESTS = int(os.environ.get("MINIVGG_REQUESTS", "200"))
QUEUED, TABS = 20, 3
GROWTH = 60e6  # bytes
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    web_desk.narrow_network(tmp_path / "cache", monkeypatch)
    yield tmp_path / "web"
    Server.kill_all()


def listen(server, heard, stop):
    """A tab: reads what it is told until `stop`, or the server ends."""
    with (
        contextlib.suppress(httpx.HTTPError),
        server.client.stream("GET", "/events") as answer,
    ):
        for line in answer.iter_lines():
            if line.startswith("data: "):
                heard.append(json.loads(line[6:]))
            if stop.is_set():
                return


def raw(server, text, *, pause=0.0):
    """Send bytes as they are, one half after the other; the status of the answer, or 0 where there is none."""
    host, port = server.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        try:
            connection.sendall(text[: len(text) // 2])
            time.sleep(pause)
            connection.sendall(text[len(text) // 2 :])
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(200)
        except OSError:
            return 0
    return int(answer.split()[1]) if answer else 0


def head(server, line, *more, cookie=True):
    own = [f"Host: {server.base.removeprefix('http://')}", f"Origin: {server.base}"]
    own += [f"Cookie: {c.name}={c.value}" for c in server.client.cookies.jar] if cookie else []
    return "\r\n".join([line.replace(" /", f" {server.place}/", 1), *own, *more, "", ""]).encode("latin-1")


def bad_request(server, ids, number):
    """(kind, status) of one of many ways to ask for what nobody gets."""
    ask, rng = server.client.request, random.Random(number)
    noise, upload = rng.randbytes(rng.randrange(1, 20000)), {"Content-Type": "image/png"}
    picture = web_desk.png_bytes()
    asked = {"content": ids[0], "styles": [ids[1]]}
    ways = {
        "token": lambda: ask("GET", f"{server.base}/?token={noise[:20].hex()}").status_code,
        "no cookie": lambda: raw(server, head(server, "GET /about HTTP/1.1", cookie=False)),
        "host": lambda: ask("GET", "/about", headers={"Host": "evil.example"}).status_code,
        "origin": lambda: ask("POST", "/runs", json=asked, headers={"Origin": "http://evil.example"}).status_code,
        "size": lambda: ask("POST", "/runs", json=asked | {"size": rng.randrange(5000, 10**9)}).status_code,
        "field": lambda: ask("POST", "/runs", json={"content": ids[0]}).status_code,
        "path": lambda: ask("GET", f"/runs/..%2f..%2f{noise[:4].hex()}/picture").status_code,
        "id": lambda: ask("POST", "/runs", json=asked | {"content": "../../../etc/passwd"}).status_code,
        "kind": lambda: ask("POST", "/uploads", content=noise, headers={"Content-Type": "text/html"}).status_code,
        "length": lambda: raw(
            server,
            head(server, "POST /uploads HTTP/1.1", "Content-Type: image/png", "Content-Length: 99999999999") + noise,
        ),
        "huge header": lambda: raw(server, head(server, "GET /about HTTP/1.1", f"X-Long: {'a' * 10**6}")),
        "no HTTP": lambda: raw(server, noise),
        "cut off": lambda: raw(
            server,
            head(server, "POST /uploads HTTP/1.1", "Content-Type: image/png", "Content-Length: 50000") + noise[:300],
        ),
        "slow": lambda: raw(
            server,
            head(server, "POST /uploads HTTP/1.1", "Content-Type: image/png", "Content-Length: 40") + bytes(20),
            pause=0.5,
        ),
        "method": lambda: ask("DELETE", f"/runs/{ids[0]}").status_code,
        "absent": lambda: ask("POST", f"/runs/{ids[0]}/remove", json={}).status_code,
    }
    decoded = {  # each costs a process
        "bomb": lambda: ask("POST", "/uploads", content=web_desk.bomb(), headers=upload).status_code,
        "noise": lambda: ask("POST", "/uploads", content=noise, headers=upload).status_code,
        "truncated": lambda: ask("POST", "/uploads", content=picture[: len(picture) // 2], headers=upload).status_code,
    }
    ways = decoded if number % 12 == 0 else ways
    kind = [*ways][number % len(ways)] if ways is not decoded else [*ways][number // 12 % len(ways)]
    return kind, ways[kind]()


def test_tabs_a_queue_and_bad_requests(folder):
    desk, ids = web_desk.make_desk(folder)
    server = Server(folder)
    heard, stop = [[] for _ in range(TABS)], threading.Event()
    tabs = [threading.Thread(target=listen, args=(server, h, stop), daemon=True) for h in heard]
    for tab in tabs:
        tab.start()
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    runs = [server.submit(ids, strength=(k + 1) / (QUEUED + 2)) for k in range(QUEUED)]
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda k: bad_request(server, ids, k), range(REQUESTS))]
    fine = {(kind, status) for kind, status in found if 400 <= status < 500 or (status == 0 and kind in MAY_BE_CUT)}
    assert {*found} == fine
    assert len({kind for kind, _ in found}) == 19
    server.wait(lambda: all(server.status(id) == "done" for id in runs))
    assert process.memory_info().rss - before < GROWTH
    more = server.submit(ids)
    server.wait(lambda: all(h and more in h[-1]["ended"] for h in heard))
    stop.set()
    for name in ("uploads", "runs"):
        assert not [p for p in (folder / name).rglob(".*")]
    assert len([*desk.uploads.iterdir()]) == 6  # nothing of what was refused
    for id in runs:
        assert images.read(desk.run(id) / "picture.png").rgb.shape == (46, 64, 3)
    assert heard[0][-1] == heard[1][-1] == heard[2][-1]
    code, error = server.end()
    assert code == 130 and error.count("\n") == 1, error
    assert "Traceback" not in (folder / "runner.log").read_text()


MAY_BE_CUT = ("huge header", "length", "no HTTP", "cut off", "slow")  # the connection may end before the answer is read


def test_killed_at_random_moments(folder):
    """All processes at once, or the runner alone; started again, queue and results are whole, and come to their end."""
    desk, ids = web_desk.make_desk(folder)
    server = Server(folder)
    whole = server.submit(ids, evaluations=60)
    server.wait(lambda: server.status(whole) == "done")
    expected = images.read(desk.run(whole) / "picture.png").rgb
    runs, rng = [], random.Random(COUNT)
    for k in range(COUNT):
        runs += [server.submit(ids, evaluations=60) for _ in range(2)]
        time.sleep(rng.uniform(0, 2))
        if k % 3 == 2:
            for child in psutil.Process(server.process.pid).children():
                child.kill()
            continue
        server.kill()
        check_whole(desk, [whole, *runs])
        server = Server(folder)
    server.wait(lambda: all(server.status(id) in ("done", "failed") for id in runs), 60 + 6 * COUNT)
    statuses = [server.status(id) for id in runs]
    for id in [i for i, s in zip(runs, statuses, strict=True) if s == "failed"]:  # killed three times where it was
        server.post(f"/runs/{id}/go-on")
    server.wait(lambda: all(server.status(id) == "done" for id in runs))
    for id in runs:
        assert np.array_equal(images.read(desk.run(id) / "picture.png").rgb, expected)
        lines = (desk.run(id) / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["evaluation"] for line in lines] == [*range(1, 61)]
    code, error = server.end()
    assert code == 130 and "Traceback" not in error + (folder / "runner.log").read_text()
    assert not [p for name in ("jobs", "runs") for p in (folder / name).rglob(".*")]


def check_whole(desk: Desk, runs):
    """No run is lost, and what exists is not half."""
    assert set(desk.statuses()) == set(runs)
    for path in [*desk.runs.rglob("*.png"), *desk.runs.rglob("*.jpg")]:
        images.read(path)
    for path in desk.folder.rglob("*.json"):
        json.loads(path.read_text())


def test_ctrl_c_ends_it_soon_and_the_run_waits(folder):
    desk, ids = web_desk.make_desk(folder)
    server = Server(folder)
    id = server.submit(ids, evaluations=4000)
    server.wait(lambda: server.client.get(f"/runs/{id}").json()["evaluation"] > 20)
    assert server.end()[0] == 130  # within the time that Server.end() gives it
    assert desk.statuses() == {id: "waiting"}
    assert (desk.queue.folder / "states" / f"{id}.json.state").exists()
    reached = len((desk.run(id) / "log.jsonl").read_text().splitlines())
    server = Server(folder)
    server.wait(lambda: server.client.get(f"/runs/{id}").json()["evaluation"] > reached)
    server.post(f"/runs/{id}/stop")
    server.wait(lambda: server.status(id) == "done")
    server.end()
