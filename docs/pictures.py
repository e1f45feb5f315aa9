"""The pictures of README and docs: our scene and paintings, and what comes of them.

PYTHONPATH=. python docs/pictures.py [first] [colours] [styles] [losses] [many] [presets] [report] [textures]
    [figures] [web]

The report and the page are photographed by Chromium; the page needs the extras web and browser.
"""

import importlib
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import style
from style import samples
from style.many.sheet import contact_sheet
from style.pictures import images, masks
from style.pictures.filters import Filters
from style.report import Report
from style.statistics import STYLE_LOSSES

SIZE, GAP = 480, 8
SMALL, SHOWN = 300, 210  # colours.jpg: each picture as it is made, and as it is shown
COMPARED, EQUAL = 240, 80  # losses.jpg: the size, and how many of gram's evaluations each may take the time of
TIMES = {"moments": 0.94, "w2": 1.05, "cmd": 1.35, "histogram": 1.61, "sliced": 1.78, "nearest": 1.8}  # gram's: 1;
# with mini, of the table in style/statistics/MATH.md and, for nearest at this size, below it
PIXELS = [("photo_weight", 1e4), ("photo_weight", 1e5), ("laplacian_weight", 300.0)]
TINY, MOST = 160, 250  # presets.jpg: pixels, and evaluations at most
BEFORE = [  # options that need a transfer of their own
    {"keep_colors": True},
    {"match_colors": "symmetric"},
    {"match_colors": "cholesky"},
    {"match_colors": "pca"},
    {"match_colors": "symmetric", "match_to": "style"},
]
AFTER = [  # and those that only change what comes out
    {"match_histogram": "content"},
    {"match_histogram": "style"},
    {"palette": "style:6"},
    {"palette": "#102040,#c05020,#f0e0c0,#80a0b0", "dither": True},
]


