"""What the tests share: narrow random networks, pictures, objectives, and when two evaluations are the same."""

import os
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import weights
from minivgg import VGG
from minivgg.gradcheck.rows import random_params
from style.faster.deferred import Deferred
from style.large.tiles import Tiled
from style.objective import Objective
from style.pictures import ImageError, saving
from style.statistics import make_terms

MEAN = np.array([123.68, 116.779, 103.939])  # VGG's average colour
WIDTHS = (4, 5, 6, 7, 8)  # channels of a narrow network's blocks
VGG_WIDTHS = (64, 128, 256, 512, 512)  # those of the published ones
STYLE_LAYERS = tuple(f"relu{k}_1" for k in range(1, 6))
# Every kind of term, losses of about one size on the networks and pictures below.
TERMS = make_terms(
    content={"relu4_2": 1.0, "relu2_2": 0.3},
    style=dict(zip(STYLE_LAYERS, (2.0, 3.0, 5.0, 7.0, 11.0))),
    tv=1e-2,
)


def make_params(dtype=np.float64, widths=WIDTHS, seed=0, *, last="conv5_4", bias=5.0):
    """{"conv1_1": (w, b), …}, biases of some grey levels; widths and `last` as random_params has them."""
    return random_params(np.random.default_rng(seed), widths=widths, last=last, bias=bias, dtype=dtype)


def make_net(dtype=np.float64, pooling="max", widths=WIDTHS, seed=0, kernels="textbook"):
    """A narrow VGG-19 with random filters."""
    return VGG(make_params(dtype, widths, seed), pooling=pooling, kernels=kernels)


def make_network(widths=WIDTHS, seed=0, *, bias=5.0):
    """Down to conv5_1, as weights.Network in float32: what the program reads from a file."""
    return weights.Network("narrow", "vgg19", make_params(np.float32, widths, seed, last="conv5_1", bias=bias), MEAN)


def noise(H, W, count=1, dtype=np.float64, seed=1):
    """`count` network inputs (1, 3, H, W) of white noise, 60 grey levels."""
    rng = np.random.default_rng(seed)
    return [(60 * rng.standard_normal((1, 3, H, W))).astype(dtype) for _ in range(count)]


def blocks(sizes, seed=0, side=8):
    """Pictures (side·h, side·w, 3), RGB 0..255, of coloured squares: one for each (h, w) of `sizes`."""
    rng = np.random.default_rng(seed)
    return [np.kron(rng.uniform(0, 255, (h, w, 3)), np.ones((side, side, 1))) for h, w in sizes]


def lay_out(folder, cells):
    """Fill a folder with pictures of coloured squares, {"photo.png": (h, w), …} squares, and narrow.npz, a network."""
    for (name, _), picture in zip(cells.items(), blocks(cells.values()), strict=True):
        saving.save(folder / name, picture)
    weights.save_compact(make_network(), folder / "narrow.npz")


def cannot_be_saved(name, monkeypatch):
    """No picture of this name can be written any more."""
    real = saving.save

    def full_disk(path, *args, **kwargs):
        if Path(path).name == name:
            raise ImageError(f"{name}: cannot be written (No space left on device)")
        real(path, *args, **kwargs)

    monkeypatch.setattr(saving, "save", full_disk)


def behind_a_link(name, tmp_path, monkeypatch):
    """(A link to a file of this name in another folder, the folders' names in which something is opened from now on)"""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    link = tmp_path / "here" / name
    link.symlink_to(tmp_path / "there" / f"target{link.suffix}")
    opened, real = [], os.open
    monkeypatch.setattr(os, "open", lambda path, *args: (opened.append(path.parent.name), real(path, *args))[1])
    return link, opened


def blob(H, W):
    """(H, W) weights of a soft region: 1 in a disc off the middle, 0 far away, slopes between."""
    y, x = np.ogrid[:H, :W]
    distance = np.hypot((y - 0.4 * H) / H, (x - 0.6 * W) / W)
    return np.clip((0.5 - distance) / 0.3, 0, 1)


