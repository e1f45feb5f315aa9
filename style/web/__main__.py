"""`python -m style.web`: a page on this machine, for this machine's user.

Exit code 130 or 143: ended by Ctrl-C or SIGTERM, as it is meant to be; 2: an option that cannot be used; 1: a package
or a folder that is missing.
"""

import argparse
import importlib.util
import sys
import threading
import webbrowser
from pathlib import Path

import platformdirs

from minivgg.program import FAILURE, USAGE, UsageError, end, fail, no_name, ready, say

from ..options import Parser

NAME = "style.web"
NEEDED = ("starlette", "uvicorn")
INSTALL = 'needs Starlette and uvicorn; pip install "minivgg-style[web]" (in a clone: pip install -e ".[web]")'
ENDED = "ended; a run that was under way waits in its folder, and goes on when the page is started again"
OPEN = (
    "warning: {} is reached from other machines: whoever has the address below, with its token, can see and use all "
    "that is on the page; what is sent is not encrypted"
)


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code."""
    ready()
    args = parser().parse_args(argv)
    if not all(importlib.util.find_spec(name) for name in NEEDED):
        return fail(NAME, INSTALL, FAILURE)
    if args.port is not None and not (args.port.isdecimal() and int(args.port[:9]) <= 65535):
        return fail(NAME, f"--port {args.port!r}: expected a number from 0 to 65535", USAGE)
    return end(NAME, lambda signals: serve(args), {UsageError: USAGE}, interrupted=lambda: ENDED)


def parser():
    p = Parser(
        prog="python -m style.web", description="A page to paint on, for the browser of this machine. Ctrl-C ends it."
    )
    p.add_argument("--port", metavar="N", help="default 8421, or any other where that is taken; 0: any")
    p.add_argument("--folder", metavar="DIR", help="where queue and pictures are kept (default: the user's own)")
    p.add_argument("--host", default="127.0.0.1", metavar="A", help="where to listen (default %(default)s)")
    p.add_argument("--no-browser", action="store_true", help="print the address only")
    return p


def serve(args: argparse.Namespace) -> int:
    """The page, until a signal ends it."""
    from .app import Pages, make_app
    from .desk import Desk
    from .lock import HeldError, hold
    from .security import Access
    from .server import Server, is_any, listen
    from .supervisor import Supervisor

    if args.folder is not None and (said := no_name("--folder", args.folder, "folder")):
        raise UsageError(said)
    folder = Path(args.folder or platformdirs.user_data_path("minivgg-style", appauthor=False) / "web")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--folder {folder}: a file; expected a folder, or a new name")
    try:
        desk = Desk(folder)
        with hold(desk.folder / "web.lock"):
            listening = listen(args.host, None if args.port is None else int(args.port))
            port = listening.getsockname()[1]
            access = Access(port, _hosts(args.host), any_address=is_any(args.host))
            pages = Pages(desk)
            desk.tidy()
            pages.uploads.tidy()
            _announce(args, access, desk)
            supervisor = Supervisor(desk)
            pages.feed.trouble = supervisor.trouble
            Server(make_app(pages, access, supervisor), listening, pages.feed.end).run()
    except HeldError:
        raise UsageError(f"--folder {folder}: another style.web works there; use its page, or another folder") from None
    return 0


def _hosts(host):
    from .server import is_any, outward

    name = f"[{host}]" if ":" in host else host
    return (outward(),) if is_any(host) else (name,)


def _announce(args, access, desk):
    """Say where the page is, and open it."""
    from .server import is_any, is_local

    address = f"http://{_hosts(args.host)[0]}:{access.port}/?token="
    if not is_local(args.host):
        say(OPEN.format(args.host if not is_any(args.host) else "every address of this machine"), sys.stderr)
    say(f"folder   {desk.folder}")
    say(f"page     {address}{access.token}")
    say("         Ctrl-C ends it")
    if not args.no_browser:
        once = f"{address}{access.once()}"  # others on this machine may see a browser's command line
        threading.Thread(target=webbrowser.open, args=(once,), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
