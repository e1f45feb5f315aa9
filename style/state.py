"""All that a run needs to go on from where it was, to the same digits: saved, loaded, and told apart from others'."""

import json
from dataclasses import dataclass

import numpy as np

from minivgg.files import atomic_file
from minivgg.program import first_line

VERSION = 1


class StateError(ValueError):
    """A saved state that cannot be used; the message names the file, what was found and what was expected."""


@dataclass
class State:
    """Where a run is.

    stage    index of the scale it is at
    arrays   {name: NumPy array}: of the optimiser, the best picture, counts, deferred terms, earlier scales
    made_of  {what: hash or value}: the pictures, the weights and the settings, which must be the same to go on
    """

    stage: int
    arrays: dict
    made_of: dict

    def save(self, path):
        """Write to a file, which is there whole or not at all. Raises OSError."""
        meta = json.dumps({"version": VERSION, "stage": self.stage, "made of": self.made_of})
        with atomic_file(path) as file:
            np.savez(file, meta=np.array(meta), **self.arrays)

    @classmethod
    def load(cls, path):
        """Read what save() wrote. Raises StateError; nothing in the file is executed."""
        try:
            with np.load(path, allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            if "meta" not in arrays:
                raise ValueError(f"arrays {', '.join(arrays)[:60]}, but no meta")
            meta = json.loads(str(arrays.pop("meta")))
            version, stage, made_of = meta["version"], int(meta["stage"]), dict(meta["made of"])
        except FileNotFoundError:
            raise StateError(f"{path}: no such file; expected the saved state of a run") from None
        except Exception as error:  # a foreign or broken file may fail anywhere
            raise StateError(f"{path}: found {first_line(error)}; expected the saved state of a run") from None
        if version != VERSION:
            raise StateError(f"{path}: saved by another version ({version}); this one reads {VERSION}")
        return cls(stage, arrays, made_of)

    def check(self, made_of):
        """Raise StateError unless the run that would go on is of the same pictures, weights and settings."""
        for what, expected in made_of.items():
            found = self.made_of.get(what)
            if found != expected:
                raise StateError(f"saved state: {what} was {found}, is {expected}: it cannot go on from there")
