"""Source files as pages with numbered lines; links to files and folders of the project lead there."""

import ast
import functools
import html
import re
from pathlib import Path

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from sphinx import addnodes
from sphinx.environment.adapters.toctree import global_toctree_for_doc

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("minivgg", "style", "weights", "study", "notebooks", "examples", "benchmarks", "tests", "docs")
KINDS = (".py", ".cu", ".toml")
CHECKER = ("minivgg/gradcheck/rows.py", "style/gradcheck.py")  # where the rows of the checker's table are made


@functools.cache
def files():
    """The source files that have a page, by their names from the project's folder."""
    inside = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")))
    found = [path for path in (*inside, *sorted(ROOT.glob("*"))) if path.suffix in KINDS]
    return {path.relative_to(ROOT).as_posix(): path for path in found}


@functools.cache
def folders():
    """The folders that have a page: {name: names of the source files and folders in it}."""
    found = {}
    for name in files():
        while "/" in name:
            folder = name.rpartition("/")[0]
            found.setdefault(folder, set()).add(name)
            name = folder
    return found


def page_of(name):
    """The page of a file or folder, or None."""
    name = name.rstrip("/")
    return f"source/{name}" if name in files() else f"source/{name}/index" if name in folders() else None


@functools.cache
def symbols(name):
    """{symbol: line} of a Python file: functions, classes, methods as Class.method, and names that are assigned."""
    found = {}

    def note(body, before):
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found[before + node.name] = node.lineno
                note(node.body, f"{before}{node.name}.")
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    found.update({before + t.id: node.lineno for t in ast.walk(target) if isinstance(t, ast.Name)})

    if name.endswith(".py"):
        note(ast.parse(text_of(name)).body, "")
    return found


def line_of(name, text):
    """The line of what a text names in a file: a symbol, a heading of a TOML table, a row of the checker's table."""
    pattern = None
    if name.endswith(".toml"):
        pattern = re.escape(f"[{text}]")
    elif name in CHECKER:
        pattern = r"[\"'}] ?" + re.escape(text.removesuffix("…").strip())
    lines = text_of(name).splitlines() if pattern else []
    return symbols(name).get(text) or next((k for k, line in enumerate(lines, 1) if re.search(pattern, line)), None)


@functools.cache
def text_of(name):
    return files()[name].read_text(encoding="utf-8")


def uri(app, docname, name, line=None):
    """The way from a page to a source page, and to a line there; the page is made anew when that file changes."""
    if name in files():
        app.env.note_dependency(files()[name], docname=docname)
    return app.builder.get_relative_uri(docname, page_of(name)) + (f"#L-{line}" if line else "")


def name_of(app, docname, target):
    """The name from the project's folder of what a link names from its own file; "" if it lies outside."""
    path = (app.env.doc2path(docname).parent / target).resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""


def link(app, doctree):
    """Links to source files and folders lead to their pages; [`name`](file.py) to the line where it is defined."""
    docname = app.env.docname
    for node in [*doctree.findall(addnodes.download_reference), *doctree.findall(addnodes.pending_xref)]:
        target, _, line = node["reftarget"].partition("#L")
        name = name_of(app, docname, target) if node.get("reftype") == "myst" and not node.get("refdomain") else ""
        if name and page_of(name):
            line = line or line_of(name, node.astext()) if name in files() else None
            shown = nodes.reference("", "", internal=True, refuri=uri(app, docname, name, line))
            shown += [child.deepcopy() for child in node.children]
            shown["source"] = name
            node.replace_self(shown)


def pages(app):
    """A page for each source file and folder."""
    for name in files():
        numbered = HtmlFormatter(linenos="inline", linespans="L", anchorlinenos=True, lineanchors="L", wrapcode=True)
        body = highlight(text_of(name), get_lexer_for_filename(name), numbered)
        yield f"source/{name}", context(app, name, re.sub(r'<a id="L-\d+" name="L-\d+"></a>', "", body)), "page.html"
    for name, inside in folders().items():
        rows = "".join(f'<li><a href="{entry(name, each)}">{shown(each)}</li>' for each in sorted(inside))
        yield f"source/{name}/index", context(app, f"{name}/", f"<ul>{rows}</ul>"), "page.html"


def entry(folder, name):
    """From a folder's page to the page of what is in it."""
    return name.removeprefix(f"{folder}/") + (".html" if name in files() else "/index.html")


def shown(name):
    """A file's name and the first line of its docstring."""
    said = (ast.get_docstring(ast.parse(text_of(name))) or "") if name.endswith(".py") else ""
    first = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(said.split("\n")[0]))
    return f"<code>{name.rpartition('/')[2]}</code></a> {first}"


def context(app, name, body):
    """What a page's template takes; the contents beside it are those of any page as deep."""

    def contents(**options):
        page = "/".join(["source"] * (name.count("/") + 2))
        return contents_at(app.builder, page, tuple(sorted(options.items())))

    return {"title": name, "parents": [], "body": f"<h1>{name}</h1>{body}", "toctree": contents}


@functools.cache
def contents_at(builder, page, options):
    """The site's contents with ways from a page; made once a depth and not three hundred times, a fifth of a build."""
    found = global_toctree_for_doc(builder.env, page, builder, tags=builder.tags, **dict(options))
    return builder.render_partial(found)["fragment"]


def setup(app):
    app.connect("doctree-read", link, priority=100)  # before Sphinx collects files to download
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
