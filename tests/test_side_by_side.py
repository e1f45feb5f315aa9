"""Runs that meet: in threads, after a fork, in an event loop, many in one process, several on one name."""

import asyncio
import concurrent.futures
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cases
import numpy as np
import psutil
import pytest

import style
import weights
from style.pictures import images, saving

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow
OPTIONS = {"size": 64, "evaluations": 6, "device": "cpu", "init": "noise", "seed": 3}


def digits(network_file):
    """The hash of a picture that is always the same."""
    pictures = cases.blocks(((5, 7), (6, 4)))
    result = style.transfer(*pictures, weights=str(network_file), **OPTIONS)
    return hashlib.sha256(result.rgb.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def expected(network_file):
    return digits(network_file)


def test_two_in_two_threads(network_file, expected):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert {*pool.map(digits, [network_file] * 4)} == {expected}


@pytest.mark.filterwarnings("ignore:.* use of fork:DeprecationWarning")  # of threads, which a child starts anew
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_in_processes_of_its_own(network_file, expected, method, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert {*pool.map(digits, [network_file] * 2)} == {expected}


def test_in_a_thread_of_an_event_loop(network_file, expected):
    """Signals are left to the loop."""
    former = signal.getsignal(signal.SIGINT)

    async def both():
        return await asyncio.gather(*(asyncio.to_thread(digits, network_file) for _ in range(2)))

    assert {*asyncio.run(both())} == {expected}
    assert signal.getsignal(signal.SIGINT) is former


def test_many_in_one_process_take_no_more_of_anything(network_file, expected):
    process = psutil.Process()

    def taken():
        return process.memory_info().rss, process.num_fds() if os.name != "nt" else 0, threading.active_count()

    for _ in range(10):
        digits(network_file)
    memory, files, threads = taken()
    assert {digits(network_file) for _ in range(50)} == {expected}
    after = taken()
    assert after[1:] == (files, threads)
    assert after[0] < memory + 20e6


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_same_seed_in_another_process_with_other_threads(network_file, expected, threads):
    code = "import sys, test_side_by_side; print(test_side_by_side.digits(sys.argv[1]))"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    command = [sys.executable, "-c", code, str(network_file)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.strip() == expected, done.stderr


def test_six_at_once_by_default_and_two_by_name(tmp_path):
    """None replaces another's picture; each is whole."""
    for name, picture in zip(("content", "style"), cases.blocks(((5, 7), (6, 4))), strict=True):
        saving.save(tmp_path / f"{name}.png", picture)
    weights.save_compact(cases.make_network(), tmp_path / "narrow.npz")
    command = [sys.executable, "-m", "style.run", "content.png", "style.png", "--weights", "narrow.npz", "--quiet"]
    command += ["--device", "cpu", "--evaluations", "4", "--init", "noise"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen([*command, *more, "--seed", str(seed)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
        for seed, more in enumerate([[]] * 6 + [["-o", "one.png"]] * 2)
    ]
    said = [p.communicate(timeout=120)[1] for p in running]
    codes = [p.returncode for p in running]
    made = [p for p in tmp_path.glob("*.png") if p.name not in ("content.png", "style.png")]
    assert codes.count(0) == len(made)
    assert codes[:6] == [0] * 6, said
    assert {saving.read_metadata(p)["settings"]["seed"] for p in made} == {i for i, c in enumerate(codes) if c == 0}
    assert all(np.isfinite(images.read(p).rgb).all() for p in made)
    assert not list(tmp_path.glob(".*"))
