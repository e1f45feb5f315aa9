"""Places a block at a time: what is worked out for each feature never takes as much memory as an activation."""

BLOCK = 1 << 18  # features in a block


def blocks(F, m=None, *, size=BLOCK):
    """(index of the block's places, F there (C, n), m there (n,) or None), the blocks of about `size` features."""
    C, M = F.shape
    step = max(1, size // C)
    for p in range(0, M, step):
        at = slice(p, min(p + step, M))
        yield at, F[:, at], None if m is None else m[at]
