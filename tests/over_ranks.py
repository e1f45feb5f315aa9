"""Run under mpiexec by test_cluster.py: a loss over ranks against large.tiles.Tiled in one process, to the bit.

Prints a line for each way of cutting: of each rank, {"what": whether it is the same, …}, in JSON.
"""

import json
import sys

import numpy as np
from cases import STYLE_LAYERS, make_net, noise

from style import passes as passes_of
from style.cluster.job import SpreadObjective
from style.cluster.ranks import Ranks
from style.cluster.strips import Strip
from style.cluster.tiles import Distributed
from style.cluster.vectors import Layout, Space
from style.faster import pairs
from style.large.tiles import Tiled
from style.large.tiling import Tiling
from style.objective import Objective, aim
from style.optimize import minimize
from style.statistics import make_terms

H, W, HISTORY = 115, 70, 4
TERMS = make_terms(
    content={"relu4_2": 1.0, "relu2_2": 0.3},
    style=dict(zip(STYLE_LAYERS, (2.0, 3.0, 5.0, 7.0, 11.0))),
    style_loss={"gram": 1.0, "moments": 0.5},
    tv=0.01,
    photo=1e-5,
    laplacian=0.1,
)
TILINGS = (
    Tiling(("pool3",), ((32, 48), (32, 64))),
    Tiling(("pool2", "pool3"), ((16, 40),) * 3),
)
LOW, HIGH = (np.full((1, 3, 1, 1), v, np.float32) for v in (-100, 90))
METHODS = {
    "adam": ("adam", {"bounds": (LOW, HIGH)}),
    "l-bfgs": ("l-bfgs", {"history": HISTORY}),
    "l-bfgs in bounds": ("l-bfgs", {"history": HISTORY, "bounds": (LOW, HIGH)}),
}


def compare(ranks, tiling, pooling, spoil):
    """{what: whether ranks and one process give the same}. spoil  a Strip's first value is changed by a digit"""

    def cut(image, rows):
        a, b = rows[ranks.rank]
        return Strip(np.ascontiguousarray(image[:, :, a:b]), a, image.shape[2])

    net = make_net(np.float32, pooling, widths=(8, 8, 16, 16, 16), kernels="fast")
    (image, content), (style,) = noise(H, W, 2, np.float32), noise(50, 61, 1, np.float32, seed=2)
    one = Objective.of(net, TERMS, {"content": content, "style": style}, Tiled(net, tiling))
    passes = Distributed(net, tiling, ranks)
    rows = passes.rows(H, W, TERMS)
    styles = passes.rows(50, 61, [t for t in TERMS if t.source == "style"])
    terms = passes.placed(aim(TERMS, passes, {"content": cut(content, rows), "style": cut(style, styles)}), H, W)
    layout = Layout(ranks, image.shape, rows, pairs.BLOCK * pairs.blocks_together(2 * HISTORY + 2))
    own = layout.from_strip(cut(image, rows))
    if spoil and own.size:
        own[0] += 1e-3
    many = SpreadObjective(net, terms, passes, layout)
    expected, found = one.evaluate(image), many.evaluate(own)

    def same(vector, whole):
        return bool(np.array_equal(vector, layout.from_strip(cut(whole, rows))))

    result = {"values": found.values == expected.values, "gradient": same(found.gradient, expected.gradient)}
    for name, (method, options) in METHODS.items() if tiling is TILINGS[0] and not spoil else ():
        alone = minimize(one, image, method=method, evaluations=5, **options)
        if "bounds" in options:
            options = options | {"bounds": tuple(map(layout.broadcast, options["bounds"]))}
        if method == "l-bfgs":
            options = options | {"space": Space(layout)}
        over = minimize(many, own, method=method, evaluations=5, **options)
        result[name] = over.values == alone.values and same(over.image, alone.image)
    return result


if __name__ == "__main__":
    pairs.CHUNK = pairs.BLOCK * (2 * HISTORY + 2)  # so that a small picture has several chunks
    passes_of.STRIP = 3 * W * 11  # and several strips, whose edges are not the tiles'
    spoil = sys.argv[1:] == ["spoil"]
    ranks = Ranks()
    for tiling, pooling in zip(TILINGS, ("max",) if spoil else ("max", "avg")):
        found = ranks.everyone(compare(ranks, tiling, pooling, spoil))
        if ranks.rank == 0:
            print(json.dumps(found), flush=True)
