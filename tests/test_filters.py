"""Colour before and after a transfer: Oklab, matching, palettes, and what a job makes of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import assert_close
from PIL import Image

import style
from style import SettingsError, run, settings_from
from style.events import Evaluated, StageDone
from style.pictures import images, matching, oklab, palette
from style.pictures.filters import FILTERS, Filters
from style.pictures.matching import MAPS, Moments

GREY = np.repeat(np.linspace(20, 200, 40 * 30).reshape(40, 30, 1), 3, axis=2).astype(np.float32)
ONE = np.full((40, 30, 3), (200, 30, 90), np.float32)
TWO = np.where(np.arange(30)[None, :, None] < 11, np.float32([250, 20, 10]), np.float32([0, 90, 200])).repeat(40, 0)
ODD = {"grey": GREY, "one colour": ONE, "two colours": TWO}


def coloured(seed, H=40, W=30):
    """A picture whose channels hang together, well within 0..255."""
    rng = np.random.default_rng(seed)
    rgb = rng.standard_normal((H, W, 3)) @ rng.normal(0, 12, (3, 3)) + rng.uniform(90, 160, 3)
    return np.clip(rgb, 0, 255).astype(np.float32)


def filters(content, painting, alpha=None, **options):
    content = replace(images.from_array(content), alpha=alpha)
    return Filters(settings_from(**options), content, [images.from_array(painting)])


# ------------------------------------------------------------------------------------------------- Oklab


@pytest.mark.parametrize(
    "xyz, lab",
    [  # Ottosson's table, to its three digits
        ((0.950, 1.000, 1.089), (1.000, 0.000, 0.000)),
        ((1.000, 0.000, 0.000), (0.450, 1.236, -0.019)),
        ((0.000, 1.000, 0.000), (0.922, -0.671, 0.263)),
        ((0.000, 0.000, 1.000), (0.153, -1.415, -0.449)),
    ],
)
def test_oklab_has_the_published_values(xyz, lab):
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    light = np.linalg.solve(to_xyz, xyz)
    assert np.abs(oklab.linear_to_oklab(light) - lab).max() < 2e-3


def test_oklab_of_red_is_css_s_and_greys_have_no_colour():
    assert np.abs(oklab.to_oklab(np.array([255.0, 0, 0])) - [0.62796, 0.22486, 0.12585]).max() < 1e-5
    greys = oklab.to_oklab(np.repeat(np.arange(256.0)[:, None], 3, axis=1))
    assert np.abs(greys[:, 1:]).max() < 1e-6
    assert (np.diff(greys[:, 0]) > 0).all()


@pytest.mark.parametrize("dtype, most", [(np.float64, 1e-4), (np.float32, 2e-2)])
def test_there_and_back(dtype, most):
    steps = np.linspace(0, 255, 12)
    rgb = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3).astype(dtype)
    assert np.abs(oklab.from_oklab(oklab.to_oklab(rgb)) - rgb).max() < most


def test_colours_that_no_screen_has_keep_lightness_and_hue():
    rng = np.random.default_rng(1)
    lab = np.stack([rng.uniform(0.05, 0.95, 500), *rng.uniform(-0.4, 0.4, (2, 500))], axis=1)
    found = oklab.into_gamut(lab)
    assert_close(found[:, 0], lab[:, 0])
    t = np.hypot(*found[:, 1:].T) / np.hypot(*lab[:, 1:].T)
    assert_close(found[:, 1:], t[:, None] * lab[:, 1:], 1e-12)
    assert 0 < t.min() < 0.9 and (t == 1).any()
    assert np.abs(oklab.to_oklab(oklab.from_linear(oklab.oklab_to_linear(found))) - found).max() < 5e-3
    light = oklab.oklab_to_linear(found * [1, 1.02, 1.02])[t < 1]  # and gives up no more than it must
    assert ((light < -1e-5) | (light > 1 + 1e-5)).any(axis=1).all()


# -------------------------------------------------------------------------------- mean and covariance


@pytest.mark.parametrize("method", MAPS)
def test_mean_and_covariance_become_the_target_s(method):
    rgb, target = coloured(0).astype(np.float64), Moments.of(coloured(1))
    own = Moments.of(rgb)
    A = MAPS[method](own.covariance, target.covariance)
    assert_close(A @ own.covariance @ A.T, target.covariance, 1e-10)
    found = Moments.of(matching.match_moments(rgb, own, target, method))
    assert_close(found.mean, target.mean, 1e-6)
    assert_close(found.covariance, target.covariance, 1e-6)
    assert np.abs(found.mean - own.mean).max() > 1  # it had something to do
    assert_close(matching.match_moments(rgb, own, own, method), rgb, 1e-6)


def test_moments_are_numpy_s_and_those_of_several_are_of_all_their_pixels():
    a, b = coloured(2), coloured(3)
    found = Moments.together([Moments.of(a), Moments.of(b)], [1, 1])
    both = np.concatenate([a, b]).reshape(-1, 3).astype(np.float64)
    assert_close(found.mean, both.mean(axis=0), 1e-10)
    assert_close(found.covariance, np.cov(both.T, bias=True), 1e-10)


def test_the_symmetric_map_is_symmetric_and_moves_colours_least():
    S, T = (Moments.of(coloured(k)).covariance for k in (4, 5))
    A = MAPS["symmetric"](S, T)
    assert_close(A, A.T, 1e-10)
    moved = {name: np.trace((f(S, T) - np.eye(3)) @ S @ (f(S, T) - np.eye(3)).T) for name, f in MAPS.items()}
    assert moved["symmetric"] < min(moved["pca"], moved["cholesky"])


@pytest.mark.parametrize("method", MAPS)
@pytest.mark.parametrize("odd", ODD)
def test_pictures_of_few_colours_match_as_far_as_they_go(method, odd):
    plain = coloured(6)
    for content, painting in ((ODD[odd], plain), (plain, ODD[odd]), (ODD[odd], ODD[odd])):
        f = filters(content, painting, match_colors=method)
        found, wanted = Moments.of(f.styles[0].rgb), Moments.of(content)
        assert np.isfinite(f.styles[0].rgb).all()
        if f.record["match_colors"]["cut off"][0]["pixels"] == 0:
            assert np.abs(found.mean - wanted.mean).max() < 1e-3
            assert np.trace(found.covariance) <= np.trace(wanted.covariance) * (1 + 1e-6) + 1e-2
    if odd == "grey":
        grey = filters(GREY, plain, match_colors=method).styles[0].rgb
        assert np.ptp(grey, axis=2).max() < 0.1


def test_either_direction_and_what_is_cut_off_is_said():
    bright = np.clip(coloured(7) * 3 - 220, 0, 255)
    to_style = filters(coloured(8), bright, match_colors="symmetric", match_to="style")
    assert to_style.styles[0].rgb is not bright and to_style.styles[0].origin is None
    assert to_style.content.origin is not None
    cut = to_style.record["match_colors"]["cut off"][0]
    assert cut["pixels"] > 0.01 and cut["mean"] > 0
    assert "cut off at black or white" in to_style.content.notes[-1]
    assert np.abs(Moments.of(to_style.content.rgb).mean - Moments.of(bright).mean).max() <= cut["mean"] + 1e-3


# ------------------------------------------------------------------------------------- the other filters


def test_keep_colors_gives_greys_before_and_the_content_s_colours_after():
    content, painting = coloured(9), coloured(10) * 0.5
    f = filters(content, painting, keep_colors=True)
    for picture in (f.content, *f.styles):
        assert np.ptp(picture.rgb, axis=2).max() < 1e-3
    assert_close(oklab.to_oklab(f.content.rgb)[..., 0], oklab.to_oklab(content)[..., 0], 1e-4)
    assert_close(Moments.of(f.styles[0].rgb).mean, Moments.of(f.content.rgb).mean, 1e-2)
    lab = oklab.to_oklab(f.after(painting))
    assert_close(lab[..., 0], oklab.to_oklab(painting)[..., 0], 1e-3)
    assert np.abs(f.after(content) - content).max() < 2e-2  # the content itself stays
    assert np.ptp(filters(GREY, painting, keep_colors=True).after(painting), axis=2).max() < 1e-2
    assert np.isfinite(filters(content, ONE, keep_colors=True).styles[0].rgb).all()


def projected(a, b, count=24):
    """How far two clouds of colours are apart along random directions, in levels."""
    directions = np.random.default_rng(5).standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    levels = np.linspace(0, 1, 101)
    at = [np.quantile(x.reshape(-1, 3) @ directions.T, levels, axis=0) for x in (a, b)]
    return float(np.abs(at[0] - at[1]).mean())


def test_match_histogram_gives_the_whole_distribution():
    content, painting = coloured(11), coloured(12)
    content[:20] = coloured(17)[:20] / 2  # two heaps
    f = filters(content, painting, match_histogram="content")
    assert projected(f.after(painting), content) < 0.15 * projected(painting, content)
    assert np.abs(f.after(content) - content).max() < 1e-3
    for odd in ODD.values():
        assert np.isfinite(f.after(odd)).all()
        assert np.isfinite(filters(odd, painting, match_histogram="content").after(content)).all()
    to_style = filters(content, painting, match_histogram="style").after(content)
    assert projected(to_style, painting) < projected(content, painting) / 2


def test_transparent_pixels_do_not_count():
    """Garbage where nothing shows changes no mean, covariance, histogram or palette."""
    content, painting, alpha = coloured(13), coloured(14), np.ones((40, 30), np.float32)
    alpha[:9] = 0
    garbage = content.copy()
    garbage[:9] = (255, 0, 255)
    for options in ({"match_colors": "pca"}, {"keep_colors": True}):
        a, b = (filters(c, painting, alpha, **options).styles[0].rgb for c in (content, garbage))
        assert_close(a, b, 1e-5)
    for options in ({"match_histogram": "content"}, {"palette": "content:4"}):
        f, g = (filters(c, painting, alpha, **options) for c in (content, garbage))
        assert_close(f.after(painting), g.after(painting), 1e-6)
        assert np.abs(f.after(painting) - filters(garbage, painting, **options).after(painting)).max() > 1
    f = filters(content, painting, match_histogram="content")
    assert_close(f.after(garbage, alpha)[9:], f.after(content, alpha)[9:], 1e-6)
    nothing = np.zeros_like(alpha)
    assert_close(Moments.of(content, nothing).mean, Moments.of(content).mean)


def test_palette_takes_the_nearest_in_oklab_and_no_other_colour():
    rgb, colours = coloured(15), np.array([[10, 20, 30], [250, 240, 200], [150, 60, 20], [60, 120, 60.0]])
    found = palette.nearest(rgb, colours)
    distance = np.linalg.norm(oklab.to_oklab(rgb)[:, :, None] - oklab.to_oklab(colours), axis=-1)
    assert np.array_equal(found, colours[distance.argmin(axis=-1)].astype(np.float32))
    assert np.array_equal(palette.nearest(found, colours), found)
    dots = palette.dithered(rgb, colours)
    assert {tuple(c) for c in dots.reshape(-1, 3)} <= {tuple(c) for c in colours}
    flat = np.full((32, 32, 3), 128, np.float32)
    assert abs(palette.dithered(flat, np.array([[0, 0, 0], [255, 255, 255]])).mean() - 128) < 2
    assert np.array_equal(filters(rgb, rgb, palette="#112233").after(rgb), np.broadcast_to([17, 34, 51.0], rgb.shape))


def test_a_palette_of_a_picture(tmp_path):
    assert [tuple(c) for c in palette.colours_of(TWO)] == [(0, 90, 200), (250, 20, 10)]
    noise = np.random.default_rng(0).uniform(0, 255, (40, 40, 3))
    assert len(palette.colours_of(noise)) == palette.USUAL
    assert 1 < len(palette.colours_of(noise, count=5)) <= 5
    Image.fromarray(TWO.astype(np.uint8)).save(tmp_path / "two.png")
    for spec in (tmp_path / "two.png", str(tmp_path / "two.png"), f"{tmp_path / 'two.png'}:2"):
        assert filters(GREY, GREY, palette=spec).record["palette"] == ["#005ac8", "#fa140a"]
    assert filters(GREY, TWO, palette="style:2").record["palette"] == ["#005ac8", "#fa140a"]
    assert len(filters(GREY, TWO, palette="sample:mosaic:64:6").record["palette"]) <= 6


@pytest.mark.parametrize(
    "spec, says",
    [
        ("#12345", "'#12345' is no colour"),
        ("red,blu", "'blu' is no colour"),
        ("style:900", "'900' colours: expected 1 to 256"),
        ("nowhere.png", "expected colours such as"),
        ([], "0 colours"),
        ([(1, 2)], r"\(1, 2\) is no colour"),
        ([(1, 2, 300)], "is no colour"),
        (["#000"] * 257, "257 colours"),
    ],
)
def test_palettes_that_are_none(spec, says):
    with pytest.raises(SettingsError, match=f"palette .*{says}") as e:
        settings_from(palette=spec)
    assert "\n" not in str(e.value)


def test_each_filter_s_option_is_there_and_none_asked_for_changes_nothing():
    settings = settings_from()
    assert all(not getattr(settings, name) for name in FILTERS)
    content = images.from_array(coloured(16))
    f = Filters(settings, content, [content])
    assert f.content is content and f.styles == [content]
    assert (f.alters, f.notes, f.record, f.nbytes((10, 10))) == (False, [], {}, 0)


# ---------------------------------------------------------------------------------------- in a transfer

ASKED = [
    {"keep_colors": True},
    {"match_colors": "cholesky"},
    {"match_colors": "symmetric", "match_to": "style"},
    {"match_histogram": "content"},
    {"match_histogram": "style", "palette": "style:4"},
    {"palette": "#102030,#f0e0d0", "dither": True},
]


@pytest.mark.parametrize("options", ASKED, ids=str)
def test_every_picture_that_leaves_is_filtered(make_job, options):
    job, seen = make_job(scales=2, **options), []

    def listener(event):
        first = isinstance(event, Evaluated) and event.evaluation == 1
        seen.append(event.to_rgb() if first else event)

    result = job.run(listener)
    scale = next(e.result for e in seen if isinstance(e, StageDone))
    leaving = [result.rgb, scale.rgb, seen[1]]
    for rgb in leaving:
        assert np.isfinite(rgb).all() and rgb.min() >= 0 and rgb.max() <= 255
        if "palette" in options:
            own = {tuple(images.to_uint8(c)) for c in rgb.reshape(-1, 3)}
            assert {"#{:02x}{:02x}{:02x}".format(*c) for c in own} <= {*result.metadata["colour"]["palette"]}
    assert_close(result.rgb, job.filters.after(job.colours.to_rgb(result.outcome.image)))
    alters = "match_colors" not in options
    assert (result.metadata["result"]["loss as saved"] is None) == alters
    stored = json.loads(json.dumps(result.metadata))
    assert stored["colour"]["loss as saved is not known"] if alters else "colour" in stored
    settings = stored["settings"] | {"weights": job.settings.weights}  # stored without its folder
    assert settings_from(**settings) == job.settings


@pytest.mark.parametrize("options", [{}, *ASKED], ids=str)
def test_the_plan_says_where_what_is_kept_gets_other_colours(make_job, options):
    content = make_job(size="original").content  # of a size of its own its greys are those of its colours
    keep = np.zeros(content.rgb.shape[:2], bool)
    keep[:, : keep.shape[1] // 2] = True
    job = make_job(keep=keep, size="original", init="noise", evaluations=1, **options)
    half, found = keep.shape[1] // 2, job.run().rgb
    said = "what --keep keeps gets it, too" in job.filters.notes
    assert (np.abs(found - content.rgb)[:, :half].max() > 1) == said


def test_records_name_the_pictures_as_they_came_and_targets_are_kept_apart(make_job):
    plain = make_job()
    plain.run()
    matched = make_job(engine=plain.engine, match_colors="pca")
    alone = make_job(match_colors="pca").run()
    assert_close(matched.run().rgb, alone.rgb, 1e-6)  # not the targets of the style as it came
    record = json.dumps(alone.metadata)
    for picture in (plain.content, *plain.styles.pictures):
        assert picture.sha256 in record
    assert matched.styles.pictures[0].sha256 not in record


def test_several_styles_share_a_target_by_their_weights():
    content, *several = (images.from_array(coloured(k)) for k in (20, 21, 22))
    f = Filters(settings_from(match_colors="symmetric", match_to="style"), content, several, (3, 1))
    means = [Moments.of(p.rgb).mean for p in several]
    assert np.abs(Moments.of(f.content.rgb).mean - (3 * means[0] + means[1]) / 4).max() < 0.5
    both = Filters(settings_from(match_colors="pca", match_histogram="style"), content, several)
    assert len(both.styles) == 2 and np.isfinite(both.after(content.rgb)).all()


@pytest.mark.parametrize(
    "args, says",
    [
        (["--keep-colors", "--palette", "#000"], "--palette: works with colours that change: without --keep-colors"),
        (["--original-colors", "--match-colors", "pca"], "--match-colors: works with"),
        (["--keep-colours", "--match-histogram", "style"], "--match-histogram: works with"),
        (["--match-colors", "lab"], "--match-colors 'lab': use cholesky or pca or symmetric"),
        (["--match-colors", "pca", "--match-to", "me"], "--match-to 'me': use content or style"),
        (["--match-histogram", "both"], "--match-histogram 'both': use content or style"),
        (["--match-to", "style"], "--match-to: works with --match-colors"),
        (["--dither"], "--dither: works with --palette"),
        (["--palette", "no.png"], "--palette 'no.png': expected colours such as"),
    ],
)
def test_the_command_line_refuses_in_one_line(tmp_path, monkeypatch, capsys, args, says):
    monkeypatch.chdir(tmp_path)
    assert run.main(["sample:scene:64", "sample:strokes:64", "--weights", "mini", *args]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_palette_file_that_is_no_picture_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colours.txt").write_text("red")
    assert run.main(["sample:scene:64", "--weights", "mini", "--palette", "colours.txt:4"]) == 1
    assert "colours.txt: not a picture" in capsys.readouterr().err


def test_a_log_does_not_replace_the_palette_s_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(TWO.astype(np.uint8)).save("two.png")
    for spec in ("two.png", "two.png:2"):
        assert run.main(["sample:scene:64", "--palette", spec, "--log", "two.png", "--overwrite"]) == 2
        assert "is the --palette file as well" in capsys.readouterr().err


def test_the_command_line_says_and_does_it(tmp_path, monkeypatch, capsys, network_file):
    monkeypatch.chdir(tmp_path)
    args = [
        "sample:scene:64",
        "sample:strokes:64",
        "--weights",
        str(network_file),
        "--evaluations",
        "2",
        "-o",
        "out.png",
    ]
    assert run.main([*args, "--palette", "navy,#f0e0d0"]) == 0
    out = capsys.readouterr().out
    assert "colour   palette #000080 #f0e0d0, after the transfer" in out
    assert "as saved in 8 bits" not in out
    seen = np.unique(np.asarray(Image.open("out.png")).reshape(-1, 3), axis=0)
    assert {tuple(c) for c in seen.tolist()} <= {(0, 0, 128), (240, 224, 208)}


def test_in_python_by_other_names(pictures, network_file):
    base = {"weights": str(network_file), "size": 32, "evaluations": 1, "margin": 0}
    one, other = (style.transfer(*pictures, **base, **{name: True}).rgb for name in ("keep_colors", "original_colors"))
    assert np.array_equal(one, other)
