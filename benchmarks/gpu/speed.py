"""benchmarks/gpu/'s times: evaluations beside PyTorch, each layer, large pictures, the processor."""

import functools
import itertools
import statistics
import time
import tracemalloc

import numpy as np

from minivgg.backend import Device, to_numpy
from minivgg.fast_gpu import blas, winograd
from minivgg.vgg import load_kernels
from style.faster.recorded import Recorded
from style.large.tiles import Tiled
from style.large.tiling import Tiling
from style.objective import Objective

from ..common import TERMS
from .tools import guarded, milliseconds, pictures, relative, torch_peer

MEGABYTES = (32, 64, 128, 256, 512, 1024)  # workspaces tried


def ceilings(setup):
    """What the device does at its best: copying (bytes read and written), and a matrix product in each precision."""
    xp, n = setup.xp, 64 if setup.dry else 8192
    a, b = (setup.there(np.random.default_rng(k).standard_normal((n, n)).astype(np.float32)) for k in range(2))
    big = xp.zeros(1 << (16 if setup.dry else 30), dtype=xp.uint8)
    copy = xp.empty_like(big)
    found = {"copy GB/s": 2 * big.nbytes / 1e6 / milliseconds(setup, xp.copyto, copy, big)["min"]}
    out = xp.empty_like(a)
    found["float32 TFLOP/s"] = 2 * n**3 / 1e9 / milliseconds(setup, lambda: xp.matmul(a, b, out=out))["min"]
    if setup.device.kind == "gpu":
        for precision in ("tf32", "float16"):
            U, V = (v[None].astype("float16" if precision == "float16" else "float32") for v in (a, b))
            M = xp.empty_like(V)
            time_ = milliseconds(setup, blas.multiply, xp, U, V, M, n, precision, False)
            found[f"{precision} TFLOP/s"] = 2 * n**3 / 1e9 / time_["min"]
    return found


def timing(setup):
    """Evaluations of the whole objective per precision and size, as a CUDA graph too, beside PyTorch."""
    found = {}
    for size in setup.sizes:
        rows = found[str(size)] = {}
        content, style, image = pictures(size)
        for precision in setup.precisions:
            net = setup.net(precision)
            ours = setup.objective(net, setup.there(content), setup.there(style))
            x = setup.there(image)
            rows[f"ours {precision}"] = milliseconds(setup, ours.evaluate, x)
            rows[f"ours {precision}"]["enqueue"] = _enqueue_milliseconds(setup, ours, x)
            if setup.device.kind == "gpu":
                rows[f"ours {precision}, graph"] = guarded(_replayed, setup, ours, x)
        rows |= _torch_rows(setup, content, style, image)
        rows["ratio"] = _ratios(rows)
    return found


def _enqueue_milliseconds(setup, ours, x):
    """Time until the host is done with its part: near the whole evaluation's, the host is what takes the time."""
    found = []
    for _ in range(setup.repeats):
        setup.wait()
        start = time.perf_counter()
        ours.compute(x)
        found.append(1e3 * (time.perf_counter() - start))
    setup.wait()
    return statistics.median(found)


def _replayed(setup, ours, x):
    replayed = Recorded(ours)
    error = relative(replayed.evaluate(x).gradient, ours.evaluate(x).gradient)
    return milliseconds(setup, replayed.evaluate, x) | {"gradient against the first": error}


def _torch_rows(setup, content, style, image):
    """PyTorch eager with cuDNN: both layouts, cuDNN's first choice and its measured one, float32 and TF32."""
    rows = {}
    device = "cuda" if setup.device.kind == "gpu" else "cpu"
    for precision, layout, autotune in itertools.product(
        ("float32", "tf32") if device == "cuda" else ("float32",),
        ("nchw", "channels_last"),
        (False, True) if device == "cuda" else (False,),
    ):
        name = f"torch {precision} {layout}{', autotune' if autotune else ''}"
        rows[name] = guarded(_torch_time, setup, device, precision, layout, autotune, content, style, image)
    return rows


def _torch_time(setup, device, precision, layout, autotune, content, style, image):
    peer = torch_peer(setup, device, precision, layout, autotune, content, style)
    x = peer.tensor(image).to(memory_format=peer.format)
    wait = peer.torch.cuda.synchronize if device == "cuda" else (lambda: None)

    def call():
        peer.evaluate(x)
        wait()

    return milliseconds(setup, call)


def _ratios(rows):
    """PyTorch's best ÷ our best. Our float16 rounds its factors to the same 10 bits as TF32: beside TF32 as well."""
    ratios = {}
    for name, ours, theirs in (
        ("float32", "ours float32", "torch float32"),
        ("tf32", "ours tf32", "torch tf32"),
        ("our float16, PyTorch's tf32", "ours float16", "torch tf32"),
    ):
        a, b = ([r["median"] for n, r in rows.items() if n.startswith(who) and "median" in r] for who in (ours, theirs))
        if a and b:
            ratios[name] = min(b) / min(a)
    return ratios