def sheet(rows):
    """Pictures of one size as a table, (H, W, 3) uint8."""
    h, w = rows[0][0].shape[:2]
    count, columns = len(rows), len(rows[0])
    found = np.full((count * (h + GAP) - GAP, columns * (w + GAP) - GAP, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, rgb in enumerate(row):
            found[r * (h + GAP) : r * (h + GAP) + h, c * (w + GAP) : c * (w + GAP) + w] = images.to_uint8(rgb)
    return found


def save(rows, name, quality):
    Image.fromarray(sheet(rows)).save(Path(__file__).with_name(name), quality=quality)


def first():
    scene, strokes, mosaic = (samples.SAMPLES[name](SIZE) for name in ("scene", "strokes", "mosaic"))
    after = [style.transfer(scene, painting, weights="mini", size=SIZE).rgb for painting in (strokes, mosaic)]
    save([[scene, strokes, after[0]], [scene, mosaic, after[1]]], "first.jpg", 88)


def colours():
    """As docs/colours.md lists them."""
    scene, painting = (images.from_array(samples.SAMPLES[name](SMALL)) for name in ("scene", "strokes"))
    plain, *before = (
        style.transfer(scene, painting, weights="mini", size=SMALL, **options).rgb for options in ({}, *BEFORE)
    )
    after = [Filters(style.settings_from(**options), scene, [painting]).after(plain) for options in AFTER]
    cells = [scene.rgb, images.resize(painting.rgb, plain.shape[:2]), plain, *before, *after]
    cells = [images.resize(rgb, images.fit(SHOWN, *plain.shape[:2])) for rgb in cells]
    save([cells[k : k + 3] for k in range(0, len(cells), 3)], "colours.jpg", 72)


def styles():
    """As docs/styles.md lists them: three blends; a mask, the overlay and what comes; five strengths and one kept."""
    scene, strokes, mosaic = (samples.SAMPLES[name](SMALL) for name in ("scene", "strokes", "mosaic"))
    h, w = scene.shape[:2]
    slope = np.clip((0.6 - np.linspace(0, 1, h)) / 0.1 + 0.5, 0, 1).astype(np.float32)  # the sky, with a soft edge
    sky = np.repeat(slope[:, None], w, axis=1)

    def painted(style_pictures, **options):
        return style.transfer(scene, style_pictures, weights="mini", size=SMALL, **options).rgb

    both = [strokes, mosaic]
    cells = [painted(both, style_blend=shares) for shares in ((3, 1), (1, 1), (1, 3))]
    cells += [masks.overlay(scene, [sky, 1 - sky]), painted(both, mask=[sky, "rest"]), painted(mosaic, keep=sky)]
    cells += [painted(strokes, strength=s) for s in (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)]
    cells = [images.resize(rgb, images.fit(SHOWN, h, w)) for rgb in cells]
    save([cells[k : k + 3] for k in range(0, len(cells), 3)], "styles.jpg", 72)


def losses():
    """As docs/losses.md lists them: each style loss, two together, and the terms of the picture."""
    scene, strokes = (samples.SAMPLES[name](COMPARED) for name in ("scene", "strokes"))

    def painted(time=1.0, **options):
        budget = round(EQUAL / time)
        found = style.transfer(scene, strokes, weights="mini", size=COMPARED, evaluations=budget, **options).rgb
        return images.resize(found, images.fit(SHOWN, *found.shape[:2]))

    cells = [painted(TIMES.get(name, 1.0), style_loss=name) for name in STYLE_LOSSES]
    cells += [painted(TIMES["nearest"], style_loss="gram,nearest:0.2")]
    cells += [painted(**{name: weight}) for name, weight in PIXELS]
    save([cells[k : k + 3] for k in range(0, len(cells), 3)], "losses.jpg", 72)


def many():
    """The contact sheet of docs/many.md."""
    scene, strokes = (samples.SAMPLES[name](SHOWN) for name in ("scene", "strokes"))
    swept = {"style_weight": [10, 100, 1000], "style_scale": [0.5, 1.0]}
    found = style.sweep(scene, strokes, swept, weights="mini", size=SHOWN)
    Image.fromarray(found.rgb).save(Path(__file__).with_name("many.jpg"), quality=80)


def presets():
    """Every preset by itself, as docs/presets.md lists them."""
    scene, strokes = (samples.SAMPLES[name](TINY) for name in ("scene", "strokes"))
    cells = []
    for name in style.presets():
        evaluations = min(style.settings_from(name, size=TINY).evaluations, MOST)
        made = style.transfer(scene, strokes, preset=name, weights="mini", size=TINY, evaluations=evaluations)
        cells.append((name, made.rgb))
    sheet = contact_sheet(cells, [scene, strokes], scene.shape[:2], 5)
    Image.fromarray(sheet).save(Path(__file__).with_name("presets.jpg"), quality=80)


def report():
    """The head of a report, as docs/report.md has it."""
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder) / "run.html", Path(folder) / "shot.png"
        job = style.Job("sample:scene:480", "sample:strokes:480", style.settings_from(weights="mini", size=SIZE))
        heard = Report(page, False, sys.exit)
        result = job.run(heard)
        result.save(Path(folder) / "scene-strokes.png")
        heard.write(Path(folder) / "scene-strokes.png")
        window = "--window-size=900,1560"
        command = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", window, f"--screenshot={shot}"]
        subprocess.run([*command, page.as_uri()], check=True, stderr=subprocess.DEVNULL)
        with Image.open(shot) as image:
            small = image.convert("RGB").resize((600, 1040), Image.Resampling.LANCZOS)
    small.save(Path(__file__).with_name("report.jpg"), quality=72)


def textures():
    """As docs/textures.md lists them: a sample; textures, laid 2x2, without and with --wrap; one twice as large."""
    sample = samples.mosaic(960)[486:678, 100:388]  # of the sea

    def texture(size, **options):
        options = {"content_layers": "none", "init": "noise", "evaluations": 200, "weights": "mini"} | options
        return style.transfer(None, images.resize(sample, (96, 144)), size=size, **options).rgb

    cells = [images.resize(sample, (96, 144))]
    cells += [np.tile(texture(144, **more), (2, 2, 1)) for more in ({}, {"wrap": True})]
    cells += [texture(288, wrap=True)]
    save([[_on_paper(rgb, (192, 288)) for rgb in row] for row in (cells[:2], cells[2:])], "textures.jpg", 80)


def figures():
    """The sheet of examples/figures.py."""
    found = importlib.import_module("examples.figures").main(size=144, weights="mini")
    Image.fromarray(found).save(Path(__file__).with_name("figures.jpg"), quality=80)


def _on_paper(rgb, size):
    found = np.full((*size, 3), 255, np.float32)
    found[: rgb.shape[0], : rgb.shape[1]] = rgb
    return found


def web():
    """The page of docs/web.md, while it paints. Needs the extras web and browser, and a Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    command = [sys.executable, "-m", "style.web", "--no-browser", "--port", "0", "--folder"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = subprocess.Popen([*command, folder], stdout=subprocess.PIPE, text=True)
        try:
            address = next(line.split()[-1] for line in server.stdout if "token=" in line)
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1100, "height": 1500})
            page.goto(address)
            for to, name in (("content", "Use a sample"), ("styles", "Sample: strokes")):
                page.get_by_role("button", name=name).click()
                page.locator(f"#{to}-chosen li").wait_for()
            page.get_by_text("memory").first.wait_for()
            page.get_by_role("button", name="Paint", exact=True).click()
            page.get_by_text("scale 3 of 3").wait_for(timeout=300_000)
            page.wait_for_timeout(20_000)
            box = {"x": 0, "y": 0, "width": 1100, "height": 1150}
            shot = Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB")
            shot.resize((770, 805), Image.Resampling.LANCZOS).save(Path(__file__).with_name("web.jpg"), quality=70)
            browser.close()
        finally:
            server.send_signal(2)
            server.wait(30)


ALL = (first, colours, styles, losses, many, presets, report, textures, figures, web)

if __name__ == "__main__":
    for make in [globals()[name] for name in sys.argv[1:]] or ALL:
        make()
