"""Fetch the published networks: several addresses, resumed, verified, converted once, kept in the cache folder.

The way of a file: addresses in turn -> `NAME.HASH.part` -> size and hash -> reader -> compact `NAME.npz`, which takes
its name last and whole. Only one process at a time works on a name: the others wait at a lock and then find the file.
Standard library only: pooch, which does the same, cannot resume, and half a gigabyte is worth resuming.
"""

import errno
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request

from minivgg.program import first_line

from . import matconvnet
from .cache import cache_dir, entry, lock
from .known import WeightsError, file_hash, identify, kind_of, published_md5
from .sources import SOURCES, Source
from .store import Network, load_compact, save_compact

CHUNK = 1 << 20
TIMEOUT = 60  # seconds without a byte
ATTEMPTS = 4  # connections in a row that may break off without bringing a byte, at one address
PAUSE = 1.0  # seconds, times the number of such connections, before the next
SPARE = 120 << 20  # bytes that must stay free for the compact file (80 MB for VGG-19) and some air


class _NextAddress(Exception):
    """This address will not do; another may."""


class Progress:
    """What `fetch` tells its caller; this one keeps silent."""

    def message(self, text):
        """One line worth reading."""

    def start(self, done, total):
        """A transfer begins at byte `done` of `total` (None: unknown)."""

    def advance(self, count):
        """`count` bytes more."""

    def stop(self):
        """The transfer is over, well or not."""


class StayOnHttps(urllib.request.HTTPRedirectHandler):
    """An address with TLS (which urllib verifies) may not lead to one without."""

    def redirect_request(self, request, file, code, message, headers, url):
        if request.full_url.startswith("https:") and not url.startswith("https:"):
            raise urllib.error.URLError(f"it leads from https to {url.partition(':')[0]}, which is not followed")
        return super().redirect_request(request, file, code, message, headers, url)


def fetch(name, *, url=None, keep=False, progress=None):
    """Bring a published network into the cache; returns the path of its compact file.

    name  "vgg19" or "vgg16"
    url   a mirror to ask instead of the built-in addresses; what it sends must have a known hash all the same
    keep  keep the downloaded .mat beside the compact file
    An entry that is there already is left as it is. Raises WeightsError; what was received stays for the next time.
    """
    progress = progress or Progress()
    if name not in SOURCES:
        raise WeightsError(f"nothing known about fetching {name!r}; expected one of {', '.join(SOURCES)}")
    sources = SOURCES[name] if url is None else (Source(url, None),)
    folder, target = cache_dir(), entry(name)

    def waiting():
        progress.message("another process is fetching the same; waiting for it")

    with lock(folder / f"{name}.lock", waiting):
        if _is_there(target, progress):
            progress.message(f"{name} is there already: {target}")
            return target
        received = _from_any(name, sources, folder, progress, strict=url is not None)
        _convert(name, received, target, keep, progress)
    return target


def _is_there(target, progress):
    """Whether the entry is there and sound; one that is not gets replaced."""
    if not os.path.isfile(target):
        return False
    try:
        load_compact(target)
    except WeightsError as error:
        progress.message(f"{error}: fetching it again")
        return False
    return True


def _from_any(name, sources, folder, progress, strict):
    """Path of a verified download from the first address that delivers it."""
    reasons = {}  # a set that keeps its order
    for source in sources:
        part = folder / f"{name}.{source.tag}.part"
        progress.message(f"fetching {source.url}")
        try:
            resumed = _size(part) > 0
            _download(source, part, progress)
            if not _is_right(name, source, part, strict) and resumed:
                progress.message("  the two halves do not fit together; starting over")
                part.unlink()
                _download(source, part, progress)
            _verify(name, source, part, strict)
            return part
        except _NextAddress as reason:
            reasons[str(reason)] = None
            progress.message(f"  {reason}")
    raise WeightsError(
        f"{name} could not be fetched from {len(sources)} address(es) ({'; '.join(reasons)}); try again later "
        f"(what came is kept), name a mirror with --url, or bring the file yourself: "
        f"python -m weights convert FILE --name {name}"
    )


# --- one transfer -------------------------------------------------------------------------------------------


