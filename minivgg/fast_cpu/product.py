"""Products of matrices with one long side, on all cores: on those BLAS's own threads wait for each other."""

import numpy as np

from ..threads import cores, one_blas_thread, parallel

COLUMNS = 64  # of a product, at once: a multiple of what any BLAS computes together
GROUPS = 16  # partial sums of a product over a long side: more than cores, so that all have work to the end


def matmul(A, B):
    """A @ B by strips where one side may be long; of shapes and types that are none of these it is A @ B.

    A (K, C), B (C, M)  strips of columns; the result has B's memory order
    A (C, M), B (M, C)  strips of the M products, whose sums are added up, which also loses fewer digits than one sum

    The digits do not depend on the number of cores or on their pace, nor on whether this is called within `parallel`;
    those of a column, in the first form, not on what other columns there are.
    """
    floats = A.dtype == B.dtype and A.dtype.kind == "f"
    if floats and A.ndim == B.ndim == 2 and A.shape[1] == B.shape[0]:
        if A.shape[0] == A.shape[1] or A.shape[0] != B.shape[1]:
            return _wide(A, B)
        return _long(A, B)
    return A @ B


def _wide(A, B):
    """(K, C) @ (C, M), by strips of columns.

    BLAS rounds the last few columns of a product in a way of their own, where these are not as many as it computes at
    once. So they get a product in which others follow.
    """
    M = B.shape[1]
    out = np.empty_like(B, shape=(len(A), M))
    step = max(512, (1 << 19) // max(1, len(A)) // COLUMNS * COLUMNS)
    whole = M // COLUMNS * COLUMNS

    def task(_, first):
        last = min(first + step, whole)
        if first < last:
            np.matmul(A, B[:, first:last], out=out[:, first:last])
            return
        rest = np.zeros_like(B, shape=(len(B), COLUMNS))
        rest[:, : M - whole] = B[:, whole:]
        out[:, whole:] = (A @ rest)[:, : M - whole]

    with one_blas_thread():
        parallel(task, [*range(0, whole, step), *([whole] if whole < M else [])], cores())
    return out


def _long(A, B):
    """(C, M) @ (M, C). Strips are added in groups of their own, and the groups in order, whatever core did which.

    With B = Aᵀ each strip of B is that of A transposed, the same memory, of which NumPy computes one triangle only.
    """
    C, M = A.shape
    step = max(512, min(8192, (1 << 19) // max(1, C)))
    strips = range(0, M, step)
    totals = np.zeros((max(1, min(GROUPS, len(strips))), C, C), A.dtype)
    workers = min(cores(), len(totals))
    parts = [np.empty((C, C), A.dtype) for _ in range(workers)]

    def task(worker, group):
        for first in strips[group :: len(totals)]:
            np.matmul(A[:, first : first + step], B[first : first + step], out=parts[worker])
            totals[group] += parts[worker]

    with one_blas_thread():
        parallel(task, range(len(totals)), workers)
    return totals.sum(axis=0)
