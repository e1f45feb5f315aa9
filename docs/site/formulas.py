"""Formulas: written $`…`$ and ```math as a forge takes them, shown by MathJax from files of the site's own.

A page has each formula as it is in the file, between \\( \\) or \\[ \\]; MathJax sets them in the reader's browser.
"""

import html
import importlib.util
import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.util.fileutil import copy_asset

FENCED = re.compile(r"^(`{3,})[^\n]*\n.*?^\1`*$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"\$(`[^`]+`)\$")
MATHJAX = {
    "tex": {"inlineMath": [["\\(", "\\)"]], "displayMath": [["\\[", "\\]"]], "processEnvironments": False},
    "options": {"processHtmlClass": "math", "ignoreHtmlClass": ".*", "enableMenu": False},
}


def as_roles(app, docname, source):
    """$`…`$ becomes MyST's {math}`…`; what stands in a block of code is left alone."""
    if app.env.doc2path(docname).suffix == ".md":
        source[0] = outside_fences(lambda text: INLINE.sub(r"{math}\1", text), source[0])


def outside_fences(change, text):
    """The text with `change` applied to all but its fenced blocks."""
    parts, end = [], 0
    for fence in FENCED.finditer(text):
        parts += [change(text[end : fence.start()]), fence.group()]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def inline(translator, node):
    translator.body.append(f'<span class="math">\\({html.escape(node.astext())}\\)</span>')
    raise nodes.SkipNode


def block(translator, node):
    translator.body.append(f'<div class="math">\\[{html.escape(node.astext())}\\]</div>\n')
    raise nodes.SkipNode


def copy_mathjax(app, error):
    package = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent
    here = Path(app.outdir, "_static", "mathjax")
    for name in ("tex-chtml.js", "output/chtml/fonts/woff-v2"):
        copy_asset(package / "static" / "mathjax" / name, (here / name).parent if name.endswith(".js") else here / name)


def setup(app):
    app.config.myst_fence_as_directive = ["math"]
    app.connect("source-read", as_roles)
    app.add_html_math_renderer("formulas", (inline, None), (block, None))
    app.add_js_file(None, body=f"MathJax = {json.dumps(MATHJAX)}")
    app.add_js_file("mathjax/tex-chtml.js", loading_method="defer")
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
