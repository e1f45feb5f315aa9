"""What is done with colour: to the pictures before a transfer, and to each picture that leaves it. A class a row.

    filters = Filters(settings, content, styles)     pictures as they came
    filters.content, filters.styles                  as the optimisation sees them
    filters.after(rgb)                               a picture of the optimisation, as it leaves

MATH.md says why each does what it does.
"""

import hashlib
import math
from dataclasses import replace

import numpy as np

from . import images, matching, oklab, palette
from .matching import Moments


class Filter:
    """before(content, styles) and after(rgb, alpha), of which a filter has one or both.

    content, styles, shares  Pictures as they came, and how much each style counts where they are taken together
    note    in a line, for the plan; record  what is stored with the picture
    beside  a picture that after() needs at the size of what leaves, or None
    """

    beside = None

    def __init__(self, settings, content, styles, shares):
        self.note, self.record, self.nbytes = "", {}, 0

    def before(self, content, styles):
        """Content and styles (Pictures) as the optimisation is to see them."""
        return content, styles

    def after(self, rgb, alpha, where):
        """(H, W, 3) float32, 0..255, as it leaves; alpha (H, W) or None. where  Here, or what else answers so"""
        return rgb


class Here:
    """What a filter asks of a picture that leaves, where all of it is. (Over several machines each has rows of it.)"""

    def at(self, picture, rgb):
        """(H, W, 3): another picture at the places of `rgb`."""
        return picture.resized(rgb.shape[:2])

    def sample(self, rgb, alpha):
        """matching.sample of the picture that leaves."""
        return matching.sample(rgb, alpha)


class KeepColors(Filter):
    """Only lightness is transferred: the pictures become grey before, and get the content's colours after.

    Each style's lightness gets the mean and deviation of the content's (Gatys et al. 2017, section 5).
    """

    def __init__(self, settings, content, styles, shares):
        self.beside = content
        self.nbytes = content.rgb.nbytes
        self.note = "lightness is transferred, colours stay the content's"
        self.record = {"keep_colors": True}

    def before(self, content, styles):
        grey = _changed(content, _grey(content.rgb), "lightness")
        level = Moments.of(grey.rgb, grey.alpha)
        return grey, [self._style(p, level, content) for p in styles]

    def _style(self, picture, level, content):
        rgb = _grey(picture.rgb)
        own = Moments.of(rgb, picture.alpha)
        scale = np.sqrt(level.covariance[0, 0] / max(own.covariance[0, 0], matching.FLAT))
        rgb = oklab.by_strips(lambda x: np.clip((x - own.mean[0]) * scale + level.mean[0], 0, 255), rgb)
        return _changed(picture, rgb, "lightness of", content)

    def after(self, rgb, alpha, where):
        def recoloured(result, content):
            lab = oklab.to_oklab(content)
            lab[..., 0] = oklab.to_oklab(result)[..., 0]
            return oklab.from_oklab(lab)

        return oklab.by_strips(recoloured, rgb, where.at(self.beside, rgb))


class MatchColors(Filter):
    """Mean and covariance of the styles' colours become the content's, or the content's become the styles'."""

    def __init__(self, settings, content, styles, shares):
        self.method, self.to = settings.match_colors, settings.match_to
        self.note = f"{'style' if self.to == 'content' else 'content'} matched to the {self.to}'s ({self.method})"
        if self.to == "content":
            self.target, self.others = Moments.of(content.rgb, content.alpha), (content,)
        else:
            several = [Moments.of(p.rgb, p.alpha) for p in styles]
            self.target, self.others = Moments.together(several, shares), (*styles,)
        self.record, self.nbytes = {"match_colors": {"method": self.method, "to": self.to, "cut off": []}}, 0

    def before(self, content, styles):
        if self.to == "content":
            return content, [self._matched(p) for p in styles]
        return self._matched(content), styles

    def _matched(self, picture):
        own = Moments.of(picture.rgb, picture.alpha)
        rgb = matching.match_moments(picture.rgb, own, self.target, self.method)
        clipped = oklab.by_strips(lambda x: np.clip(x, 0, 255), rgb)
        found = self._cut(rgb, clipped, picture.alpha)
        self.record["match_colors"]["cut off"].append(found)
        what = f"colours matched ({self.method}): {found['pixels']:.1%} of its pixels cut off at black or white"
        if found["pixels"] >= 0.0005:
            picture = replace(picture, notes=(*picture.notes, f"{what}, its mean off by {found['mean']:.1f} levels"))
        return _changed(picture, clipped, what, *self.others)

    def _cut(self, rgb, clipped, alpha):
        """What cutting off at 0 and 255 takes from the match: share of pixels, and how far mean and spread are off."""
        outside = []
        matching.runs(rgb, lambda _, x: outside.append(int(((x < -0.5) | (x > 255.5)).any(axis=-1).sum())))
        left = Moments.of(clipped, alpha)
        spread, wanted = (np.sqrt(np.diag(m.covariance)) for m in (left, self.target))
        return {
            "pixels": round(sum(outside) / math.prod(rgb.shape[:2]), 6),
            "mean": round(float(np.abs(left.mean - self.target.mean).max()), 3),
            "deviation": round(float(np.abs(spread - wanted).max()), 3),
        }


