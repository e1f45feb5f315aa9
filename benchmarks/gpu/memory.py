"""benchmarks/gpu/'s memory: what the plan predicts beside what the card's driver has handed out after a short run.

Memory that an earlier section has taken for good (the context, cuBLAS's own) would be missing: run it by itself.
"""

import gc

from minivgg.fast_gpu import blas, winograd
from style.large.plan import make_plan, objective_for
from style.optimize import minimize

from ..common import TERMS
from .tools import guarded, pictures

EVALUATIONS = 4
TIGHT = 0.5  # of the undivided peak: a budget that asks for tiles


def memory(setup):
    """Predicted and measured bytes, undivided and in tiles, per size and optimiser."""
    found = {}
    if setup.device.kind != "gpu":
        return found
    start = _used(setup)
    guarded(_run, setup, 64, "l-bfgs", None)  # loads every module that the card keeps
    _give_back(setup)
    found["context"] = (_used(setup) - start) / 1e6
    for size in setup.sizes:
        for optimizer in ("l-bfgs", "adam", "l-bfgs-b"):
            row = guarded(_run, setup, size, optimizer, None)
            found[f"{size} {optimizer}"] = row
            if "predicted" in row and optimizer == "l-bfgs" and size >= 256:
                budget = int(TIGHT * 1e6 * row["predicted"])
                found[f"{size} {optimizer}, half of it"] = guarded(_run, setup, size, optimizer, budget)
    return found


def _run(setup, size, optimizer, budget):
    _give_back(setup)
    before = _used(setup) - _workspaces()
    net = setup.net()
    images = [setup.there(p) for p in pictures(size)[:2]]
    plan = make_plan(
        net, TERMS, size, size, memory=budget, device=setup.device, optimizer=optimizer, style_size=(size, size)
    )
    objective = objective_for(plan, net, TERMS, dict(zip(("content", "style"), images, strict=True)))
    minimize(objective, images[0].copy(), method=optimizer, evaluations=EVALUATIONS)
    setup.wait()
    measured = _used(setup) - before
    pool = setup.xp.get_default_memory_pool()
    return {
        "plan": plan.describe(),
        "predicted": plan.peak / 1e6,
        "measured": measured / 1e6,
        "pool": pool.total_bytes() / 1e6,
        "ratio": plan.peak / measured if measured else None,
    }


def _used(setup):
    """Bytes that the driver has handed out, to anybody."""
    setup.wait()
    free, total = setup.xp.cuda.Device(setup.device.index).mem_info
    return total - free


def _workspaces():
    """What earlier rows have taken and keep, and the plan counts for each."""
    return blas.WORKSPACE + winograd.WORKSPACE * winograd._workspace.cache_info().currsize


def _give_back(setup):
    gc.collect()
    setup.xp.get_default_memory_pool().free_all_blocks()
