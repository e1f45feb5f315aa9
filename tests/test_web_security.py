"""Who may ask: Host, Origin, token; what every answer says; what is too large, too slow or of the wrong kind."""

import pytest

pytest.importorskip("starlette", reason='needs pip install -e ".[web]"')

import asyncio
import errno
import json

import web_desk
from web_desk import ADDRESS, PORT

from style.web import desk, exchange, security, uploads
from style.web.asked import Refused
from style.web.security import Access


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    desk, ids = web_desk.make_desk(tmp_path_factory.mktemp("page") / "web")
    with web_desk.client(desk) as client:
        client.ids = ids
        yield client


def asked(page, **more):
    return {"content": page.ids[0], "styles": [page.ids[1]], "size": 64, "evaluations": 2} | more


@pytest.mark.parametrize(
    "method, path, headers, status",
    [
        ("GET", "/", {}, 200),
        ("GET", "/about", {"Host": f"localhost:{PORT}"}, 403),  # an Origin of another name
        ("GET", "/about", {"Host": f"localhost:{PORT}", "Origin": None}, 200),
        ("GET", "/about", {"Host": "evil.example"}, 421),
        ("GET", "/about", {"Host": f"evil.example:{PORT}", "Origin": f"http://evil.example:{PORT}"}, 421),
        ("GET", "/about", {"Host": "127.0.0.1:80"}, 421),
        ("GET", "/about", {"Host": f"127.0.0.1.evil.example:{PORT}"}, 421),
        ("GET", "/about", {"Host": f"10.0.0.1:{PORT}"}, 421),
        ("GET", "/about", {"Host": ""}, 421),
        ("GET", "/about", {"Origin": "null"}, 403),
        ("GET", "/about", {"Origin": f"https://127.0.0.1:{PORT}"}, 403),
        ("GET", "/about", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("GET", "/about", {"Sec-Fetch-Site": "same-site"}, 403),
        ("GET", "/about", {"Cookie": ""}, 403),
        ("GET", "/about", {"Cookie": f"minivgg-style-{PORT}=wrong"}, 403),
        ("GET", "/about", {"Cookie": f"minivgg-style-{PORT}=\u00e9".encode("latin-1")}, 403),
        ("GET", "/static/app.js", {"Cookie": ""}, 403),
        ("GET", f"{ADDRESS}/?token=wrong", {"Cookie": ""}, 403),
        ("GET", f"{ADDRESS}/?token=", {"Cookie": ""}, 403),
        ("GET", f"{ADDRESS}/about", {}, 403),  # the cookie, but not the path
        ("POST", "/runs", {"Origin": None}, 403),
        ("POST", "/runs", {"Origin": "http://evil.example"}, 403),
        ("GET", "/static/../app.py", {}, 404),
        ("GET", "/static/%2e%2e/app.py", {}, 404),
        ("GET", "/uploads/..%2f..%2fweb.lock", {}, 404),
        ("GET", "/runs/..%2f..%2fuploads/latest", {}, 404),
        ("GET", "/nothing", {}, 404),
        ("PUT", "/runs", {}, 405),
    ],
)
def test_who_may_ask(page, method, path, headers, status):
    answer = page.request(method, path, headers)
    assert answer.status_code == status, answer.text
    for name, value in security.HEADERS.items():
        assert answer.headers[name] == value


def test_no_answer_excepts_anything_from_the_content_policy():
    policy = security.HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy and "data:" not in policy and "*" not in policy and "http" not in policy


def test_the_address_that_is_printed_opens_the_page(page):
    address = f"{ADDRESS}/?token={page.access.token}"
    answer = page.request("GET", address, {"Cookie": None, "Origin": None, "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200 and f'url={page.access.place}/"' in answer.text
    said = answer.headers["set-cookie"]
    assert "HttpOnly" in said and "SameSite=Strict" in said
    assert "<form" in page.request("GET", "/", {"Cookie": said.partition(";")[0]}).text


def test_no_other_program_of_this_machine_is_sent_the_token(page):
    """Cookies do not tell ports apart, but paths: ours is of one that none of them knows."""
    said = page.request("GET", f"{ADDRESS}/?token={page.access.token}").headers["set-cookie"]
    assert f"; Path={page.access.place}/;" in said and len(page.access.place) > 16
    assert Access(PORT).place != page.access.place


def test_what_other_programs_of_this_machine_set_does_not_keep_ours_out(page):
    own = f"{page.access.cookie}={page.access.token}"
    for cookie in (f'state={{"a": 1}}; {own}', f"{own}; {page.access.cookie}=theirs", f"a b; =; {own}"):
        assert page.request("GET", "/about", {"Cookie": cookie}).status_code == 200


def test_what_a_browser_was_given_opens_once(page, monkeypatch):
    once = page.access.once()
    assert once != page.access.token
    assert [page.get(f"{ADDRESS}/?token={once}").status_code for _ in range(2)] == [200, 403]
    monkeypatch.setattr(security, "ONCE", -1.0)
    late = page.access.once()
    assert page.get(f"{ADDRESS}/?token={late}").status_code == 403


def test_any_address_is_in_numbers():
    access = Access(PORT, ("studio.lan",), any_address=True)
    names = ("10.1.2.3", "[fe80::1]", "studio.lan", "127.0.0.1", "evil.example", "0x7f.1", "")
    assert [access.is_host(f"{name}:{PORT}") for name in names] == [True, True, True, True, False, False, False]


@pytest.mark.parametrize(
    "change, status, said",
    [
        ({"content": "../../etc/passwd"}, 404, "no such picture"),
        ({"content": 3}, 404, "no such picture"),
        ({"content": "0" * 20}, 409, "choose it again"),
        ({"styles": []}, 400, "1 to 8 paintings"),
        ({"styles": ["0" * 20] * 9}, 400, "1 to 8 paintings"),
        ({"styles": "0" * 20}, 400, "1 to 8 paintings"),
        ({"size": 100000}, 400, "at most 4096"),
        ({"size": 10**400}, 400, "expected a number"),
        ({"size": 1}, 400, "size 1"),
        ({"size": 3.5}, 400, "expected a number"),
        ({"size": True}, 400, "expected a number"),
        ({"strength": 2}, 400, "strength 2"),
        ({"strength": float("nan")}, 400, "strength nan"),
        ({"strength": "1"}, 400, "expected a number"),
        ({"keep_colors": 1}, 400, "expected a switch"),
        ({"evaluations": 0}, 400, "expected"),
        ({"style_blend": [1, 2]}, 400, "expected 1 shares"),
        ({"style_blend": ["1"]}, 400, "expected numbers"),
        ({"style_blend": [0]}, 400, "style_blend"),
        ({"preset": "\ud800"}, 400, "expected one of gatys"),
        ({"preset": ["gatys"]}, 400, "expected one of gatys"),
        ({"weights": "/etc/passwd"}, 400, "expected content, styles"),
        ({"\ud800": 1}, 400, "expected content, styles"),
    ],
)
@pytest.mark.parametrize("path", ["/runs", "/plan"])
def test_what_is_wrong_is_refused_in_a_line(page, path, change, status, said):
    answer = page.post(path, content=json.dumps(asked(page, **change)), headers={"Content-Type": "application/json"})
    assert (answer.status_code, said in answer.json()["refused"]) == (status, True), answer.text
    assert not list(page.desk.runs.iterdir())


@pytest.mark.parametrize(
    "body, kind, status",
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[" * 10000, "application/json", 400),
        (b"3", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"a":' + b" " * exchange.JSON_BYTES + b"1}", "application/json", 413),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
    ],
)
def test_a_body_that_is_no_question(page, body, kind, status):
    assert page.post("/runs", content=body, headers={"Content-Type": kind}).status_code == status


@pytest.mark.parametrize("start", ["1234567890123x", "1" * 5000, "-1", "\u0663"])
def test_where_curves_begin_may_be_anything(page, start):
    assert page.get(f"/runs/{'0' * 20}/points?start={start}").json() == {"points": [], "start": 0, "next": 0}


def test_a_full_disk_is_one_line(page, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(desk, "write_json", full)
    answer = page.post("/runs", json=asked(page))
    assert answer.status_code == 507 and "No space left on device" in answer.json()["refused"]
    assert not list(page.desk.runs.iterdir())


def test_an_upload_that_says_it_is_too_large_is_not_read(page):
    headers = {"Content-Type": "image/png", "Content-Length": str(10**12)}
    assert page.post("/uploads", content=b"x", headers=headers).status_code == 413
    assert page.post("/uploads", content=b"x", headers={"Content-Type": "text/html"}).status_code == 415


def test_an_upload_that_is_too_large_is_cut_off(page, monkeypatch):
    monkeypatch.setattr(uploads, "BYTES", 1000)

    def parts():
        for _ in range(20):
            yield b"x" * 100

    answer = page.post("/uploads", content=parts(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 413
    assert len(list(page.desk.uploads.iterdir())) == 6


def test_a_body_that_stops_arriving_is_given_up(monkeypatch):
    monkeypatch.setattr(exchange, "SLOW", 0.05)

    class Silent:
        async def stream(self):
            yield b"x"
            await asyncio.sleep(60)

    async def read():
        return [chunk async for chunk in exchange.chunks(Silent())]

    with pytest.raises(Refused) as error:
        asyncio.run(read())
    assert error.value.status == 408
