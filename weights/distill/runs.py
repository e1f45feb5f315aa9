"""A run of the training: started, or resumed from its checkpoint, to the last step or until the time is over."""

import json
import os
import time
from dataclasses import asdict

import numpy as np

from minivgg.files import FileError, atomic_file
from minivgg.program import first_line

from ..known import WeightsError
from .training import State, weighted

PAIRS = ("params", "first", "second")
ARRAYS = ("cross", "gram", "maps")


def save_checkpoint(path, state, settings):
    """The whole State and the Settings in one file, which takes its name only when it is complete."""
    arrays = {"own": state.own}
    for part in PAIRS:
        for name, pair in getattr(state, part).items():
            arrays |= {f"{part}/{name}/{i}": v for i, v in enumerate(pair)}
    for part in ARRAYS:
        arrays |= {f"{part}/{name}": v for name, v in getattr(state, part).items()}
    about = {"step": state.step, "scale": state.scale, "settings": asdict(settings)}
    try:
        with atomic_file(path, make_folder=True) as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)
    except FileError as error:
        raise WeightsError(str(error)) from None


def load_checkpoint(path, settings):
    """State from save_checkpoint; WeightsError when the file is another run's, or no checkpoint.

    `steps` and `rate` may differ: so a run is prolonged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"].item()))
            arrays = {name: archive[name] for name in archive.files if name != "about"}
        names = list(about["scale"])
        pairs = {part: {n: tuple(arrays[f"{part}/{n}/{i}"] for i in (0, 1)) for n in names} for part in PAIRS}
        maps = {p: {n.split("/")[1]: v for n, v in arrays.items() if n.startswith(p + "/")} for p in ARRAYS}
        scale = {n: tuple(v) for n, v in about["scale"].items()}
        found = about["settings"]
        state = State(step=about["step"], scale=scale, own=arrays["own"], **pairs, **maps)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"not a checkpoint of this program ({first_line(error)})"
        raise WeightsError(f"{path}: {why}; remove it to start again") from None
    expected = json.loads(json.dumps(asdict(settings)))
    if differ := ", ".join(k for k in expected if found.get(k) != expected[k] and k not in ("steps", "rate")):
        raise WeightsError(f"{path}: a checkpoint of a run with other settings ({differ}); remove it to start again")
    return state


def run(training, checkpoint, *, minutes=None, every=50, log=print):
    """Start or resume, and go on to the last step or until `minutes` are over. Returns the State."""
    settings, begun = training.settings, time.perf_counter()
    if os.path.exists(checkpoint):
        state = load_checkpoint(checkpoint, settings)
        log(f"resumed at step {state.step} from {checkpoint}")
    else:
        state = training.start(log=lambda name, lost: log(f"closed form {name}: {lost:.4f} lost"))
        save_checkpoint(checkpoint, state, settings)
    recent = []
    while state.step < settings.steps:
        if minutes is not None and time.perf_counter() - begun > 60 * minutes:
            log(f"{minutes:g} minutes are over at step {state.step}; the same command goes on from there")
            break
        recent.append(training.step(state))
        if state.step % 10 == 0 or state.step == settings.steps:
            log(_progress(state.step, recent, time.perf_counter() - begun, settings.gram))
            recent = []
        if state.step % every == 0:
            save_checkpoint(checkpoint, state, settings)
    save_checkpoint(checkpoint, state, settings)
    return state


def _progress(step, recent, seconds, gram):
    parts = " ".join(f"{n[4:]} {np.mean([r[n] for r in recent]):.4f}" for n in recent[0])
    return f"step {step:5d}  {seconds:6.0f} s  loss {np.mean([weighted(r, gram) for r in recent]):.4f}  lost at {parts}"
