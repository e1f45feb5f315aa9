"""Several styles: which of them make one target together, with what shares, and what part of the picture gets it."""

import dataclasses
import hashlib
import math
from dataclasses import dataclass, field

import numpy as np

from minivgg.backend import to_device
from minivgg.table import context

from .options import SettingsError, flag
from .pictures import ImageError, images, masks, palette
from .regions import Region
from .units import format_size


@dataclass(frozen=True)
class Group:
    """Styles whose targets are blended into one, for one part of the picture.

    source   what its terms are aimed at: "style", or with several groups "style 1", …
    members  ((index of the style, share), …); the shares add up to 1
    mask     (H, W) from 0 to 1 in the content's own size, or None: everywhere
    area     its share of the picture: a region's factor in the loss, so that a place weighs the same in any
    label    the mask's name, or ""
    """

    source: str
    members: tuple
    mask: np.ndarray | None = field(default=None, repr=False)
    area: float = 1.0
    label: str = ""

    @property
    def where(self):
        """What tells its terms from another group's, at the end of their names."""
        number = self.source.removeprefix("style").strip()
        return f" region {number}" if number else ""


class Styles:
    """The style pictures of a job: what of each counts as paint, where in the picture it goes, and what is kept.

    settings  settings.Settings
    content   images.Picture
    pictures  [images.Picture, …]: the styles
    colours   pictures.colour.ColourSpace of the content, with its margin
    names     the network's layers in order

    Raises SettingsError and ImageError.
    """

    def __init__(self, settings, content, pictures, colours, names):
        self.settings, self.pictures, self.colours, self.names = settings, pictures, colours, names
        self.groups, self.kept = groups_of(settings, content, self.pictures)
        self.paint = paint_of(settings, self.pictures)
        self._hashes = {name: hashlib.sha256(m.ravel()).hexdigest() for name, m in self.weights.items()}

    @property
    def weights(self):
        """{what: (H, W)}: all masks there are, in the size of their pictures."""
        found = {f"mask of {g.source}": g.mask for g in self.groups} | {"what is kept": self.kept}
        found |= {f"paint of style {k}": m for k, m in enumerate(self.paint, 1)}
        return {name: m for name, m in found.items() if m is not None}

    def regions(self, size):
        """{source: Region} of the groups that have a part of the picture, at (height, width) and its margin."""
        return {g.source: self.region(g, size) for g in self.groups if g.mask is not None}

    def region(self, group, size):
        """The Region of a group's mask at (height, width) and its margin."""
        return self._region(self.colours.with_margin(_at(group.mask, size)), self.settings.guidance)

    def inputs(self, stage):
        """{source: [(share, network input, Region of what counts as paint or None), …]} at a schedule.Stage."""
        return {g.source: [(share, *self._input(k, stage)) for k, share in g.members] for g in self.groups}

    def keys(self, stage):
        """{source: what its targets follow from}."""
        s, keys = self.settings, {}
        for group in self.groups:
            key = [s.resample, s.guidance]
            for k, share in group.members:
                paint = self._hashes.get(f"paint of style {k + 1}")
                key += [self.pictures[k].sha256, stage.style_sizes[k], share, paint]
            keys[group.source] = tuple(key)
        return keys

    def bounds(self, content):
        """(low, high) network inputs: grey levels 0 and 255, or where a mask keeps the content, its own.

        A pixel that the mask m keeps in part may go as far: from m·content to m·content + (1 - m)·255.
        content  network input (1, 3, H, W), margins included
        """
        low, high = self.colours.bounds()
        if self.kept is None:
            return low, high
        return kept_within((low, high), self.keeping([n - 2 * self.colours.margin for n in content.shape[2:]]), content)

    def keeping(self, size):
        """(1, 1, H, W) from 0 to 1: how far the content is kept, at (height, width) and its margin; a mask says so."""
        return to_device(self.colours.with_margin(_at(self.kept, size))[None, None], self.colours.device)

    def nbytes(self, stage):
        """Bytes of masks, in their own size and at a stage's, of inputs while targets are computed, and of bounds."""
        pictures = sum(2 * 4 * 3 * math.prod(self.computed(size)) for size in stage.style_sizes)
        weights = sum(2 * m.nbytes for m in self.weights.values())
        return pictures + weights + (0 if self.kept is None else 2 * 4 * 3 * math.prod(stage.size))

    def check(self, stage, layers):
        """Raise SettingsError where a mask covers no place of a layer at a stage's size."""
        regions = self.regions(stage.size)
        found = [(f"mask {g.label or 'left by --keep'}", regions.get(g.source)) for g in self.groups]
        found += [("--style-mask", self.painted(k, size)) for k, size in enumerate(stage.style_sizes)]
        for what, region in found:
            for layer in layers if region is not None else ():
                try:
                    region.weights(layer)
                except ValueError:
                    raise SettingsError(
                        f"{what}: at {format_size(stage.size)} it covers no place of {layer}: use a larger one, "
                        "a larger size, or shallower layers"
                    ) from None

    @property
    def identity(self):
        """(the first file, the hashes of all) of the style pictures."""
        return self.pictures[0].path if self.pictures else None, " ".join(p.sha256 for p in self.pictures)

    def made_of(self):
        """{what: hash}: what a saved state must agree with."""
        return {"style": self.identity[1]} | self._hashes

    def painted(self, k, size):
        """The Region of what counts as paint in a style picture at (height, width), with what surrounds it, or None."""
        guidance, paint = self.settings.guidance, self.paint[k]
        paint = None if paint is None else _at(paint, size)
        if self.settings.wrap:
            if paint is None:  # all of it counts, to its edges: what its places see beyond them is mirrored paint
                guidance, paint = "simple", np.ones(size, np.float32)
            paint = np.pad(paint, self._surroundings(size))
        return None if paint is None else self._region(paint, guidance)

    def _input(self, k, stage):
        size = stage.style_sizes[k]
        rgb = self.pictures[k].resized(size, method=self.settings.resample)
        if self.settings.wrap:
            rgb = np.pad(rgb, (*self._surroundings(size), (0, 0)), mode="symmetric")
        return dataclasses.replace(self.colours, margin=0).to_input(rgb), self.painted(k, size)

    def computed(self, size):
        """(height, width) at which a style picture of this size goes through the network."""
        return tuple(n + sum(pad) for n, pad in zip(size, self._surroundings(size), strict=True))

    def _surroundings(self, size):
        """Pixels (before, after) that a style picture has around it along both axes.

        With --wrap its edges would meet, and what is not continued there would be in its statistics, as zeros around it
        would be, which a picture without borders has nowhere. So it is mirrored as far as its places see, and what is
        mirrored does not count.
        """
        s = self.settings
        if not s.wrap:
            return ((0, 0), (0, 0))
        reach = max((context(layer, self.names) for layer in s.style_layers), default=0)
        before = -(-reach // s.grid) * s.grid
        return tuple((before, before + -n % s.grid) for n in size)

    def _region(self, m, guidance):
        pixels = to_device(np.ascontiguousarray(m), self.colours.device)
        return Region(pixels, guidance, self.names, self.settings.wrap)


def kept_within(limits, m, content):
    """Limits of network inputs of which m, (1, 1, H, W), is kept of `content`; where m is 1, to the last digit."""
    return tuple((1 - m) * limit + m * content for limit in limits)


def _at(mask, size):
    """A mask at (height, width), float32."""
    return np.clip(images.resize(mask, size), 0, 1)


def groups_of(settings, content, styles):
    """([Group], what is kept as it is: (H, W) or None), of Settings and pictures.

    Raises SettingsError where options for each style are not as many as the styles, ImageError for masks.
    """
    s, count = settings, len(styles)
    shares = per_style(s, "style_blend", count) or (1.0,) * count
    if count and not sum(shares) > 0:
        raise SettingsError("--style-blend: all of weight 0; expected one above 0", "style_blend")
    kept = None if s.keep is None else masks.mask_of(s.keep, content, "the content picture")
    if kept is not None and kept.min() >= 1:
        raise ImageError(f"mask {masks.label(s.keep)}: it keeps the whole content picture; nothing is left to paint")
    named = per_style(s, "mask", count) or (None,) * count
    read = _masks(named, content)
    found = []
    distinct = list(dict.fromkeys(_key(m) for m in named))
    for number, key in enumerate(distinct, 1):
        inside = [k for k in range(count) if _key(named[k]) == key and shares[k] > 0]
        if not inside:
            continue
        total = sum(shares[k] for k in inside)
        mask = read[key] if kept is None else (1 - kept) * (1 if read[key] is None else read[key])
        if mask is not None and not mask.max() > 0:
            raise ImageError(f"mask {key}: nothing of it is left beside what is kept")
        source = "style" if len(distinct) == 1 else f"style {number}"
        members = tuple((k, shares[k] / total) for k in inside)
        if mask is not None and mask.min() >= 1:
            mask = None  # everywhere
        area = 1.0 if mask is None else float(mask.mean(dtype=np.float64))
        label = "" if named[inside[0]] is None else masks.label(named[inside[0]])
        found.append(Group(source, members, mask, area, label))
    if s.style_blend is not None and len(distinct) == count > 1 and all(shares) and not _shares_colours(s):
        raise SettingsError("--style-blend: shares of styles under one mask; here each has its own", "style_blend")
    return found, kept


def _shares_colours(s):
    """Whether colours of all styles together are asked for, of each as much as its share."""
    of_style = s.match_histogram == "style" or (s.match_colors and s.match_to == "style")
    return of_style or (s.palette is not None and palette.read_spec(s.palette).source == "style")


def paint_of(settings, styles):
    """[(H, W) or None: all]: what of each style picture counts as paint: its mask, or without masks its opacity."""
    named = per_style(settings, "style_mask", len(styles))
    if named is None:
        return [picture.opacity(picture.rgb.shape[:2]) for picture in styles]
    found = []
    for source, picture in zip(named, styles, strict=True):
        mask = None if source is None else masks.mask_of(source, picture, "the style picture")
        found.append(None if mask is None or mask.min() >= 1 else mask)
    return found


def per_style(settings, name, count):
    """An option's values, one a style: as many as there are, or one for all. None where it is not given."""
    value = getattr(settings, name)
    if value is None:
        return None
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(values) not in (1, count):
        raise SettingsError(f"{flag(name)}: {len(values)} values for {count} styles; expected one, or one each", name)
    return values * count if len(values) == 1 else values


def _masks(named, content):
    """{key: (H, W) or None} of the masks for the content picture; "rest" is what the others leave."""
    sources = {_key(m): m for m in named}
    found = {
        key: None if m is None else masks.mask_of(m, content, "the content picture")
        for key, m in sources.items()
        if key != masks.REST
    }
    if masks.REST in sources:
        others = [m for m in found.values() if m is not None]
        if not others:
            raise ImageError("mask rest: what no other mask covers; expected only beside others")
        found[masks.REST] = masks.rest(others)
        if not found[masks.REST].max() > 0:
            raise ImageError("mask rest: the other masks cover everything; nothing is left for it")
    return found


def _key(source):
    """What tells a mask from another."""
    return source if source is None or isinstance(source, str) else f"{masks.label(source)} {id(source)}"
