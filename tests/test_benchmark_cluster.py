"""What benchmarks/cluster_cost.py counts without a run is what a run sends; the fit finds what made the seconds."""

import importlib.util

import pytest

from benchmarks import cluster, cluster_cost
from minivgg import VGG
from weights import load


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None, reason='mpi4py is not installed: pip install -e ".[mpi]"'
)
def test_messages_and_bytes_are_counted_right():
    found = cluster.run(208, 3, 2, "mini", None)
    assert isinstance(found, list), found
    cost = cluster_cost.cost(VGG(load("mini").params), 208, 3, history=2)
    for kind in ("halos", "gradients", "vectors", "sums"):
        assert tuple(cluster.largest(found, kind)[:2]) == cost.sent[kind], kind
    assert len({one["loss"] for one in found}) == 1
    assert max(one["peak"] for one in found) <= 1.05 * found[0]["planned"]
    waiting = [sum(kind[3] for kind in one["traffic"].values()) for one in found]
    assert all(0 < late < one["seconds"] for late, one in zip(waiting, found, strict=True))


def test_more_machines_compute_less_and_say_more():
    net = VGG(load("mini").params)
    few, many = (cluster_cost.cost(net, 1024, ranks) for ranks in (2, 8))
    assert many.work < 0.3 * few.work
    assert many.plan.peak < few.plan.peak
    assert many.computing(5.5) < 0.3 * few.computing(5.5)
    assert many.talking(50e-6, 1e8) > 10 * many.talking(2e-6, 1e10)
    assert cluster_cost.cost(net, 1024, 1).talking(50e-6, 1e8) == 0


def test_fit_finds_latency_and_bandwidth():
    ways = [(3, 1e4), (10, 4e6), (40, 2e5), (1, 3e7)]
    latency, bandwidth = cluster_cost.fit([((m, b), m * 2e-4 + b / 3e9) for m, b in ways])
    assert latency == pytest.approx(2e-4, rel=1e-6)
    assert bandwidth == pytest.approx(3e9, rel=1e-6)
    with pytest.raises(ValueError, match="1 measurements"):
        cluster_cost.fit([((1, 10), 1e-3)])
