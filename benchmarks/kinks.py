"""How a central difference of the whole objective depends on its step: `python -m benchmarks.kinks WEIGHTS`.

Prints, for each step along one direction, how many ReLUs and maxima choose differently on the two sides, and the
relative error of the slope; the table stands in minivgg/MATH.md.
"""

import argparse
import itertools
import sys

import numpy as np

import weights
from minivgg import gradcheck
from minivgg.backend import Device
from style import gradcheck as style_gradcheck

LAST = "relu5_1"
STEPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)


def switches(net, x):
    """What every ReLU and every maximum of the network chooses at x: one array of small numbers.

    A ReLU lets through what is positive; a maximum takes the largest of its window, the first one where several are.
    """
    relus = [name for name in net.names[: net.names.index(LAST) + 1] if name.startswith("relu")]
    feats, _ = net.forward(x, relus, cached=False)
    choices = []
    for name, following in itertools.pairwise([*relus, ""]):
        feat = feats[name]
        choices.append(feat > 0)
        if following and following[4] != name[4]:  # the next block's: a pooling lies between
            N, C, H, W = feat.shape
            windows = feat[:, :, : H // 2 * 2, : W // 2 * 2].reshape(N, C, H // 2, 2, W // 2, 2)
            choices.append(windows.transpose(0, 1, 2, 4, 3, 5).reshape(N, C, H // 2, W // 2, 4).argmax(axis=-1))
    return np.concatenate([c.reshape(-1).astype(np.uint8) for c in choices])


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kinks")
    parser.add_argument("weights", help="a real network's file or name")
    args = parser.parse_args(argv)
    try:
        network = weights.load(args.weights, dtype=np.float64)
    except weights.WeightsError as e:
        print(f"kinks: {e}", file=sys.stderr)
        return 1
    whole, x = style_gradcheck.real_case(network, Device("cpu"))
    gradient = whole.evaluate(x).gradient
    u = gradcheck.direction(gradient, np.random.default_rng(0))

    def loss(x):
        return whole.evaluate(x).loss

    total = switches(whole.net, x).size
    print(f"{network.name}, 64x48, {total} switches, loss {loss(x):.4g}, slope {gradcheck.inner(gradient, u):.4g}")
    print(f"{'step':>6} {'switched':>9} {'error':>9}")
    for step in STEPS:
        switched = int((switches(whole.net, x + step * u) != switches(whole.net, x - step * u)).sum())
        error = gradcheck.directional_error(loss, x, gradient, u, step=step)
        print(f"{step:6.0e} {switched:9d} {error:9.1e}")
    print(f"{'i 1e-30':>7} {0:8d} {gradcheck.directional_complex_error(loss, x, gradient, u):9.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
