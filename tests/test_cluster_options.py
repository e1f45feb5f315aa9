"""What goes over ranks beside the plain picture, each with the digits of one process in the same tiles."""

import json
import signal
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from launch import begun, ended, over_ranks, run
from PIL import Image
from rank_threads import in_threads, spread

from minivgg.table import layer_names
from style.cluster import colours, plan, reading
from style.cluster.cut import RegionRows
from style.job import Job
from style.pictures import images, oklab
from style.pictures.colour import ColourSpace
from style.pictures.filters import Filters
from style.settings import settings_from
from style.state import State
from style.styles import Styles

SIZE = (70, 50)
NOISE = np.random.default_rng(0).integers(0, 255, (2, 200, 150, 3), np.uint8)
CONTENT, STROKES, MOSAIC = "sample:scene:96", "sample:strokes:96", "sample:mosaic:96"
CASES = {  # ranks, paintings, options
    "adam": (2, [STROKES], {"optimizer": "adam"}),
    "l-bfgs": (2, [STROKES], {}),
    "terms of the picture": (3, [STROKES], {"tv_weight": 0.01, "photo_weight": 0.001, "laplacian_weight": 0.1}),
    "lightness": (3, [STROKES], {"keep_colors": True}),
    "colours": (3, [STROKES], {"match_colors": "pca", "match_histogram": "content", "palette": "style:8"}),
    "kept": (3, [STROKES], {"keep": "right.png"}),
    "masks": (4, [STROKES, MOSAIC], {"mask": ("left.png", "rest"), "keep": "right.png", "optimizer": "adam"}),
    "paint": (
        3,
        [STROKES, MOSAIC],
        {"style_mask": ("left.png", "all"), "style_loss": "nearest:1,w2:1", "guidance": "all"},
    ),
    "transparent": (3, [STROKES], {"match_histogram": "content", "mask": "alpha"}),
}


def alone(content, paintings, **options):
    """Result of one process, in the tiles that ranks take."""
    options = {"size": 96, "weights": "mini", "evaluations": 4, **options}
    if options.get("optimizer") != "adam":
        options |= {"precondition": 0, "lag": 1}
    job = Job(content, paintings, settings_from(device="cpu", **options))
    (stage,) = job.stages
    height, width = (n + 2 * job.colours.margin for n in stage.size)
    tiling = next(plan.tilings(job.engine.outline(job.terms), job.terms, height, width))
    job.plans[stage] = replace(job.plans[stage], tiling=tiling, keep_transforms=False)
    return job.run()


def on_command_line(options):
    found = []
    for name, value in options.items():
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        found += [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    return found


@pytest.fixture
def masks(tmp_path, monkeypatch):
    """Two masks in the working folder, sharp and soft, and a picture that fades away."""
    left, right = np.zeros((2, 72, 96), np.uint8)
    left[8:60, 20:50], left[30:34, 50:80] = 255, 128
    right[24:, 50:], right[20:24, 60:] = 255, 100
    monkeypatch.chdir(tmp_path)
    Image.fromarray(left).save("left.png")
    Image.fromarray(right).save("right.png")
    fading = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (72, 1))
    Image.fromarray(np.dstack([images.to_uint8(images.as_picture(CONTENT).rgb), fading])).save("glass.png")


@over_ranks
@pytest.mark.parametrize("case", CASES)
def test_the_command_line_gives_the_picture_of_one_machine_in_the_same_tiles(case, masks):
    ranks, paintings, options = CASES[case]
    content = "glass.png" if case == "transparent" else CONTENT
    expected = alone(content, paintings, **options)
    more = ["--size", "96", "--weights", "mini", "--evaluations", "4", "--quiet", "-o", "out.png", "--log", "log"]
    code, _, err = run(ranks, content, *paintings, *on_command_line(options), *more)
    assert (code, err) == (0, "")
    assert [json.loads(line)["loss"] for line in Path("log").read_text().splitlines()] == expected.losses
    expected.save("alone.png")
    assert np.array_equal(*(np.asarray(Image.open(name)) for name in ("out.png", "alone.png")))


@over_ranks
@pytest.mark.parametrize("optimizer, scales, others", [("l-bfgs", "48:1,96:15", (3, 1)), ("adam", "96:16", (3,))])
def test_a_run_with_masks_goes_on_over_another_number_of_ranks(optimizer, scales, others, masks):
    """Stopped on two, gone on with on three and on one; the first at the second of its scales."""
    options = {"mask": ("left.png", "rest"), "keep": "right.png", "keep_colors": True, "optimizer": optimizer}
    args = [CONTENT, STROKES, MOSAIC, *on_command_line(options), "--size", "96", "--scales", scales]
    args += ["--weights", "mini", "--quiet"]
    assert run(1, *args, "-o", "whole.png", "--log", "whole.log")[::2] == (0, "")
    process = begun(2, Path("state.npz"), *args, "-o", "2.png", "--log", "2.log")
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 128 + signal.SIGTERM and "go on with --resume" in err, err
    state = Path("state.npz").read_bytes()
    assert State.load("state.npz").stage == scales.count(",")
    for ranks in others:
        Path("state.npz").write_bytes(state)
        more = ["-o", f"{ranks}.png", "--log", f"{ranks}.log"]
        assert run(ranks, "--resume", "state.npz", *more)[::2] == (0, "")
        assert np.array_equal(*(np.asarray(Image.open(name)) for name in (f"{ranks}.png", "whole.png")))
        logs = [[json.loads(line) for line in Path(f"{n}.log").read_text().splitlines()] for n in (ranks, "whole")]
        assert 0 < len(logs[0]) < len(logs[1]) == 16
        assert [line["loss"] for line in logs[0]] == [line["loss"] for line in logs[1][-len(logs[0]) :]]


