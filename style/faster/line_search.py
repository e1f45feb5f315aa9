"""Step lengths: the next one of a line search, and where along an accepted step its slope is zero. MATH.md 1 and 2."""

import numpy as np

SHORTEST, LONGEST = 0.7, 1.5  # of an accepted step: how far it may be moved to where its slope is zero


def zero_slope(slope, end):
    """Where the slope along a step is zero if it changes evenly, as a multiple of the step; kept near 1.

    slope, end  at the step's start (negative) and at its end
    """
    bend = end - slope
    return min(max(-slope / bend, SHORTEST), LONGEST) if bend > 0 else LONGEST


def next_step(low, high):
    """The next step length to try.

    low   (t, loss, slope) of the longest step that is too short
    high  (t, loss, slope) of the shortest step that is too long, or None

    The minimum of the cubic through both (Nocedal & Wright 2006, eq. 3.59), kept off the ends; without `high` four
    times as far.
    """
    if high is None:
        return 4 * low[0]
    (a, fa, da), (b, fb, db) = low, high
    width = b - a
    if not np.isfinite(fb):
        return a + 0.1 * width
    d1 = da + db - 3 * (fa - fb) / (a - b)
    root = d1 * d1 - da * db
    t = np.nan
    if root >= 0 and np.isfinite(db):
        d2 = root**0.5
        if db - da + 2 * d2 != 0:
            t = b - width * (db + d2 - d1) / (db - da + 2 * d2)
    if not np.isfinite(t):  # no cubic: the parabola through both losses and the slope at a
        bend = fb - fa - da * width
        t = a - da * width**2 / (2 * bend) if bend > 0 else a + width / 2
    return min(max(t, a + 0.1 * width), b - 0.1 * width)
