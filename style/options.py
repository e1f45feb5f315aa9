"""An option is one line: from it come the field, the parser's flag, the refusals, the README's row and the metadata."""

import argparse
import dataclasses
import math
import numbers
import os
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minivgg.program import printable, suggest
from minivgg.threads import is_number

from .pictures import masks, palette


class SettingsError(ValueError):
    """An option that cannot be used: its name, what was found and what is expected.

    Messages name options as the command line does (--style-weight); str() gives them as Python's arguments
    (style_weight), `on_command_line` as they stand. option  the name of the one at fault, or None
    """

    def __init__(self, message: str, option: str | None = None):
        message = printable(message)  # an array's repr has several lines
        super().__init__(re.sub(r"--([a-z][a-z-]*)", lambda m: m[1].replace("-", "_"), message))
        self.on_command_line, self.option = message, option


@dataclass(frozen=True)
class Option:
    """What is known of an option beside its name and default.

    kind     a row of KINDS
    group    heading in --help
    help     what it is, for --help and the README
    low, high  limits, `above` a limit that is itself refused
    choices  the values there are
    needs    (what it works with in words, a function of the Settings that says whether that is so), or None
    alias    a further flag, and a further name in Python, or a tuple of them
    shown    whether README's table has it
    """

    kind: str
    group: str
    help: str
    metavar: str | None = None
    low: float = -math.inf
    high: float = math.inf
    above: float | None = None
    choices: tuple = ()
    needs: tuple | None = None
    alias: str | tuple = ()
    shown: bool = False

    @property
    def aliases(self):
        return (self.alias,) if isinstance(self.alias, str) else self.alias


@dataclass(frozen=True)
class Kind:
    """A type of value: what is taken (in words, and which Python types), and how the command line's text is read."""

    words: str
    types: tuple
    parse: object = str
    several: dict = field(default_factory=dict)  # for argparse, where a flag takes several values or stands repeatedly


ORIGINAL = "original"  # a picture's own size

KINDS = {
    "whole": Kind("a whole number", (numbers.Integral,), int),
    "number": Kind("a number", (numbers.Real,), float),
    "pixels": Kind("a number of pixels or original", (numbers.Integral, str), lambda t: t if t == ORIGINAL else int(t)),
    "text": Kind("text", (str,)),
    "switch": Kind("True or False", (bool, np.bool_)),
    "path": Kind("a name or a file", (str, os.PathLike)),
    "text or whole": Kind("text or a whole number", (str, numbers.Integral)),
    "names": Kind("names of files", (list, tuple), several={"nargs": "+", "action": "extend"}),
    "texts": Kind("texts", (list, tuple), several={"action": "append"}),
    "picture": Kind("a name, a file or a picture", (object,)),
    "layers": Kind("names with weights", (str, dict, list, tuple, set)),
    "palette": Kind("colours, or a picture's file", (str, os.PathLike, list, tuple)),
    "wholes": Kind(
        "a whole number, or one for each style", (numbers.Integral, tuple, list), lambda text: _several(text, int)
    ),
    "numbers": Kind("a number, or one for each style", (numbers.Real, tuple, list), lambda text: _several(text, float)),
    "mask": Kind("a mask's name or an array", (object,)),
    "masks": Kind("a mask, or one for each style", (object,)),
    "pair": Kind("two numbers from 0 to below 1", (tuple, list), lambda text: tuple(map(float, text.split(",")))),
}


EACH = {"wholes": "whole", "numbers": "number"}  # kinds that are one value of another, or several


def _several(text, parse):
    """One value, or a tuple, from text with commas."""
    values = tuple(parse(part) for part in text.split(","))
    return values if len(values) > 1 else values[0]