def _download(source, part, progress):
    """Bring the whole of one address into `part`, going on where it stands; _NextAddress when that fails."""
    barren = 0
    while True:
        before = _size(part)
        try:
            if _transfer(source, part, progress):
                return
            reason = f"the connection ended at {_size(part):,} bytes"
        except urllib.error.HTTPError as error:
            raise _NextAddress(f"HTTP {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise _disk_full(part) from None
            reason = first_line(getattr(error, "reason", None) or error)
        barren = 0 if _size(part) > before else barren + 1
        if barren >= ATTEMPTS or not _size(part):  # an address that never answered is not asked again
            raise _NextAddress(reason)
        progress.message(f"  {reason}; going on")
        time.sleep(PAUSE * barren)


def _transfer(source, part, progress):
    """One request; appends to `part`. True when the file is complete."""
    have = _size(part)
    headers = {"User-Agent": "minivgg-style", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        opener = urllib.request.build_opener(StayOnHttps)
        response = opener.open(urllib.request.Request(source.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing after `have`: complete, or longer than the file is
            total = _total_of(error.headers.get("Content-Range"))
            if total == have:
                return True
            part.unlink()
            return _transfer(source, part, progress)
        raise
    with response:
        total, start = _extent(response, have)
        _check_answer(source, response, part, total)
        if start is None:  # the server knows nothing of ranges, or has another file: from the beginning
            start = 0
            part.unlink(missing_ok=True)
        _check_space(part, None if total is None else total - start)
        progress.start(start, total)
        try:
            done = _copy(response, part, start, progress)
        finally:
            progress.stop()
    return total is None or done == total


def _extent(response, have):
    """(total size or None, byte at which the answer begins or None when it has to be from the beginning)."""
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not span or int(span[1]) != have:
            raise _NextAddress("the server answers with another range than the one asked for")
        return int(span[2]), have
    length = response.headers.get("Content-Length")
    return (int(length) if length and length.isdigit() else None), None


def _total_of(content_range):
    span = re.fullmatch(r"bytes \*/(\d+)", content_range or "")
    return int(span[1]) if span else None


def _check_answer(source, response, part, total):
    """Raise _NextAddress for an answer that cannot be the file, before a byte of it is kept."""
    if "html" in response.headers.get("Content-Type", "").lower():
        raise _NextAddress("it answers with a web page (HTML) instead of the file")
    if source.size and total and total != source.size:
        if response.status == 206:
            part.unlink(missing_ok=True)
        raise _NextAddress(f"the file there has {total:,} bytes, expected {source.size:,}")


def _copy(response, part, start, progress):
    """Append the answer's body to `part`; returns the size it has then."""
    done = start
    with open(part, "ab") as file:
        while True:
            block = response.read(512) if done == 0 else response.read1(CHUNK)
            if not block:
                return done
            if done == 0 and (kind := kind_of(block)) != "mat" and not b"MATLAB 5.0".startswith(block):
                raise _NextAddress(f"what it sends is {kind} instead of the file")
            _write(file, block)
            done += len(block)
            progress.advance(len(block))


def _write(file, block):
    file.write(block)


def _size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _check_space(part, missing):
    """Raise WeightsError when the disk has no room for what is still to come."""
    free = shutil.disk_usage(part.parent).free
    needed = (missing or 0) + SPARE
    if free < needed:
        raise WeightsError(
            f"{part.parent}: {free >> 20:,} MB free, {needed >> 20:,} MB needed; free some, or set MINIVGG_CACHE to "
            "a folder on another disk"
        )


def _disk_full(part):
    return WeightsError(
        f"{part.parent}: the disk is full after {_size(part):,} bytes; free some and run the same command again (it "
        "goes on from there), or set MINIVGG_CACHE to a folder on another disk"
    )


# --- after the transfer -------------------------------------------------------------------------------------


def _is_right(name, source, part, strict):
    """Whether a download has a hash that is known for this network.

    Where nobody has published one, and the address is a built-in one, the reader judges by every layer's shape.
    """
    known = identify(md5=file_hash(part, "md5"))
    return known.network == name if known else source.md5 is None and not strict


def _verify(name, source, part, strict):
    """Raise _NextAddress for a wrong file, which is removed, so that nothing builds on it."""
    if _is_right(name, source, part, strict):
        return
    md5 = file_hash(part, "md5")
    known = identify(md5=md5)
    expected = source.md5 or " or ".join(published_md5(name))
    found = f"it is {known.label}" if known else f"{part.stat().st_size:,} bytes with MD5 {md5}"
    part.unlink()
    raise _NextAddress(f"wrong file: {found}; expected MD5 {expected}")


def _convert(name, received, target, keep, progress):
    """The compact file out of a verified download, which is then removed or given its own name."""
    progress.message("verified; converting")
    try:
        got = matconvnet.load_mat(received)
        if got.arch != name:
            raise WeightsError(f"{received}: it holds {got.arch}, expected {name}")
    except WeightsError:
        received.unlink(missing_ok=True)  # whole, but not what it should be: never again
        raise
    kept = target.parent / f"imagenet-vgg-verydeep-{name[3:]}.mat"
    network = Network(name, got.arch, got.params, got.mean, got.order, sha256=got.sha256, path=kept)
    save_compact(network, target)
    if keep:
        os.replace(received, kept)
    for part in target.parent.glob(f"{name}.*.part"):  # this one, and what was begun at other addresses
        part.unlink()
    progress.message(f"{name} is ready: {target}")
