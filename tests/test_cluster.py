"""One picture over MPI ranks: the digits of one process, refusals, faults. mpiexec runs in processes of its own."""

import itertools
import json
import os
import signal
import subprocess
import sys
import tracemalloc

import cuda_twins
import launch
import numpy as np
import pytest
import tifffile
from cases import make_net, noise, worst
from launch import HERE, are_gone, ended, over_ranks, ranks_of, run, start
from PIL import Image
from rank_threads import in_threads
from strict_device import StrictModule

from minivgg import VGG
from minivgg.gradcheck.rows import random_params
from style import cluster
from style import run as command_line
from style.cluster import pictures, plan
from style.cluster.job import SpreadObjective
from style.cluster.strips import Strip, shares
from style.cluster.tiles import Distributed
from style.cluster.vectors import Layout, Space
from style.faster import pairs
from style.large.plan import MemoryBudgetError
from style.large.tiles import Tiled
from style.large.tiling import Tiling
from style.objective import Objective, aim
from style.optimize import minimize
from style.pictures import ImageError, images, saving
from style.state import State
from style.statistics import make_terms

RUN = ("sample:scene:96", "sample:strokes:96", "--size", "96", "--weights", "mini", "--quiet")


# ------------------------------------------------------------------------------------- without MPI


def test_a_single_machine_imports_no_mpi():
    code = "import sys, style.run, style.cluster; assert not [m for m in sys.modules if m.startswith('mpi4py')]"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE.parent)


@pytest.mark.parametrize(
    "environ, is_launched",
    [
        ({}, False),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, True),  # mpiexec -n 1
        ({"PMI_RANK": "1", "PMI_SIZE": "4"}, True),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"PMI_RANK": "0", "PMI_SIZE": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"PMIX_RANK": "0", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "8"}, True),
        ({"PMI_SIZE": "many", "PMI_RANK": "0"}, False),
    ],
)
def test_who_started_it(environ, is_launched):
    assert cluster.launched(environ) is is_launched


def test_a_launcher_without_mpi4py_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.delitem(sys.modules, "style.cluster.run", raising=False)
    assert command_line.main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("style.run: started by MPI, but mpi4py cannot be used (")
    assert said.count("\n") == 1


@pytest.mark.parametrize("count, ranks", [(8, 3), (2, 4), (1, 1), (7, 7)])
def test_rows_of_tiles_are_shared_evenly_and_all(count, ranks):
    found = shares(count, ranks)
    assert [r for a, b in found for r in range(a, b)] == list(range(count))
    assert max(b - a for a, b in found) - min(b - a for a, b in found) <= 1


def test_a_strip_is_indexed_like_the_whole_and_refuses_others_rows():
    whole = np.arange(2 * 10 * 3).reshape(1, 2, 10, 3)
    strip = Strip(whole[:, :, 4:8], 4, 10)
    at = (slice(None), slice(None), slice(5, 8), slice(1, 3))
    assert strip.shape == whole.shape
    assert np.array_equal(strip[at], whole[at])
    with pytest.raises(IndexError, match=r"rows 3 to 8 are another rank's: here are \(4, 8\)"):
        strip[(slice(None), slice(None), slice(3, 8), slice(None))]


def test_noise_in_strips_is_the_noise_of_the_whole():
    shape = (1, 3, 20, 7)
    whole = np.random.default_rng(5).uniform(-20, 20, shape).astype(np.float32)
    for rows in ((0, 20), (3, 11), (11, 20)):
        assert np.array_equal(pictures.noise(5, 20, shape, rows), whole[:, :, rows[0] : rows[1]])


