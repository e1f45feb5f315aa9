"""All that a run needs to go on from where it was, to the same digits: saved, loaded, and told apart from others'."""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minivgg.files import atomic_file
from minivgg.program import first_line

VERSION = 2
CHANGED = "contents that have changed since they were saved"


class StateError(ValueError):
    """A saved state that cannot be used; the message names the file, what was found and what was expected."""


@dataclass
class State:
    """Where a run is.

    stage    index of the scale it is at
    arrays   {name: NumPy array}: of the optimiser, the best picture, counts, deferred terms, earlier scales
    made_of  {what: hash or value}: the pictures, the weights and the settings, which must be the same to go on
    about    what the command line needs to go on by itself, as JSON values (checkpoint.py)
    """

    stage: int
    arrays: dict[str, np.ndarray]
    made_of: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)
    path: str | os.PathLike[str] | None = None  # of the file that it was read from

    @property
    def meta(self) -> dict[str, Any]:
        """What a file holds beside the arrays, as JSON values."""
        return {"version": VERSION, "stage": self.stage, "made of": self.made_of, "about": self.about}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file, which is there whole or not at all. Raises OSError."""
        meta = self.meta
        arrays: dict[str, Any] = {name: np.asarray(a) for name, a in self.arrays.items()}
        text = json.dumps(meta | {"sha256": digest(meta, arrays)})
        with atomic_file(path) as file:
            np.savez(file, meta=np.array(text), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "State":
        """Read what save() wrote. Raises StateError; nothing in the file is executed."""
        with reading(path):
            if os.path.exists(path) and not zipfile.is_zipfile(path):
                raise ValueError("no archive")
            with np.load(path, allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            if "meta" not in arrays:
                raise ValueError(f"arrays {', '.join(arrays)[:60]}, but no meta")
            meta, sha256 = parsed(arrays.pop("meta"), path)
            if sha256 != digest(meta, arrays):
                raise ValueError(CHANGED)
            return cls(int(meta["stage"]), arrays, dict(meta["made of"]), dict(meta["about"]), path)

    def check(self, made_of: Mapping[str, Any]) -> None:
        """Raise StateError unless the run that would go on is of the same pictures, weights and settings."""
        for what, expected in made_of.items():
            found = self.made_of.get(what)
            if found != expected:
                raise StateError(
                    f"{self.path or 'saved state'}: {what} was {found}, is {expected}: it cannot go on from there"
                )


def parsed(meta: np.ndarray, path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """(State.meta of a file, the hash of all that it holds). Raises StateError for another version's."""
    found = json.loads(str(meta))
    if found["version"] != VERSION:
        raise StateError(f"{path}: saved by another version ({found['version']}); this one reads {VERSION}")
    return found, found.pop("sha256")


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """A StateError, one line, of whatever goes wrong within: a foreign or broken file may fail anywhere."""
    try:
        yield
    except StateError:
        raise
    except FileNotFoundError:
        raise StateError(f"{path}: no such file; expected the saved state of a run") from None
    except Exception as error:
        raise StateError(f"{path}: found {first_line(error)}; expected the saved state of a run") from None


def digest(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """The hash of all that a state holds, hexadecimal."""
    h = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        a: Any = np.ascontiguousarray(arrays[name])
        h.update(f"{name} {a.dtype.str} {a.shape}".encode())
        h.update(a.reshape(-1).view(np.uint8) if a.size else b"")
    return h.hexdigest()
