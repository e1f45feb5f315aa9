"""Who may ask: the right Host and Origin, and the token; what every answer says to the browser.

A page of another site can make a browser send requests here, and a name of its own can be made to lead here (DNS
rebinding): Host and Origin tell them. Another user of this machine can connect as well: the token is not known to them.
Nor is it sent to them: a browser sends the cookies of 127.0.0.1 to programs at all of its ports, but those of a path to
that path alone, and ours is drawn anew at each start.
"""

import contextlib
import ipaddress
import secrets
import time
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, PlainTextResponse

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SAFE = ("GET", "HEAD")
ONCE = 120.0  # seconds in which the address that was given to the browser itself is good, once


class Access:
    """What is known of who may ask.

    token  in the address that is printed, then in a cookie that scripts do not see and other sites do not send
    port   where this process listens
    place  the path below which the page is, and the cookie's
    hosts  names beside this machine's own ones; any=True: every address written in numbers, which no name leads to
    """

    def __init__(self, port: int, hosts: tuple[str, ...] = (), *, any_address: bool = False):
        self.token, self.port, self.any_address = secrets.token_urlsafe(32), port, any_address
        self.names = {"127.0.0.1", "localhost", "[::1]", *(name.lower() for name in hosts)}
        self.cookie, self.place = f"minivgg-style-{port}", f"/{secrets.token_urlsafe(12)}"
        self._once, self._until = "", 0.0

    def once(self) -> str:
        """A token for one use soon, for a command line that others on this machine may see."""
        self._once, self._until = secrets.token_urlsafe(32), time.monotonic() + ONCE
        return self._once

    def opens(self, token: str) -> bool:
        """Whether a token from an address is right."""
        if self._once and secrets.compare_digest(token.encode(), self._once.encode()):
            self._once = ""
            return time.monotonic() < self._until
        return secrets.compare_digest(token.encode(), self.token.encode())

    def is_host(self, host: str) -> bool:
        name, colon, port = host.rpartition(":")
        if not colon or not port.isdecimal():
            name, port = host, "80"
        if port != str(self.port):
            return False
        if name.lower() in self.names:
            return True
        with contextlib.suppress(ValueError):
            return self.any_address and bool(ipaddress.ip_address(name.strip("[]")))
        return False

    def check(self, method: str, path: str, query: str, headers: dict[str, str]) -> tuple[int, str] | str | None:
        """None where the request may pass, a token where it shall become the cookie, else (status, why not).

        path  the whole one: all but the opening of the page is below `place`
        """
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.is_host(host):
            return 421, "this is not the address of this page"
        if origin is None and method not in SAFE:
            return 403, "no Origin: expected a request of this page"
        if origin is not None and origin != f"http://{host}":
            return 403, "a request of another page"
        token = parse_qs(query).get("token", [""])[0]
        if method == "GET" and path == "/" and token:
            return self.token if self.opens(token) else (403, NO_TOKEN)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "a request of another page"
        below = path.startswith(f"{self.place}/")
        return None if below and self._is_known(headers.get("cookie", "")) else (403, NO_TOKEN)

    def _is_known(self, cookies):
        """Whether our cookie is among those of this address, of whatever form others' are, and whoever named one so."""
        pairs = [cookie.strip().partition("=") for cookie in cookies.split(";")]
        given = [value.encode() for name, _, value in pairs if name == self.cookie]
        return any([secrets.compare_digest(value, self.token.encode()) for value in given])


NO_TOKEN = "Not opened: use the whole address that style.web printed when it was started, with its token."
OPENING = """<!doctype html>
<html lang="en"><head><title>minivgg-style</title><link rel="icon" href="{0}/static/icon.svg">
<meta http-equiv="refresh" content="0; url={0}/"></head><body><p><a href="{0}/">To the page</a></p></body></html>
"""  # and no redirect, with which a browser that comes from elsewhere sends no cookie of ours


class Guard:
    """The outermost part of the application: lets nothing through that Access does not, adds HEADERS to all answers."""

    def __init__(self, app: Any, access: Access):
        self.app, self.access = app, access

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        found: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            found[key] = value.decode("latin-1") if key not in found else "\0"  # said twice: neither
        answer = self.access.check(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), found)
        app, place, more = self.app, self.access.place, dict(HEADERS)
        if isinstance(answer, tuple):
            app = PlainTextResponse(answer[1], answer[0])
        elif answer is not None:
            app = HTMLResponse(OPENING.format(place))
            more["Set-Cookie"] = f"{self.access.cookie}={answer}; Path={place}/; HttpOnly; SameSite=Strict"

        async def sending(message):
            if message["type"] == "http.response.start":
                own = {name.lower().encode(): value.encode() for name, value in more.items()}
                kept = [(k, v) for k, v in message.get("headers", ()) if k.lower() not in own]
                message["headers"] = [*kept, *own.items()]
            await send(message)

        await app({**scope, "root_path": place}, receive, sending)