@pytest.mark.parametrize("dtype, channels", [(np.uint8, 3), (np.uint16, 3), (np.uint8, 4)])
def test_a_tiff_in_strips_is_the_picture_whole(tmp_path, dtype, channels):
    whole = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (300, 530, channels)).astype(dtype)
    path = tmp_path / "out.tif"
    parts = np.split(whole, [100, 256, 290])
    pictures.write_tiff(path, parts, whole.shape, dtype, {"started": "now"}, 300, replace=False)
    assert np.array_equal(tifffile.imread(path), whole)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff and tiff.pages[0].is_tiled
    assert saving.read_metadata(path) == {"started": "now"}
    if dtype == np.uint8:
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), whole)
            assert image.info["icc_profile"] and image.info["dpi"] == (300, 300)
    with pytest.raises(saving.OutputExistsError, match="exists already"):
        pictures.write_tiff(path, parts, whole.shape, dtype, {}, None, replace=False)


def means_of_squares(a):
    """(ceil(h / 2), ceil(w / 2), C): the nearest whole number to the mean of each 2x2, an odd edge counting twice."""
    rows, columns = (np.minimum(np.arange(n + n % 2), n - 1) for n in a.shape[:2])
    whole = a[rows][:, columns].astype(np.float64)
    means = whole.reshape(len(rows) // 2, 2, len(columns) // 2, 2, -1).mean(axis=(1, 3))
    return np.floor(means + 0.5).astype(a.dtype)


@pytest.mark.parametrize("dtype, channels", [(np.uint8, 3), (np.uint16, 4)])
def test_a_tiff_has_each_level_the_means_of_the_one_before(tmp_path, monkeypatch, dtype, channels):
    monkeypatch.setattr(pictures, "TILE", 32)
    monkeypatch.setattr(pictures, "SMALLEST", 40)
    whole = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (101, 150, channels), endpoint=True).astype(dtype)
    path = tmp_path / "out.tif"
    parts = np.split(whole, [7, 32, 64, 90, 96])
    pictures.write_tiff(path, parts, whole.shape, dtype, {"started": "now"}, None, replace=False)
    with tifffile.TiffFile(path) as tiff:
        (series,) = tiff.series
        levels = [level.asarray() for level in series.levels]
        assert len(tiff.pages) == 1 and all(level.pages[0].is_tiled for level in series.levels)
    assert [level.shape[:2] for level in levels] == [(101, 150), (51, 75), (26, 38)]
    assert np.array_equal(levels[0], whole)
    for finer, coarser in itertools.pairwise(levels):
        assert coarser.dtype == dtype
        assert np.array_equal(coarser, means_of_squares(finer))
    assert os.listdir(tmp_path) == ["out.tif"]
    found = images.read(path)  # of which levels are no pages
    assert (found.size, found.notes) == ((150, 101), ())


def test_a_small_tiff_has_no_levels():
    assert pictures.halvings((1024, 700, 3)) == [(1024, 700, 3)]
    assert pictures.halvings((1025, 3, 4)) == [(1025, 3, 4), (513, 2, 4)]
    assert pictures.halvings((5, 9000, 3))[-1] == (1, 563, 3)


def test_a_tiff_that_fails_on_the_way_leaves_nothing(tmp_path):
    def parts():
        yield np.zeros((100, 64, 3), np.uint8)
        raise MemoryError("a rank has none left")

    with pytest.raises(ImageError, match=r"out\.tif: cannot be encoded as TIFF"):
        pictures.write_tiff(tmp_path / "out.tif", parts(), (300, 64, 3), np.uint8, {}, None, replace=True)
    assert os.listdir(tmp_path) == []


class OneRank:
    """What a StripResult asks of ranks.Ranks, of one alone."""

    def first(self, value):
        return value

    def everyone(self, value):
        return [value]

    def collect(self, pieces, shape, give, use):
        use(give(key) for _, key in pieces)


@pytest.mark.parametrize("name, depth", [("a.png", 8), ("a.png", 16), ("a.jpg", 8)])
def test_a_picture_that_one_rank_writes_takes_no_more_than_is_planned(tmp_path, name, depth):
    H, W = size = (520, 512)
    rgb = np.random.default_rng(0).uniform(0, 255, (H, W, 3)).astype(np.float32)
    result = pictures.StripResult(OneRank(), (0, H), rgb, size, None, {}, depth=depth)
    tracemalloc.start()
    try:
        result.save(tmp_path / name)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.5 < most / (pictures.WRITING[depth] * H * W) <= 1
    assert images.read(tmp_path / name).rgb.shape == rgb.shape


