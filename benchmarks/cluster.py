"""One picture over MPI ranks: time, messages, bytes and memory of each, and from a model what larger ones would take.

    python -m benchmarks.cluster run 2048 4096 --ranks 1 2 4    each size on each number of ranks, on this machine
    python -m benchmarks.cluster model 32768 --ranks 8 32 128   computed, on an ordinary and a fast network

run starts mpiexec; on one machine all ranks share its cores. Before the ranks speak they wait for each other, so that
waiting and talking are told apart. What talking took is then explained by a latency and a bandwidth (cluster_cost.py).
model counts without running what run measures (tests/test_benchmark_cluster.py compares); computing is --rate, in µs a
pixel of an undivided evaluation on one core.
"""

import argparse
import collections
import contextlib
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import style
from minivgg import VGG
from style.events import Evaluated
from style.units import duration, format_memory

from .cluster_cost import HISTORY, KINDS, cost, fit
from .common import load_params, peak_rss, vgg_shaped

NETWORKS = {"1 Gb/s Ethernet": (50e-6, 117e6), "10 Gb/s Ethernet": (20e-6, 1.17e9), "100 Gb/s InfiniBand": (2e-6, 12e9)}
OWN = 250e-6, 2.4e9  # what ranks take by themselves, without a network: fitted to them on one machine
RATE = 7.4  # µs a pixel of an undivided evaluation of VGG-19 on one core (benchmarks/README.md)
MACHINE = 2  # cores of a machine in the model


class Enough(Exception):
    """All has been measured: what a run does at its end is not."""


def blocks(size, seed=0):
    """(size, size, 3) uint8: coloured squares with grain."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (-(-size // 16), -(-size // 16), 3), dtype=np.uint8)
    grain = rng.integers(0, 30, (size, size, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)[:size, :size] + grain


def listening():
    """cluster.ranks.Ranks that wait for each other before they speak; late {kind: seconds of that}."""
    from style.cluster.ranks import Ranks

    class Listening(Ranks):
        def __init__(self):
            super().__init__()
            self.late = collections.Counter()

        def meet(self, what):
            start = time.perf_counter()
            self._rest()
            self.late[what] += time.perf_counter() - start

        def exchange(self, what, outgoing, incoming):
            outgoing, incoming = list(outgoing), list(incoming)
            self.meet(what)
            return super().exchange(what, outgoing, incoming)

        def chained(self, what, size, own):
            self.meet(what)
            return super().chained(what, size, own)

        def table(self, what, own, sizes):
            self.meet(what)
            return super().table(what, own, sizes)

    return Listening()


def rank(size, evaluations, spec, memory):
    """What one rank does under mpiexec; rank 0 prints all ranks' results as JSON."""
    from style.cluster.job import SpreadJob

    ranks = listening()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // ranks.neighbours())))
    settings = style.settings_from(
        size=size, style_size=512, scales=1, evaluations=evaluations, weights=spec, history=HISTORY, memory=memory
    )
    job = SpreadJob(blocks(size), blocks(512, seed=1), settings, ranks)
    at, losses = [], []

    def listener(event):
        if isinstance(event, Evaluated):
            said = {k: (t.messages, t.bytes, t.seconds, ranks.late[k]) for k, t in ranks.traffic.items()}
            at.append((event.seconds, said))
            losses.append(event.loss)
            if len(at) == evaluations:
                raise Enough

    with contextlib.suppress(Enough):
        job.run(listener)
    plan = job.plans[job.stages[-1]]
    (start, before), (end, after) = at[0], at[-1]
    steps = max(1, len(at) - 1)
    traffic = {k: [(b - a) / steps for a, b in zip(before[k], after[k])] for k in KINDS if k in before}
    found = {"seconds": (end - start) / steps if len(at) > 1 else end, "traffic": traffic, "peak": peak_rss()}
    found |= {"planned": plan.peak, "plan": plan.describe(), "loss": losses[-1]}
    everyone = ranks.everyone(found)
    if ranks.rank == 0:
        print(json.dumps(everyone))


def run(size, ranks, evaluations, spec, memory):
    """[what each rank found] of one run, or a phrase that says how it failed.

    traffic  {kind: [messages, bytes, seconds of talking, of waiting for the others] in an evaluation}
    """
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", "-m", "benchmarks.cluster", "rank"]
    command += [str(size), "--evaluations", str(evaluations), "--weights", spec]
    command += ["--memory", memory] if memory else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
    return json.loads(done.stdout.splitlines()[-1])


