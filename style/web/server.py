"""The listening socket, and uvicorn on it: bounded in headers and connections, ended in order."""

import contextlib
import ipaddress
import logging
import socket
import time

import uvicorn

from minivgg.program import UsageError, first_line

PORT = 8421
LOCAL = "127.0.0.1"
CONNECTIONS = 100
SILENT = 15.0  # seconds that a connection may take to ask
TICKS = 10  # of uvicorn's, a tenth of a second each
GRACE = 2  # seconds in which answers under way may end


class Server(uvicorn.Server):
    """Serves `app` until a signal comes. closing  called then: what keeps answers open is to end"""

    def __init__(self, app, listening, closing):
        options = {
            "http": "h11",  # whatever else is installed: its limits are what was tested
            "ws": "none",
            "loop": "asyncio",
            "lifespan": "on",
            "log_config": None,
            "log_level": "error",
            "access_log": False,
            "proxy_headers": False,
            "server_header": False,
            "limit_concurrency": CONNECTIONS,
            "h11_max_incomplete_event_size": 32 << 10,  # bytes of headers
            "timeout_graceful_shutdown": GRACE,
        }
        super().__init__(uvicorn.Config(app, **options))
        self.listening, self.closing = listening, closing
        self.silent = {}  # {connection: since when}

    def handle_exit(self, sig, frame):
        self.closing()
        logging.getLogger("uvicorn.error").disabled = True  # of requests that the end cuts short, nobody need be told
        super().handle_exit(sig, frame)

    async def on_tick(self, counter):
        if counter % TICKS == 0:
            self._drop_silent(time.monotonic())
        return await super().on_tick(counter)

    def _drop_silent(self, now):
        """Close connections that ask nothing, or never to the end of their headers: uvicorn would wait for ever."""
        silent = [c for c in self.server_state.connections if c.cycle is None or c.cycle.response_complete]
        self.silent = {c: self.silent.get(c, now) for c in silent}
        for connection, since in self.silent.items():
            if now - since > SILENT and connection.transport is not None:
                connection.transport.close()

    def run(self, sockets=None):
        super().run(sockets=sockets or [self.listening])


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket. port  None: PORT, or any other where that is taken. Raises UsageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in (PORT, 0) if port is None else (port,):
        try:
            return socket.create_server((host, number), family=family, backlog=CONNECTIONS)
        except OSError as error:
            reason = error
    if isinstance(reason, socket.gaierror) or port is None or port == 0:
        raise UsageError(f"--host {host}: cannot listen there ({first_line(reason)}); default {LOCAL}")
    raise UsageError(f"--port {port}: cannot be had ({first_line(reason)}); give another one, or 0 for any")


def is_local(host: str) -> bool:
    """Whether nobody but this machine reaches an address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def is_any(host: str) -> bool:
    """Whether an address stands for all that this machine has."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return False


def outward() -> str:
    """This machine's address as others see it, as far as it knows; nothing is sent for it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]
    return socket.gethostname()