def make_plan(**more):
    net = make_net(np.float32, widths=(64, 128, 256, 512, 512), kernels="fast")
    terms = make_terms(content={"relu4_2": 1.0}, style={"relu1_1": 1.0, "relu5_1": 1.0})
    given = {"ranks": 4, "memory": 8 << 30, "optimizer": "l-bfgs", "history": 20, "bounds": True, "margin": 8}
    return plan.Request(net, terms, **{**given, **more}).plan(4096, 4096)


def test_tiles_do_not_depend_on_the_ranks_but_memory_does():
    few, many = make_plan(ranks=2), make_plan(ranks=8)
    assert few.tiling == many.tiling
    assert few.history == many.history == 20
    assert many.peak < 0.6 * few.peak
    assert "that is a rank's, of 8" in many.describe()
    assert "idle" in make_plan(ranks=100).describe()


def test_what_does_not_fit_says_what_would():
    with pytest.raises(
        MemoryBudgetError,
        match=r"4096x4096 does not fit into 1.1 GB a rank on 1 rank; the largest size that fits is (\d+)x\1",
    ):
        make_plan(ranks=1, memory=1 << 30)


# ----------------------------------------------------------------------------------------- with MPI


@over_ranks
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_ranks_give_the_digits_of_one_process(ranks):
    code, out, err = ended(start(ranks, "-m", "mpi4py", str(HERE / "over_ranks.py")))
    assert code == 0, err
    found = [json.loads(line) for line in out.splitlines()]
    assert [len(line) for line in found] == [ranks, ranks]
    assert [len(line[0]) for line in found] == [5, 2]  # with the optimisers, and without
    assert all(same for line in found for one in line for same in one.values()), found


@over_ranks
def test_a_changed_digit_is_noticed():
    code, out, err = ended(start(2, "-m", "mpi4py", str(HERE / "over_ranks.py"), "spoil"))
    assert code == 0, err
    assert [one["values"] for one in json.loads(out)] == [False, False]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """{ranks: (file, log)} of the same command, two scales in tiles of several rows."""
    folder, found = tmp_path_factory.mktemp("ranks"), {}
    for ranks in (1, 2, 3):
        path, log = folder / f"{ranks}.tif", folder / f"{ranks}.log"
        args = ["--scales", "2", "--evaluations", "6", "--init", "blend", "-o", path, "--log", log]
        code, _, err = run(ranks, *RUN, "--size", "160", *args)
        assert (code, err) == (0, "")
        found[ranks] = path, log
    return found


@over_ranks
def test_the_command_line_gives_the_same_picture_on_any_number_of_ranks(found):
    expected = tifffile.imread(found[1][0])
    assert expected.std() > 10
    lines = {r: [json.loads(line) for line in log.read_text().splitlines()] for r, (_, log) in found.items()}
    for ranks, (path, _) in found.items():
        assert np.array_equal(tifffile.imread(path), expected)
        assert [line["terms"] for line in lines[ranks]] == [line["terms"] for line in lines[1]]
        assert path.with_name(f"{ranks}-80x60.tif").is_file()
    assert len(lines[1]) == 9


@over_ranks
def test_a_tiff_read_by_rows_gives_the_picture_that_it_gives_whole(tmp_path):
    values = np.asarray(images.to_uint8(images.as_picture("sample:scene:200").rgb))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", tile=(64, 64))
    Image.fromarray(values).save(tmp_path / "a.png")
    args = ["sample:strokes:96", "--size", "original", "--style-size", "96", "--weights", "mini", "--quiet"]
    for ranks, name in ((3, "a.tif"), (2, "a.png")):
        more = ["--scales", "2", "--evaluations", "4", "-o", tmp_path / f"{ranks}.png"]
        assert run(ranks, tmp_path / name, *args, *more)[::2] == (0, "")
    assert np.array_equal(*(np.asarray(Image.open(tmp_path / f"{ranks}.png")) for ranks in (2, 3)))