def largest(found, kind):
    """(messages, bytes, seconds of talking, of waiting) of a kind, each the largest of a rank's."""
    return np.max([one["traffic"].get(kind, [0.0] * 4) for one in found], axis=0)


def table(sizes, counts, evaluations, spec, memory):
    """Print a line for each size and number of ranks; then the latency and bandwidth that explain the talking."""
    net, lines = VGG(load_params(spec)), []
    for size in sizes:
        for count in counts:
            found = run(size, count, evaluations, spec, memory)
            if isinstance(found, str):
                print(f"{size} on {count}: {found}", flush=True)
                continue
            counted = cost(net, size, count, history=min(HISTORY, evaluations))
            lines.append((counted, found))
            print(_kinds(counted, found), flush=True)
    talks = [(c.way[k], largest(f, k)[2]) for c, f in lines for k in KINDS if c.way[k][0] and largest(f, k)[2]]
    latency, bandwidth = fit(talks) if len(talks) > 1 else (0.0, np.inf)
    print(f"\nlatency {latency * 1e6:.0f} µs, bandwidth {bandwidth / 1e9:.2f} GB/s explain the talking best\n")
    head = "size | ranks | s/evaluation | computing | µs a pixel and core | waiting | talking | by the model"
    head = f"| {head} | messages | bytes | peak | planned | loss |"
    print(head, "|".join(["", *[" --- "] * (head.count("|") - 1), ""]), sep="\n")
    for counted, found in lines:
        print(_line(counted, found, latency, bandwidth))


def _kinds(counted, found):
    """What was measured of each kind, on a line."""
    kinds = []
    for kind in KINDS:
        messages, sent, talking, waiting = largest(found, kind)
        kinds.append(f"{kind} {messages:.0f}, {sent / 1e6:.2f} MB, {talking:.4f} s, waiting {waiting:.2f} s")
    return f"{counted.size} on {counted.ranks}: {found[0]['seconds']:.2f} s; {'; '.join(kinds)}"


def _line(counted, found, latency, bandwidth):
    per_rank = [np.sum([[0.0] * 4, *one["traffic"].values()], axis=0) for one in found]
    messages, sent, talking, waiting = np.max(per_rank, axis=0)
    seconds = found[0]["seconds"]
    computing = seconds - min(t[2] + t[3] for t in per_rank)  # of the rank that waits least
    rate = computing * len(os.sched_getaffinity(0)) / counted.ranks / counted.size**2 / counted.work * 1e6
    peak, planned = format_memory(max(one["peak"] for one in found)), format_memory(found[0]["planned"])
    return (
        f"| {counted.size} | {counted.ranks} | {seconds:.1f} | {computing:.1f} | {rate:.2f} | {waiting:.1f} | "
        f"{talking:.3f} | {counted.talking(latency, bandwidth):.3f} | {messages:.0f} | {sent / 1e6:.1f} MB | "
        f"{peak} | {planned} | {found[0]['loss']!r} |"
    )


def over(latency, bandwidth):
    """(latency, bandwidth) of ranks that speak over a network: what they take by themselves comes on top."""
    return OWN[0] + latency, 1 / (1 / OWN[1] + 1 / bandwidth)


def model(sizes, counts, rate):
    """Print what an evaluation would take on machines of MACHINE cores, one rank each."""
    net = VGG(vgg_shaped(np.random.default_rng(0)))
    print("| picture | machines | computing | talking, by network | memory a rank | bytes a rank |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in sizes:
        for count in counts:
            found = cost(net, size, count)
            talking = [f"{found.talking(*over(*network)):.2f} s ({name})" for name, network in NETWORKS.items()]
            memory, sent = format_memory(found.plan.peak), sum(v[1] for v in found.sent.values())
            cells = [size, count, duration(found.computing(rate, MACHINE)), ", ".join(talking), memory]
            print("|", " | ".join(map(str, cells)), f"| {sent / 1e6:.0f} MB |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "model", "rank"))
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--evaluations", type=int, default=3)
    parser.add_argument("--weights", default="vgg19")
    parser.add_argument("--memory", help="of a rank; default: what is free")
    parser.add_argument("--rate", type=float, default=RATE, help="µs a pixel and core")
    given = parser.parse_args()
    if given.what == "rank":
        rank(given.sizes[0], given.evaluations, given.weights, given.memory)
        return
    print(f"{' '.join(sys.argv[1:])}; {platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}, ", end="")
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')}, {datetime.date.today()}\n")
    if given.what == "run":
        table(given.sizes, given.ranks, given.evaluations, given.weights, given.memory)
    else:
        model(given.sizes, given.ranks, given.rate)


if __name__ == "__main__":
    main()
