"""Every option of a style transfer with its default, in one place: the command line and the library read this one."""

import dataclasses
import difflib
import math
import numbers
import os
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from .large.plan import parse_memory
from .optimize import METHODS

INITS = ("content", "style", "noise", "blend")
SIDES = ("longest", "shortest")
OPTIMIZER_ALIASES = {"lbfgs": "l-bfgs-b", "lbfgsb": "l-bfgs-b", "lbfgs-b": "l-bfgs-b"}
DEFAULT_SIZE = 512
MAX_SIZE = 65500


TYPES = {  # of options, by the type of the default or by name
    int: (numbers.Integral,),
    float: (numbers.Real,),
    str: (str,),
    bool: (bool,),
    "size": (numbers.Integral,),
    "style_size": (numbers.Integral,),
    "scales": (str, numbers.Integral),
    "memory": (str, numbers.Integral),
    "weights": (str, os.PathLike),
    "adam_betas": (tuple, list),
    "init": (object,),
    "content_layers": (str, dict, list, tuple, set),
    "style_layers": (str, dict, list, tuple, set),
}


class SettingsError(ValueError):
    """An option that cannot be used; the message names it, what was found and what is expected."""


@dataclass(frozen=True)
class Settings:
    """Options of one transfer. Layer weights are {layer: factor}; a layer's factor in the loss is weight · factor."""

    weights: str | None = None  # a name, a file, or None for the best that is there
    size: int | None = None  # pixels of `side`; None: 512, or the content's own size where that is smaller
    side: str = "longest"
    style_size: int | None = None  # None: as `size`
    scales: str | int = "auto"  # coarse to fine: "auto", how many, or sizes "256:300,512" (schedule.py)
    iterations: int = 120  # evaluations of loss and gradient; at finer scales half as many each
    optimizer: str = "l-bfgs-b"
    history: int = 10  # L-BFGS: pairs kept
    tolerance: float = 0.0  # L-BFGS-B: relative decrease at which to stop (SciPy's ftol); 0: never
    precondition: float = 0.0  # l-bfgs: α of precondition.Spectrum, 0 off; about 0.5 was fastest (benchmarks/README.md)
    lag: int = 1  # terms that hardly bend: exact once in so many evaluations at most, expanded between (lagged.py)
    learning_rate: float = 10.0  # Adam: grey levels
    adam_betas: tuple = (0.9, 0.999)
    adam_eps: float = 1e-8
    bounds: bool = False  # keep pixels within 0..255 while optimising
    init: str = "content"  # content, style, noise, blend, or a file
    noise_level: float = 20.0  # grey levels to both sides of the average colour
    noise_ratio: float = 0.6  # blend: share of the noise, the rest is content
    seed: int = 0
    content_weight: float = 1.0
    style_weight: float = 1000.0
    tv_weight: float = 0.0
    tv_beta: float = 2.0
    content_layers: dict = field(default_factory=lambda: {"relu4_2": 1.0})
    style_layers: dict = field(default_factory=lambda: dict.fromkeys((f"relu{i}_1" for i in range(1, 6)), 1.0))
    pooling: str = "max"
    resample: str = "auto"  # of the pictures: auto (Lanczos down, bicubic up) or bilinear
    kernels: str = "fast"
    precision: str = "float32"  # on a GPU also tf32 or float16 (storage); the processor has float32 only
    device: str = "auto"
    memory: str | int | None = None  # "2GB", bytes, or None: what is free, less a margin

    def __post_init__(self):
        self._check_types()
        object.__setattr__(self, "optimizer", OPTIMIZER_ALIASES.get(self.optimizer, self.optimizer))
        object.__setattr__(self, "adam_betas", tuple(self.adam_betas))
        for name in ("content_layers", "style_layers"):
            object.__setattr__(self, name, parse_layers(name, getattr(self, name)))
        self._check_choices()
        self._check_numbers()
        factors = [self.content_weight * v for v in self.content_layers.values()]
        factors += [self.style_weight * v for v in self.style_layers.values()]
        if not any((*factors, self.tv_weight)):
            raise SettingsError("nothing to optimise: no content, no style and no total variation, or all of weight 0")

    def _check_types(self):
        for f in dataclasses.fields(self):
            expected, value = TYPES.get(f.name) or TYPES[type(f.default)], getattr(self, f.name)
            plain_number = isinstance(value, numbers.Number) and not isinstance(value, bool)
            fits = isinstance(value, expected) and (bool in expected or plain_number or not isinstance(value, bool))
            if not fits and not (value is None and f.default is None):
                names = " or ".join(t.__name__.lower() for t in expected)
                raise SettingsError(f"{_flag(f.name)} {value!r}: expected {names}, found {type(value).__name__}")
        if len(self.adam_betas) != 2 or not all(isinstance(b, numbers.Real) and 0 <= b < 1 for b in self.adam_betas):
            raise SettingsError(f"--adam-betas {self.adam_betas!r}: expected two numbers from 0 to below 1")

    def _check_choices(self):
        choices = {
            "side": SIDES,
            "optimizer": METHODS,
            "pooling": ("max", "avg"),
            "resample": ("auto", "bilinear"),
            "kernels": ("fast", "textbook"),
            "precision": ("float32", "tf32", "float16"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise SettingsError(f"{_flag(name)} {getattr(self, name)!r}: use {' or '.join(allowed)}")

    def _check_numbers(self):
        limits = {
            "size": (16, MAX_SIZE),
            "style_size": (16, MAX_SIZE),
            "iterations": (1, 10**9),
            "history": (1, 1000),
            "seed": (0, 2**63),
            "tolerance": (0, 1),
            "precondition": (0, 2),
            "lag": (1, 1000),
            "noise_level": (0, 255),
            "noise_ratio": (0, 1),
            "content_weight": (0, math.inf),
            "style_weight": (0, math.inf),
            "tv_weight": (0, math.inf),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise SettingsError(f"{_flag(name)} {value}: expected {low} to {high}")
            if value is not None and math.isinf(value):
                raise SettingsError(f"{_flag(name)} {value}: expected a finite number")
        for name in ("learning_rate", "adam_eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise SettingsError(f"{_flag(name)} {getattr(self, name)}: expected more than 0")
        if self.memory is not None:
            try:
                parse_memory(self.memory)
            except ValueError as e:
                raise SettingsError(f"--memory: {e}") from None
        if self.precondition and (self.optimizer != "l-bfgs" or self.bounds):
            raise SettingsError("--precondition: works with --optimizer l-bfgs and without --bounds")
        if self.lag > 1 and self.optimizer == "l-bfgs-b":
            raise SettingsError("--lag: works with --optimizer l-bfgs or adam; SciPy's asks for one loss throughout")
        if not 1 <= self.tv_beta <= 4:
            raise SettingsError(f"--tv-beta {self.tv_beta}: expected 1 to 4")

    def to_dict(self):
        """Plain values, as they are stored with the picture; a start that is a picture by that word alone."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return values | {"init": os.fspath(self.init) if isinstance(self.init, str | os.PathLike) else "a picture"}


def settings_from(preset=None, **options):
    """Settings of a preset (or the defaults) with `options` on top; options that are None count as not given.

    A size that is given is that of the longest side unless `side` is given too, whatever the preset measures, and a
    preset's own list of sizes gives way to it.
    """
    options = {k: v for k, v in options.items() if v is not None}
    known = {f.name for f in dataclasses.fields(Settings)}
    for name in options:
        if name not in known:
            raise SettingsError(f"unknown option {name!r}{_suggest(name, known)}")
    values = {}
    if preset is not None:
        if preset not in presets():
            raise SettingsError(
                f"--preset {preset!r} is not known{_suggest(preset, presets())}: {', '.join(presets())}"
            )
        values = {k: v for k, v in presets()[preset].items() if k != "source"}
    if "size" in options:
        values.pop("side", None)
        if "," in str(values.get("scales")):  # a preset's list of sizes ends with its own size
            values.pop("scales")
    try:
        settings = Settings(**{**values, **options})
        _refuse_idle(settings, options)
        return settings
    except SettingsError as e:
        for name in values.keys() - options.keys():  # what the user did not type
            if str(e).startswith(f"{_flag(name)}:"):
                raise SettingsError(f"{e} (--preset {preset} sets {values[name]})") from None
        raise


def _refuse_idle(s, given):
    """Refuse what was asked for and would do nothing."""
    init = s.init if isinstance(s.init, str) else "a picture"
    own_iterations = all(":" in part for part in str(s.scales).split(","))
    needs = {
        "learning_rate": (s.optimizer == "adam", "--optimizer adam"),
        "adam_betas": (s.optimizer == "adam", "--optimizer adam"),
        "adam_eps": (s.optimizer == "adam", "--optimizer adam"),
        "history": (s.optimizer != "adam", "--optimizer l-bfgs-b or l-bfgs"),
        "tolerance": (s.optimizer != "adam", "--optimizer l-bfgs-b or l-bfgs"),
        "noise_level": (init in ("noise", "blend"), "--init noise or blend"),
        "noise_ratio": (init == "blend", "--init blend"),
        "tv_beta": (s.tv_weight > 0, "--tv-weight above 0"),
        "iterations": (not own_iterations, f"sizes without evaluations of their own, unlike --scales {s.scales}"),
    }
    for name, (works, what) in needs.items():
        if name in given and not works:
            raise SettingsError(f"{_flag(name)}: works with {what}")


@cache
def presets():
    """{name: options} from presets.toml."""
    with open(Path(__file__).with_name("presets.toml"), "rb") as f:
        return tomllib.load(f)


def parse_layers(option, spec):
    """{"relu1_1": 0.5, "relu2_1": 1.0} from "relu1_1:0.5,relu2_1"; "none" or "" for no layer; a dict is checked."""
    if isinstance(spec, str):
        pairs = [part.strip().partition(":") for part in spec.split(",") if part.strip() and spec.strip() != "none"]
        spec = {}
        for name, colon, weight in pairs:
            if name.strip() in spec:
                raise SettingsError(f"{_flag(option)}: {name.strip()} stands there twice")
            spec[name.strip()] = weight if colon else 1.0
    elif not isinstance(spec, dict):
        spec = dict.fromkeys(spec, 1.0)
    layers = {}
    for name, weight in spec.items():
        try:
            layers[name] = float(weight)
        except (TypeError, ValueError):
            raise SettingsError(f"{_flag(option)}: weight {weight!r} of {name} is not a number") from None
        if not 0 <= layers[name] < math.inf:
            raise SettingsError(f"{_flag(option)}: weight {weight} of {name}: expected a number from 0 up")
    return layers


def _flag(name):
    return "--" + name.replace("_", "-")


def _suggest(name, known):
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]}?" if near else ""
