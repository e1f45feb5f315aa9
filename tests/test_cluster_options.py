"""What goes over ranks beside the plain picture, each with the digits of one process in the same tiles."""

import json
from dataclasses import replace

import numpy as np
import pytest
from over_mpi import RUN, in_threads, over_ranks, run
from PIL import Image

from style.cluster import colours, plan
from style.job import Job
from style.pictures import images, oklab
from style.pictures.filters import Filters
from style.settings import settings_from

SIZE = (70, 50)
CASES = {
    "adam": (2, {"optimizer": "adam"}),
    "l-bfgs": (2, {}),
    "terms of the picture": (3, {"tv_weight": 0.01, "photo_weight": 0.001, "laplacian_weight": 0.1}),
    "lightness": (3, {"keep_colors": True}),
    "colours": (3, {"match_colors": "pca", "match_histogram": "content", "palette": "style:8"}),
    "content matched": (2, {"match_colors": "symmetric", "match_to": "style"}),
}


def alone(content="sample:scene:96", painting="sample:strokes:96", **options):
    """Result of one process, in the tiles that ranks take."""
    options = {"size": 96, "weights": "mini", "evaluations": 4, **options}
    if options.get("optimizer") != "adam":
        options |= {"precondition": 0, "lag": 1}
    job = Job(content, painting, settings_from(device="cpu", **options))
    (stage,) = job.stages
    height, width = (n + 2 * job.colours.margin for n in stage.size)
    tiling = next(plan.tilings(job.engine.outline(job.terms), job.terms, height, width))
    job.plans[stage] = replace(job.plans[stage], tiling=tiling, keep_transforms=False)
    return job.run()


def on_command_line(options):
    found = []
    for name, value in options.items():
        found += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return found


@over_ranks
@pytest.mark.parametrize("case", CASES)
def test_the_command_line_gives_the_picture_of_one_machine_in_the_same_tiles(case, tmp_path):
    ranks, options = CASES[case]
    expected, path, log = alone(**options), tmp_path / "out.png", tmp_path / "log"
    args = [*RUN, "--evaluations", "4", *on_command_line(options), "-o", path, "--log", log]
    code, _, err = run(ranks, *args)
    assert (code, err) == (0, "")
    assert [json.loads(line)["loss"] for line in log.read_text().splitlines()] == expected.losses
    assert np.array_equal(np.asarray(Image.open(path)), expected.image)


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
