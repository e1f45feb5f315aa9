"""Small files of a desk: read where they are there, written whole, linked."""

import json
import os
import shutil

from minivgg.files import atomic_file

from .asked import Refused


def link(source, target):
    """The same file under another name; a copy where the disk has no links."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise Refused("a picture is not here any more: choose it again", 409) from None
    except OSError:
        with open(source, "rb") as file, atomic_file(target) as copy:
            shutil.copyfileobj(file, copy)


def read_text(path):
    """What a file says, or nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def write_text(path, text, replace=True):
    with atomic_file(path, replace=replace) as file:
        file.write(text.encode())


def write_json(path, data):
    write_text(path, json.dumps(data))


def read_json(path):
    """What a JSON file holds, or None where there is none."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
