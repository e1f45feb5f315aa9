"""The run that made a picture, once more: its options and inputs from the picture's own metadata, and what differs."""

import copy
import os
from pathlib import Path

import numpy as np

import weights
from minivgg.backend import BackendError, resolve_device

from .options import SettingsError, options_of
from .pictures import images, saving
from .provenance import is_texture, records, version, versions
from .settings import Settings


def again(args, tell):
    """The command's options with those of the picture `args.again` where none were given; differences go to `tell`.

    args  as parsed: content, style and Settings' names, None where not given. What is given goes before the picture's
    """
    picture, args = Path(args.again), copy.copy(args)
    record = saving.read_metadata(picture)
    if record is None or "settings" not in record:
        raise SettingsError(f"--again {picture}: no picture of ours that says how it was made", "again")
    settings = dict(record["settings"])
    if settings.get("init") == "a picture" or "init" in record:
        settings["init"] = _found(picture, record, "init", args.init, tell)
    stored, given = records(record.get("style")), args.style or []
    if is_texture(record):  # all pictures are styles
        args.texture, args.content, given = True, None, [p for p in (args.content, *given) if p is not None]
    else:
        args.content = _found(picture, record, "content", args.content, tell)
    given = given or [None] * len(stored)
    if len(given) != len(stored):
        raise SettingsError(f"--again {picture}: it was made from {len(stored)} styles; give as many, or none", "again")
    args.style = [_found(picture, {"style": r}, "style", g, tell) for r, g in zip(stored, given, strict=True)]
    if args.wrap is not None or args.optimizer is not None:
        _let_follow(settings)
    if args.weights is None:
        settings["weights"] = _weights(picture, settings.get("weights"), record.get("weights", {}), tell)
    for name in options_of(Settings):
        if getattr(args, name) is None:
            setattr(args, name, settings.get(name))
    _say_what_differs(record, args.device, tell)
    return args


def _let_follow(settings):
    """Values that followed from --wrap and --optimizer, and were not given: they follow from the new ones."""
    automatic = Settings(**{name: settings[name] for name in ("wrap", "optimizer") if settings.get(name) is not None})
    for name in ("margin", "bounds", "history", "lag"):
        if settings.get(name) == getattr(automatic, name):
            settings[name] = None


def _found(picture, record, name, given, tell):
    """The input of this name: the one that was given, a sample, or a file beside the picture or in this folder."""
    stored = record.get(name) or {}
    label = str(stored.get("name"))
    if images.is_sample(label):
        places = [label]
    else:
        own = os.path.basename(label)
        places = [p for p in (str(picture.with_name(own)), own) if os.path.isfile(p)]
    if given is None and not places:
        raise SettingsError(
            f"--again {picture}: its {name} was {label}, which is neither beside it nor in this folder; give "
            + ("--init" if name == "init" else "--again PICTURE CONTENT STYLE"),
            "again",
        )
    for place in [given] if given is not None else places:
        found = images.as_picture(place)
        if found.sha256 == stored.get("sha256"):
            return place
    place = given if given is not None else places[0]
    tell(f"{place}: another {name} than the one that {picture} was made from")
    return place


def _weights(picture, spec, record, tell):
    """The weights as they were named, here or beside the picture, or by the network's own name where that has gone."""
    if spec is not None and not os.path.isfile(spec) and os.path.isfile(picture.with_name(spec)):
        spec = str(picture.with_name(spec))
    try:
        network = weights.load(spec)
    except weights.WeightsError as error:
        spec = record.get("name")
        tell(f"{error}; going on with {spec}")
        network = weights.load(spec)
    if network.sha256 != record.get("sha256"):
        tell(f"{network.path}: other weights than those then, {record.get('name')}")
    return spec


def _say_what_differs(record, device, tell):
    """Versions and device: the digits may depend on them."""
    try:
        now = str(resolve_device(device or "auto"))
    except BackendError:
        now = device
    pairs = [("device", record.get("device"), now), ("program", record.get("program"), _program())]
    found = versions(np)
    pairs += [(name, then, found[name]) for name, then in (record.get("versions") or {}).items() if name in found]
    changed = [f"{name} {then}, now {now}" for name, then, now in pairs if then != now]
    if changed:
        tell(f"made with {'; '.join(changed)}: the last digits may differ")


def _program():
    return f"minivgg-style {version('minivgg-style')}"
