"""The project's texts for tests: their numbered sections, their anchors."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def read(path):
    return path.read_text(encoding="utf-8")


def sections(path):
    """{number: (title, body)} of a text's numbered headings."""
    found = re.split(r"^#{2,3} (\d+(?:\.\d+)?)\.? (.+)$", read(path), flags=re.MULTILINE)[1:]
    return dict(zip(found[::3], zip(found[1::3], found[2::3])))


def slug(heading):
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
