"""What benchmarks/cluster.py counts without a run is what a run sends."""

import importlib.util

import pytest

from benchmarks import cluster
from minivgg import VGG
from weights import load


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None, reason='mpi4py is not installed: pip install -e ".[mpi]"'
)
def test_messages_and_bytes_are_counted_right():
    found = cluster.run(208, 3, 2, "mini", None)
    assert isinstance(found, list), found
    most, _, plan, _ = cluster.counted(VGG(load("mini").params), 208, 3)
    for kind in ("halos", "gradients", "vectors", "sums"):
        assert max(one["traffic"].get(kind, [0, 0, 0])[1] for one in found) == most[kind][1], kind
        assert max(one["traffic"].get(kind, [0, 0, 0])[0] for one in found) == most[kind][0], kind
    assert len({one["loss"] for one in found}) == 1
    assert max(one["peak"] for one in found) <= 1.05 * found[0]["planned"]


def test_more_machines_compute_less_and_say_more():
    net = VGG(load("mini").params)
    few, many = (cluster.counted(net, 1024, ranks) for ranks in (2, 8))
    assert many[1] < 0.3 * few[1]
    assert many[2].peak < few[2].peak
    slow, fast = (cluster.seconds(many[0], many[1], many[3], 1024, 8, 5.5, *n) for n in ((50e-6, 1e8), (2e-6, 1e10)))
    assert slow[0] == fast[0]
    assert slow[1] > 10 * fast[1]
