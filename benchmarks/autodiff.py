"""The whole objective a second time, by PyTorch's automatic differentiation: golden numbers and agreement.

    python -m benchmarks.autodiff                      compares and prints, exit code 1 beyond the bars
    python -m benchmarks.autodiff --write FILE         writes tests/golden.json
    python -m benchmarks.autodiff --weights FILE       with these weights and a picture of noise, compares and prints

Nothing here calls minivgg or style to get PyTorch's numbers: network, losses and gradient are written again on torch.
"""

import argparse
import json
import sys

import numpy as np

from minivgg import VGG, layer_names
from minivgg.gradcheck.rows import random_params

from . import common

BARS = {"float64": 1e-10, "float32": 1e-4}
PROJECTIONS = 8

# One case exercises every term: layers before and after the ReLU, a layer with both losses, odd sizes, each exponent.
CASES = {
    "max-squared": {"pooling": "max", "tv_beta": 2.0},
    "avg-absolute": {"pooling": "avg", "tv_beta": 1.0},
    "max-exponent": {"pooling": "max", "tv_beta": 2.5},
}
CONTENT = {"relu4_2": 1.0, "conv3_1": 0.5, "relu2_1": 0.25}
STYLE = {"relu1_1": 1000.0, "relu2_1": 500.0, "conv3_1": 300.0, "pool3": 200.0, "relu4_1": 800.0, "relu5_1": 1000.0}
TV = 3.0


def narrow_params(seed=0):
    """A VGG-19 down to conv5_1 with 4 to 12 channels, its filters scaled so that activations keep their size."""
    return random_params(np.random.default_rng(seed), widths=(4, 6, 8, 12, 12), bias=1.0)


def pictures(seed=1, sizes=((45, 51), (39, 64))):
    """Content, style and current picture as network inputs (1, 3, H, W) float64: smooth noise, ±100 grey levels."""
    rng = np.random.default_rng(seed)
    noise = [rng.uniform(-100, 100, (1, 3, *size)) for size in (sizes[0], sizes[1], sizes[0])]
    return tuple((n + np.roll(n, 1, 2) + np.roll(n, 1, 3)) / 3 for n in noise)


def torch_features(params, x, names, pooling):
    """{name: activation}: VGG-19 in PyTorch's own operations."""
    import torch.nn.functional as tf  # here and below: test_golden.py uses this file without PyTorch

    feats = {}
    for name in layer_names("vgg19"):
        kind = name[:4]
        if kind == "conv":
            w, b = params[name]
            x = tf.conv2d(x, w, b, padding=1)
        elif kind == "relu":
            x = tf.relu(x)
        else:
            x = tf.max_pool2d(x, 2) if pooling == "max" else tf.avg_pool2d(x, 2)
        if name in names:
            feats[name] = x
        if len(feats) == len(set(names)):
            return feats


def torch_objective(params, content, style, image, *, pooling, tv_beta, dtype):
    """(terms, gradient) by automatic differentiation; dtype is a name such as "float64"."""
    import torch
    import torch.nn.functional as tf

    dtype = getattr(torch, dtype)
    params = {k: tuple(torch.tensor(a, dtype=dtype) for a in v) for k, v in params.items()}
    content, style, x = (torch.tensor(a, dtype=dtype) for a in (content, style, image))
    x.requires_grad_()
    names = {*CONTENT, *STYLE}
    with torch.no_grad():
        target_content = torch_features(params, content, list(CONTENT), pooling)
        target_style = torch_features(params, style, list(STYLE), pooling)
    feats = torch_features(params, x, names, pooling)
    content_term = sum(weight * (feats[n] - target_content[n]).pow(2).mean() for n, weight in CONTENT.items())

    def gram(feat):
        flat = feat.flatten(2)[0]
        return flat @ flat.T / flat.numel()

    style_term = sum(weight * tf.mse_loss(gram(feats[n]), gram(target_style[n])) for n, weight in STYLE.items())
    dx, dy = x.diff(dim=3), x.diff(dim=2)
    if tv_beta == 2:
        tv = dx.pow(2).sum() + dy.pow(2).sum()
    elif tv_beta == 1:
        tv = dx.abs().sum() + dy.abs().sum()
    else:
        tv = (dx[..., :-1, :].pow(2) + dy[..., :-1].pow(2)).pow(tv_beta / 2).sum()
    tv_term = TV * tv / x.numel()
    loss = content_term + style_term + tv_term
    loss.backward()
    terms = {"loss": loss, "content": content_term, "style": style_term, "tv": tv_term}
    return {k: v.item() for k, v in terms.items()}, x.grad.double().numpy()


def our_objective(params, content, style, image, *, pooling, tv_beta, dtype, kernels="fast"):
    """The same by this project."""
    params = {k: tuple(a.astype(dtype) for a in v) for k, v in params.items()}
    content, style, image = (a.astype(dtype) for a in (content, style, image))
    net = VGG(params, pooling=pooling, kernels=kernels)
    loss = {"content_layers": CONTENT, "style_layers": STYLE, "tv": TV, "tv_beta": tv_beta}
    result = common.objective(net, content=content, style=style, **loss).evaluate(image)
    return result.totals(), result.gradient.astype(np.float64)


def summary(terms, gradient):
    """What is kept of a case: the terms, the gradient's norm, and its products with random unit directions."""
    rng = np.random.default_rng(7)
    directions = rng.standard_normal((PROJECTIONS, gradient.size)) / np.sqrt(gradient.size)
    return {
        "terms": terms,
        "norm": float(np.linalg.norm(gradient)),
        "projections": (directions @ gradient.ravel()).tolist(),
    }


def relative(terms, gradient, golden_terms, golden_gradient):
    """Largest relative error among the terms, and the gradient's: ‖difference‖ / ‖golden‖."""
    worst = max(abs(terms[k] - v) / abs(v) for k, v in golden_terms.items())
    return worst, np.linalg.norm(gradient - golden_gradient) / np.linalg.norm(golden_gradient)


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m benchmarks.autodiff", description=__doc__.splitlines()[0])
    p.add_argument("--write", metavar="FILE", help="write the golden numbers")
    p.add_argument("--weights", metavar="W", help="a name or file; default: the narrow random network")
    args = p.parse_args(argv)
    try:
        import torch
    except ImportError as error:
        p.exit(1, f"autodiff: needs PyTorch ({error})\n")
    params = narrow_params()
    if args.weights:
        params = common.load_params(args.weights, np.float64)
    images = pictures()
    golden, failed = {}, False
    print(f"PyTorch {torch.__version__}, NumPy {np.__version__}")
    print(f"{'case':14} {'kernels':9} {'dtype':8} {'terms':>10} {'gradient':>10}  bar")
    for case, options in CASES.items():
        reference = torch_objective(params, *images, **options, dtype="float64")
        golden[case] = summary(*reference)
        for kernels in ("textbook", "fast"):
            for dtype, bar in BARS.items():
                ours = our_objective(params, *images, **options, dtype=dtype, kernels=kernels)
                errors = relative(*ours, *reference)
                ok = max(errors) <= bar
                failed |= not ok
                verdict = "ok" if ok else "FAILED"
                print(f"{case:14} {kernels:9} {dtype:8} {errors[0]:10.1e} {errors[1]:10.1e}  {bar:.0e} {verdict}")
    if args.write:
        made_by = {"program": "benchmarks/autodiff.py", "torch": torch.__version__, "numpy": np.__version__}
        with open(args.write, "w") as f:
            json.dump({"made by": made_by, "cases": golden}, f, indent=1)
            f.write("\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
