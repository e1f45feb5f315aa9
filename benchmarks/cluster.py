"""One picture over MPI ranks: time, messages, bytes and memory of each, and from a model what larger ones would take.

    python -m benchmarks.cluster run 2048 1 2 4          a run of each number of ranks on this machine
    python -m benchmarks.cluster model 32768 8 32 128    computed, on an ordinary and a fast network
    python -m benchmarks.cluster run 8192 2 --evaluations 3 --memory 8GB

run starts mpiexec; on one machine all ranks share its cores. Messages and bytes are what a rank sends. model counts the
same without running it (tests/test_benchmark_cluster.py compares) and turns it into seconds: computing is --rate, in µs
a pixel of an undivided evaluation on one machine; talking is latency and bytes.
"""

import argparse
import datetime
import json
import math
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import style
from minivgg import VGG
from style.cluster.plan import Request
from style.cluster.strips import PIPE, common
from style.cluster.tiles import Division
from style.cluster.vectors import Layout, overlaps, unit_of
from style.events import Evaluated
from style.faster.pairs import BLOCK, blocks_together
from style.large.tiling import segments
from style.terms import layers
from style.units import duration, format_memory

from .common import TERMS, peak_rss

NETWORKS = {"1 Gb/s Ethernet": (50e-6, 117e6), "10 Gb/s Ethernet": (20e-6, 1.17e9), "100 Gb/s InfiniBand": (2e-6, 12e9)}
KINDS = ("halos", "gradients", "vectors", "sums", "products")
HISTORY, MARGIN = 10, 8
RATE = 3.7  # µs a pixel of an undivided evaluation of VGG-19 on two cores (benchmarks/README.md, Tiles)


def blocks(size, seed=0):
    """(size, size, 3) uint8: coloured squares with grain."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (-(-size // 16), -(-size // 16), 3), dtype=np.uint8)
    grain = rng.integers(0, 30, (size, size, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)[:size, :size] + grain


def rank(size, evaluations, spec, memory):
    """What one rank does under mpiexec; rank 0 prints all ranks' results as JSON."""
    from style.cluster.job import SpreadJob
    from style.cluster.ranks import Ranks

    ranks = Ranks()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // ranks.neighbours())))
    settings = style.settings_from(
        size=size, style_size=512, scales=1, evaluations=evaluations, weights=spec, history=HISTORY, memory=memory
    )
    job = SpreadJob(blocks(size), blocks(512, seed=1), settings, ranks)
    at = []

    def listener(event):
        if isinstance(event, Evaluated):
            at.append((event.seconds, {k: (t.messages, t.bytes, t.seconds) for k, t in ranks.traffic.items()}))

    result = job.run(listener)
    plan = job.plans[job.stages[-1]]
    (start, before), (end, after) = at[0], at[-1]
    steps = max(1, len(at) - 1)
    traffic = {k: [(b - a) / steps for a, b in zip(before[k], after[k])] for k in KINDS if k in before}
    found = {"seconds": (end - start) / steps if len(at) > 1 else end, "traffic": traffic, "peak": peak_rss()}
    found |= {"planned": plan.peak, "plan": plan.describe(), "loss": result.outcome.loss}
    everyone = ranks.everyone(found)
    if ranks.rank == 0:
        print(json.dumps(everyone))


def run(size, ranks, evaluations, spec, memory):
    """[what each rank found] of one run, or a phrase that says how it failed."""
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", "-m", "benchmarks.cluster", "rank"]
    command += [str(size), "--evaluations", str(evaluations), "--weights", spec]
    command += ["--memory", memory] if memory else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
    return json.loads(done.stdout.splitlines()[-1])


