"""Weights of VGG networks: `weights.load("vgg19")`, a file's path, or nothing for the best that is there."""

import minivgg_style

minivgg_style.claim("minivgg")  # not one of the working folder; first, for what minivgg/start.py does

import os
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from minivgg.program import first_line, suggest

from .cache import check_private, entry, names, present
from .known import UnknownWeightsError, WeightsError, kind_of, read_head
from .matconvnet import load_mat
from .store import Network, load_compact, save_compact

__all__ = ["Network", "UnknownWeightsError", "WeightsError", "load", "save_compact"]


def load(spec: str | os.PathLike[str] | None = None, *, dtype: DTypeLike = np.float32) -> Network:
    """The network that `spec` asks for.

    spec   a name ("vgg19", "vgg16", "mini", or another entry of the cache), a path (.mat or compact .npz),
           or None or "best" for the best that is there: vgg19, else vgg16, else the embedded mini.
    dtype  type of the filters and biases

    Which one it became stands in the result's `name` and `path`. Raises WeightsError with a one-line message.
    """
    return load_file(locate(spec), dtype=dtype)


def locate(spec: str | os.PathLike[str] | None = None) -> Path:
    """Path of the file that `load(spec)` reads; WeightsError when there is none."""
    if spec is None or spec == "best":
        there = present()
        if not there:
            raise WeightsError("no weights are there; get some: python -m weights fetch vgg19")
        return _private(there[0])
    text = os.fspath(spec)
    if isinstance(spec, Path) or text not in names():
        looks_like_path = os.sep in text or "/" in text or Path(text).suffix or os.path.exists(text)
        if isinstance(spec, Path) or looks_like_path:
            return Path(os.path.expanduser(text))  # Path's own raises when there is no such user
        raise _unknown_name(text)
    path = _private(text)
    if not os.path.isfile(path):
        raise WeightsError(_how_to_get(text, path))
    return path


def load_file(path: str | os.PathLike[str], dtype: DTypeLike = np.float32) -> Network:
    """The network in a file, read by what the file is and not by what it is called."""
    try:
        head = read_head(path)
        return load_compact(path, dtype) if kind_of(head) == "zip" else load_mat(path, dtype)
    except OSError as error:  # a disk or a network that fails
        raise WeightsError(f"{path}: cannot be read ({first_line(error)}); try again, or copy it elsewhere") from None


def _private(name):
    path = entry(name)
    if name != "mini":
        check_private(path.parent)
    return path


def _unknown_name(text):
    hint = suggest(text.lower(), names(), cutoff=0.5)
    return UnknownWeightsError(
        f"unknown weights {text!r}{hint or ';'} names: {', '.join(names())}; or give a file's path"
    )


def _how_to_get(name, path):
    if name == "mini":
        return f"{path}: the embedded network is missing; reinstall, or use --weights with a file"
    return f"{name} is not in the cache ({path}); get it: python -m weights fetch {name}"
