"""The report in a browser: from a file, wide and narrow, light and dark, by keyboard, and without JavaScript."""

import contextlib
import shutil

import cases
import pytest

from style import run

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
sync_api = pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium")]
VIEWS = [(1100, "light"), (1100, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with run.html, of a run over two scales, and sheet.html, of a sweep."""
    folder = tmp_path_factory.mktemp("pages")
    cases.lay_out(folder, {"<b>&photo.png": (5, 7), "style.png": (6, 4)})
    flags = ["<b>&photo.png", "style.png", "--weights", "narrow.npz", "--size", "48", "--device", "cpu", "--quiet"]
    with contextlib.chdir(folder):
        assert run.main([*flags, "-o", "out.png", "--scales", "2", "--report", "run.html", "--evaluations", "9"]) == 0
        swept = ["--sweep", "style-weight=1,2", "--report", "sheet.html", "--evaluations", "2"]
        assert run.main([*flags, "-o", "sheet.png", *swept]) == 0
    return folder


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, path, width=800, scheme="light", **more):
    """(the page, what it asked for but its own file and pictures, what the console said)."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
    page, asked, said = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    yield page, [url for url in asked if not url.startswith("data:") and url != path.as_uri()], said
    context.close()


def violations(page):
    """[(rule, element)] that axe calls serious or critical, with everything unfolded."""
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    found = axe.Axe().run(page).response["violations"]
    return [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("name", ["run.html", "sheet.html"])
@pytest.mark.parametrize("width, scheme", VIEWS)
def test_it_asks_for_nothing_fits_and_can_be_read_by_all(browser, folder, name, width, scheme):
    with opened(browser, folder / name, width, scheme) as (_, asked, said):
        assert asked == [] and said == []
    with opened(browser, folder / name, width, scheme, bypass_csp=True) as (page, _, _):  # axe is a script
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_checker_that_finds_nothing_would_find_this(browser, tmp_path):
    (tmp_path / "bad.html").write_text('<html><body><img src="data:,"><p style="color:#ccc;background:#fff">pale</p>')
    with opened(browser, tmp_path / "bad.html") as (page, _, _):
        assert {rule for rule, _ in violations(page)} >= {"image-alt", "color-contrast"}


def test_the_slider_moves_by_keyboard(browser, folder):
    with opened(browser, folder / "run.html") as (page, _, said):
        slider = page.locator(".compare input")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.type") == "range"
        for _ in range(20):
            page.keyboard.press("ArrowLeft")
        assert slider.input_value() == "30"
        assert slider.get_attribute("aria-valuetext") == "30 % before, 70 % after"
        assert page.evaluate("getComputedStyle(document.querySelector('.after')).clipPath") == "inset(0px 0px 0px 30%)"
        assert said == []


def test_without_javascript_the_pictures_stand_side_by_side(browser, folder):
    with opened(browser, folder / "run.html", java_script_enabled=False) as (page, _, _):
        a, b = (page.locator(f".compare figure >> nth={k}").bounding_box() for k in (0, 1))
        apart = a["x"] + a["width"] <= b["x"] or a["y"] + a["height"] <= b["y"]
        assert apart and not page.locator(".compare input").is_visible()


def test_the_sheet_leads_to_the_reports(browser, folder):
    with opened(browser, folder / "sheet.html") as (page, _, _):
        page.locator("a >> nth=1").click()
        assert page.locator("h1").text_content() == "02 style weight 2"
