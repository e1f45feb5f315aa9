"""Neural style transfer after Gatys, Ecker & Bethge.

For use:

    transfer(content, style, size=512, …) -> Result   one call: a picture in the manner of another
    Job, Engine, settings_from, Settings, presets     the same in parts: check, plan, run, share a network
    STOP, events                                      what a callback returns to end a run; what listeners hear
    limits, watching                                  listeners that end a run; that show how it comes about
    batch, sweep, work                                many pictures: several contents, values of options, a queue
    show_in_notebook                                  a callback that shows the run in a notebook
    State                                             a run's state, to go on from later
    ColourSpace                                       between pictures and the input that minivgg.VGG.forward takes
    samples                                           pictures of our own to try it on

`python -m style.run --help` is the command line. The mathematics is in losses.py, terms.py, objective.py,
passes.py and optimize.py, in this order, and in MATH.md.
"""

import minivgg_style

minivgg_style.claim("minivgg")  # not one of the working folder; first, for what minivgg/start.py does
minivgg_style.claim("weights")

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from . import events, limits
from .engine import Engine
from .events import STOP
from .job import Job, transfer
from .options import SettingsError
from .pictures.colour import ColourSpace
from .recipes import presets
from .result import Result
from .settings import Settings, settings_from
from .state import State, StateError

try:
    __version__ = version("minivgg-style")
except PackageNotFoundError:  # run from a folder without being installed
    __version__ = "unknown"


_LATER = {  # loaded when they are asked for: {name: (module, what of it, or None for itself)}
    "batch": (".many.batches", "batch"),
    "samples": (".samples", None),
    "show_in_notebook": (".notebook", "show_in_notebook"),
    "sweep": (".many.sweeps", "sweep"),
    "watching": (".watching", None),
    "work": (".many.worker", "work"),
}

if TYPE_CHECKING:  # to a checker, a module with __getattr__ has every name
    from . import samples, watching
    from .many.batches import batch
    from .many.sweeps import sweep
    from .many.worker import work
    from .notebook import show_in_notebook
else:

    def __getattr__(name):
        if name in _LATER:
            module, part = _LATER[name]
            found = import_module(module, __name__)
            return found if part is None else getattr(found, part)
        raise AttributeError(f"module 'style' has no attribute {name!r}")


__all__ = [
    "STOP",
    "ColourSpace",
    "Engine",
    "Job",
    "Result",
    "Settings",
    "SettingsError",
    "State",
    "StateError",
    "__version__",
    "batch",
    "events",
    "limits",
    "presets",
    "samples",
    "settings_from",
    "show_in_notebook",
    "sweep",
    "transfer",
    "watching",
    "work",
]
