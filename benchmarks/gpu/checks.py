"""benchmarks/gpu/'s checks: gradients, every layer and the whole objective against the processor."""

import itertools
import math

import numpy as np

from minivgg import layers
from minivgg.backend import Device
from minivgg.gradcheck.rows import all_rows
from minivgg.vgg import load_kernels

from .tools import guarded, pictures, relative, torch_peer

CPU = Device("cpu")
# Gradient of the whole objective, relative. With 10 bits some places fall on the other side of a ReLU: 2e-2 to 9e-2.
AGREEMENT = {"float32": 1e-4, "tf32": 0.15, "float16": 0.15}
LAYER_BOUND = {"float64": 1e-12, "float32": 1e-4, "tf32": 1e-2, "float16": 1e-2}


def gradients(setup):
    """Every row of `python -m minivgg.gradcheck` on the device."""
    checked = list(all_rows(setup.device))
    table = [
        {
            "what": r.name,
            "backend": r.backend,
            "dtype": r.dtype,
            "method": r.method,
            "worst": str(r.worst),
            "error": r.error,
            "bound": r.bound,
            "passed": bool(r.passed),
        }
        for r in checked
    ]
    return {"checks": len(checked), "failed": sum(not r["passed"] for r in table), "rows": table}


def agreement(setup):
    """Each layer of VGG-19 on the device against the textbook in double precision on the processor, both ways."""
    kernels = load_kernels("fast", setup.xp).pairs
    rng = np.random.default_rng(1)
    rows = []
    for (name, (w, b)), pool in itertools.product(setup.params.items(), (None, "max", "avg")):
        x = rng.standard_normal((1, w.shape[1], 30, 36)).astype(np.float32)
        expected, dexpected, dout = _reference(x, w, b, pool, rng)
        for precision in (*setup.precisions, "float64"):
            dtype = np.float64 if precision == "float64" else np.float32
            options = {"precision": precision} if precision in ("tf32", "float16") else {}
            there = [setup.there(a.astype(dtype)) for a in (x, w, b, dout)]
            filters = kernels.prepare(there[1], there[2], **options)
            out, cache = kernels.conv_relu_forward(there[0], filters, there[2], pool=pool)
            dx, _, _ = kernels.conv_relu_backward(there[3], cache)
            errors = relative(out, expected), relative(dx, dexpected)
            # a place whose sign is rounding's choice makes the gradient jump: only forward is held to the bound
            good = errors[0] < LAYER_BOUND[precision] and math.isfinite(errors[1])
            rows.append(
                {
                    "layer": name,
                    "pool": pool,
                    "precision": precision,
                    "forward": errors[0],
                    "backward": errors[1],
                    "passed": good,
                }
            )
    return {"failed": sum(not r["passed"] for r in rows), "rows": rows}


def _reference(x, w, b, pool, rng):
    """out, dx and the dout they belong to, by the textbook in double precision."""
    out, conv = layers.conv2d_forward(*(a.astype(np.float64) for a in (x, w, b)), pad=1)
    out, relu = layers.relu_forward(out)
    pooled = None
    if pool:
        out, pooled = getattr(layers, f"{pool}pool2d_forward")(out)
    dout = rng.standard_normal(out.shape)
    through = getattr(layers, f"{pool}pool2d_backward")(dout, pooled) if pool else dout
    dx, _, _ = layers.conv2d_backward(layers.relu_backward(through, relu), conv, param_grads=False)
    return out, dx, dout


def objective(setup):
    """The whole objective against the processor: loss and gradient, per precision, textbook and fast."""
    content, style, image = pictures(32 if setup.dry else 128)

    def evaluate(net, device, dtype):
        there = setup.there if device is setup.device else (lambda a: a)
        return setup.objective(net, *(there(a.astype(dtype)) for a in (content, style))).evaluate(
            there(image.astype(dtype))
        )

    exact = evaluate(setup.net(dtype=np.float64, kernels="textbook", device=CPU), CPU, np.float64)
    here = evaluate(setup.net(device=CPU), CPU, np.float32)
    rows = {}
    for precision, kernels in [*((p, "fast") for p in setup.precisions), ("float32", "textbook")]:
        found = evaluate(setup.net(precision, kernels=kernels), setup.device, np.float32)
        error = relative(found.gradient, exact.gradient)
        rows[f"{precision} {kernels}"] = {
            "gradient": error,
            "gradient against the processor's float32": relative(found.gradient, here.gradient),
            "loss": abs(found.loss / exact.loss - 1),
            "passed": error < AGREEMENT[precision],
        }
    result = {"failed": sum(not r["passed"] for r in rows.values()), "rows": rows}
    device = "cuda" if setup.device.kind == "gpu" else "cpu"
    for precision in ("float32", "tf32") if device == "cuda" else ("float32",):
        found = guarded(_torch_error, setup, device, precision, (content, style, image), exact.gradient)
        result[f"torch {precision}"] = found
    return result


def _torch_error(setup, device, precision, images, exact):
    """The peer's own error: what a precision costs there."""
    peer = torch_peer(setup, device, precision, "nchw", False, *images[:2])
    _, gradient = peer.evaluate(images[2])
    return {"gradient": relative(gradient.cpu().numpy(), exact)}
