"""Fetching from a server on this machine's loopback: whole, broken off, wrong, full disk, two at once."""

import contextlib
import errno
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import matfiles
import numpy as np
import pytest

import weights
from weights import cache, fetch, known, store

ROOT = Path(__file__).resolve().parent.parent
NAME = "/imagenet-vgg-verydeep-19.mat"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files` as its switches say, and writes down what it was asked and what it sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        content = server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            server.log.append((asked, 0))
            self.end_headers()
            return None
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", server.content_type)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.tell_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:][: server.cuts.pop(0) if server.cuts else None]
        server.log.append((asked, len(body)))  # before the body: the client may be done before this thread is
        self.close_connection = True
        with contextlib.suppress(ConnectionError):  # a client that has gone
            for i in range(0, len(body), 4096):
                self.wfile.write(body[i : i + 4096])
                time.sleep(server.delay)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on a free port; `server.url` is its root."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.log, server.cuts = {}, [], []
        server.ranges, server.tell_length, server.delay = True, True, 0
        server.content_type = "application/octet-stream"
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def content(tmp_path):
    """The bytes of a small VGG-19 file."""
    return matfiles.vgg_mat(tmp_path / "made.mat").read_bytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("MINIVGG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def setup(server, content, folder, monkeypatch):
    """The server has the file, and the project knows its hash and that address."""
    server.files[NAME] = content
    md5 = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(known, "KNOWN", (known.KnownFile("vgg19", "the test's file", md5=md5),))
    use(monkeypatch, fetch.Source(server.url + NAME, md5))
    monkeypatch.setattr(fetch, "PAUSE", 0)
    return server


def use(monkeypatch, *sources):
    monkeypatch.setattr(fetch, "SOURCES", {"vgg19": sources})


def assert_fetched(folder):
    """The entry is there, right, and nothing else has been left behind."""
    got, want = weights.load("vgg19"), matfiles.random_params()
    for name, (filters, biases) in want.items():
        assert np.array_equal(got.params[name][0], filters.transpose(3, 2, 0, 1))
        assert np.array_equal(got.params[name][1], biases)
    assert sorted(p.name for p in folder.iterdir()) == ["vgg19.lock", "vgg19.npz"]


def assert_nothing_usable(folder):
    """No entry under the name, whatever else lies there."""
    assert not (folder / "vgg19.npz").exists()
    with pytest.raises(weights.WeightsError, match="not in the cache"):
        weights.load("vgg19")


def parts(folder):
    return list(folder.glob("*.part"))


def refused(**options):
    with pytest.raises(weights.WeightsError) as caught:
        fetch.fetch("vgg19", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- whole, and broken off ----------------------------------------------------------------------------------


def test_complete(setup, folder, content):
    path = fetch.fetch("vgg19")
    assert path == folder / "vgg19.npz"
    assert_fetched(folder)
    network = weights.load("vgg19")
    assert (network.name, network.arch) == ("vgg19", "vgg19")
    assert network.sha256 == hashlib.sha256(content).hexdigest()


def test_what_is_there_is_not_fetched_again(setup, folder):
    fetch.fetch("vgg19")
    fetch.fetch("vgg19")
    assert len(setup.log) == 1


def test_a_damaged_entry_is_fetched_again(setup, folder):
    path = fetch.fetch("vgg19")
    path.write_bytes(path.read_bytes()[:-500])
    fetch.fetch("vgg19")
    assert_fetched(folder)


def test_keep(setup, folder, content):
    fetch.fetch("vgg19", keep=True)
    assert (folder / NAME[1:]).read_bytes() == content


def test_broken_connections_are_gone_on_with(setup, folder, content):
    setup.cuts = [1000, 2000, 700]
    fetch.fetch("vgg19")
    assert_fetched(folder)
    assert [asked for asked, _ in setup.log] == [None, "bytes=1000-", "bytes=3000-", "bytes=3700-"]
    assert sum(sent for _, sent in setup.log) == len(content)  # not a byte twice


class Stop(fetch.Progress):
    """Ctrl-C once this many bytes are there."""

    def __init__(self, at):
        self.left = at

    def advance(self, count):
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt


def test_interrupted_then_resumed(setup, folder, content):
    setup.delay = 0.001
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("vgg19", progress=Stop(20000))
    assert_nothing_usable(folder)
    (part,) = parts(folder)
    have = part.stat().st_size
    assert 20000 <= have < len(content) and content.startswith(part.read_bytes())
    setup.log.clear()
    setup.delay = 0
    fetch.fetch("vgg19")
    assert_fetched(folder)
    assert setup.log[-1] == (f"bytes={have}-", len(content) - have)


def test_a_connection_that_never_gets_on_is_given_up(setup, folder):
    setup.cuts = [1000] + [0] * 50
    assert "the connection ended at 1,000 bytes" in refused()
    assert_nothing_usable(folder)
    assert parts(folder)[0].stat().st_size == 1000  # kept for the next time
    assert len(setup.log) < 10


@pytest.mark.parametrize("at", [1, 100, 5000])
def test_a_server_that_refuses_ranges(setup, folder, content, at):
    setup.ranges, setup.cuts = False, [at]
    fetch.fetch("vgg19")
    assert_fetched(folder)
    assert [sent for _, sent in setup.log] == [at, len(content)]


def test_all_was_there_already(setup, folder, content):
    """A process that died between the last byte and the conversion leaves a whole part."""
    folder.mkdir()
    source = fetch.SOURCES["vgg19"][0]
    (folder / f"vgg19.{source.tag}.part").write_bytes(content)
    fetch.fetch("vgg19")
    assert_fetched(folder)
    assert setup.log == [(f"bytes={len(content)}-", 0)]


@pytest.mark.parametrize("left", [b"something else" * 100, bytes(10**6)], ids=["shorter", "longer"])
def test_what_is_left_does_not_fit(setup, folder, left):
    folder.mkdir()
    (folder / f"vgg19.{fetch.SOURCES['vgg19'][0].tag}.part").write_bytes(left)
    fetch.fetch("vgg19")
    assert_fetched(folder)


def test_a_server_that_does_not_tell_the_length(setup, folder):
    setup.tell_length = False
    fetch.fetch("vgg19")
    assert_fetched(folder)
    shutil.rmtree(folder)
    setup.cuts = [30000]
    assert "wrong file" in refused()  # the end cannot be told from a cut: the hash decides
    assert_nothing_usable(folder)


# --- the wrong thing ----------------------------------------------------------------------------------------


def test_wrong_hash(setup, folder, tmp_path):
    setup.files[NAME] = matfiles.vgg_mat(tmp_path / "other.mat", seed=1).read_bytes()
    message = refused()
    assert "wrong file" in message and hashlib.md5(setup.files[NAME]).hexdigest() in message
    assert_nothing_usable(folder)
    assert not parts(folder)  # nothing that a next run would build on


def test_the_next_address_is_tried(setup, folder, monkeypatch, content):
    setup.files["/wrong"] = b"MATLAB 5.0 MAT-file" + bytes(1000)
    setup.files["/page"] = b"<html>moved</html>"
    right = fetch.SOURCES["vgg19"][0]
    closed = "http://127.0.0.1:9/"  # nobody listens there
    urls = [closed, *(setup.url + p for p in ("/missing", "/page", "/wrong"))]
    use(monkeypatch, *(fetch.Source(url, right.md5) for url in urls), right)
    fetch.fetch("vgg19")
    assert_fetched(folder)
    use(monkeypatch, *(fetch.Source(url, right.md5) for url in urls))
    (folder / "vgg19.npz").unlink()
    message = refused()
    for said in ("HTTP 404", "a web page", "wrong file", "python -m weights convert"):
        assert said in message


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_instead_of_the_file(setup, folder, content_type):
    setup.files[NAME], setup.content_type = b"\n<!DOCTYPE html><title>Sorry</title>" + b" " * 5000, content_type
    assert "web page" in refused()
    assert_nothing_usable(folder)
    assert not any(p.stat().st_size for p in parts(folder))


def test_a_web_page_while_resuming(setup, folder, content):
    """A captive portal in the middle: what came before it stays, and the rest comes later."""
    setup.cuts = [1000]
    fetch_from = setup.files[NAME]
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("vgg19", progress=Stop(1000))
    setup.files[NAME], setup.content_type, setup.ranges = b"<html>log in</html>", "text/html", False
    assert "web page" in refused()
    assert parts(folder)[0].stat().st_size == 1000
    setup.files[NAME], setup.content_type, setup.ranges = fetch_from, "application/octet-stream", True
    fetch.fetch("vgg19")
    assert_fetched(folder)


def test_wrong_size_is_seen_before_a_byte_is_kept(setup, folder, monkeypatch, content):
    right = fetch.SOURCES["vgg19"][0]
    use(monkeypatch, fetch.Source(right.url, right.md5, len(content) + 1))
    assert f"{len(content):,} bytes, expected {len(content) + 1:,}" in refused()
    assert not parts(folder)


def test_an_address_without_a_known_hash_is_judged_by_the_reader(setup, folder, monkeypatch, tmp_path):
    monkeypatch.setattr(known, "KNOWN", ())
    use(monkeypatch, fetch.Source(setup.url + NAME, None))
    fetch.fetch("vgg19")
    assert_fetched(folder)
    (folder / "vgg19.npz").unlink()
    for other, said in [("vgg16", "it holds vgg16, expected vgg19"), ("vgg19", "truncated")]:
        whole = matfiles.vgg_mat(tmp_path / "other.mat", other).read_bytes()
        setup.files[NAME] = whole if other == "vgg16" else whole[:-2000]
        assert said in refused()
        assert_nothing_usable(folder)
        assert not parts(folder)


def test_a_mirror_by_hand(setup, folder, monkeypatch):
    setup.files["/mirror"] = setup.files[NAME]
    fetch.fetch("vgg19", url=setup.url + "/mirror")
    assert_fetched(folder)
    (folder / "vgg19.npz").unlink()
    setup.files["/mirror"] += bytes(8)
    assert "wrong file" in refused(url=setup.url + "/mirror")  # its hash must be a known one
    assert_nothing_usable(folder)
    for url in ("nonsense", "ftp:/x", "http://[", "file:///etc/hostname"):
        refused(url=url)
        assert_nothing_usable(folder)


def test_unknown_name(folder):
    with pytest.raises(weights.WeightsError, match="expected one of vgg19, vgg16"):
        fetch.fetch("vgg11")


# --- full disk ----------------------------------------------------------------------------------------------


def full_after(limit):
    """A write that fails as a full disk does once `limit` bytes are there."""

    def write(file, block):
        room = limit - file.tell()
        file.write(block[: max(room, 0)])
        if len(block) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return write


def test_the_disk_fills_up(setup, folder, monkeypatch, content):
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "_write", full_after(9000))
        message = refused()
    assert "the disk is full after 9,000 bytes" in message and "MINIVGG_CACHE" in message
    assert_nothing_usable(folder)
    assert len(setup.log) == 1  # no other attempt: the disk is as full for every address
    fetch.fetch("vgg19")
    assert_fetched(folder)
    assert setup.log[-1] == ("bytes=9000-", len(content) - 9000)


def test_no_room_from_the_start(setup, folder, monkeypatch):
    usage = shutil.disk_usage(folder.parent)._replace(free=50 << 20)
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: usage)
    message = refused()
    assert "50 MB free" in message and "MINIVGG_CACHE" in message
    assert_nothing_usable(folder)
    assert not parts(folder)


def test_the_disk_fills_up_while_converting(setup, folder, monkeypatch):
    def savez(file, **_):
        file.write(b"PK\x03\x04half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(store.np, "savez", savez)
        assert "No space left" in refused()
    assert_nothing_usable(folder)
    assert not list(folder.glob(".*")), "the half-written file is still there"
    fetch.fetch("vgg19")
    assert_fetched(folder)
    assert setup.log[-1][1] == 0  # the download itself was not lost


def test_a_cache_folder_that_cannot_be_made(setup, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MINIVGG_CACHE", str(tmp_path / "file" / "cache"))
    assert "MINIVGG_CACHE" in refused()


def test_a_cache_folder_whose_name_is_too_long(folder, monkeypatch):
    monkeypatch.setenv("MINIVGG_CACHE", str(folder / ("x" * 300)))
    assert "File name too long" in refused()


def test_an_entry_that_may_not_be_looked_at(setup, folder, monkeypatch):
    """os.stat as it answers those who are not root: the entry counts as missing."""
    stat = os.stat

    def refuse(path, *args, **kwargs):
        if path == folder / "vgg19.npz":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        fetch.fetch("vgg19")
    assert_fetched(folder)


# --- several processes --------------------------------------------------------------------------------------

DRIVER = """
import sys
from weights import fetch, known
from weights.__main__ import main
url, md5 = sys.argv[1:]
known.KNOWN = (known.KnownFile("vgg19", "the test's file", md5=md5),)
fetch.SOURCES = {"vgg19": (fetch.Source(url, md5),)}
sys.exit(main(["fetch", "vgg19"]))
"""


def start_process(server, content):
    arguments = [sys.executable, "-c", DRIVER, server.url + NAME, hashlib.md5(content).hexdigest()]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("it never came to that")


def test_two_processes_at_once(setup, folder, content):
    setup.delay = 0.03  # the transfer outlasts the second process's start
    processes = [start_process(setup, content) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert [out.strip() for out, _ in outputs] == [str(folder / "vgg19.npz")] * 2
    assert len(setup.log) == 1, "both have downloaded it"
    assert_fetched(folder)


def test_a_killed_process_leaves_no_lock_and_nothing_half_written(setup, folder, content):
    setup.delay = 0.05
    process = start_process(setup, content)
    wait_for(lambda: any(p.stat().st_size > 8192 for p in parts(folder)))
    process.kill()
    process.communicate(timeout=60)
    assert_nothing_usable(folder)
    setup.delay = 0
    fetch.fetch("vgg19")
    assert_fetched(folder)
    assert setup.log[-1][0] and setup.log[-1][1] < len(content)  # it went on from there


# --- the table of addresses ---------------------------------------------------------------------------------


def test_built_in_addresses():
    for name, sources in fetch.SOURCES.items():
        assert len({s.url for s in sources}) == len(sources) >= 4
        for source in sources:
            assert source.url.startswith(("https://", "http://")) and f"verydeep-{name[3:]}.mat" in source.url
            assert source.md5 is None or known.identify(md5=source.md5).network == name
    assert cache.BEST_FIRST[:2] == ("vgg19", "vgg16")