@over_ranks
@pytest.mark.parametrize(
    "args, says",
    [
        (["--optimizer", "two-loop"], "--optimizer two-loop: over several machines l-bfgs or adam"),
        (["--palette", "style", "--dither"], "--dither: works with one machine: over several each dot would wait"),
        (["--wrap"], "--wrap: works with one machine: over several the first strip would be the last one's neighbour"),
        (
            ["--content-layers", "none", "--style-layers", "none", "--tv-weight", "1"],
            "over several machines at least one layer",
        ),
        (["--animation", "a.gif"], "--animation: on one machine"),
        (["--precondition", "0.4"], "--precondition: works with 0 over several machines"),
    ],
)
def test_what_is_not_done_over_ranks_is_one_line(args, says, tmp_path):
    code, out, err = run(2, *RUN, *args, "-o", tmp_path / "out.png")
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def begun(tmp_path, ranks, evaluations=4000):
    """A run that has saved its state once."""
    state = tmp_path / "state.npz"
    return launch.begun(ranks, state, *RUN, "--evaluations", evaluations, "-o", tmp_path / "out.png"), state


@over_ranks
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_a_picture_and_a_state_that_another_number_of_ranks_continues(number, tmp_path):
    process, state = begun(tmp_path, 3, evaluations=12)
    process.send_signal(number)
    code, _, err = ended(process)
    assert code == 128 + number, err
    assert f"out.png is the best picture so far; go on with --resume {state}" in err
    assert State.load(state).arrays["method/x"].shape == (1, 3, 72 + 16, 96 + 16)  # as one machine reads it
    assert run(2 if number == signal.SIGINT else 4, "--resume", state)[0] == 0
    whole = tmp_path / "whole.png"
    assert run(1, *RUN, "--evaluations", "12", "-o", whole)[0] == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(Image.open(whole)))
    assert not state.exists()


@over_ranks
def test_a_state_whose_values_were_changed_is_refused_in_one_line(tmp_path):
    process, state = begun(tmp_path, 2, evaluations=12)
    process.send_signal(signal.SIGTERM)
    ended(process)
    (tmp_path / "out.png").unlink()
    saved = State.load(state)
    with np.load(state) as found:
        arrays = dict(found)
    arrays["method/x"] = arrays["method/x"] + 1
    np.savez(state, **arrays)
    code, _, err = run(3, "--resume", state)
    assert (code, err.count("\n")) == (1, 1), err
    assert f"{saved.path}: found contents that have changed since they were saved" in err
    assert not (tmp_path / "out.png").exists()


BROKEN = """
import sys
from style import run
from style.cluster import job

evaluate = job.SpreadObjective.evaluate

def broken(self, image, **more):
    if self.layout.ranks.rank == 1:
        raise MemoryError("no room for a tile")
    return evaluate(self, image, **more)

job.SpreadObjective.evaluate = broken
sys.exit(run.main(sys.argv[1:]))
"""


@over_ranks
def test_a_rank_that_fails_alone_ends_them_all_with_one_line(tmp_path):
    code, _, err = ended(start(3, "-c", BROKEN, *RUN, "-o", str(tmp_path / "out.png")), seconds=60)
    assert code == 1
    assert [line for line in err.splitlines() if line.startswith("style.run")] == [
        "style.run: rank 1 of 3: no room for a tile; all ranks end"
    ]
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []


