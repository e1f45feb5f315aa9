"""Names in code type lead to what they name: functions, tests and rows of the gradient checker's table.

Where a sentence names things and then a place, as "`f`, `g` in [layers.py](layers.py)" or "rows `relu …` of
`python -m minivgg.gradcheck`", each thing that is found there leads to its line, and the place to its page.
"""

import re

import sources
from docutils import nodes


def place_of(app, node):
    """The source files that a node stands for as a place; () if it is none."""
    if isinstance(node, nodes.reference):
        return tuple(name for name in [node.get("source")] if name in sources.files())
    text = node.astext()
    program = re.fullmatch(r"python -m (\S+).*", text)
    if program and program[1] == "minivgg.gradcheck":
        return sources.CHECKER
    module = (program[1] if program else text).replace(".", "/")
    tails = ["/__main__.py", ".py"] if program else [".py", "/__init__.py"] if re.match(r"[a-z]+\.", text) else []
    beside = sources.name_of(app, app.env.docname, text) if "/" in text or text.endswith(".py") else ""
    return tuple(name for name in [text, beside, *(module + tail for tail in tails)] if name in sources.files())[:1]


def point(app, doctree):
    for paragraph in doctree.findall(nodes.paragraph):
        waiting, places = [], ()
        for node in list(paragraph.findall(lambda n: isinstance(n, (nodes.literal, nodes.reference)))):
            if isinstance(node.parent, nodes.reference):
                continue
            found = place_of(app, node)
            if found:
                places = found
                lead(app, waiting, places)
                waiting = []
                if isinstance(node, nodes.literal):
                    program = "minivgg/gradcheck/__main__.py" if found == sources.CHECKER else found[0]
                    wrap(app, node, program, None)
            elif isinstance(node, nodes.literal):
                waiting.append(node)
        lead(app, waiting, places)  # "… of `python -m minivgg.gradcheck` (`layer_rows`)"


def lead(app, literals, places):
    for literal in literals:
        lines = ((name, sources.line_of(name, literal.astext())) for name in places)
        found = next((place for place in lines if place[1]), None)
        if found:
            wrap(app, literal, *found)


def wrap(app, literal, name, line):
    """Put a literal into a link to a line of a source page."""
    shown = nodes.reference("", "", internal=True, refuri=sources.uri(app, app.env.docname, name, line), source=name)
    literal.replace_self(shown)
    shown += literal


def setup(app):
    app.connect("doctree-read", point, priority=200)  # after links to source files are known
    return {"parallel_read_safe": True, "parallel_write_safe": True}
