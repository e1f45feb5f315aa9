"""Presets: recipes by name or in files of one's own, what they are, and how one fits another network than its own."""

import contextlib
import copy
import dataclasses
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import weights
from minivgg.program import first_line, suggest
from minivgg.table import nearest_layer
from weights.cache import present

from .options import SettingsError
from .specs import text_of, within

WORDS = ("source", "about", "differs")  # what a recipe says of itself, beside its options
LIST = "list"  # --preset's value that explains them all
NETWORK = "vgg19"  # for which a recipe was made that names none
FILE = re.compile(r"(.*\.toml)(?::([^:/\\]*))?", re.IGNORECASE | re.DOTALL)  # FILE.toml, or FILE.toml:NAME


@dataclass(frozen=True)
class Recipe:
    """What a preset stands for: `values` {option: value}; `own` those that a user's file sets itself."""

    values: dict[str, Any]
    own: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Origin:
    """Which of a Settings' values come from a preset: its name or file as it was asked for, and the options' names."""

    preset: str
    options: frozenset[str]


# ---------------------------------------------------------------------------------------------- the book


def presets() -> dict[str, dict[str, Any]]:
    """{name: options, and what WORDS say} of the built-in presets, a copy."""
    return copy.deepcopy(_built_in())


@cache
def _built_in():
    with open(Path(__file__).with_name("presets.toml"), "rb") as f:
        book = tomllib.load(f)
    return {name: extended(book, name) for name in book}


