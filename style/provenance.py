"""What is stored with a picture: everything that went into it, as plain values."""

import hashlib
import importlib.metadata
import json
import math
import platform
import time

from minivgg.backend import get_xp


def metadata(job, outcome):
    """Everything that went into the picture of a job.Job that ended in `outcome`."""
    return {
        "program": f"minivgg-style {version('minivgg-style')}",
        "versions": versions(get_xp(outcome.image)),
        "device": str(job.device),
        **made_from(job),
        **({"nearest layers": job.nearest} if job.nearest else {}),
        "stages": [_stage_record(job, stage) for stage in job.stages],
        **({"colour": job.filters.record} if job.filters.record else {}),
        "result": {
            **outcome.totals(),
            "loss as saved": None if math.isnan(outcome.saved) else outcome.saved,
            "terms": outcome.values,
            "evaluations": outcome.evaluations,
            "iterations": outcome.iterations,
            "seconds": round(outcome.seconds, 3),
            "status": outcome.status,
            "message": outcome.message,
        },
        "started": timestamp(job.started),
    }


def made_from(job):
    """The settings and inputs of a job, as they are stored."""
    return {
        "settings": job.settings.to_dict(),
        "content": picture_record(job.content),
        "style": _one_or_all([picture_record(p) for p in job.styles.pictures]),
        **({} if job.start is None else {"init": picture_record(job.start)}),
        "weights": {"name": job.network.name, "sha256": job.network.sha256},
    }


def is_record_of(record, job):
    """Whether a picture's metadata (or None) are those of this job: the same inputs and settings, wherever it ran."""
    return _essence(made_from(job)) == _essence(record or {})


def is_texture(record):
    """Whether there was no content picture: what stands for one is the first style then."""
    first = (records(record.get("style")) or [{}])[0]
    layers = record["settings"].get("content_layers") or {}
    return not any(layers.values()) and (record.get("content") or {}).get("sha256") == first.get("sha256")


def fingerprint(record):
    """12 hex digits that a run's metadata, or its made_from(), share with the lines of its log: of inputs and settings,
    wherever it ran."""
    text = json.dumps(_essence(record), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _essence(record):
    """What decides how a picture comes out, of metadata or made_from(), as plain JSON values."""
    found = {name: record.get(name) for name in ("settings", "content", "style", "init", "weights")}
    if isinstance(found["settings"], dict):
        found["settings"] = {k: v for k, v in found["settings"].items() if k not in ("memory", "device", "weights")}
    return json.loads(json.dumps(found, default=str))


def is_finished(record):
    """Whether metadata are of a run that came to its end."""
    return record["result"]["status"] not in ("interrupted", "non-finite")


def sheet_record(sweep, cells):
    """What is stored with a contact sheet: the options that were swept, and all of each cell.

    sweep  names of options;  cells  [(sweeps.Cell, Result or None), …]
    """
    return {
        "program": f"minivgg-style {version('minivgg-style')}",
        "sweep": list(sweep),
        "cells": [
            {"values": {name: c.settings.to_dict()[name] for name in c.values}, **({} if r is None else r.metadata)}
            for c, r in cells
        ],
    }


def on_the_way(job, evaluation):
    """What goes with a picture of an evaluation, from which the others of its run are known."""
    return {
        "program": f"minivgg-style {version('minivgg-style')}",
        "content": picture_record(job.content),
        "style": _one_or_all([picture_record(p) for p in job.styles.pictures]),
        "evaluation": evaluation,
        "started": timestamp(job.started),
    }


def timestamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def picture_record(picture):
    """What tells a picture from others: its file's name, never its folder, and the hash of its content."""
    return {
        "name": picture.path.name if picture.path is not None else picture.mode,
        "sha256": picture.origin or picture.sha256,
    }


def versions(xp):
    """What computed: Python, the packages, and CuPy where the arrays are CuPy's."""
    found = {name: version(name) for name in ("numpy", "scipy", "pillow")}
    return found | {xp.__name__: xp.__version__} | {"python": platform.python_version()}


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def records(stored):
    """The records of one picture or of several, as _one_or_all() stored them."""
    return stored if isinstance(stored, list) else [stored or {}]


def _one_or_all(values):
    return values[0] if len(values) == 1 else values


def _stage_record(job, stage):
    plan = job.plans[stage]
    return {
        "size": stage.size[::-1],
        "style size": _one_or_all([size[::-1] for size in stage.style_sizes]),
        "evaluations": stage.evaluations,
        "history": plan.history,
        "lag": plan.lag,
        "precondition": job.precondition,
        "memory": plan.describe(),
    }