class MatchHistogram(Filter):
    """After the transfer the colours get the distribution of the content's, or of the styles', all three channels."""

    def __init__(self, settings, content, styles, shares):
        self.to = settings.match_histogram
        pictures, shares = ([content], [1.0]) if self.to == "content" else (styles, shares)
        counts = np.maximum(1, np.rint(matching.SAMPLE * np.asarray(shares) / np.sum(shares))).astype(int)
        drawn = [matching.sample(p.rgb, p.alpha, n) for p, n in zip(pictures, counts, strict=True)]
        self.target = np.concatenate(drawn)
        self.note, self.nbytes = f"distribution becomes the {self.to}'s, after the transfer", self.target.nbytes
        self.record = {"match_histogram": self.to}

    def after(self, rgb, alpha, where):
        lattice = matching.transport(where.sample(rgb, alpha), self.target)
        rgb = matching.through(lattice, rgb)
        return np.clip(rgb, 0, 255, out=rgb)


class Palette(Filter):
    """After the transfer every pixel gets a colour of the palette: the nearest one, or dithered."""

    def __init__(self, settings, content, styles, shares):
        spec = palette.read_spec(settings.palette)
        self.draw = palette.dithered if settings.dither else palette.nearest
        self.colours = np.array(spec.colours, np.float64) if spec.colours else self._taken(spec, content, styles)
        shown = " ".join(palette.hex_of(c) for c in self.colours[:8])
        more = f" and {len(self.colours) - 8} more" if len(self.colours) > 8 else ""
        self.note, self.nbytes = f"palette {shown}{more}, after the transfer", self.colours.nbytes
        self.record = {"palette": [palette.hex_of(c) for c in self.colours], "dither": settings.dither}

    @staticmethod
    def _taken(spec, content, styles):
        known = {"content": [content], "style": styles}
        pictures = known.get(spec.source) or [images.as_picture(spec.source, min_side=1)]
        if len(pictures) == 1:
            return palette.colours_of(pictures[0].rgb, pictures[0].alpha, spec.count)
        drawn = [matching.sample(p.rgb, p.alpha)[None] for p in pictures]
        return palette.colours_of(np.concatenate(drawn, axis=1), None, spec.count)

    def after(self, rgb, alpha, where):
        return self.draw(rgb, self.colours)


# {option that asks for it: filter}, in the order in which they act
FILTERS = {
    "keep_colors": KeepColors,
    "match_colors": MatchColors,
    "match_histogram": MatchHistogram,
    "palette": Palette,
}


class Filters:
    """All that a job's settings ask for.

    content, styles  the pictures as the optimisation sees them; the same objects where no filter changes them
    alters           whether pictures leave otherwise than they were optimised
    changing         bytes that pictures took, beside what came of them and what is kept, while they were changed
    notes, record    lines for the plan, and what is stored with the picture
    settings  with the fields that FILTERS names; shares  how much each style counts (default: alike)
    """

    def __init__(self, settings, content, styles, shares=None):
        fits = (
            isinstance(shares, tuple) and len(shares) == len(styles) and any(shares)
        )  # else styles.py says what is wrong
        shares = shares if fits else [1.0] * len(styles)
        asked = [make for name, make in FILTERS.items() if getattr(settings, name)]
        self._filters = [make(settings, content, styles, shares) for make in asked]
        came = [content, *styles]
        for f in self._filters:
            content, styles = f.before(content, styles)
        self.content, self.styles = content, styles
        changed = [p for p, now in zip(came, [content, *styles], strict=True) if now is not p]
        self.changing = sum(p.rgb.nbytes for p in changed if p is not self.beside)
        self.changing += max((p.rgb.nbytes for p in changed), default=0)
        self.alters = any(type(f).after is not Filter.after for f in self._filters)
        self.notes = [f.note for f in self._filters]
        everywhere = self.beside is None and (self.alters or content is not came[0])  # else the colours come back
        if everywhere and getattr(settings, "keep", None) is not None:
            self.notes.append("what --keep keeps gets it, too")
        self.record = {name: value for f in self._filters for name, value in f.record.items()}
        if self.alters:
            self.record["loss as saved is not known"] = "colours were changed after the optimisation"
        self._kept = sum(f.nbytes for f in self._filters)

    def nbytes(self, size_hw):
        """Memory beside the pictures: what is kept for after(), and what that takes for a picture of this size."""
        return self._kept + (2 * 4 * 3 * math.prod(size_hw) if self.alters else 0)

    @property
    def beside(self):
        """The picture that after() needs at the size of what leaves, or None."""
        return next((f.beside for f in self._filters if f.beside is not None), None)

    def let_go(self, emptied):
        """Keep no pictures but what emptied() makes of them: after() is then called with a `where` that needs none."""
        self.content, self.styles = emptied(self.content), [emptied(p) for p in self.styles]
        for f in self._filters:
            f.beside = None if f.beside is None else emptied(f.beside)

    def after(self, rgb, alpha=None, where=None):
        """(H, W, 3) float32 as it leaves, of (H, W, 3) as it was optimised.

        alpha  (H, W): what counts, or None;  where  as for Filter.after, None: all of it is here
        """
        for f in self._filters:
            rgb = f.after(rgb, alpha, where or Here())
        return rgb


def _grey(rgb):
    """Lightness as a picture: greys of the same Oklab L."""
    return oklab.by_strips(lambda x: oklab.from_linear(oklab.to_oklab(x)[..., :1] ** 3), rgb)


def _changed(picture, rgb, what, *others):
    """The picture with other values, and another hash: of itself, what was done, and with what."""
    parts = [picture.sha256, what, *(p.sha256 for p in others)]
    sha256 = hashlib.sha256(" ".join(parts).encode()).hexdigest()
    return replace(picture, rgb=rgb, sha256=sha256, origin=picture.origin or picture.sha256)
