"""A browser drives the page from an empty start to a picture on the disk: by mouse, by keyboard, on a phone's width.

Needs the extra `browser` and a Chromium. MINIVGG_SHOTS=FOLDER keeps a picture of each step, to be looked at.
"""

import pytest

pytest.importorskip("starlette", reason='needs pip install -e ".[web]"')

import base64
import os
import re
import shutil
from pathlib import Path

import web_desk
from PIL import Image
from web_desk import Server

from style.pictures import saving
from style.web.asked import Asked
from style.web.feed import REPORTS

api = pytest.importorskip("playwright.sync_api", reason='needs pip install -e ".[browser]"')
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason='needs pip install -e ".[browser]"')

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SHOTS = os.environ.get("MINIVGG_SHOTS")
SOON = 60_000  # ms
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium"),
    pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals"),
]
SIZES = {"wide": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def chromium():
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def server(tmp_path, monkeypatch):
    web_desk.narrow_network(tmp_path / "cache", monkeypatch)
    (tmp_path / "web").mkdir()
    found = Server(tmp_path / "web")
    yield found
    code, error = found.end()
    assert code == 130 and error.count("\n") == 1, error


class Visit:
    """A page of a browser, and what it complained of."""

    def __init__(self, chromium, server, name, **more):
        self.watch(chromium.new_context(accept_downloads=True, **more).new_page(), name)
        self.page.goto(server.url)
        self.page.wait_for_url(f"{server.base}{server.place}/")  # to which that leads

    def watch(self, page, name):
        self.page, self.name, self.count, self.faults = page, name, 0, []
        page.on("console", lambda m: self.faults.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        return self

    def has(self, selector, text=None, count=None):
        expected = api.expect(self.page.locator(selector))
        if count is not None:
            expected.to_have_count(count, timeout=SOON)
        else:
            expected.to_contain_text(text, timeout=SOON)

    def step(self, name):
        """Look: nothing wider than the screen, no serious fault; keep a picture of it."""
        self.count += 1
        if SHOTS:
            path = Path(SHOTS) / f"{self.name}-{self.count:02}-{name}.png"
            self.page.screenshot(path=str(path), full_page=True)
        width = self.page.viewport_size["width"]
        assert self.page.locator("html").evaluate("e => e.scrollWidth") <= width, name
        found = axe.Axe().run(self.page).response["violations"]
        assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == [], name

    def drop(self, to, path, name):
        """A file, let go over a part of the form."""
        data = base64.b64encode(path.read_bytes()).decode()
        make = """([data, name]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: "image/png" }));
            return transfer;
        }"""
        transfer = self.page.evaluate_handle(make, [data, name])
        self.page.dispatch_event(f'[data-drop="{to}"]', "drop", {"dataTransfer": transfer})

    def press(self, name, inside="body"):
        self.page.locator(inside).get_by_role("button", name=name, exact=True).click()


@pytest.mark.parametrize("size, scheme", [("wide", "light"), ("phone", "dark")])
def test_from_an_empty_start_to_a_picture_on_the_disk(chromium, server, tmp_path, size, scheme):
    photo, painting = tmp_path / "a photograph.jpg", tmp_path / "painting.png"
    for path, picture in zip((photo, painting), web_desk.cases.blocks(((9, 12), (8, 8)), side=16), strict=True):
        saving.save(path, picture)
    visit = Visit(chromium, server, size, viewport=SIZES[size], color_scheme=scheme)
    page = visit.page
    visit.has("#plan", "Choose a photograph.")
    assert "token" not in page.url
    visit.step("empty")
    page.set_input_files("#content-file", str(photo))
    visit.has("#content-chosen li", "a photograph.jpg, 192 × 144")
    (tmp_path / "note.png").write_text("no picture")
    page.set_input_files("#styles-file", [str(painting), str(tmp_path / "note.png")])
    visit.has("#said", "note.png: ")
    visit.has("#styles-chosen li", count=1)
    visit.drop("styles", painting, "dropped.png")
    visit.has("#styles-chosen li", count=2)
    page.get_by_label("Share of dropped.png").fill("3")
    visit.has("#plan", "memory")
    visit.step("two paintings")
    visit.press("Remove dropped.png")
    page.fill("#size", "96")
    visit.has("#plan", "96 × 72 pixels")
    visit.has("#plan", "memory")
    visit.step("chosen")
    page.reload()
    visit.has("#styles-chosen li", count=1)
    page.fill("#size", "200")
    visit.has("#plan", "100 × 75 (40), then 200 × 150 (120)")
    page.select_option("#evaluations", label="a sketch")
    visit.press("Paint")
    visit.has("#left", "evaluation ")
    visit.step("painting")
    visit.press("Pause", "#controls")
    visit.has("#what", "paused")
    visit.step("paused")
    page.reload()
    visit.has("#what", "paused")
    visit.press("Go on", "#controls")
    visit.has("#what", ": done")
    visit.has("#history-list li", count=1)
    visit.step("done")
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "a photograph-painting.png"
    assert Image.open(download.value.path()).size == (200, 150)
    assert saving.read_metadata(download.value.path())["result"]["status"] == "done"
    page.locator("#other").fill("0.8")
    visit.press("Go on from here with it")
    visit.has("#what", "done · strength 0.8")
    visit.has("#history-list li", count=2)
    visit.step("varied")
    if REPORTS:
        with page.expect_download() as download:
            page.locator("#report").click()
        download.value.save_as(tmp_path / "report.html")
        page.goto((tmp_path / "report.html").as_uri())
        assert page.title()
        if SHOTS:
            page.screenshot(path=str(Path(SHOTS) / f"{size}-report.png"))
    assert [f for f in visit.faults if "422" not in f] == []  # the note that is no picture


def test_by_keyboard_alone(chromium, server):
    """From the top of the page: what is reached by Tab is seen, and Enter and arrows do the rest."""
    visit = Visit(chromium, server, "keyboard", viewport=SIZES["wide"], reduced_motion="reduce")
    page, reached = visit.page, []

    def tab_to(name):
        for _ in range(40):
            page.keyboard.press("Tab")
            found = page.locator(":focus").evaluate("e => e.id || e.getAttribute('aria-label') || e.textContent.trim()")
            reached.append(found)
            if found == name:
                return
        raise AssertionError(f"{name} is not reached by Tab: {reached}")

    tab_to("To the picture")
    tab_to("content-file")
    tab_to("Use a sample")
    page.keyboard.press("Enter")
    visit.has("#content-chosen li", count=1)
    tab_to("Sample: strokes")
    page.keyboard.press("Enter")
    visit.has("#styles-chosen li", count=1)
    tab_to("strength")
    page.keyboard.press("ArrowRight")
    visit.has("#strength-value", "0.55")
    tab_to("size")
    page.keyboard.press("Control+a")
    page.keyboard.type("64")
    visit.has("#plan", "64 × 48 pixels")
    tab_to("paint")
    page.keyboard.press("Enter")
    visit.has("#what", re.compile("strength 0.55"))
    visit.has("#history-list li", count=1)
    tab_to("download")
    assert visit.faults == []


def test_a_queue_of_several_and_one_that_fails(chromium, server, tmp_path):
    visit = Visit(chromium, server, "queue", viewport=SIZES["wide"])
    page = visit.page
    visit.press("Use a sample")
    visit.has("#content-chosen li", count=1)
    visit.press("Sample: mosaic")
    visit.has("#styles-chosen li", count=1)
    page.fill("#size", "400")
    for count in range(3):
        visit.press("Paint")
        visit.has("#said", "It is in the queue")
        visit.has("#queue-list li", count=count + 1)
    visit.has("#what", "is being painted")
    waiting = page.locator("#queue-list li").last.get_attribute("data-id")
    (tmp_path / "web" / "runs" / waiting / "style-1.png").unlink()
    visit.step("waiting")
    for count in (1, 3):  # the last one fails at once
        visit.press("Stop and keep it", "#controls")
        visit.has("#history-list li", count=count)
    visit.has("#history-list", "no such file")
    visit.has("#queue-list li", count=0)
    visit.has("#plan", "memory")
    visit.step("failed")
    visit.press("Show: scene (sample) in the manner of mosaic (sample)", f'li[data-id="{waiting}"]')
    visit.has("#what", "no such file")
    api.expect(page.locator("#controls").get_by_role("button", name="Try again")).to_be_visible()
    visit.press("Remove", "#controls")
    visit.has("#history-list li", count=2)
    for answer, count in (("dismiss", 2), ("accept", 1)):  # a picture goes when it is meant to
        page.once("dialog", lambda dialog, answer=answer: getattr(dialog, answer)())
        page.locator("#history-list").get_by_role("button", name="Remove").first.click()
        visit.has("#history-list li", count=count)
    assert visit.faults == []


def test_more_tabs_than_a_browser_has_connections(chromium, server):
    """Of eight in one window seven are hidden: the last one works, and those that are looked at again know it all."""
    context = chromium.new_context()
    hide = """Object.defineProperty(document, "hidden", { get: () => true });
        document.dispatchEvent(new Event("visibilitychange"))"""
    pages = [context.new_page() for _ in range(8)]
    pages[0].goto(server.url)
    for page in pages:
        page.goto(f"{server.base}{server.place}/")
        expected = api.expect(page.locator("#preset option"))
        expected.not_to_have_count(1, timeout=SOON)
        if page is not pages[-1]:  # without a window, none is hidden by itself
            page.evaluate(hide)
    visit = Visit.__new__(Visit).watch(pages[-1], "many")
    visit.press("Use a sample")
    visit.has("#content-chosen li", count=1)
    visit.press("Sample: strokes")
    visit.has("#styles-chosen li", count=1)
    pages[-1].fill("#size", "64")
    visit.press("Paint")
    visit.has("#history-list li", count=1)
    visit = Visit.__new__(Visit).watch(pages[0], "first")
    visit.has("#history-list li", count=1)  # within HIDDEN
    visit.has("#what", ": done")
    context.close()


def test_a_run_that_is_older_than_the_list_and_its_long_log(chromium, tmp_path, monkeypatch, request):
    request.addfinalizer(Server.kill_all)
    web_desk.narrow_network(tmp_path / "cache", monkeypatch)
    desk, (content, style) = web_desk.make_desk(tmp_path / "web")
    for k in range(30):
        id = desk.submit(Asked(content, (style,), options={"size": 64, "strength": k / 100}))
        line = '{"evaluation": %d, "scale": 1, "size": "64x46", "loss": %f, "seconds": 1, "more": "%s"}\n'
        count = 2400 if k == 0 else 3
        (desk.run(id) / "log.jsonl").write_text("".join(line % (n, 1 + 1 / n, "x" * 800) for n in range(1, count + 1)))
        for name in ("picture.png", "latest.jpg"):
            shutil.copy(desk.run(id) / "content.png", desk.run(id) / name)
        desk.queue.claim().done()
    found = Server(tmp_path / "web")
    visit = Visit(chromium, found, "old", viewport=SIZES["wide"])
    visit.has("#history-list li", count=24)
    visit.has("#what", "strength 0.29")
    visit.press("Show more")
    visit.has("#history-list li", count=30)
    visit.page.locator("#history-list li").last.get_by_role("button", name="Show").click()
    visit.has("#what", "strength 0 ·")
    api.expect(visit.page.locator("#curves svg")).to_have_attribute("aria-label", re.compile(" at 2400$"), timeout=SOON)
    visit.page.once("dialog", lambda dialog: dialog.accept())
    visit.page.locator("#history-list").get_by_role("button", name="Remove").first.click()
    visit.has("#history-list li", count=29)  # and not the first page alone
    visit.page.reload()
    visit.has("#what", "strength 0 ·")
    assert visit.faults == []
    found.end()


def test_three_tabs_see_one_run_and_the_end_of_the_program(chromium, server):
    visits = [Visit(chromium, server, f"tab{k}") for k in range(3)]
    visits[0].press("Use a sample")
    visits[0].has("#content-chosen li", count=1)
    visits[0].press("Sample: strokes")
    visits[0].has("#styles-chosen li", count=1)
    visits[0].page.fill("#size", "128")
    visits[0].press("Paint")
    for visit in visits:
        visit.has("#what", ": done")
        visit.has("#left", "120 evaluations")
        assert visit.page.locator("#curves svg").get_attribute("aria-label").endswith("at 120")
    server.process.send_signal(2)
    visits[0].has("#lost", "No answer from the program")