def objective(net, *, content=None, style=None, content_layers=None, style_layers=None, tv=0.0, tv_beta=2.0):
    """The whole-picture Objective with {layer: factor} of each kind and the targets of two network inputs.

    content, style  (1, 3, H, W), or None where no layer asks for it
    """
    terms = make_terms(content=content_layers, style=style_layers, tv=tv, tv_beta=tv_beta)
    return Objective.of(net, terms, {"content": content, "style": style})


@dataclass(frozen=True)
class Case:
    """A network, terms, a content and a style picture as its inputs, and a picture to look from."""

    net: VGG
    terms: list
    content: np.ndarray  # (1, 3, H, W)
    style: np.ndarray  # (1, 3, h, w)
    image: np.ndarray  # (1, 3, H, W)

    def whole(self):
        return Objective.of(self.net, self.terms, self.pictures)

    def tiled(self, tiling):
        return Objective.of(self.net, self.terms, self.pictures, Tiled(self.net, tiling))

    def deferred(self, lag):
        return Deferred(self.whole(), lag=lag)

    @property
    def pictures(self):
        return {"content": self.content, "style": self.style}


def make_case(H, W, dtype=np.float64, terms=TERMS, **net_options):
    """A Case on a narrow network, its pictures of white noise."""
    image, content = noise(H, W, 2, dtype)
    (style,) = noise(50, 61, 1, dtype, seed=2)
    return Case(make_net(dtype, **net_options), terms, content, style, image)


def hears(kind, look):
    """A listener that calls `look` with the events of one kind, of events.py; what look returns is the answer."""
    return lambda event: look(event) if isinstance(event, kind) else None


def peak_of(work):
    """Bytes that work() has allocated at once at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def plain(objective):
    """(image, *, fresh) → (loss, gradient), as LBFGS.step takes it."""

    def evaluate(image, *, fresh=True):
        result = objective.evaluate(image)
        return result.loss, result.gradient

    return evaluate


def worst(found, expected):
    """Largest difference, relative to the largest expected value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def assert_same(found, expected, tolerance):
    """Two Evaluations: every term, the loss, and the gradient by its largest entry."""
    assert list(found.values) == list(expected.values)
    for name, value in expected.values.items():
        assert found.values[name] == pytest.approx(value, rel=tolerance), name
    assert found.loss == pytest.approx(expected.loss, rel=tolerance)
    assert found.gradient.shape == expected.gradient.shape
    assert found.gradient.dtype == expected.gradient.dtype
    assert worst(found.gradient, expected.gradient) <= tolerance


class ThreadedRanks:
    """One rank of several that are threads of this process, with what cluster.ranks.Ranks offers to the maths.

    shared  {"size": …, "barrier": threading.Barrier(size), "turn": threading.Lock(), "posts": {}}, the same for all
    """

    def __init__(self, rank, shared):
        self.rank, self.size, self.shared = rank, shared["size"], shared

    def everyone(self, value):
        posts, barrier = self.shared["posts"], self.shared["barrier"]
        barrier.wait(60)
        posts["value", self.rank] = value
        barrier.wait(60)
        return [posts["value", rank] for rank in range(self.size)]

    def exchange(self, what, outgoing, incoming):
        everyone = self.everyone({rank: np.array(a) for rank, a in outgoing})
        return [everyone[rank][self.rank].reshape(shape) for rank, shape, _ in incoming]

    def chained(self, what, size, own):
        total = np.zeros(size)
        for items in self.everyone(own):
            for item in items:
                for offset, values in item:
                    total[offset : offset + values.size] += values
        return total

    def table(self, what, own, sizes):
        return self.everyone(own)

    def first(self, value=None):
        return self.everyone(value)[0]

    def neighbours(self):
        return self.size

    def in_turn(self, work):
        with self.shared["turn"]:
            return work()

    def agree(self, failed):
        failures = [error for error in self.everyone(failed) if error is not None]
        if failures:
            raise failures[0]
