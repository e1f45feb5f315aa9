"""One evaluation under every style loss, beside Gram's: seconds, in turns.

    python -m benchmarks.losses [--weights mini FILE] [--size 512] [--repeats 5]

The five style layers alone, on a made-up picture three quarters as high as wide. All losses take turns, so that a busy
moment of the machine meets them all.
"""

import argparse
import datetime
import os
import platform
import statistics

import numpy as np

from minivgg import VGG
from style.objective import Objective
from style.statistics import STYLE_LOSSES, make_terms

from .common import STYLE_LAYERS, load_params, matrix_product_rate, pictures, seconds


def measure(params, size, repeats):
    """{loss: seconds of each evaluation}, after one that does not count."""
    net = VGG(params)
    style, image = pictures(size * 3 // 4, size, 2)
    objectives = {
        name: Objective.of(net, make_terms(style=STYLE_LAYERS, style_loss={name: 1.0}), {"style": style})
        for name in STYLE_LOSSES
    }
    taken = {name: [] for name in objectives}
    for turn in range(repeats + 1):
        for name, objective in objectives.items():
            spent = seconds(lambda objective=objective: objective.evaluate(image))
            if turn:
                taken[name].append(spent)
    return taken


def table_rows(weights, size, taken):
    """Lines of the table; the ratio is the median of the turns' own ratios."""
    for name, times in taken.items():
        ratio = statistics.median(t / g for t, g in zip(times, taken["gram"], strict=True))
        spread = f"{statistics.median(times):.2f} ({min(times):.2f}–{max(times):.2f})"
        yield f"| {os.path.basename(weights)} | {size}x{size * 3 // 4} | {name} | {spread} | {ratio:.2f} |"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=["mini"])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args(argv)
    print(f"{platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}, {datetime.date.today()}, ", end="")
    print(f"matrix product {matrix_product_rate():.0f} GFLOP/s\n")
    print("| weights | size | loss | seconds: median (range) | ÷ gram |")
    print("| --- | --- | --- | --- | --- |")
    for weights in arguments.weights:
        for row in table_rows(
            weights, arguments.size, measure(load_params(weights), arguments.size, arguments.repeats)
        ):
            print(row, flush=True)


if __name__ == "__main__":
    main()
