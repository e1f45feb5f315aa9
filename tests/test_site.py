"""The site is built without a warning and shows what the files say; its checker sees what is wrong.

The build needs the extra `docs`; the checker does not.
"""

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "docs" / "site"


def load(name):
    spec = importlib.util.spec_from_file_location(f"site_{name}", SITE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = load("check")


def test_every_package_has_its_docstrings_on_the_site():
    pages = "".join(path.read_text(encoding="utf-8") for path in (SITE / "api").glob("*.rst"))
    shown = re.findall(r"^\.\. modules:: (\S+)$", pages, re.MULTILINE)
    packages = [at for name in ("minivgg", "style", "weights", "study") for at in (ROOT / name).rglob("__init__.py")]
    assert sorted(shown) == sorted(".".join(at.relative_to(ROOT).parent.parts) for at in packages)


def need_sphinx():
    for module in ("sphinx", "myst_parser", "furo", "sphinx-mathjax-offline"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed (the extra docs)")


@pytest.mark.slow
def test_the_site_has_every_formula_and_no_dead_link(tmp_path):
    """Built as CI does, from this tree: Sphinx' own warnings (headings, references, pictures) are errors."""
    need_sphinx()
    site = tmp_path / "site"
    options = ["-c", str(SITE), "-d", str(tmp_path / "read"), "-W", "--keep-going", "-q"]
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(ROOT), str(site)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    assert not list(check.problems(site))
    pages = [(site / name).with_suffix(".html").read_text(encoding="utf-8") for name in check.texts()]
    assert sum(len(found) for page in pages for found in check.shown(page)) > 900
    assert (site / "docs" / "equations.html").is_file() and (site / "source/minivgg/layers.py.html").is_file()


@pytest.mark.slow
def test_docstrings_are_shown_as_they_are(monkeypatch):
    """Letter by letter, columns included, for every function and class of the mathematics."""
    need_sphinx()
    from docutils.core import publish_doctree

    monkeypatch.syspath_prepend(str(SITE))
    docstrings = load("docstrings")
    seen = 0
    for name in ("minivgg.layers", "minivgg.vgg", "minivgg.gradcheck", "style.losses", "style.terms", "style.optimize"):
        module = importlib.import_module(name)
        for found in (module, *vars(module).values()):
            text = inspect.getdoc(found)
            if found is not module and (getattr(found, "__module__", "") != name or not text):
                continue
            lines = text.splitlines()
            docstrings.as_text(None, "function", name, found, {}, lines)
            shown = publish_doctree("\n".join(lines), settings_overrides={"halt_level": 2}).astext()
            assert shown.replace("`", "").split() == text.replace("`", "").split(), (name, found)
            columns = [line.strip() for line in text.splitlines() if re.search(r"\S {2,}\S", line)]
            assert all(line in shown for line in columns), (name, found)
            seen += 1
    assert seen > 60


TEXT = "# T\n\ncode: `f` in [f.py](f.py) · check: `g`\n\nSo $`a_b < c`$.\n\n```math\na \\\\ b \\tag{1}\n```\n"
PAGE = """<h1 id="t">T</h1>
<p>code: <a href="source/f.py.html#L-1"><code>f</code></a> in <a href="source/f.py.html">f.py</a> · check:
<a href="#t"><code>g</code></a></p>
<p>So <span class="math">\\(a_b &lt; c\\)</span>.</p>
<div class="math">\\[a \\\\ b \\tag{1}\\]</div>
<img src="a.png"><a href="https://example.org">elsewhere</a>
"""


@pytest.fixture
def site(tmp_path):
    """A project of one text in `files`, and its site."""
    files, built = tmp_path / "files", tmp_path / "built"
    for path, text in (
        (files / "T.md", TEXT),
        (built / "T.html", PAGE),
        (built / "source" / "f.py.html", '<span id="L-1">def f</span>'),
        (built / "a.png", ""),
        (built / "site.css", "a { background: url(a.png) }"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return built, files


def test_a_site_that_is_whole_has_no_problem(site):
    assert not list(check.problems(*site))


@pytest.mark.parametrize(
    ("file", "right", "wrong", "found"),
    [
        ("T.html", "a_b &lt; c", "a<em>b</em>", "is 'a<em>b</em>' on the page"),
        ("T.html", "\\\\ b", "\\ b", "block"),
        ("T.html", '<span class="math">\\(a_b &lt; c\\)</span>', "a_b", "1 times inline formula in the file, 0"),
        ("T.html", '<a href="#t"><code>g</code></a>', "<code>g</code>", "g leads to no line"),
        ("T.html", "f.py.html#L-1", "f.py.html#L-2", "no such anchor"),
        ("T.html", "#t", "#u", "no such anchor"),
        ("T.html", "source/f.py.html", "source/g.py.html", "leads nowhere"),
        ("T.html", 'src="a.png"', 'src="b.png"', "leads nowhere"),
        ("T.html", 'src="a.png"', 'src="https://example.org/a.png"', "from elsewhere"),
        ("T.html", 'src="a.png"', 'src="//example.org/a.png"', "from elsewhere"),
        ("site.css", "url(a.png)", "url(https://example.org/a.woff)", "from elsewhere"),
    ],
)
def test_the_checker_finds(site, file, right, wrong, found):
    path = site[0] / file
    text = path.read_text(encoding="utf-8")
    assert right in text
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    problems = list(check.problems(*site))
    assert any(found in problem for problem in problems), problems


def test_a_text_without_a_page_is_found(site):
    (site[1] / "docs").mkdir()
    (site[1] / "docs" / "new.md").write_text("# New\n", encoding="utf-8")
    assert list(check.problems(*site)) == ["docs/new.md: not on the site"]
