"""The pages that the site adds: contents, the docstrings of a package, the road of exercises, all pictures."""

import importlib
import pkgutil
import re

import docstrings
import sources
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

UP = "../.."  # from this folder to the project's
PICTURE = re.compile(r"!\[([^\]]+)\]\(([^)]+)\)")


class Lines(SphinxDirective):
    """A directive that stands for lines in the markup of its page."""

    optional_arguments = 1

    def run(self):
        content = StringList(list(self.lines()), source=self.get_source_info()[0])
        return self.parse_content_to_nodes_from(content)

    def parse_content_to_nodes_from(self, content):
        self.content = content
        return self.parse_content_to_nodes(allow_section_headings=True)


class Modules(Lines):
    """A package and the modules in it, without the packages in it: a section each."""

    def lines(self):
        package = importlib.import_module(self.arguments[0])
        names = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg and m.name != "__main__"]
        for name in (package.__name__, *(f"{package.__name__}.{name}" for name in names)):
            yield from (name, "-" * len(name), "", f".. automodule:: {name}", "   :ignore-module-all:", "")


class Road(Lines):
    """The steps of `python -m study`, with each exercise's function and section."""

    def lines(self):
        from study.road import PICTURE as picture
        from study.road import STEPS

        for number, step in enumerate(STEPS, 1):
            yield from (f"{number}. {step.title[0].upper()}{step.title[1:]}", "")
            for e in step.exercises:
                code = f"[`{e.attribute or e.name}`]({UP}/{e.module.replace('.', '/')}.py)"
                anchor = docstrings.heading((sources.ROOT / e.text).read_text(encoding="utf-8"), e.section)
                yield f"    - `python -m study {e.name}`: {code}, [{e.text} {e.section}]({UP}/{e.text}#{anchor})"
            if not step.exercises:
                yield f"    - `python -m study {picture}`"
            yield ""


class Gallery(Lines):
    """Every picture that a page shows, with its words, leading to the page."""

    def lines(self):
        for docname in sorted(self.env.found_docs):
            path = self.env.doc2path(docname)
            for alt, target in PICTURE.findall(path.read_text(encoding="utf-8")) if path.suffix == ".md" else ():
                name = (path.parent / target).resolve().relative_to(sources.ROOT).as_posix()
                yield from (f".. figure:: /{name}", f"   :alt: {alt}", "", f"   :doc:`/{docname}`: {alt}", "")


def contents(app, docname, source):
    """The README is the front page, and what the site holds stands behind it: /* is every page that no line names."""
    if docname == app.config.root_doc:
        lines = (sources.ROOT / "docs/site/contents.md").read_text(encoding="utf-8").splitlines()
        rest = sorted({f"/{name}" for name in app.env.found_docs if re.fullmatch(r"docs/[^/]+", name)} - {*lines})
        shown = [rest if line == "/*" else [line] for line in lines]
        source[0] += "\n".join(line for some in shown for line in some)


def front(app):
    """The site's own address shows the front page."""
    yield "index", {"to": app.builder.get_target_uri(app.config.root_doc)}, "front.html"


def setup(app):
    app.add_directive("modules", Modules)
    app.add_directive("road", Road)
    app.add_directive("gallery", Gallery)
    app.connect("source-read", contents)
    app.connect("html-collect-pages", front)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
