"""cuBLAS's matrix product, called by its own C interface.

CuPy's binding refuses to run while a graph is being recorded (replay.py), and costs the host more than the call itself;
cuBLAS has no such limit. The handle and the workspace are ours alone, one of each for a device.
"""

import ctypes
from functools import lru_cache

import numpy as np

from ..cuda import REALS

WORKSPACE = 32 << 20  # bytes, what cuBLAS recommends for compute capability 9.0; it splits long sums in them
_TYPES = {np.dtype("float32"): 0, np.dtype("float64"): 1, np.dtype("float16"): 2}  # cudaDataType
_COMPUTE = {"float64": 70, "float32": 68, "tf32": 77, "float16": 68}  # cublasComputeType_t; sums in float32 for float16
_ONE = {t: np.ones(1, t) for t in ("float32", "float64")}  # cuBLAS reads its factors from the host
_ZERO = {t: np.zeros(1, t) for t in ("float32", "float64")}
_INT, _LONG, _POINTER = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
_SIGNATURES = {
    "cublasSetStream_v2": (_POINTER, _POINTER),
    "cublasSetWorkspace_v2": (_POINTER, _POINTER, ctypes.c_size_t),
    "cublasGemmStridedBatchedEx": (
        *(_POINTER, _INT, _INT, _INT, _INT, _INT),
        *(_POINTER, _POINTER, _INT, _INT, _LONG),
        *(_POINTER, _INT, _INT, _LONG),
        *(_POINTER, _POINTER, _INT, _INT, _LONG),
        *(_INT, _INT, _INT),
    ),
}


class _Cublas:
    """A handle with its workspace on one device."""

    def __init__(self, xp):
        found = xp.cuda.cublas
        # the extension that CuPy calls cuBLAS through: what it is linked with is found through it, on Linux
        library = getattr(found, "library", None) or ctypes.CDLL(found.__file__)
        self._functions = {}
        for name, types in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = types, ctypes.c_int
            self._functions[name] = function
        self._xp, self._stream = xp, None
        self._handle = found.create()
        self._workspace = xp.empty(WORKSPACE, dtype=xp.uint8)

    def gemm(self, *args):
        """cublasGemmStridedBatchedEx on the current stream, without the handle."""
        stream = self._xp.cuda.get_current_stream().ptr
        if stream != self._stream:  # which takes the workspace away
            self._call("cublasSetStream_v2", stream)
            self._call("cublasSetWorkspace_v2", self._workspace.data.ptr, WORKSPACE)
            self._stream = stream
        self._call("cublasGemmStridedBatchedEx", *args)

    def _call(self, name, *args):
        status = self._functions[name](self._handle, *args)
        if status:
            raise RuntimeError(f"{name}: cuBLAS answers with status {status}")


@lru_cache
def _cublas(xp, device):
    return _Cublas(xp)


def multiply(xp, U, V, M, T, precision, back):
    """M[k] = U[k] @ V[k], back: U[k]ᵀ @ V[k], for each frequency k: one call of cuBLAS, which counts by columns.

    U     (batch, F, C);  V  (batch, C, ld), back (batch, F, ld);  M  (batch, F, ld), back (batch, C, ld)
    T     columns of V and M that count;  precision  of the products: float32, tf32, float16 or float64
    """
    batch, F, C = U.shape
    K, L = (F, C) if back else (C, F)
    ld, kind = V.shape[2], _TYPES[U.dtype]
    _gemm(
        xp, precision, (0, int(back), T, L, K), (V, kind, ld, K * ld), (U, kind, C, F * C), (M, kind, ld, L * ld), batch
    )


def matmul(xp, A, B, precision="float32"):
    """A @ B of two matrices of one type, each contiguous or the transpose of a contiguous one; else CuPy's own product.

    The result is contiguous; where A is square, in B's memory order.
    """
    a, b = _order(A), _order(B)
    if A.dtype != B.dtype or A.dtype not in REALS or None in (a, b) or 0 in (*A.shape, *B.shape):
        return A @ B
    (m, k), n = A.shape, B.shape[1]
    kind, by_columns = _TYPES[A.dtype], b == 1 and m == k
    out = xp.empty((n, m) if by_columns else (m, n), dtype=A.dtype)
    first, second = (A, kind, m if a else k, 0), (B, kind, k if b else n, 0)
    if by_columns:
        shape = (1 - a, 1 - b, m, n, k)
    else:  # by columns a matrix is its transpose: outᵀ = Bᵀ Aᵀ
        shape, first, second = (b, a, n, m, k), second, first
    precision = "float64" if A.dtype == np.float64 else precision
    _gemm(xp, precision, shape, first, second, (out, kind, m if by_columns else n, 0), 1)
    return out.T if by_columns else out


def _order(A):
    """0 for a matrix that is contiguous by rows, 1 by columns, None for neither."""
    if A.ndim != 2:
        return None
    return 0 if A.flags.c_contiguous else 1 if A.flags.f_contiguous else None


def _gemm(xp, precision, shape, A, B, C, batch):
    """shape  (opA, opB, m, n, k);  A, B, C  (array, type, leading dimension, stride), all as cuBLAS counts."""
    scalar = "float64" if precision == "float64" else "float32"
    (A, *a), (B, *b), (C, *c) = A, B, C
    _cublas(xp, xp.cuda.runtime.getDevice()).gemm(
        *shape,
        *(_ONE[scalar].ctypes.data, A.data.ptr, *a),
        *(B.data.ptr, *b),
        *(_ZERO[scalar].ctypes.data, C.data.ptr, *c),
        *(batch, _COMPUTE[precision], -1),
    )
