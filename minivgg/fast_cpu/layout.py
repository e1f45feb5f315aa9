"""Channels last: how arrays (N, C, H, W) lie in memory inside the fast path."""


def nhwc_shape(x):
    N, C, H, W = x.shape
    return N, H, W, C


def nhwc(x, workspace):
    """x (N, C, H, W) as a C-contiguous (N, H, W, C) array: a view where x lies channels last, else a copy."""
    view = x.transpose(0, 2, 3, 1)
    if view.flags.c_contiguous:
        return view
    copy = workspace.empty(view.shape, x.dtype)
    copy[...] = view
    return copy


def nchw(x):
    """(N, H, W, C) as a (N, C, H, W) view."""
    return x.transpose(0, 3, 1, 2)
