"""Coarse to fine: at which sizes a transfer is optimised, one after the other, and for how long.

A network sees about 100 to 200 pixels at once, whatever the picture's size: optimised at 2000 pixels alone, a picture
gets small strokes and keeps its large shapes. Optimised small first and enlarged, it keeps the small one's composition
and gains detail (Gatys et al. 2017, section 5). What is enlarged is the change from the content, which is added to the
content at the finer size: its own detail need not be found again (job.py). Losses are means (losses.py), so the
factors hold at every size.
"""

from dataclasses import dataclass

from minivgg.table import MIN_SIDE, activation_size
from minivgg.threads import is_number

from .options import ORIGINAL, SettingsError, flag
from .pictures import images
from .settings import DEFAULT_SIZE, MAX_SIDE, Settings
from .styles import per_style
from .terms import layers
from .units import format_size

COARSEST = 400  # automatic: no scale is added below a longest side of this many pixels


@dataclass(frozen=True)
class Stage:
    """One size: (height, width) of the picture and of each style, and evaluations at most."""

    size: tuple[int, int]
    style_sizes: tuple[tuple[int, int], ...]
    evaluations: int


def stages(settings: Settings, content_hw: tuple[int, int], *styles_hw: tuple[int, int]) -> tuple[Stage, ...]:
    """The stages of a transfer, coarsest first; the last has the size that was asked for.

    content_hw, styles_hw  (height, width) of the pictures as they came

    The picture's sides are multiples of settings.grid, the nearest ones: --wrap asks for that.

    settings.scales is "auto" (halved until the longest side is at most COARSEST), a number of scales, each twice the
    one before, or "256:300,512" with sizes as --size measures them and evaluations after a colon. Where evaluations
    are not given, the coarsest has settings.evaluations and each finer one half as many.
    """
    s = settings
    given = _sizes(s.scales)
    measure = min if s.side == "shortest" else max
    wished = measure(content_hw) if s.size == ORIGINAL else s.size
    size = wished if wished is not None or given is None else given[-1][0]
    final = fitted(size, content_hw, s.side)
    sizes = per_style(s, "style_size", len(styles_hw)) or (size or measure(final),) * len(styles_hw)
    factors = per_style(s, "style_scale", len(styles_hw))
    finals = [
        fitted(min(max(MIN_SIDE, round(n * f)), MAX_SIDE), hw, s.side) for n, f, hw in zip(sizes, factors, styles_hw)
    ]
    found = []
    for position, (ratio, evaluations) in enumerate(_ratios(s.scales, given, size, final)):
        hw, *style_hw = (
            tuple(_rounded(v * ratio, grid) for v in whole)
            for whole, grid in ((final, s.grid), *((one, 1) for one in finals))
        )
        found.append(Stage(hw, tuple(style_hw), evaluations or max(1, s.evaluations >> position)))
    return tuple(found)


def needed(settings, content_hw, *styles_hw):
    """(height, width) at which a content picture of this size is wanted; its own where `stages` refuses it."""
    try:
        return stages(settings, content_hw, *styles_hw)[-1].size
    except SettingsError:  # said once it is read: in the midst of that it would be a damaged file
        return content_hw


def first_stage(stages, start_hw):
    """Index of the stage at which a start of this (height, width) begins: coarser ones would lose what it has."""
    if start_hw is None:
        return 0
    enough = [k for k, stage in enumerate(stages) if max(stage.size) >= max(start_hw)]
    return enough[0] if enough else len(stages) - 1


def check_depth(stage, terms, settings):
    """Raise SettingsError where a picture is so small at a stage that a term of the loss has nothing to look at.

    terms  [terms.Term, …]
    """
    ways = "a less elongated picture, or"
    scales = "fewer or larger --scales, " if settings.scales not in ("auto", 1, "1") else ""
    for what, size in (("content", stage.size), *(("style", v) for v in stage.style_sizes)):
        for name in layers(terms):
            if min(activation_size(name, *size)) < 1:
                larger = f"{scales}a larger {'--size' if what == 'content' else '--style-size'}, {ways}"
                raise SettingsError(
                    f"{what} picture at {format_size(size)} leaves nothing at {name}: use {larger} shallower layers"
                )
    for term in terms if not settings.wrap else ():  # on a torus there is no end
        least = term.statistic.smallest
        if term.layer is None and min(stage.size) + 2 * settings.margin < least:
            raise SettingsError(
                f"{flag(option := f'{term.kind}_weight')}: the picture at {format_size(stage.size)} has a side of less "
                f"than {least} pixels: use {scales}a larger --size, {ways} a --margin",
                option,
            )


def fitted(size, hw, side):
    """(height, width) of a picture brought to `size`; None is DEFAULT_SIZE, or the picture's own where smaller."""
    own = min(hw) if side == "shortest" else max(hw)
    return images.fit(min(DEFAULT_SIZE, own) if size is None else size, *hw, side=side)


def _rounded(side, grid):
    return max(grid, round(side / grid) * grid)


def _sizes(scales):
    """[(size, evaluations or None)] from "256:300,512"; None when sizes are not what `scales` says."""
    if isinstance(scales, int) or scales == "auto" or is_number(scales):
        return None
    sizes = []
    for part in scales.split(","):
        size, colon, evaluations = part.strip().partition(":")
        counted = is_number(evaluations) and 1 <= int(evaluations) <= 10**9
        if not is_number(size) or int(size) < MIN_SIDE or (colon and not counted):
            raise SettingsError(f"--scales {scales!r}: {part!r} is neither a size nor size:evaluations")
        sizes.append((int(size), int(evaluations) if colon else None))
    return sizes


def _ratios(scales, given, size, final):
    """[(size as a fraction of the last one, evaluations or None)], coarsest first."""
    if given is not None:
        in_order = [v for v, _ in given] == sorted({v for v, _ in given})
        if not in_order:
            raise SettingsError(f"--scales {scales!r}: expected growing sizes")
        if given[-1][0] != size:
            raise SettingsError(f"--scales {scales!r}: expected sizes that end with the picture's, {size}")
        return [(v / size, evaluations) for v, evaluations in given]
    if scales == "auto":
        count = 1
        while max(final) / 2 ** (count - 1) > COARSEST:
            count += 1
    else:
        count = int(scales)
        if not 1 <= count <= 10:
            raise SettingsError(f"--scales {scales!r}: expected auto, 1 to 10, or sizes such as 256:300,512")
    return [(0.5 ** (count - 1 - k), None) for k in range(count)]
