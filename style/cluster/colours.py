"""Colours of a picture that leaves, rows of it on each rank: what filters do to the whole, to the bit."""

import numpy as np

from ..pictures import matching, oklab
from .strips import Strip, fetch


def together(rows, size):
    """The rows that oklab.by_strips computes together with `rows` (first, end) of a picture (height, width)."""
    first, end = rows
    step = oklab.rows_together(size[1])
    return (first // step * step, min(-(-end // step) * step, size[0])) if first < end else rows


def left(ranks, filters, rgb, rows, size, beside, places=None):
    """(h, W, 3) as filters.Filters let it leave: rows (first, end), which are this rank's, of a picture of `size`.

    beside  (h, W, 3) of the picture that filters need, the rows that together() says, or None
    places  matching.places of the whole where not all pixels count alike
    """
    have = ranks.everyone(rows)
    need = [together(one, size) for one in have]
    first = need[ranks.rank][0]
    flat = Strip(rgb.reshape(1, 1, -1, 3 * size[1]), rows[0], size[0])
    found = fetch(ranks, "colours", flat, have, need).part.reshape(-1, size[1], 3)
    own = slice(rows[0] - first, rows[1] - first)
    return filters.after(found, None, Rows(ranks, have, own, size, beside, places))[own]


class Rows:
    """filters.Here of a rank. have  rows of each rank;  own  of those that it computes, the ones that it has"""

    def __init__(self, ranks, have, own, size, beside, places):
        self.ranks, self.have, self.own, self.size, self.beside = ranks, have, own, size, beside
        self.places = matching.places(size[0] * size[1]) if places is None else places

    def at(self, picture, rgb):
        return self.beside

    def sample(self, rgb, alpha):
        """matching.sample of the whole: each rank has some of its pixels."""
        places, W = self.places, self.size[1]
        here = [(a * W <= places) & (places < b * W) for a, b in self.have]
        mine = here[self.ranks.rank]
        own = rgb[self.own].reshape(-1, 3)[places[mine] - self.have[self.ranks.rank][0] * W]
        came = self.ranks.table("colours", own.reshape(-1), [3 * int(h.sum()) for h in here])
        found = np.empty((len(places), 3))
        for at, pixels in zip(here, came, strict=True):
            found[at] = pixels.reshape(-1, 3)
        return found
