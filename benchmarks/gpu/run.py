"""benchmarks/gpu/'s full run: our optimisers beside neural-style-pt's scheme, with their curves."""

import time

from style.events import Evaluated
from style.faster.recorded import Recorded
from style.optimize import minimize

from ..common import Timed
from .tools import guarded, pictures, torch_peer

SHARE = "optimiser's share"


def full_run(setup):
    """`iterations` evaluations from the content picture: our optimisers, and neural-style-pt's scheme in PyTorch."""
    content, style, _ = pictures(setup.run_size)
    found = {}
    for precision in setup.precisions:
        ours = Recorded(setup.objective(setup.net(precision), setup.there(content), setup.there(style)))
        for method, history in (("l-bfgs", 10), ("l-bfgs", 100), ("adam", None), ("l-bfgs-b", 10)):
            if precision != "float32" and (method, history) != ("l-bfgs", 10):
                continue
            label = f"ours {precision} {method}{f' history {history}' if history else ''}"
            # SciPy's own time, on the host, is many times an evaluation's: a tenth of the run shows it
            iterations = max(2, setup.iterations // 10) if method == "l-bfgs-b" else setup.iterations
            found[label] = guarded(_our_run, setup, ours, content, method, history, iterations)
    device = "cuda" if setup.device.kind == "gpu" else "cpu"
    for precision in ("float32", "tf32") if device == "cuda" else ("float32",):
        found[f"torch {precision} L-BFGS"] = guarded(_torch_run, setup, device, precision, content, style)
    found["ratio"] = _run_ratios(found)
    return found


def _our_run(setup, ours, content, method, history, iterations):
    options = {} if history is None else {"history": history}
    ours.evaluate(setup.there(content))  # compiles, transforms the filters
    curve = []
    plain = minimize(
        ours,
        setup.there(content.copy()),
        method=method,
        evaluations=iterations,
        listener=lambda event: curve.append((event.seconds, event.loss)) if isinstance(event, Evaluated) else None,
        **options,
    )
    timed = Timed(ours, setup.wait)  # once more, with the waiting that telling the two apart takes
    again = minimize(timed, setup.there(content.copy()), method=method, evaluations=iterations, **options)
    return {
        "seconds": plain.seconds,
        "evaluations": plain.evaluations,
        "loss": plain.loss,
        "status": plain.status,
        SHARE: 1 - timed.seconds / again.seconds,
        "times and losses": curve,
    }


def _torch_run(setup, device, precision, content, style):
    """torch.optim.LBFGS as neural-style-pt calls it: learning rate 1, history 100, no line search, no tolerance."""
    peer = torch_peer(setup, device, precision, "nchw", False, content, style)
    torch, curve = peer.torch, []
    peer.evaluate(content)
    x = peer.tensor(content).requires_grad_()
    optimiser = start = None

    def closure():
        optimiser.zero_grad()
        loss = peer.loss(x)
        loss.backward()
        curve.append((time.perf_counter() - start, loss.item()))
        return loss

    def run(iterations):
        nonlocal optimiser, start
        optimiser = torch.optim.LBFGS(
            [x], lr=1, max_iter=iterations, tolerance_grad=-1, tolerance_change=-1, history_size=100
        )
        start = time.perf_counter()
        optimiser.step(closure)

    run(2)  # its first call ever takes seconds
    with torch.no_grad():
        x.copy_(peer.tensor(content))
    curve.clear()
    run(setup.iterations)
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "evaluations": len(curve),
        "loss": min(loss for _, loss in curve),
        "times and losses": curve,
    }


def _run_ratios(found):
    """Seconds of PyTorch's run ÷ seconds until ours has reached its loss, for the best of ours."""
    ratios = {}
    for precision in ("float32", "tf32"):
        theirs = found.get(f"torch {precision} L-BFGS", {})
        if "loss" not in theirs:
            continue
        for name, ours in found.items():
            if name.startswith(f"ours {precision}") and "loss" in ours:
                reached = [seconds for seconds, loss in ours["times and losses"] if loss <= theirs["loss"]]
                ratios[name] = theirs["seconds"] / reached[0] if reached else None
    return ratios
