"""Every option of a style transfer, a line each: the command line and the library read this one place."""

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from minivgg.program import suggest
from minivgg.table import MIN_SIDE, level
from minivgg.threads import is_number

from .optimize import METHODS
from .options import SettingsError, check_value, default_of, flag, option, options_of, parse_layers, plain, recorded
from .pictures.matching import MAPS
from .recipes import Origin, Recipe, recipe
from .recipes import presets as presets  # beside settings_from, for those who ask for both
from .regions import GUIDANCE
from .statistics import STYLE_LOSSES
from .statistics.laplacian import POOL
from .units import parse_memory

INITS = ("content", "style", "noise", "blend")
OPTIMIZER_ALIASES = {"lbfgs": "l-bfgs-b", "lbfgsb": "l-bfgs-b", "lbfgs-b": "l-bfgs-b"}
DEFAULT_SIZE = 512
STEEP = 3.0  # of --strength: that a step of it is about as much to the eye anywhere (benchmarks/README.md)
MAX_SIDE = 65500  # pixels: the largest that JPEG can store
STYLE_LAYERS = tuple(f"relu{block}_1" for block in range(1, 6))

SIZE, STYLES, LOSS, COLOUR = "size", "styles and regions", "the loss", "colour"  # headings of --help
START, RUN = "the start", "the run"
EXPERT = "for experts"
ADAM = ("--optimizer adam", lambda s: s.optimizer == "adam")
QUASI_NEWTON = ("--optimizer l-bfgs-b, l-bfgs or two-loop", lambda s: s.optimizer != "adam")
OWN_LBFGS = ("--optimizer l-bfgs", lambda s: s.optimizer == "l-bfgs")
NOISE = ("--init noise or blend", lambda s: s.init in ("noise", "blend") if isinstance(s.init, str) else False)
BLEND = ("--init blend", lambda s: s.init == "blend" if isinstance(s.init, str) else False)
TV = ("--tv-weight above 0", lambda s: s.tv_weight > 0)
NOT_SCIPY = (
    "--optimizer l-bfgs, two-loop or adam; SciPy's asks for one loss throughout",
    lambda s: s.optimizer != "l-bfgs-b",
)
MATCHED = ("--match-colors", lambda s: s.match_colors is not None)
WITH_CONTENT = ("content layers: without --content-layers none", lambda s: any(s.content_layers.values()))
WITH_STYLE = ("style layers: without --style-layers none", lambda s: any(s.style_layers.values()))
PALETTE = ("--palette", lambda s: s.palette is not None)
OTHER_COLOURS = ("colours that change: without --keep-colors", lambda s: not s.keep_colors)
MASKED = (
    "--mask, --style-mask or --keep",
    lambda s: any(m is not None for m in (s.keep, *(s.mask or ()), *(s.style_mask or ()))),
)
NO_OWN_COUNTS = (
    "sizes without evaluations of their own (--scales)",
    lambda s: not all(is_number(part.partition(":")[2].strip()) for part in str(s.scales).split(",")),
)


