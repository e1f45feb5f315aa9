"""Docstrings as they are: tables of shapes, formulas and examples stay line by line, sentences become paragraphs.

They are plain text and no markup, but for code between backticks and signposts such as "MATH.md 3".
"""

import contextlib
import importlib
import re
from operator import attrgetter
from pathlib import Path

import sources
from docutils import nodes
from myst_parser.mdit_to_docutils.base import default_slugify
from sphinx import addnodes

SECTION = re.compile(r"((?:[\w./]+/)?MATH\.md)(?:,? (?:section )?(\d+(?:\.\d+)?))?")


def as_text(app, what, name, obj, options, lines):
    """The reStructuredText that shows a docstring's lines as they stand."""
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    lines[:] = [line for block in blocks if block.strip() for line in (*shown(block.splitlines()), "")]


def shown(lines):
    """A block of lines: a sentence as a paragraph, anything that is laid out in columns as it is."""
    if any(re.search(r"\S {2,}\S|^ |^[-*] ", line) for line in lines):
        return ["::", "", *(f"   {line}" for line in lines)]
    text = " ".join(quoted(line) for line in lines)
    return ["\\" + text if text[0].isalnum() else text]  # no number of a list, no marker of anything


def quoted(line):
    """A line of plain text with nothing in it that reStructuredText would take for markup; `x` in code type."""
    parts = re.split(r"`([^`]+)`", line)
    parts[::2] = [re.sub(r"([\\*_|`<>:])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"\\ ``{part}``\\ " for part in parts[1::2]]
    return "".join(parts)


def point(app, doctree):
    """Signposts to sections of MATH.md, and [source] beside each signature."""
    module = None
    for node in list(doctree.findall(lambda n: isinstance(n, (addnodes.desc_signature, nodes.Text)))):
        if isinstance(node, addnodes.desc_signature):
            module = node.get("module")
            if module:
                beside(app, node)
        elif module and SECTION.search(node) and not isinstance(node.parent, nodes.reference):
            node.parent.replace(node, [*linked(node, module, app.env.docname)])


def file_of(module):
    """A module's source file by name; None for one that is not here."""
    path = (module or "").replace(".", "/")
    return next((name for name in (f"{path}.py", f"{path}/__init__.py") if name in sources.files()), None)


def beside(app, signature):
    """A way from a signature to the line where it is defined, wherever its package offers it."""
    module, name = signature["module"], signature["fullname"]
    with contextlib.suppress(AttributeError):  # a field has no line of its own
        found = attrgetter(name)(importlib.import_module(module))
        module, name = found.__module__, found.__qualname__
    file = file_of(module)
    line = file and sources.symbols(file).get(name)
    if line:
        uri = sources.uri(app, app.env.docname, file, line)
        signature += nodes.reference("", "[source]", internal=True, refuri=uri, classes=["to-source"])


def linked(node, module, docname):
    """A text's pieces, with a link where it names a MATH.md, or a section of one, beside the module or above it."""
    end = 0
    for found in SECTION.finditer(node):
        target, anchor = place_of(module, *found.groups())
        if target:
            yield nodes.Text(node[end : found.start()])
            kind = {"refdomain": "doc", "reftype": "myst", "reftarget": target, "reftargetid": anchor}
            yield addnodes.pending_xref(
                "", nodes.inline("", found[0], classes=["xref", "myst"]), refdoc=docname, refexplicit=True, **kind
            )
            end = found.end()
    yield nodes.Text(node[end:])


def place_of(module, text, number):
    """(page, anchor or None) of a MATH.md and its section; (None, None) if there is no such file."""
    folder = Path(sources.ROOT, file_of(module) or "").parent
    for at in (folder, *folder.parents):
        if (at / text).is_file() and at.is_relative_to(sources.ROOT):
            name = (at / text).relative_to(sources.ROOT).with_suffix("").as_posix()
            return name, number and heading((at / text).read_text(encoding="utf-8"), number)
    return None, None


def heading(text, number):
    """The anchor of a numbered section, as a forge makes it; None if there is none."""
    title = re.search(rf"^#+ ({re.escape(number)}\.? .+)$", text, re.MULTILINE)
    return title and default_slugify(title[1])


def setup(app):
    app.connect("autodoc-process-docstring", as_text)
    app.connect("doctree-read", point, priority=200)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
