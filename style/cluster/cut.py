"""What a rank keeps of a job's pictures: its rows of each, at each stage, cut while it has the whole or the file."""

import dataclasses

import numpy as np

from .colours import together
from .pictures import inside, mirrored, to_strip


class Cut:
    """This rank's rows of everything that a job.SpreadJob goes by. Made before the pictures are let go.

    contents  {stage: Strip of the network input}
    inputs    {stage: {source: [(share, Strip), …]}} of the style pictures
    beside    {stage: (h, W, 3)}: of the picture that filters need for what leaves, those rows that colours.left() says
    first     the Strip at which the first stage starts, where that is a picture of its own, or None
    """

    def __init__(self, job):
        self.job, self.contents, self.inputs, self.beside, self.first = job, {}, {}, {}, None
        plain = dataclasses.replace(job.colours, margin=0)
        for stage in job.stages:
            rows = job.rows(stage, stage.size, job.terms, job.colours.margin)[job.ranks.rank]
            self.contents[stage] = self._strip(job.content, stage.size, rows, job.colours)
            self.inputs[stage] = {
                group.source: [(share, self._style(stage, k, plain)) for k, share in group.members]
                for group in job.styles.groups
            }
            if job.filters.beside is not None:
                first, end = together(inside(rows, stage.size[0], job.colours.margin), stage.size)
                self.beside[stage] = np.array(job.at(job.filters.beside, stage.size)[first:end])
        if job.start is not None or job.settings.init == "style":
            stage = job.stages[0]
            picture = job.start if job.start is not None else job.styles.pictures[0]
            rows = job.rows(stage, stage.size, job.terms, job.colours.margin)[job.ranks.rank]
            self.first = self._strip(picture, stage.size, rows, job.colours)

    def _style(self, stage, k, colours):
        job, size = self.job, stage.style_sizes[k]
        own = [t for t in job.terms if t.source not in (None, "content")]
        rows = job.rows(stage, size, own, 0)[job.ranks.rank]
        return self._strip(job.styles.pictures[k], size, rows, colours)

    def _strip(self, picture, size, rows, colours):
        """The Strip of `rows` of a network input: a picture at a size, of which no more than these is decoded."""
        first, end = _span(mirrored(rows, size[0], colours.margin))
        return to_strip(colours, self.job.at(picture, size)[first:end], rows, size[0], first)


def emptied(picture):
    """The picture's name and hash, without what it shows."""
    return dataclasses.replace(picture, rgb=np.empty((0, 0, 3), np.float32))


def _span(rows):
    return (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)