@dataclass(frozen=True)
class Settings:
    """Options of one transfer. Layer weights are {layer: factor}; a layer's factor in the loss is weight · factor."""

    # fmt: off
    size: int | str | None = option(None, "pixels", SIZE, "longest side in pixels (default 512, or the picture's own where that is smaller), or original", "N", low=MIN_SIDE, high=MAX_SIDE, shown=True)
    side: str = option("longest", "text", SIZE, "what --size and --style-size measure: longest (default) or shortest", "S", choices=("longest", "shortest"))
    wrap: bool = option(False, "switch", SIZE, "the picture tiles without a seam: it goes on at its opposite edge (sizes are rounded to what pooling divides)")
    style_size: int | tuple | None = option(None, "wholes", SIZE, "the same for the style picture (default: as --size), or for each, 512,300; larger: coarser strokes", "N", low=MIN_SIDE, high=MAX_SIDE)
    style_scale: float | tuple = option(1.0, "numbers", SIZE, "factor of the style picture's size, or of each's (default {})", "X", low=0.05, high=20)
    scales: str | int = option("auto", "text or whole", SIZE, "coarse to fine, each finished scale saved beside the output: auto (default: from 401 pixels up), how many, or sizes with evaluations 256:300,512", "S", shown=True)
    resample: str = option("auto", "text", SIZE, "how pictures are resized: auto (default: Lanczos down, bicubic up) or bilinear", "R", choices=("auto", "bilinear"))

    style_blend: float | tuple | None = option(None, "numbers", STYLES, "shares of several styles, 0.7,0.3 (default: equal; or PICTURE:SHARE in place of its name)", "X,Y", low=0, alias="style-blend-weights")
    mask: object = option(None, "masks", STYLES, "where in the picture a style goes, one for each style: a file (white: there), map.png#ff0000, alpha, not:…, rest, all", "M,N", shown=True)
    style_mask: object = option(None, "masks", STYLES, "what of a style picture counts as paint, in the same way (default: what is not transparent)", "M,N")
    keep: object = option(None, "mask", STYLES, "a mask of what stays as it is", "M")
    guidance: str = option("simple", "text", STYLES, "what a layer's places have of a mask: simple (default, the mean), inside (nothing outside has a say), all (nothing of it is missed)", "G", choices=GUIDANCE, needs=MASKED)

    strength: float = option(0.5, "number", LOSS, "0 the photograph, {} the balance that the weights give (default), 1 nothing but style", "S", low=0, high=1, shown=True)
    balance: bool = option(False, "switch", LOSS, "style layers weighed so that at the start each has the same share of the style loss", needs=WITH_STYLE)
    content_weight: float = option(1.0, "number", LOSS, "factor of the content loss (default {})", low=0, needs=WITH_CONTENT)
    style_weight: float = option(200.0, "number", LOSS, "factor of the style loss (default {}; 50 keeps more of the content, 1000 little)", low=0, needs=WITH_STYLE, shown=True)
    tv_weight: float = option(0.0, "number", LOSS, "factor of total variation (default {})", low=0)
    photo_weight: float = option(0.0, "number", LOSS, "photographs stay photographs: factor of the matting Laplacian, by which neighbours' colours change alike (default {}; from 1e4 strokes fade, at 1e5 they are gone)", low=0)
    laplacian_weight: float = option(0.0, "number", LOSS, "the content's lines stay: factor of the difference of Laplacians (default {}; 20 to 1000)", low=0)
    content_layers: dict[str, float] = option({"relu4_2": 1.0}, "layers", LOSS, "such as relu4_2 or conv4_2:0.5,relu3_1:1; none", "L")
    style_layers: dict[str, float] = option(dict.fromkeys(STYLE_LAYERS, 1.0), "layers", LOSS, "such as relu1_1:0.5,relu2_1:1; none", "L")
    style_loss: dict[str, float] = option({"gram": 1.0}, "layers", LOSS, f"what of the style's features is compared: {', '.join(STYLE_LOSSES)}, or several with weights, gram,moments:0.5", "S", needs=WITH_STYLE)
    tv_beta: float = option(2.0, "number", LOSS, "exponent of total variation: 1 absolute, 2 squared (default), up to 4", low=1, high=4, needs=TV)
    pooling: str = option("avg", "text", LOSS, "avg (default, as the paper prefers: calmer) or max (as trained)", "P", choices=("max", "avg"))

    keep_colors: bool = option(False, "switch", COLOUR, "the content's colours stay: only lightness is transferred", alias=("keep_colours", "original_colors", "original_colours"), shown=True)
    match_colors: str | None = option(None, "text", COLOUR, "before the transfer, give the style the content's mean and covariance of colours: cholesky, pca or symmetric", "M", choices=tuple(MAPS), alias="match_colours")
    match_to: str = option("content", "text", COLOUR, "--match-colors: whose colours both have then, content (default) or style", "C", choices=("content", "style"), needs=MATCHED)
    match_histogram: str | None = option(None, "text", COLOUR, "after the transfer, give the picture all colours of the content or of the style, each as often as there", "C", choices=("content", "style"))
    palette: str | tuple | None = option(None, "palette", COLOUR, "after the transfer, nothing but these colours: '#102030,#a0b0c0', a picture's file, content or style, with how many: style:8", "P")
    dither: bool = option(False, "switch", COLOUR, "--palette: mix its colours dot by dot", needs=PALETTE)

    init: object = option("content", "picture", START, "content (default), style, noise, blend, or a picture", "I", shown=True)
    noise_level: float = option(20.0, "number", START, "grey levels to both sides of the average colour (default {})", low=0, high=255, needs=NOISE)
    noise_ratio: float = option(0.6, "number", START, "blend: share of noise, the rest is content (default {})", low=0, high=1, needs=BLEND)
    seed: int = option(0, "whole", START, "of the noise (default {})", "N", low=0, high=2**63, needs=NOISE)

    weights: str | None = option(None, "path", RUN, "vgg19 (after `python -m weights fetch vgg19`), vgg16, mini, or a file (default: the best that is there)", "W", shown=True)
    evaluations: int = option(120, "whole", RUN, "evaluations of loss and gradient; at each finer scale half as many (default {})", "N", low=1, high=10**9, needs=NO_OWN_COUNTS, alias="iterations", shown=True)
    optimizer: str = option("l-bfgs", "text", RUN, "l-bfgs (ours, default), l-bfgs-b (SciPy's; also lbfgs), two-loop (ours, as in the book) or adam", "O", choices=tuple(METHODS))
    learning_rate: float = option(10.0, "number", RUN, "Adam: grey levels (default {})", "R", above=0, needs=ADAM)
    bounds: bool | None = option(None, "switch", RUN, "keep pixels within 0..255 while optimising, as they are when saved (default: yes, but for two-loop)")
    memory: str | int | None = option(None, "text or whole", RUN, "a budget such as 2GB: larger pictures are computed in tiles (default: what is free)", "M", shown=True)
    device: str = option("auto", "text", RUN, "auto (default), cpu, gpu or gpu:N", "D")
    depth: int = option(8, "whole", RUN, "bits a sample of what is written: 8 (default), or 16 (png, tif)", "B", choices=(8, 16))

    history: int | None = option(None, "whole", EXPERT, "L-BFGS: pairs kept (default 20 with l-bfgs, else 10)", "N", low=1, high=1000, needs=QUASI_NEWTON)
    tolerance: float = option(0.0, "number", EXPERT, "L-BFGS: relative decrease of the loss to stop at (default {}: never)", "T", low=0, high=1, needs=QUASI_NEWTON)
    precondition: float | None = option(None, "number", EXPERT, "l-bfgs: how much longer steps along coarse structure are than along fine, as an exponent; 0: alike (default 0.45 with l-bfgs on a processor)", "A", low=0, high=2)
    lag: int | None = option(None, "whole", EXPERT, "terms of low curvature: at most this many evaluations between two exact ones; 1: all exact (default 40 with l-bfgs)", "N", low=1, high=1000)
    margin: int = option(None, "whole", EXPERT, "pixels mirrored around the picture while it is optimised: its borders come out clean (default 8; none with --wrap)", "N", low=0, high=1024)
    adam_betas: tuple = option((0.9, 0.999), "pair", EXPERT, "Adam: decay of the two moments (default {})", "B1,B2", needs=ADAM)
    adam_eps: float = option(1e-8, "number", EXPERT, "Adam: added to the root of the second moment (default {})", above=0, needs=ADAM)
    kernels: str = option("fast", "text", EXPERT, "fast (default) or textbook: the lines of layers.py and losses.py themselves", "K", choices=("fast", "textbook"))
    precision: str = option("float32", "text", EXPERT, "on a GPU: float32 (default), tf32 or float16", "P", choices=("float32", "tf32", "float16"))
    # fmt: on

    origin: Origin | None = dataclasses.field(default=None, compare=False, repr=False)  # no option: where they are from

    def __post_init__(self):
        change = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731  the class is frozen
        if isinstance(self.optimizer, str):
            change("optimizer", OPTIMIZER_ALIASES.get(self.optimizer, self.optimizer))
        own = self.optimizer == "l-bfgs"
        automatic = {"bounds": self.optimizer != "two-loop", "history": 20 if own else 10}
        automatic |= {"lag": 40 if own else 1}
        for name, value in automatic.items():
            if getattr(self, name) is None:
                change(name, value)
        for name, opt in options_of(Settings).items():
            default = default_of(Settings, name)
            check_value(name, opt, getattr(self, name), None if isinstance(default, dict) else default)
        for name, opt in options_of(Settings).items():
            value = getattr(self, name)
            try:
                change(name, parse_layers(name, value) if opt.kind == "layers" else plain(opt.kind, value))
            except SettingsError:
                raise
            except ValueError as e:
                raise SettingsError(f"{flag(name)} {value!r}: {e}", name) from None
        if self.margin is None:
            change("margin", 0 if self.wrap else 8)
        self._check_together()

    def _check_together(self):
        for name in self.style_loss:
            if name not in STYLE_LOSSES:
                known = ", ".join(STYLE_LOSSES)
                raise SettingsError(f"--style-loss {name!r}: use {known}{suggest(name, STYLE_LOSSES)}", "style_loss")
        if not any(self.style_loss.values()):
            raise SettingsError(
                f"--style-loss: expected {' or '.join(STYLE_LOSSES)} with a weight above 0; for no style, --style-layers none",
                "style_loss",
            )
        if self.memory is not None:
            try:
                parse_memory(self.memory)
            except ValueError as e:
                raise SettingsError(f"--memory: {e}", "memory") from None
        for name, on, (words, works) in (
            ("precondition", bool(self.precondition), OWN_LBFGS),
            ("lag", self.lag > 1, NOT_SCIPY),
            ("margin", self.margin > 0, ("borders: without --wrap", lambda s: not s.wrap)),
            ("match_colors", self.match_colors, OTHER_COLOURS),
            ("match_histogram", self.match_histogram, OTHER_COLOURS),
            ("palette", self.palette, OTHER_COLOURS),
            (
                "keep",
                self.keep is not None,
                ("--bounds, the default but for --optimizer two-loop and most presets", lambda s: s.bounds),
            ),
            ("bounds", self.bounds, ("--optimizer l-bfgs-b, l-bfgs or adam", lambda s: s.optimizer != "two-loop")),
        ):
            if on and not works(self):
                raise SettingsError(f"{flag(name)}: works with {words}", name)
        content, style = self.factors
        factors = [content * self.content_weight * v for v in self.content_layers.values()]
        factors += [style * self.style_weight * v for v in self.style_layers.values()]
        if not any((*factors, self.tv_weight, self.photo_weight, self.laplacian_weight)):
            raise SettingsError(
                "nothing to optimise: no content, no style, no total variation and no Laplacian, or all of weight 0"
                + (f" at --strength {self.strength:g}" if self.strength in (0, 1) else "")
            )

    @property
    def padding(self) -> str:
        """Of the network: minivgg.VGG's."""
        return "circular" if self.wrap else "zeros"

    @property
    def grid(self) -> int:
        """Pixels of which the picture's sides are multiples: with --wrap those of a place of the deepest layer."""
        if not self.wrap:
            return 1
        places = 1 << max(map(level, (*self.content_layers, *self.style_layers)), default=0)
        return max(places, POOL if self.laplacian_weight else 1)

    @property
    def factors(self) -> tuple[float, float]:
        """(content, style): what the weights are multiplied by for the strength s: with r = (s / (1 - s))^STEEP, 1 and
        r below the middle, 1/r and 1 above, so that the ratio runs from 0 to infinity and nothing grows without bound."""
        s = self.strength
        ratio = (min(s, 1 - s) / max(s, 1 - s)) ** STEEP
        return (1.0, ratio) if s <= 0.5 else (ratio, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they are stored with the picture: files by their names without folders, which are nobody's
        business, a start that is a picture by that word alone."""
        return {name: recorded(opt.kind, getattr(self, name)) for name, opt in options_of(Settings).items()}


def settings_from(preset: str | os.PathLike[str] | None = None, **options: Any) -> Settings:
    """Settings of a preset (or the defaults) with `options` on top; options that are None count as not given.

    preset  a name in presets(), or a file of one's own, FILE.toml or FILE.toml:NAME

    All options of a record (Settings.to_dict, a picture's metadata) give the settings that it was made of.

    A size that is given is that of the longest side unless `side` is given too, whatever the preset measures, and a
    preset's own list of sizes gives way to it. Raises SettingsError.
    """
    known = options_of(Settings)
    names = {alias: name for name, opt in known.items() for alias in opt.aliases}
    options, record = _by_own_names(options, names, known)
    found = Recipe({}) if preset is None else recipe(preset, {**names, **{name: name for name in known}})
    values = dict(found.values)
    if found.own:
        _check_alone(preset, found)
    if "size" in options:
        values.pop("side", None)
        if "," in str(values.get("scales")):  # a preset's list of sizes ends with its own size
            values.pop("scales")
    origin = None if preset is None else Origin(os.fspath(preset), frozenset(values.keys() - options.keys()))
    try:
        settings = Settings(**{**values, **options}, origin=origin)
    except SettingsError as e:
        if origin is not None and e.option in origin.options:  # what the user did not type
            raise _said(e, origin.preset, values) from None
        raise
    try:
        if not record:
            refuse_idle(settings, options)
    except SettingsError as e:
        if origin is None:
            raise
        raise SettingsError(f"{e.on_command_line}; beside --preset {origin.preset} it does nothing", e.option) from None
    return settings


def _by_own_names(options, aliases, known):
    """(the options that are given, by their names, whether every one was given: then none of them is a wish)."""
    for alias, name in aliases.items():
        if options.get(alias) is not None and options.get(name) is not None:
            raise SettingsError(f"{flag(alias)}: another name of {flag(name)}, which is given as well", name)
    options = {aliases.get(k, k): v for k, v in options.items() if k not in aliases or v is not None}
    given = {k: v for k, v in options.items() if v is not None}
    for name in given:
        if name not in known:
            raise SettingsError(f"unknown option {name!r}{suggest(name, known)}")
    return given, options.keys() >= known.keys()


def _check_alone(preset, found):
    """Refuse what is wrong in a file of the user's, whatever stands beside it."""
    try:
        refuse_idle(Settings(**found.values), found.own)
    except SettingsError as e:
        raise _said(e, os.fspath(preset), found.values) from None


def _said(error, preset, values):
    what = f"sets {values[error.option]}" if error.option in values else "alone"
    return SettingsError(f"{error.on_command_line} (--preset {preset} {what})", error.option)


def refuse_idle(settings: Settings, given: Iterable[str]) -> None:
    """Refuse what was asked for and would do nothing."""
    for name in given:
        needs = options_of(Settings)[name].needs
        if needs is not None and not needs[1](settings):
            raise SettingsError(f"{flag(name)}: works with {needs[0]}", name)