def extended(
    book: Mapping[str, dict], name: str, others: Mapping[str, dict] | None = None, seen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Recipe `name` of a book, {name: options}, with what it `extends`, but for the options listed in `without`.

    What it extends stands in the book, or else among `others`, which extend nothing. What a recipe says of itself is
    not inherited. Raises ValueError: unknown, circular, or without what is not there.
    """
    own, others = dict(book[name]), others or {}
    base, without, inherited = own.pop("extends", None), own.pop("without", []), {}
    if base is not None:
        known = [*book, *(o for o in others if o not in book)]
        if not isinstance(base, str) or base not in known:
            raise ValueError(f"extends {base!r}: expected a preset{suggest(base, known)}: {', '.join(known)}")
        if base == name and base in others:  # a built-in one, changed under its own name
            inherited = others[base]
        elif base in (*seen, name):
            raise ValueError(f"extends goes round in a circle: {' -> '.join((*seen, name, base))}")
        else:
            inherited = extended(book, base, others, (*seen, name)) if base in book else others[base]
    if not isinstance(without, list) or not all(isinstance(w, str) for w in without):
        raise ValueError(f"without {without!r}: expected a list of options' names")
    for option in without:
        if option not in inherited:
            raise ValueError(f"without {option!r}: {base or 'nothing'} does not set it{suggest(option, inherited)}")
    return {k: v for k, v in inherited.items() if k not in (*without, *WORDS)} | own


# ------------------------------------------------------------------------------------- by name or by file


def recipe(preset: Any, known: Mapping[str, str]) -> Recipe:
    """The Recipe that --preset names: a built-in one, or one in a file.

    preset  a name; or FILE.toml, or FILE.toml:NAME where the file has several
    known   {name or alias of an option: its name}

    Raises SettingsError, whose line names the file.
    """
    built_in = presets()
    if isinstance(preset, str) and preset in built_in:
        return Recipe({k: v for k, v in built_in[preset].items() if k not in WORDS})
    if not is_file(preset):
        hint = ", it explains them on the command line alone" if preset == LIST else suggest(preset, [*built_in, LIST])
        raise SettingsError(
            f"--preset {preset!r} is not known{hint}: {', '.join(built_in)}; or a file of your own, my.toml", "preset"
        )
    path, name = parted(preset)
    try:
        return _from_file(path, name, known)
    except ValueError as error:
        raise SettingsError(f"--preset {os.fspath(preset)}: {error}", "preset") from None


def is_file(preset: Any) -> bool:
    """Whether a preset means a file: a path, or a text that looks like one or is one."""
    if isinstance(preset, os.PathLike):
        return True
    if not isinstance(preset, str) or not preset:
        return False
    return bool(FILE.fullmatch(preset)) or "/" in preset or os.sep in preset or os.path.exists(preset)


def parted(preset: str | os.PathLike[str]) -> tuple[str, str | None]:
    """(path, the recipe's name in it or None)"""
    text = os.fspath(preset)
    match = FILE.fullmatch(text)
    return (text, None) if match is None or os.path.exists(text) else (match[1], match[2])


def file_of(preset: Any) -> str | None:
    """The file that a preset stands in, or None for a built-in one."""
    return parted(preset)[0] if is_file(preset) and preset not in presets() else None


def placed(preset: Any, folder: str | os.PathLike[str]) -> Any:
    """The same preset from any folder: a file, which is seen from `folder`, by its whole path."""
    if file_of(preset) is None:
        return preset
    return os.path.abspath(os.path.join(folder, os.fspath(preset)))


def _from_file(path, name, known):
    table = _table(path)
    flat = not all(isinstance(v, dict) and k.replace("-", "_") not in known for k, v in table.items())
    book = {Path(path).stem: table} if flat else table
    if name is None or (flat and name == ""):
        if len(book) > 1:
            raise ValueError(f"{len(book)} recipes in it; say which: {path}:{next(iter(book))}, {', '.join(book)}")
        name = next(iter(book))
    if name not in book:
        raise ValueError(f"no recipe {name!r} in it{suggest(name, book)}: {', '.join(book)}")
    book = {title: _options(title, values, known, len(book) > 1) for title, values in book.items()}
    values = extended(book, name, presets())
    own = book[name].keys() - {*WORDS, "extends", "without"}
    return Recipe(within(Path(path).parent, {k: v for k, v in values.items() if k not in WORDS}), frozenset(own))


def _table(path):
    text = text_of(path, "a preset in TOML, such as style_weight = 300")
    try:
        found = tomllib.loads(text)
    except ValueError as error:
        raise ValueError(f"not TOML ({first_line(error)})") from None
    except RecursionError:
        raise ValueError("not TOML that anybody would write: nested too deep") from None
    if not found:
        raise ValueError("nothing in it; expected options, such as style_weight = 300")
    return found


def _options(title, values, known, several):
    """A recipe's options by their names: hyphens and aliases are taken. Raises ValueError for what is none."""
    where, found = f"{title}: " if several else "", {}
    for key, value in values.items():
        option = key.replace("-", "_")
        if option in WORDS and not isinstance(value, str):
            raise ValueError(f"{where}{key} {value!r}: expected text")
        if option not in (*WORDS, "extends", "without", *known):
            hint = suggest(option, [*known, *WORDS, "extends", "without"])
            raise ValueError(f"{where}unknown option {key!r}{hint or '; python -m style.run --help lists them'}")
        option = known.get(option, option)
        if option in found:
            raise ValueError(f"{where}{key}: another name of {option}, which is there as well")
        found[option] = value
    return found


# -------------------------------------------------------------------------------------- what they are


def listing() -> list[str]:
    """Two lines for each preset: where it is from; what it does and the network it needs. Then what is not there."""
    there, found = present(), presets()
    width, missing, lines = max(map(len, found)), [], []
    for name, values in found.items():
        own = values.get("weights")
        network = own or NETWORK
        state = "there" if network in there else f"not there; {there[0]} takes its place"
        if own and own not in there:
            state = f"not there; with --weights {there[0]}, its nearest layers"
        missing += [network] if network not in there and network not in missing else []
        lines += [f"{name:<{width}}  {values['source']}", f"{'':<{width}}  {values['about']}; {network} ({state})"]
    get = ", ".join(f"python -m weights fetch {network}" for network in missing)
    lines += [f"To get what is not there: {get}"] if missing else []
    return [*lines, "A recipe of your own: --preset my.toml, a file with extends and options (docs/presets.md)"]


def markdown() -> Iterator[str]:
    """Rows of docs/presets.md's table."""
    yield "| preset | source | what it does | what differs from it |"
    yield "| --- | --- | --- | --- |"
    for name, values in presets().items():
        yield f"| `{name}` | {values['source']} | {values['about']} | {values.get('differs', '')} |"


# ---------------------------------------------------------------------------------- another network than its own


def fitted(settings: Any, names: list[str]) -> tuple[Any, dict[str, str]]:
    """(Settings, {layer asked for: layer taken}) for a network that has the layers `names`.

    Of layers that a preset asks for and the network has not, the nearest is taken (table.nearest_layer); where two
    become the same, their factors add up. What the user asked for, and a layer of a block that the network has not at
    all, stay as they are, and are refused by whoever checks.
    """
    origin, taken, changed = settings.origin, {}, {}
    for option in ("content_layers", "style_layers"):
        asked = getattr(settings, option)
        if origin is None or option not in origin.options or not {*asked} - {*names}:
            continue
        found: dict[str, float] = {}
        for layer, factor in asked.items():
            near = nearest_layer(layer, names) or layer
            found[near] = found.get(near, 0.0) + factor
            if near != layer:
                taken[layer] = near
        changed[option] = found
    return (dataclasses.replace(settings, **changed) if changed else settings), taken


@contextlib.contextmanager
def attributed(settings: Any) -> Iterator[None]:
    """SettingsErrors of what a preset set, and not the user, name the preset; so do WeightsErrors of its network."""
    origin, network = settings.origin, settings.weights
    try:
        yield
    except SettingsError as error:
        if origin is None or error.option not in origin.options:
            raise
        raise SettingsError(f"--preset {origin.preset} sets {error.on_command_line}", error.option) from None
    except weights.WeightsError as error:
        if origin is None or "weights" not in origin.options:
            raise
        other = "; or the nearest layers of another network, --weights mini" if network != "mini" else ""
        raise type(error)(f"--preset {origin.preset} is made for {network}: {error}{other}") from None
