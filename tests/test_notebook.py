"""In a notebook: one output, replaced as the run goes on, that shows how far it is and its picture."""

import base64
import io
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import style
from style import notebook
from style.pictures import images, saving


class Displays:
    """What IPython.display has of use here: [(display's number, "text/plain", "text/html")] is what was shown."""

    def __init__(self):
        self.shown, self.count = [], 0

    def display(self, bundle, *, raw, display_id):
        assert raw and display_id is True
        self.count += 1
        number = self.count
        handle = SimpleNamespace(update=lambda bundle, raw: self.shown.append((number, *self.parts(bundle))))
        self.shown.append((number, *self.parts(bundle)))
        return handle

    def parts(self, bundle):
        assert set(bundle) == {"text/plain", "text/html"}
        return bundle["text/plain"], bundle["text/html"]


@pytest.fixture
def displays(monkeypatch):
    found = Displays()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=found))
    monkeypatch.setitem(sys.modules, "IPython.display", found)
    return found


def picture_in(html):
    """(H, W, 3) of the picture in an output."""
    return decoded(base64.b64decode(re.search(r'src="data:image/jpeg;base64,([^"]+)"', html)[1]))


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def as_shown(rgb):
    """A picture as its JPEG has it."""
    return decoded(saving.encode("picture.jpg", rgb, quality=85))


OPTIONS = {"size": 48, "evaluations": 5, "device": "cpu", "lag": 1}


def test_one_output_that_ends_with_the_result(displays, pictures, network_file, monkeypatch):
    monkeypatch.setattr(notebook, "Pace", lambda clock: lambda work: work())
    shown = style.show_in_notebook()
    result = style.transfer(*pictures, callback=shown, weights=str(network_file), **OPTIONS)
    numbers, said, html = zip(*displays.shown, strict=True)
    assert {*numbers} == {1}
    assert said[0].startswith("evaluation 1 of 5, loss ") and said[-1].endswith("all 5 evaluations done")
    falling = [k for k, v in enumerate(result.losses, 1) if v == min(result.losses[:k])]
    assert [int(text.split()[1]) for text in said[:-1]] == falling
    assert np.array_equal(picture_in(html[-1]), as_shown(result.rgb))
    assert not np.array_equal(picture_in(html[0]), picture_in(html[-1]))
    assert 'max="5" value="1"' in html[0] and 'max="5" value="5"' in html[-1] and 'alt="' in html[0]


def test_it_is_replaced_about_once_a_second(displays, pictures, network_file):
    now = [0.0]
    shown = notebook.Shown(displays.display, clock=lambda: now[0])

    def listener(event):
        shown(event)
        now[0] += 0.3

    listener.hears = shown.hears
    style.transfer(*pictures, callback=listener, weights=str(network_file), **OPTIONS | {"evaluations": 12})
    assert 3 <= len(displays.shown) <= 5


def test_a_second_run_has_an_output_of_its_own(displays, make_job):
    shown = style.show_in_notebook()
    for _ in range(2):
        make_job().run(shown)
    assert {number for number, *_ in displays.shown} == {1, 2}


def test_large_pictures_are_shown_smaller(displays):
    notebook.Shown(displays.display)._show(np.zeros((700, 1400, 3), np.float32), "<x>", 1)
    assert picture_in(displays.shown[0][2]).shape == (320, 640, 3)
    assert "&lt;x&gt;" in displays.shown[0][2] and "<x>" not in displays.shown[0][2]


def test_without_ipython_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(ImportError, match="show_in_notebook: needs IPython"):
        style.show_in_notebook()


@pytest.mark.slow
def test_a_notebook_that_is_executed(network_file, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    options = f"size=48, evaluations=5, device='cpu', lag=1, weights={str(network_file)!r}"
    pictures = "'sample:scene:64', 'sample:strokes:64'"
    cell = f"result = style.transfer({pictures}, callback=style.show_in_notebook(), {options})"
    cells = [nbformat.v4.new_code_cell(text) for text in ("import style", cell, "result.save('out.png')")]
    book, where = nbformat.v4.new_notebook(cells=cells), {"metadata": {"path": tmp_path}}
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3", resources=where).execute()
    (output,) = book.cells[1].outputs
    assert output.output_type == "display_data" and output.data["text/plain"].endswith("all 5 evaluations done")
    difference = picture_in(output.data["text/html"]) - as_shown(images.read(tmp_path / "out.png").rgb).astype(float)
    assert np.abs(difference).mean() < 1  # the file has whole levels