def option(default: Any, kind: str, group: str, text: str, metavar: str | None = None, **more: Any) -> Any:
    """A dataclass field that is an option. {} in the text stands for the default."""
    shown = ",".join(f"{v:g}" for v in (default if isinstance(default, tuple) else (default,))) if "{}" in text else ""
    metadata = {"option": Option(kind, group, text.replace("{}", shown), metavar, **more)}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(cls):
    """{name: Option} of a dataclass of options, in order."""
    return {f.name: f.metadata["option"] for f in dataclasses.fields(cls) if "option" in f.metadata}


def default_of(cls, name):
    f = next(f for f in dataclasses.fields(cls) if f.name == name)
    return f.default_factory() if f.default is dataclasses.MISSING else f.default


def flag(name):
    return "--" + name.replace("_", "-")


def check_value(name, opt, value, default):
    """Raise SettingsError unless a value is of the option's kind, among its choices and within its limits."""
    if value is None and default is None:
        return
    kind = KINDS[opt.kind]
    odd_switch = isinstance(value, bool | np.bool_) and opt.kind not in ("switch", "picture", "mask", "masks")
    if not isinstance(value, kind.types) or odd_switch:
        raise SettingsError(f"{flag(name)} {value!r}: expected {kind.words}, found {_article(value)}", name)
    if opt.kind in EACH:
        for one in value if isinstance(value, tuple | list) else (value,):
            check_value(name, dataclasses.replace(opt, kind=EACH[opt.kind]), one, default=0)
        return
    if opt.kind == "pair" and (len(value) != 2 or not all(isinstance(v, numbers.Real) and 0 <= v < 1 for v in value)):
        raise SettingsError(f"{flag(name)} {value!r}: expected {kind.words}", name)
    if opt.choices and value not in opt.choices:
        near = suggest(str(value), map(str, opt.choices))
        raise SettingsError(f"{flag(name)} {value!r}: use {' or '.join(map(str, opt.choices))}{near}", name)
    if opt.kind == "pixels" and isinstance(value, str) and value != ORIGINAL:
        raise SettingsError(f"{flag(name)} {value!r}: expected {kind.words}", name)
    if opt.kind not in ("whole", "number", "pixels") or value == ORIGINAL:
        return
    exact = isinstance(value, numbers.Integral)  # of any size: no float need hold it
    if (not exact and math.isinf(value)) or (opt.above is not None and not exact and math.isnan(value)):
        raise SettingsError(f"{flag(name)} {value}: expected a finite number", name)
    if opt.above is not None and not opt.above < value:
        raise SettingsError(f"{flag(name)} {value}: expected more than {opt.above:g}", name)
    if not opt.low <= value <= opt.high:
        limit = f"{_plain(opt.low)} to {_plain(opt.high)}" if opt.high < math.inf else f"{_plain(opt.low)} or more"
        raise SettingsError(f"{flag(name)} {value}: expected {limit}", name)


def plain(kind, value):
    """A checked value as it is stored: any library's numbers as Python's, paths as text, pairs as tuples."""
    if kind == "switch" and value is not None:
        return bool(value)
    if kind in EACH and value is not None:
        several = isinstance(value, tuple | list)
        return tuple(plain(EACH[kind], v) for v in value) if several else plain(EACH[kind], value)
    if kind == "masks" and value is not None:
        return tuple(None if isinstance(m, str) and m == masks.ALL else m for m in _masks(value))
    if kind == "text or whole" and isinstance(value, str) and is_number(value):
        return int(value)
    if isinstance(value, numbers.Integral) and kind in ("whole", "text or whole", "pixels"):
        return int(value)
    if isinstance(value, numbers.Real) and kind == "number":
        return float(value)
    if kind == "path" and value is not None:
        return os.fspath(value)
    if kind == "palette" and value is not None:
        return palette.as_text(value)
    return tuple(map(float, value)) if kind == "pair" else value


def recorded(kind, value):
    """A plain value as it goes with a picture: what names a file without its folder, what is no text in a word."""
    if value is None or kind not in ("path", "picture", "palette", "mask", "masks"):
        return value
    if kind == "masks":
        return tuple(recorded("mask", m) for m in value)
    if kind == "mask":
        return masks.label(value)
    if not isinstance(value, str | os.PathLike):
        return "a picture" if kind == "picture" else palette.as_text(value)
    return re.split(r"[\\/]", os.fspath(value))[-1]


