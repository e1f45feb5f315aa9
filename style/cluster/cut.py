"""What a rank keeps of a job's pictures: its rows of each, at each stage, cut while it has the whole or the file."""

import dataclasses
import math

import numpy as np

from minivgg.table import level

from ..pictures import matching
from .colours import together
from .pictures import inside, mirrored, to_strip
from .strips import Strip
from .tiles import rows_at


class Cut:
    """This rank's rows of everything that a job.SpreadJob goes by. Made before the pictures are let go.

    contents  {stage: Strip of the network input}
    inputs    {stage: {source: [(share, Strip, Region of what counts as paint or None), …]}} of the style pictures
    regions   {stage: {source: RegionRows}} of the styles that have a part of the picture
    kept      {stage: (1, 1, h, W)}: how far the content is kept, where a mask says so
    beside    {stage: (h, W, 3)}: of the picture that filters need for what leaves, those rows that colours.left() says
    alpha     {stage: (h, W)}: the content's opacity, where it has one, and
    places    {stage: matching.places} of the whole, drawn by it
    first     the Strip at which the first stage starts, where that is a picture of its own, or None
    """

    def __init__(self, job):
        self.job, self.contents, self.inputs, self.first = job, {}, {}, None
        self.regions, self.kept, self.beside, self.alpha, self.places = {}, {}, {}, {}, {}
        for stage in job.stages:
            parts = job.divisions(stage, stage.size, job.terms, job.colours.margin)
            rows = parts[0].cores[job.ranks.rank]
            self.contents[stage] = self._strip(job.content, stage.size, rows, job.colours)
            self.inputs[stage] = {
                group.source: [(share, *self._style(stage, k)) for k, share in group.members]
                for group in job.styles.groups
            }
            self._weights(stage, parts, rows)
            self._leaving(stage, inside(rows, stage.size[0], job.colours.margin))
        if job.start is not None or job.settings.init == "style":
            stage = job.stages[0]
            picture = job.start if job.start is not None else job.styles.pictures[0]
            self.first = self._strip(picture, stage.size, self.contents[stage].rows, job.colours)

    def _weights(self, stage, parts, rows):
        """Cut the masks for the picture. parts  [tiles.Division, …];  rows  of the network input"""
        job, styles = self.job, self.job.styles
        have = {name: of_all[job.ranks.rank] for name, of_all in rows_at(parts).items()}
        self.regions[stage] = {
            g.source: RegionRows(styles.region(g, stage.size), {n: have[n] for n in _looked_at(job.terms, g)})
            for g in styles.groups
            if g.mask is not None
        }
        if styles.kept is not None:
            self.kept[stage] = styles.keeping(stage.size)[:, :, slice(*rows)].copy()

    def _leaving(self, stage, rows):
        """Cut what the picture needs when it leaves. rows  of the picture"""
        job = self.job
        if job.content.alpha is not None:
            whole = job.content.opacity(stage.size)
            self.alpha[stage] = whole[slice(*rows)].copy()
            self.places[stage] = matching.places(whole.size, whole) if job.filters.alters else None
        if job.filters.beside is not None:
            first, end = together(rows, stage.size)
            self.beside[stage] = np.array(job.at(job.filters.beside, stage.size)[first:end])

    def _style(self, stage, k):
        """(Strip, Region of what counts as paint or None) of a style picture."""
        job, size = self.job, stage.style_sizes[k]
        own = [t for t in job.terms if t.source not in (None, "content")]
        rows = job.divisions(stage, size, own, 0)[0].cores[job.ranks.rank]
        plain = dataclasses.replace(job.colours, margin=0)
        return self._strip(job.styles.pictures[k], size, rows, plain), job.styles.painted(k, size)

    def _strip(self, picture, size, rows, colours):
        """The Strip of `rows` of a network input: a picture at a size, of which no more than these is decoded."""
        first, end = _span(mirrored(rows, size[0], colours.margin))
        return to_strip(colours, self.job.at(picture, size)[first:end], rows, size[0], first)


class RegionRows:
    """regions.Region, of whose weights of places there are some rows. rows  {layer: (first, end)}"""

    def __init__(self, region, rows):
        self._found, made = {}, {}
        for layer, (first, end) in rows.items():
            whole = region.weights(layer)
            at = id(whole), first, end  # layers of one size may share them
            if at not in made:
                made[at] = Weights(whole[first:end].copy(), first, whole.shape)
            self._found[layer] = made[at]

    def weights(self, layer):
        return self._found[layer]


class Weights:
    """Weights of places (h, w), of which there are some rows. Indexed like the whole, by two slices."""

    def __init__(self, part, top, shape):
        self.strip, self.shape = Strip(part[None, None], top, shape[0]), shape

    def __getitem__(self, at):
        return self.strip[(slice(None), slice(None), *at)][0, 0]


def beside_bytes(content, filters, styles, terms):
    """Bytes a pixel of a strip that a Cut keeps beside the pictures: for what leaves, and of masks."""
    found = 0 if filters.beside is None else 12.0
    found += 0 if content.alpha is None else 4
    found += 0 if styles.kept is None else 4
    for group in styles.groups:
        found += sum(4 / 4 ** level(name) for name in _looked_at(terms, group)) if group.mask is not None else 0
    return math.ceil(found * 4 / 3)  # with those of the coarser scales


def without_masks(styles):
    """Let the masks of a styles.Styles go, of which there are rows now."""
    styles.groups = [dataclasses.replace(g, mask=None) for g in styles.groups]
    styles.paint, styles.kept = [None] * len(styles.paint), None


def _looked_at(terms, group):
    return dict.fromkeys(t.layer for t in terms if t.source == group.source)


def emptied(picture):
    """The picture's name and hash, without what it shows."""
    return dataclasses.replace(picture, rgb=np.empty((0, 0, 3), np.float32), alpha=None)


def _span(rows):
    return (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)