def table(size, counts, evaluations, spec, memory):
    """Print a line for each number of ranks."""
    print("| ranks | s/evaluation | of it waiting | messages a rank | bytes a rank | peak a rank | planned | loss |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for count in counts:
        found = run(size, count, evaluations, spec, memory)
        if isinstance(found, str):
            print(f"| {count} | {found} |", flush=True)
            continue
        traffic = [np.sum([*one["traffic"].values()], axis=0) for one in found]
        messages, sent, waiting = np.max(traffic, axis=0)
        print(
            f"| {count} | {found[0]['seconds']:.1f} | {waiting:.1f} | {messages:.0f} | {sent / 1e6:.1f} MB "
            f"| {format_memory(max(o['peak'] for o in found))} | {format_memory(found[0]['planned'])} "
            f"| {found[0]['loss']!r} |",
            flush=True,
        )
        per_kind = {k: max(one["traffic"].get(k, [0, 0, 0])[1] for one in found) for k in KINDS}
        print(f"|  | {', '.join(f'{k} {v / 1e6:.2f} MB' for k, v in per_kind.items())} |", flush=True)


def counted(net, size, ranks):
    """What is said and done in an evaluation of a picture that needs no resizing.

    Returns {kind: (messages, bytes) of the rank that sends most}, the busiest rank's work as a multiple of an undivided
    evaluation's, the Plan, and the bytes of all sums.
    """
    reading = 12 * (size**2 + 512**2)
    plan = Request(net, TERMS, ranks, 1 << 50, "l-bfgs", HISTORY, True, MARGIN, reading).plan(size, size)
    H = W = size + 2 * MARGIN
    parts = [Division(s, ranks) for s in segments(net, layers(TERMS), H, W, plan.tiling)]
    sent = {k: np.zeros((ranks, 2)) for k in KINDS}
    for k, part in enumerate(parts):
        have = parts[k - 1].ends() if k else part.cores
        row = (net.channels[part.segment.start] if k else 3) * part.segment.shape[1] * 4
        channels = net.channels[part.segment.start] if k else 3
        for a in range(ranks):
            for b in range(ranks):
                if a != b and (rows := common(have[a], part.regions[b])) is not None:
                    sent["halos"][a] += 1, (rows[1] - rows[0]) * row
                pieces = [(t.region, common(have[b], t.region[:2])) for t in part.tiles[a].values()]
                size_of = [4 * channels * (r[1] - r[0]) * (t[3] - t[2]) for t, r in pieces if r is not None]
                if a != b and size_of:
                    sent["gradients"][a] += 1, sum(size_of)
    layout = Layout(None, (1, 3, H, W), parts[0].cores, unit_of("l-bfgs", HISTORY))
    for a in range(ranks):
        for b in range(ranks):
            for have, want in ((layout.strips, layout.held), (layout.held, layout.strips)):
                if a != b and (parts_of := overlaps(have[a], want[b])):
                    sent["vectors"][a] += 1, 4 * sum(last - first for first, last in parts_of)
    sums = 8 * sum(net.channels[t.layer] ** 2 + 1 if not t.statistic.per_place else 2 for t in TERMS)
    pieces = -(-sums // 8 // PIPE)
    if ranks > 1:
        sent["sums"][:-1] += pieces, sums
        sent["sums"][-1] += 1, sums
        rows = 2 * HISTORY + 2
        chunk = BLOCK * blocks_together(rows)
        values = 3 * H * W
        tables = 8 * (rows + 3) * values / chunk  # measure; and two products with all blocks
        sent["products"] += 3, (tables + 2 * 4 * values / BLOCK) / ranks
    most = {k: tuple(v.max(axis=0)) for k, v in sent.items()}
    busiest = max(sum(len(p.tiles[r]) / len(p.segment.tiles) for p in parts) / len(parts) for r in range(ranks))
    return most, plan.time * busiest, plan, sums


def seconds(counts, work, sums, size, ranks, rate, latency, bandwidth):
    """(computing, talking) of an evaluation, by the model."""
    near = sum(counts[k][0] * latency + counts[k][1] / bandwidth for k in ("halos", "gradients", "vectors"))
    piece = min(sums, 8 * PIPE)
    pieces = -(-sums // piece)
    chain = (ranks - 1 + pieces) * (latency + piece / bandwidth) + math.log2(max(ranks, 2)) * latency + sums / bandwidth
    products = 3 * ranks * latency + counts["products"][1] * ranks / bandwidth
    return rate * 1e-6 * size**2 * work, (near + chain + products) if ranks > 1 else 0.0


def model(size, counts, rate):
    """Print what an evaluation would take on machines, one rank each."""
    net = VGG(_outline())
    print("| machines | computing | talking, by network | memory a rank | bytes a rank |")
    print("| --- | --- | --- | --- | --- |")
    for ranks in counts:
        most, work, plan, sums = counted(net, size, ranks)
        talking = []
        for name, (latency, bandwidth) in NETWORKS.items():
            computing, talk = seconds(most, work, sums, size, ranks, rate, latency, bandwidth)
            talking.append(f"{talk:.2f} s ({name})")
        sent = sum(v[1] for v in most.values())
        memory = format_memory(plan.peak)
        print(
            f"| {ranks} | {duration(computing)} | {', '.join(talking)} | {memory} | {sent / 1e6:.0f} MB |", flush=True
        )


def _outline():
    from .common import vgg_shaped

    return vgg_shaped(np.random.default_rng(0))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "model", "rank"))
    parser.add_argument("size", type=int)
    parser.add_argument("ranks", type=int, nargs="*")
    parser.add_argument("--evaluations", type=int, default=3)
    parser.add_argument("--weights", default="vgg19")
    parser.add_argument("--memory", help="of a rank; default: what is free")
    parser.add_argument("--rate", type=float, default=RATE, help="µs a pixel")
    given = parser.parse_args()
    if given.what == "rank":
        rank(given.size, given.evaluations, given.weights, given.memory)
        return
    print(f"{' '.join(sys.argv[1:])}; {platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}, ", end="")
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')}, {datetime.date.today()}\n")
    if given.what == "run":
        table(given.size, given.ranks, given.evaluations, given.weights, given.memory)
    else:
        model(given.size, given.ranks, given.rate)


if __name__ == "__main__":
    main()