def _masks(value):
    if isinstance(value, str):
        return masks.split(value)
    return value if isinstance(value, list | tuple) else [value]


def markdown(*classes):
    """Rows of a Markdown table: the options of these classes that are shown."""
    yield "| option | |"
    yield "| --- | --- |"
    for cls in classes:
        for name, opt in options_of(cls).items():
            if opt.shown:
                value = f" {opt.metavar or 'X'}" if opt.kind != "switch" else ""
                yield f"| `{flag(name)}{value}` | {opt.help} |"


def _plain(number):
    return str(number) if isinstance(number, int) else f"{number:g}"


def _article(value):
    names = {"str": "text", "int": "a whole number", "float": "a number", "list": "a list", "NoneType": "None"}
    return names.get(type(value).__name__, type(value).__name__)


class Parser(argparse.ArgumentParser):
    """A parser whose flags are options, and whose errors are one line with a suggestion."""

    def __init__(self, **more):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **more)
        self._groups = {}

    def add_options(self, cls):
        """The flags of a dataclass of options. What is not given is None."""
        for name, opt in options_of(cls).items():
            if opt.group not in self._groups:
                self._groups[opt.group] = self.add_argument_group(opt.group)
            short = [f"-{alias}" for alias in opt.aliases if len(alias) == 1]
            flags = [*short, flag(name), *(flag(alias) for alias in opt.aliases if len(alias) > 1)]
            if opt.kind == "switch":
                automatic = default_of(cls, name) is None
                how = {"action": argparse.BooleanOptionalAction if automatic else "store_true", "default": None}
            else:
                kind = KINDS[opt.kind]
                how = {"type": _parser(name, kind), "metavar": opt.metavar or "X", **kind.several}
            self._groups[opt.group].add_argument(*flags, dest=name, help=opt.help.replace("%", "%%"), **how)

    def error(self, message):
        unknown = message.partition("unrecognized arguments: ")[2].split()
        if unknown:
            flags = [s for action in self._actions for s in action.option_strings]
            found = next((u for u in unknown if u.startswith("-")), unknown[0])
            name = found.partition("=")[0]
            message = f"{name} is not an option" if found.startswith("-") else f"{found}: not expected"
            begun = [f for f in flags if f.startswith(name)]
            message += suggest(name, begun, cutoff=0) or suggest(name, flags) or "; --help lists them"
        self.exit(2, printable(f"{self.prog.removeprefix('python -m ')}: {message}") + "\n")


def _parser(name, kind):
    def parse(text):
        try:
            return kind.parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: expected {kind.words}") from None

    return parse


def parse_layers(name: str, spec: Any) -> dict[str, float]:
    """{"relu1_1": 0.5, "relu2_1": 1.0} from "relu1_1:0.5,relu2_1"; "none" or "" for no layer; a dict is checked."""
    if isinstance(spec, str):
        pairs = [part.strip().partition(":") for part in spec.split(",") if part.strip() and spec.strip() != "none"]
        spec = {}
        for layer, colon, weight in pairs:
            if layer.strip() in spec:
                raise SettingsError(f"{flag(name)}: {layer.strip()} stands there twice", name)
            spec[layer.strip()] = weight if colon else 1.0
    elif not isinstance(spec, dict):
        spec = dict.fromkeys(map(str, spec), 1.0)
    layers = {}
    for layer, weight in spec.items():
        try:
            layers[layer] = float(weight)
        except (TypeError, ValueError, OverflowError):
            raise SettingsError(f"{flag(name)}: weight {weight!r} of {layer} is not a number", name) from None
        if not 0 <= layers[layer] < math.inf:
            raise SettingsError(f"{flag(name)}: weight {weight} of {layer}: expected a number from 0 up", name)
    return layers
