"""What the tests of the page share: a desk with pictures on it, a client that may ask, a narrow network as the best one."""

import contextlib
import json

import cases
import weights
from starlette.testclient import TestClient

from style.pictures import saving
from style.web import runner
from style.web.app import Pages, make_app
from style.web.desk import Desk, new_id
from style.web.security import Access
from style.worker import Worker

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
    with TestClient(make_app(pages, access), base_url=ADDRESS) as found:
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
