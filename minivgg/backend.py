"""Where an array lives and how it gets there: the only file that imports cupy.

The type of an array decides where a computation runs: every function asks `get_xp(x)` for its module and then
speaks NumPy to it. Arrays change device in three places only: weights loaded, pictures loaded, SciPy's boundary.
"""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from . import limits
from .program import first_line
from .threads import cores, is_number

# An array of NumPy's or CuPy's, on whichever device: signatures that say Array take either and give the same kind.
# Any, since a checker knows CuPy's only where it is installed, and a protocol of all that both can do would claim more
# than either promises. What always lies on the host says np.ndarray.
Array: TypeAlias = Any


class BackendError(RuntimeError):
    """A device that was asked for cannot be used; the message says why and what to do, in one line."""


class UnknownDeviceError(BackendError):
    """A name that is no device's."""


@dataclass(frozen=True)
class Device:
    """One place to compute: kind is "cpu" or "gpu", index the GPU's number."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return "cpu" if self.kind == "cpu" else f"gpu:{self.index}"


def get_xp(a: Array) -> Any:
    """The array module of `a`: numpy or cupy (or the module that a stand-in device array names as its own)."""
    if isinstance(a, np.ndarray | np.generic):
        return np
    cupy = sys.modules.get("cupy")  # an array of CuPy's cannot exist before CuPy was imported
    if cupy is not None and isinstance(a, cupy.ndarray):
        return cupy
    xp = getattr(a, "__xp__", None)  # tests: a device array without a device (tests/strict_device.py)
    if xp is not None:
        return xp
    raise TypeError(f"expected a NumPy or CuPy array, found {type(a).__name__}")


def get_fft(xp: Any) -> ModuleType:
    """The module with fft functions for an array module: scipy.fft or cupyx.scipy.fft."""
    if xp is np:
        return importlib.import_module("scipy.fft")
    return getattr(xp, "fft_module", None) or importlib.import_module("cupyx.scipy.fft")


def to_numpy(a: Array) -> np.ndarray:
    """`a` on the host, as a NumPy array (itself if it is one already)."""
    if isinstance(a, np.ndarray | np.generic):
        return np.asarray(a)
    return a.get()


def to_device(a: Array, device: Device) -> Array:
    """`a` as an array on `device`; no copy if it is there already."""
    if device.kind == "cpu":
        return to_numpy(a)
    cupy = _cupy()
    with cupy.cuda.Device(device.index):
        return cupy.asarray(a)


def resolve_device(spec: str | Device = "auto") -> Device:
    """Device from "auto", "cpu", "gpu" or "gpu:N". "auto" takes the GPU if CuPy and a card are there, else the CPU.

    Raises BackendError when a GPU is asked for by name and cannot be used.
    """
    if isinstance(spec, Device):
        return spec
    kind, _, index = str(spec).lower().partition(":")
    if kind not in ("auto", "cpu", "gpu") or (index and (kind != "gpu" or not is_number(index))):
        raise UnknownDeviceError(f"device {spec!r} is not known: use auto, cpu, gpu or gpu:N")
    if kind == "cpu":
        return Device("cpu")
    try:
        _check_gpu(int(index or 0))
    except BackendError:
        if kind == "gpu":
            raise
        return Device("cpu")
    device = Device("gpu", int(index or 0))
    _cupy().cuda.Device(device.index).use()  # what is made from here on, temporaries too, lies on this card
    return device


def describe_device(device: Device) -> str:
    """One phrase for the user: the cores or the card and its memory."""
    if device.kind == "cpu":
        count = cores()
        return f"cpu, {count} core{'s' if count != 1 else ''}, NumPy {np.__version__}"
    cupy = _cupy()
    name = cupy.cuda.runtime.getDeviceProperties(device.index)["name"].decode()
    free, total = cupy.cuda.Device(device.index).mem_info
    return f"{device}, {name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, CuPy {cupy.__version__}"


def free_memory(device: Device) -> limits.Limit:
    """limits.Limit: what may still be taken on `device`: a card's free memory, or the smallest of the host's limits."""
    if device.kind == "gpu":
        return limits.Limit(int(_cupy().cuda.Device(device.index).mem_info[0]), f"free memory of {device}")
    return limits.smallest()


def synchronize(device: Device) -> None:
    """Wait until everything enqueued on `device` has run (nothing to do on the CPU)."""
    if device.kind == "gpu":
        _cupy().cuda.Device(device.index).synchronize()


def _cupy():
    if importlib.util.find_spec("cupy") is None:
        raise BackendError(
            'no GPU: CuPy is not installed; pip install -e ".[cuda12]" or ".[cuda13]", or use --device cpu'
        )
    try:
        return importlib.import_module("cupy")
    except Exception as e:  # a CuPy without its CUDA libraries fails in many ways at import
        raise BackendError(f"no GPU: CuPy does not import ({first_line(e)}); use --device cpu") from e


def _check_gpu(index):
    cupy = _cupy()
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as e:  # CUDARuntimeError; the driver's own words say which way it failed
        raise BackendError(
            f"no GPU: the CUDA driver does not answer ({first_line(e)}); update it or use --device cpu"
        ) from e
    if index >= count:
        raise BackendError(f"no GPU {index}: this machine has {count}; use --device gpu:N with N < {count}, or cpu")
