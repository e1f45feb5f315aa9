"""What a set of kernels offers: every set answers everything, and the count of memory follows the allocator."""

import inspect

import cuda_twins
import numpy as np
import pytest
from cases import make_params
from conftest import assert_close
from strict_device import StrictModule

from minivgg import VGG
from minivgg.fast_cpu.footprint import SlabHeap
from minivgg.fast_cpu.memory import Workspace
from minivgg.footprint import Footprint, Walk, network_bytes
from minivgg.kernels import Kernels
from minivgg.vgg import load_kernels

SETS = {
    "textbook": lambda: ("textbook", np),
    "fast_cpu": lambda: ("fast", np),
    "fast_gpu": lambda: ("fast", StrictModule(cuda_twins.engine)),
}
PAIRS = ("conv2d", "relu", "maxpool2d", "avgpool2d")


@pytest.fixture(params=SETS)
def loaded(request):
    """(its name, Kernels, xp)"""
    spec, xp = SETS[request.param]()
    return request.param, load_kernels(spec, xp), xp


def test_each_set_has_its_name_its_pairs_and_its_answers(loaded):
    name, kernels, _ = loaded
    assert kernels.name == name and isinstance(kernels, Kernels) and isinstance(kernels.footprint, Footprint)
    assert kernels.precisions[0] == "float32" and kernels.fused == (name != "textbook")
    for pair in (*PAIRS, "conv_relu") if kernels.fused else PAIRS:
        for way in ("forward", "backward"):
            taken = inspect.signature(getattr(kernels.pairs, f"{pair}_{way}")).parameters
            assert ("workspace" in taken) == (kernels.workspace() is not None)
    for part in (Kernels, Footprint):  # nothing that only a fast set has: what calls them need not ask
        own = kernels if part is Kernels else kernels.footprint
        assert {n for n in dir(own) if n[0] != "_"} == {n for n in dir(part) if n[0] != "_"}
    kernels.release(kernels.workspace(), [])
    with kernels.computing():
        pass


def test_stand_ins_and_unknown_names():
    assert load_kernels("fast", StrictModule()).name == "textbook"  # a device that has no CUDA
    with pytest.raises(ValueError, match="kernels 'slow': use fast or textbook"):
        load_kernels("slow", np)


@pytest.mark.parametrize("layout", ["C", "F"])
def test_matmul_is_the_product(loaded, rng, layout):
    """Of Gram matrices, in either memory order; the wide one of a fast set keeps that of B."""
    name, kernels, xp = loaded
    F, S = rng.standard_normal((6, 1300)), rng.standard_normal((6, 6))
    there = xp.asarray(np.asarray(F, order=layout)) if xp is np else xp.asarray(F).copy(order=layout)
    square = xp.asarray(S)
    assert_close(kernels.matmul(there, there.T), F @ F.T, 1e-13)
    wide = kernels.matmul(square, there)
    assert_close(wide, S @ F, 1e-13)
    if name != "textbook":
        assert wide.strides == there.strides
    assert_close(kernels.matmul(there.T, square), F.T @ S, 1e-13)  # neither of the two


def test_the_count_of_slabs_is_the_workspaces(rng):
    """Blocks come and go in the same order: what has been touched is the same to the byte."""
    workspace, heap, held = Workspace(), SlabHeap(), []
    for _ in range(400):
        if held and rng.random() < 0.5:
            heap.give(held.pop(rng.integers(len(held)))[1])
        else:
            nbytes = 64 * int(rng.integers(1, 1 << rng.integers(1, 12)))
            held.append((workspace.empty((nbytes,), np.uint8), heap.take(nbytes)))
        assert workspace.nbytes == heap.held()
    assert heap.peak == heap.held()


@pytest.mark.parametrize("kernels", ["textbook", "fast"])
def test_what_is_needed_counts_until_its_own_layer(kernels):
    """relu1_2 is large: needed for its gradient it is there with all that backward computes before."""
    net = VGG(make_params(np.float32, (16, 16, 16, 16, 16)), kernels=kernels)
    walk = Walk(net, ("relu1_2", "relu2_1"), None, 64, 64)
    peaks = [walk.peak(backward=True, needed=needed) for needed in ((), ("relu2_1",), ("relu1_2", "relu2_1"))]
    assert peaks == sorted(peaks)
    assert walk.peak(backward=False) < peaks[0]


def test_the_network_counts_its_filters(loaded):
    name, kernels, _ = loaded
    net = VGG(make_params(np.float32, (16, 16, 16, 16, 16)), kernels="textbook")
    net.kernels = kernels
    first, rest, biases = 4 * 9 * 3 * 16, 15 * 4 * 9 * 16 * 16, 16 * 16 * 4
    assert network_bytes(net) == first + rest * {"textbook": 1, "fast_cpu": 2, "fast_gpu": 5}[name] + biases
