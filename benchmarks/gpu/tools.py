"""What the sections of benchmarks/gpu/ share: pictures, errors, times, and a failure that stays where it happened."""

import statistics
import time

import numpy as np

from minivgg.backend import to_numpy
from minivgg.program import first_line

from .. import common
from ..peer import TorchObjective


def pictures(size):
    """Content, style and current picture (1, 3, size, size) float32."""
    return common.pictures(size, size)


def relative(a, b):
    """‖a - b‖ / ‖b‖ in double precision on the host."""
    a, b = (to_numpy(v).astype(np.float64) for v in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def milliseconds(setup, call, *args, repeats=None):
    """Median and range of the time of call(*args), device included; three calls before to warm up."""
    found = []
    for k in range(3 + (repeats or setup.repeats)):
        setup.wait()
        start = time.perf_counter()
        call(*args)
        setup.wait()
        if k >= 3:
            found.append(1e3 * (time.perf_counter() - start))
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def guarded(function, *args):
    """A row's own failure is that row's result."""
    try:
        return function(*args)
    except Exception as e:
        return {"error": f"{type(e).__name__}: {first_line(e)}"}


def torch_peer(setup, device, precision, layout, autotune, content, style):
    """peer.TorchObjective with PyTorch's switches set."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = autotune
    return TorchObjective(setup.params, content, style, layout=layout, device=device)
