"""What the benchmarks share: the objective that they measure, filters, pictures, times and rates."""

import json
import subprocess
import sys
import time

import numpy as np

import weights
from minivgg import layer_names
from minivgg.gradcheck.rows import random_params
from style.objective import Evaluating, Objective
from style.statistics import make_terms

CONTENT = "relu4_2"
STYLE = tuple(f"relu{k}_1" for k in range(1, 6))
CONTENT_LAYERS = {CONTENT: 1.0}  # Gatys' notebook, in our units
STYLE_LAYERS = dict.fromkeys(STYLE, 1000.0)
TERMS = make_terms(content=CONTENT_LAYERS, style=STYLE_LAYERS)
LAST = "conv5_1"  # the deepest filters that these layers ask for
WIDTHS = (64, 128, 256, 512, 512)  # of VGG-19's blocks


def objective(net, *, content, style, content_layers=None, style_layers=None, tv=0.0, tv_beta=2.0):
    """The whole-picture Objective with {layer: factor} of each kind (default: Gatys') and two pictures' targets.

    content, style  (1, 3, H, W) network inputs
    """
    content_layers = CONTENT_LAYERS if content_layers is None else content_layers
    style_layers = STYLE_LAYERS if style_layers is None else style_layers
    terms = make_terms(content=content_layers, style=style_layers, tv=tv, tv_beta=tv_beta)
    return Objective.of(net, terms, {"content": content, "style": style})


def down_to(params, last=LAST):
    """The filters up to and with one layer's."""
    names = layer_names("vgg19")
    return {n: pair for n, pair in params.items() if names.index(n) <= names.index(last)}


def load_params(spec, dtype=np.float32):
    """Filters down to LAST, of a file or by a known name."""
    return down_to(weights.load(spec, dtype=dtype).params)


def vgg_shaped(rng, widths=WIDTHS, dtype=np.float32):
    """Random filters of VGG-19's shape down to LAST, where no file is given."""
    return random_params(rng, widths=widths, last=LAST, bias=1.0, dtype=dtype)


def pictures(H, W, count=3, dtype=np.float32, seed=0):
    """`count` network inputs (1, 3, H, W): blocks of ±100 grey levels with grain, so that maxima are not all alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-100, 100, (count, 3, -(-H // 8), -(-W // 8))).astype(np.float32)
    smooth = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, :H, :W]
    return [(p + rng.uniform(-20, 20, p.shape).astype(np.float32))[None].astype(dtype, copy=False) for p in smooth]


def seconds(call):
    """How long call() takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def matrix_product_rate(n=2048, repeats=10):
    """GFLOP/s of a float32 matrix product on all cores: what BLAS does at its best here."""
    a = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    return 2 * n**3 / min(seconds(lambda: a @ a) for _ in range(repeats)) / 1e9


def peak_rss():
    """Peak memory of this process in bytes."""
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


def in_own_process(module, argument):
    """What `python -m module measure ARGUMENT` prints as JSON, or a phrase that says how it failed."""
    command = [sys.executable, "-m", module, "measure", json.dumps(argument)]
    run = subprocess.run(command, stdout=subprocess.PIPE)
    return f"failed with exit code {run.returncode}" if run.returncode else json.loads(run.stdout)


class Timed(Evaluating):
    """An objective that adds up the time of its evaluations; what a run takes beyond it is the optimiser's.

    wait  called before each time is taken: what has been enqueued on a device until then belongs to what came before
    """

    def __init__(self, inner, wait=lambda: None):
        self.inner, self.wait, self.seconds = inner, wait, 0.0
        self.computing = inner.computing

    def evaluate(self, image, *, fresh=True):
        self.wait()
        start = time.perf_counter()
        result = self.inner.evaluate(image, fresh=fresh)
        self.wait()
        self.seconds += time.perf_counter() - start
        return result
