"""L-BFGS of our own beside SciPy's L-BFGS-B: loss after so many evaluations, and the optimiser's own time.

    python -m benchmarks.optimizers --images DIRECTORY [--size 256] [--evaluations 500] [--pairs 0 1 2 3 4] [--starts 2]

Each pair starts at the content picture and once more at the same picture with noise of a hundredth of a grey level: the
two runs of one method differ by what chance does, which is the scale on which to read the ratios. The own time is what
an evaluation takes less the objective, on this process's threads.
"""

import argparse
import datetime
import os
import platform
import sys
from pathlib import Path

import numpy as np

import weights
from minivgg import VGG
from style.events import Evaluated
from style.optimize import minimize
from style.pictures import images

from .common import Timed, down_to, objective

PAIRS = (
    ("content/tuebingen.jpg", "style/starry_night.jpg"),
    ("content/golden_gate.jpg", "paintings/picasso_seated_nude_hr.jpg"),
    ("content/hugo.jpg", "paintings/frida_kahlo.jpg"),
    ("content/lion.jpg", "paintings/mondrian.jpg"),
    ("content/stata.jpg", "paintings/patterned_leaves.jpg"),
)
METHODS = ("l-bfgs-b", "l-bfgs")
MARKS = (100, 200, 500)
NOISE = 0.01  # grey levels


def load_picture(path, size, network):
    """Network input (1, 3, h, w) of a file, its longer side `size`."""
    rgb = images.as_picture(path).rgb
    H, W = rgb.shape[:2]
    factor = size / max(H, W)
    rgb = images.resize(rgb, (max(16, round(H * factor)), max(16, round(W * factor))))
    return images.to_network(rgb, network.mean, network.order)


def run(measured, start, method, evaluations):
    """(lowest loss after each evaluation, own seconds per evaluation)"""
    timed, losses = Timed(measured), []

    def listener(event):
        if isinstance(event, Evaluated):
            losses.append(event.loss)

    outcome = minimize(timed, start, method=method, evaluations=evaluations, listener=listener)
    return np.minimum.accumulate(losses), (outcome.seconds - timed.seconds) / outcome.evaluations


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="directory with content/, style/ and paintings/")
    parser.add_argument("--weights", default="vgg19")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--starts", type=int, choices=(1, 2), default=2, help="1: without the noisy one")
    parser.add_argument("--pairs", type=int, nargs="+", default=range(len(PAIRS)))
    arguments = parser.parse_args()
    network = weights.load(arguments.weights)
    net = VGG(down_to(network.params))
    marks = [m for m in MARKS if m <= arguments.evaluations] or [arguments.evaluations]
    print(f"{' '.join(sys.argv[1:])}; {platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}, ", end="")
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')}, {datetime.date.today()}\n")
    print("| pair | start | method | " + " | ".join(f"loss at {m}" for m in marks) + " | own ms |")
    print("| --- " * (len(marks) + 4) + "|")
    ratios = []
    for k in arguments.pairs:
        content, style = (load_picture(arguments.images / p, arguments.size, network) for p in PAIRS[k])
        measured = objective(net, content=content, style=style)
        noise = np.random.default_rng(1).standard_normal(content.shape, dtype=np.float32) * np.float32(NOISE)
        starts = (("content", content), ("+ noise", content + noise))
        for label, start in starts[: arguments.starts]:
            rows = []
            for method in METHODS:
                losses, own = run(measured, start, method, arguments.evaluations)
                rows.append([losses[min(m, len(losses)) - 1] for m in marks] + [own])
                numbers = " | ".join(f"{v:.4g}" for v in rows[-1][:-1])
                print(f"| {k} | {label} | {method} | {numbers} | {1000 * own:.1f} |", flush=True)
            ratios.append(np.divide(rows[1], rows[0]))
            print(f"| {k} | {label} | ratio | " + " | ".join(f"{v:.3f}" for v in ratios[-1]) + " |", flush=True)
    print("| all | | mean ratio | " + " | ".join(f"{v:.3f}" for v in np.mean(ratios, axis=0)) + " |")
    print("| all | | largest ratio | " + " | ".join(f"{v:.3f}" for v in np.max(ratios, axis=0)) + " |")


if __name__ == "__main__":
    main()