def workspaces(setup):
    """Time of an evaluation by the memory that a strip's transforms may take."""
    found, before = {}, winograd.WORKSPACE
    try:
        for size in setup.sizes[:2]:
            content, style, image = (setup.there(a) for a in pictures(size))
            for precision in setup.precisions:
                ours = setup.objective(setup.net(precision), content, style)
                for megabytes in MEGABYTES:
                    winograd.WORKSPACE = megabytes << 20
                    time_ = milliseconds(setup, ours.evaluate, image)
                    found[f"{size} {precision} {megabytes} MB"] = time_["median"]
    finally:
        winograd.WORKSPACE = before
    return found


def by_layer(setup):
    """Milliseconds of each layer and pass at the first size, beside the bytes and operations that it cannot avoid."""
    kernels, size = load_kernels("fast", setup.xp).pairs, setup.sizes[0]
    rng, rows = np.random.default_rng(2), []
    for name, (w, b) in setup.params.items():
        F, C = w.shape[:2]
        side = size >> (int(name[4]) - 1)
        x, dout = (setup.there(rng.standard_normal((1, c, side, side)).astype(np.float32)) for c in (C, F))
        for precision in setup.precisions:
            options = {} if precision == "float32" else {"precision": precision}
            bias = setup.there(b)
            filters = kernels.prepare(setup.there(w), bias, **options)
            out, cache = kernels.conv_relu_forward(x, filters, bias)
            forward = milliseconds(setup, kernels.conv_relu_forward, x, filters, bias)
            backward = milliseconds(setup, kernels.conv_relu_backward, dout, cache)
            row = {"layer": name, "precision": precision, "forward": forward["median"], "backward": backward["median"]}
            rows.append(row | least(C, F, side, precision))
    return rows


def least(C, F, side, precision):
    """Bytes moved and operations of one pass of our algorithm: fast_gpu's docstring has the count."""
    places, half = side * side, precision == "float16"
    if C == 3:
        return {"MB": 4 * places * (C + F) / 1e6, "GFLOP": 2 * 9 * C * F * places / 1e9}
    transforms = 2 * (2 if half else 4) * (C + F) * places * 36 / 16 + (2 if half else 4) * 36 * C * F
    once_more = 4 * places * C if half else 0
    return {
        "MB": (4 * places * (C + F) + transforms + once_more) / 1e6,
        "GFLOP": 2 * 36 * C * F * places / 16 / 1e9,
    }


def large(setup):
    """Large pictures whole and in tiles: loss, gradient, seconds, peak memory; tiles under a limit of 8 GB."""
    found = {}
    for size in setup.large:
        content, style, image = pictures(size)
        parts = {}
        for name in ("whole", "tiled"):
            parts[name] = guarded(_large_one, setup, name, content, style, image)
        gradients_ = [p.pop("gradient", None) for p in parts.values()]
        if all(g is not None for g in gradients_):
            parts["gradient, tiled against whole"] = relative(*reversed(gradients_))
            parts["loss, tiled against whole"] = abs(parts["tiled"]["loss"] / parts["whole"]["loss"] - 1)
        found[str(size)] = parts
    return found


def _large_one(setup, name, content, style, image):
    pool = setup.xp.get_default_memory_pool() if setup.device.kind == "gpu" else None
    if pool is not None:
        pool.free_all_blocks()
        pool.set_limit(size=8 * 10**9 if name == "tiled" else 0)
    else:
        tracemalloc.start()
    try:
        net = setup.net()
        there = [setup.there(a) for a in (content, style, image)]
        ours = (setup.objective if name == "whole" else functools.partial(_tiled, setup))(net, *there[:2])
        ours.evaluate(there[2])
        setup.wait()
        start = time.perf_counter()
        result = ours.evaluate(there[2])
        setup.wait()
        seconds = time.perf_counter() - start
        peak = pool.total_bytes() if pool is not None else tracemalloc.get_traced_memory()[1]
        return {"seconds": seconds, "loss": result.loss, "peak GB": peak / 1e9, "gradient": to_numpy(result.gradient)}
    finally:
        if pool is not None:
            pool.set_limit(size=0)
            pool.free_all_blocks()
        else:
            tracemalloc.stop()


def _tiled(setup, net, content, style):
    tiling = Tiling((), ((setup.core, setup.core),))
    return Objective.of(net, TERMS, {"content": content, "style": style}, Tiled(net, tiling))


def processor(setup):
    """Our own evaluation on the processor at the first size: GPU ÷ CPU."""
    content, style, image = pictures(setup.sizes[0])
    net = setup.net(device=Device("cpu"))
    ours = setup.objective(net, content, style)
    here = milliseconds(setup, ours.evaluate, image, repeats=2)
    on_device = Recorded(setup.objective(setup.net(), setup.there(content), setup.there(style)))
    x = setup.there(image)
    there = milliseconds(setup, on_device.evaluate, x)
    return {"processor": here, "device": there, "ratio": here["median"] / there["median"]}
