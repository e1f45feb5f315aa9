"""Is the built site whole? python docs/site/check.py build/site

Every formula of a Markdown file stands on its page, letter by letter and in its order; every link leads to a page and
an anchor that are there; nothing is loaded from elsewhere. Prints a line for each thing that is not so.
"""

import functools
import html
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("minivgg", "style", "weights", "study", "notebooks", "examples", "benchmarks")
TAG = re.compile(r"<[a-z][^<>]*>", re.IGNORECASE)
ATTRIBUTE = re.compile(r'\s(href|src|id)="([^"]*)"')
SHOWN = re.compile(r'<(div|span) class="math">(.*?)</\1>', re.DOTALL)


def texts(root=ROOT):
    """The Markdown files that the site shows, by name."""
    inside = (root / name for name in ("minivgg", "style", "weights", "study", "notebooks", "benchmarks", "examples"))
    found = [*root.glob("*.md"), *root.glob("docs/*.md"), *(path for at in inside for path in at.rglob("*.md"))]
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in sorted(found)}


def written(text):
    """The formulas of a Markdown text as a forge reads them: (blocks, inline)."""
    blocks, inline = [], []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "fence" and token.info.strip() == "math":
            blocks.append(token.content.rstrip("\n"))
        for k, child in enumerate(token.children or ()):
            beside = "".join(token.children[j].content[at] for j, at in neighbours(token.children, k))
            if child.type == "code_inline" and beside == "$$":
                inline.append(child.content)
    return blocks, inline


def neighbours(children, k):
    """Where the letters before and after child k stand, if text is there."""
    sides = ((k - 1, -1), (k + 1, 0))
    return [(j, at) for j, at in sides if 0 <= j < len(children) and children[j].type == "text" and children[j].content]


def shown(page):
    """The formulas of a page: (blocks, inline)."""
    found = [(kind, html.unescape(text)) for kind, text in SHOWN.findall(page)]
    strip = {"div": r"\\\[(.*)\\\]", "span": r"\\\((.*)\\\)"}
    inside = [(kind, re.fullmatch(strip[kind], text, re.DOTALL)) for kind, text in found]
    return tuple([m[1] for kind, m in inside if kind == wanted and m] for wanted in ("div", "span"))


def formula_problems(name, text, page):
    """What of a text's formulas is not on its page as it is written, and in its order."""
    for what, there, here in zip(("block", "inline formula"), written(text), shown(page)):
        if len(there) != len(here):
            yield f"{name}: {len(there)} times {what} in the file, {len(here)} on the page"
        yield from (f"{name}: {what} {a!r} is {b!r} on the page" for a, b in zip(there, here) if a != b)


def signpost_problems(name, page):
    """What the line `code: … · check: …` under a heading names and does not lead to."""
    for line in re.findall(r"<p>code: .*?</p>", page, re.DOTALL):
        left = re.findall(r"<code.*?</code>", re.sub(r"<a .*?</a>", "", line, flags=re.DOTALL), re.DOTALL)
        yield from (f"{name}: {re.sub('<.*?>', '', code)} leads to no line" for code in left)


def link_problems(site):
    """Links of any page that lead nowhere, and what a page would load from elsewhere."""

    @functools.cache
    def attributes(path):
        tags = TAG.findall(path.read_text(encoding="utf-8"))
        return [(tag.split()[0][1:].lower(), *found) for tag in tags for found in ATTRIBUTE.findall(tag)]

    @functools.cache
    def anchors(path):
        return {html.unescape(value) for _, name, value in attributes(path) if name == "id"}

    for path in sorted(site.rglob("*.html")):
        page = path.relative_to(site).as_posix()
        for tag, name, value in attributes(path):
            link = urlsplit(html.unescape(value))
            if name == "id" or link.scheme == "data":
                continue
            if link.scheme or link.netloc:
                if tag != "a":
                    yield f"{page}: loads {value} from elsewhere"
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            if not target.is_file():
                yield f"{page}: {value} leads nowhere"
            elif link.fragment and target.suffix == ".html" and unquote(link.fragment) not in anchors(target):
                yield f"{page}: {value} has no such anchor"
    for path in sorted(site.rglob("*.css")):
        for value in re.findall(r"url\([\"']?((?:https?:)?//[^)]+)", path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site).as_posix()}: loads {value} from elsewhere"


def problems(site, root=ROOT):
    """All that is wrong with a built site, a line each."""
    site = Path(site).resolve()
    for name, text in texts(root).items():
        page = site / Path(name).with_suffix(".html")
        if page.is_file():
            built = page.read_text(encoding="utf-8")
            yield from formula_problems(name, text, built)
            yield from signpost_problems(name, built)
        else:
            yield f"{name}: not on the site"
    yield from link_problems(site)


if __name__ == "__main__":
    found = list(problems(sys.argv[1]))
    print("\n".join(found) or "every formula and every link is there")
    sys.exit(1 if found else 0)