@over_ranks
@pytest.mark.parametrize("which", [0, 2])
def test_a_rank_that_dies_ends_them_all_and_leaves_nothing_half_written(which, tmp_path):
    process, state = begun(tmp_path, 3)
    ranks = ranks_of(process)
    assert len(ranks) == 3
    ranks[which].kill()
    code, _, _ = ended(process, seconds=20)
    assert code != 0
    assert are_gone(ranks)
    assert [n for n in os.listdir(tmp_path) if not n.endswith(".minivgg.tmp")] == ["state.npz"]
    assert State.load(state).stage == 0


# --------------------------------------------------------------------------------- ranks that are threads


def test_ranks_with_a_card_each_give_what_one_gives():
    """On the stand-in device: what goes from rank to rank goes through the host, by name, and nothing else does."""
    terms = make_terms(content={"relu2_2": 1.0}, style={"relu1_1": 100.0, "relu3_1": 100.0})
    params = random_params(np.random.default_rng(3), widths=(6, 6, 6), last="conv3_1", bias=1.0, dtype=np.float32)
    H, W, tiling, options = 61, 23, Tiling(("pool1",), ((8, 16), (16, 16))), {"history": 3}
    image, content, paint = noise(H, W, 3, np.float32)
    bounds = [np.full((1, 3, 1, 1), v, np.float32) for v in (-100, 90)]

    def net_and(move):
        return VGG({n: tuple(move(a) for a in pair) for n, pair in params.items()}, kernels="textbook")

    def work(ranks):
        xp = StrictModule(cuda_twins.engine)
        net = net_and(xp.asarray)
        passes = Distributed(net, tiling, ranks)
        rows = passes.rows(H, W, terms)
        a, b = rows[ranks.rank]
        cut = [Strip(xp.asarray(np.ascontiguousarray(p[:, :, a:b])), a, H) for p in (image, content, paint)]
        aimed = passes.placed(aim(terms, passes, {"content": cut[1], "style": cut[2]}), H, W)
        layout = Layout(ranks, image.shape, rows)
        low, high = (layout.broadcast(xp.asarray(v)) for v in bounds)
        found = minimize(
            SpreadObjective(net, aimed, passes, layout),
            layout.from_strip(cut[0]),
            method="l-bfgs",
            evaluations=4,
            bounds=(low, high),
            space=Space(layout),
            **options,
        )
        assert type(found.image).__name__ == "StrictArray"
        return layout.to_strip(found.image).part.get(), found.values

    net = net_and(np.asarray)
    one = Objective.of(net, terms, {"content": content, "style": paint}, Tiled(net, tiling))
    expected = minimize(one, image, method="l-bfgs", evaluations=4, bounds=bounds, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "CHUNK", 1)  # a block at a time
        found = in_threads(3, work)
    picture = np.concatenate([part for part, _ in found], axis=2)
    assert worst(picture, expected.image) <= 1e-4
    for _, values in found:
        assert values == found[0][1] == pytest.approx(expected.values, rel=1e-5)


def test_of_paintings_of_several_sizes_as_many_samples_are_kept_as_each_has():
    (term,) = make_terms(style={"relu3_1": 1.0}, style_loss={"nearest": 1.0})
    params = random_params(np.random.default_rng(3), widths=(6, 6, 6), last="conv3_1", bias=1.0, dtype=np.float32)
    net, tiling = VGG(params, kernels="textbook"), Tiling((), ((8, 16),))
    paintings = [noise(h, w, 1, np.float32)[0] for h, w in ((20, 12), (16, 20), (20, 12))]

    def work(ranks):
        passes, found = Distributed(net, tiling, ranks), []
        for one in paintings:
            a, b = passes.rows(*one.shape[2:], [term])[ranks.rank]
            strip = Strip(np.ascontiguousarray(one[:, :, a:b]), a, one.shape[2])
            found.append(aim([term], passes, {"style": strip})[0].target.features)
        return found

    expected = [aim([term], Tiled(net, tiling), {"style": one})[0].target.features for one in paintings]
    assert expected[0].shape != expected[1].shape
    for found in in_threads(2, work):
        assert all(np.array_equal(f, e) for f, e in zip(found, expected, strict=True))