@pytest.mark.parametrize(
    "ranks, options",
    [
        (1, {"keep_colors": True}),
        (3, {"keep_colors": True}),
        (4, {"palette": "content:5"}),
        pytest.param(4, {"match_histogram": "style", "palette": "content:5"}, marks=pytest.mark.slow),
    ],
)
def test_colours_of_what_leaves_are_those_of_the_whole(monkeypatch, ranks, options):
    monkeypatch.setattr(oklab, "STRIP", 7 * SIZE[1])  # seven rows at a time, whose edges are not the ranks'
    rng = np.random.default_rng(0)
    content, painting, rgb = (rng.uniform(0, 255, (*SIZE, 3)).astype(np.float32) for _ in range(3))
    filters = Filters(settings_from(**options), images.from_array(content), [images.from_array(painting)])
    have = [(0, 20), (20, 33), (33, 70), (70, 70)] if ranks > 1 else [(0, 70)]  # one of four has none

    def work(one):
        rows = have[one.rank] if ranks != 3 or one.rank < 2 else (33, 70)
        first, end = colours.together(rows, SIZE)
        return colours.left(one, filters, rgb[slice(*rows)], rows, SIZE, content[first:end])

    assert np.array_equal(np.concatenate(in_threads(ranks, work)), filters.after(rgb))


def test_a_rank_has_the_rows_of_masks_that_its_tiles_look_at_and_no_more():
    content, mask = NOISE[0], NOISE[1, ..., 0] / 255
    options = {"mask": mask, "keep": np.pad(mask[:100] > 0.9, ((100, 0), (0, 0))), "size": 200, "scales": 1}
    (one,), many = spread(1, content, content, **options), spread(3, content, content, **options)
    (stage,) = one.stages
    whole = one.own.regions[stage]["style"]
    assert {t.layer for t in one.terms if t.source == "style"} == {*whole._found}
    for layer, weights in whole._found.items():
        assert weights.strip.rows == (0, weights.shape[0])
        parts = [job.own.regions[stage]["style"].weights(layer) for job in many]
        assert {part.shape for part in parts} == {weights.shape}
        assert np.array_equal(np.concatenate([p.strip.part for p in parts], axis=2), weights.strip.part)
    kept = np.concatenate([job.own.kept[stage] for job in many], axis=2)
    assert np.array_equal(kept, one.own.kept[stage]) and 0 < kept.mean() < 1
    assert all(job.styles.weights == {} and job.made_of() == one.made_of() for job in many)
    with pytest.raises(IndexError, match="another rank's"):
        many[2].own.regions[stage]["style"].weights("relu1_1")[0:10, 0:10]


def test_masks_take_no_more_than_is_planned(tmp_path):
    picture, path = images.from_array(np.repeat(NOISE[0], 2, axis=0)), tmp_path / "mask.png"
    Image.fromarray(images.to_uint8(picture.rgb[..., 0])).save(path)
    settings, names = settings_from(mask=str(path), guidance="all"), layer_names("vgg19")
    colour_space = ColourSpace(np.zeros(3), margin=8)
    planned = (reading.MASK + 4) * picture.rgb[..., 0].size
    tracemalloc.start()
    try:
        styles = Styles(settings, picture, [picture], colour_space, names)
        read = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        RegionRows(styles.region(styles.groups[0], picture.rgb.shape[:2]), {"relu1_1": (0, 60), "relu3_1": (0, 15)})
        made = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.5 * planned < max(read, made) <= planned


def test_masks_are_counted():
    content, mask = NOISE[0], (NOISE[1, ..., 0] / 255).astype(np.float32)
    plain, masked = (spread(1, content, content, size=200, scales=1, keep=keep)[0] for keep in (None, mask))
    (stage,) = plain.stages
    assert masked.plans[stage].peak > plain.plans[stage].peak
    picture = images.from_array(content)
    given = picture, None, [picture], plain.filters, replace(stage, style_sizes=(stage.size,))
    assert reading.reading(*given, [mask]) - reading.reading(*given) == mask.nbytes + reading.MASK * mask.size


@pytest.mark.slow
def test_scales_with_masks_colours_and_opacity_are_the_same_on_any_number_of_ranks():
    scene = images.to_uint8(images.as_picture(CONTENT).rgb)
    fading = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (72, 1))
    keep = np.pad(np.ones((42, 46)), ((30, 0), (50, 0)))
    options = {"size": 96, "scales": 2, "keep": keep, "tv_weight": 0.01, "match_histogram": "content"}
    found = []
    for ranks in (1, 3):
        jobs = spread(ranks, np.dstack([scene, fading]), **options)
        results = in_threads(ranks, lambda one, jobs=jobs: jobs[one.rank].run())
        whole = [np.concatenate([getattr(r, name) for r in results]) for name in ("rgb", "alpha")]
        found.append((*whole, np.array(results[0].losses)))
        assert len(jobs[0].stages) == 2 and 0 < whole[1].mean() < 1
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
