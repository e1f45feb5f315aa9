"""Several styles and regions: shares, masks, what is kept, from the library and from the command line."""

import dataclasses

import cases
import numpy as np
import pytest
from conftest import assert_close

import style
import weights
from minivgg.backend import Device
from minivgg.table import context, layer_names
from style import run
from style.large.tiles import Tiled
from style.large.tiling import Tiling
from style.objective import Objective
from style.pictures import images, saving
from style.regions import Region

H, W = 40, 56
LEFT = np.zeros((H, W), np.float32)
LEFT[:, : W // 2] = 1
SOFT = np.linspace(0, 1, W, dtype=np.float32)[None].repeat(H, 0)


@pytest.fixture
def content():
    return cases.blocks(((5, 7), (6, 4)))[0]


@pytest.fixture
def a():
    return cases.blocks(((5, 7), (6, 4)))[1]


@pytest.fixture
def b(a):
    return 255 - a[::-1, :24]


@pytest.fixture
def job_of(content, network_file):
    def make(styles, **options):
        base = {"size": 56, "evaluations": 6, "weights": str(network_file), "device": "cpu", "margin": 0, "lag": 1}
        return style.Job(content, styles, style.settings_from(**base | options))

    return make


def evaluation(job):
    """At the content picture, on the last scale."""
    stage = job.stages[-1]
    objective = job.objective(stage)
    x = job.input(job.content, stage.size) + np.float32(3) * np.sin(np.arange(3 * H * W, dtype=np.float32)).reshape(
        1, 3, H, W
    )
    return objective.evaluate(x)


# ------------------------------------------------------------------------------------------------ shares


def test_shares_blend_targets(job_of, a, b):
    whole = [t.target for t in job_of(a).objective(job_of(a).stages[0]).terms if t.kind == "style"]
    job = job_of([a, b], style_blend=(3, 1))
    other = job_of(b)
    other = [t.target for t in other.objective(other.stages[0]).terms if t.kind == "style"]
    found = [t.target for t in job.objective(job.stages[0]).terms if t.kind == "style"]
    for x, y, z in zip(found, whole, other, strict=True):
        assert_close(x, 0.75 * y + 0.25 * z, 1e-6)


def test_a_share_of_0_is_no_style(job_of, a, b):
    alone, beside = evaluation(job_of(a)), evaluation(job_of([a, b], style_blend=(2, 0)))
    assert alone.values == beside.values
    assert_close(beside.gradient, alone.gradient)


def test_one_style_twice_is_that_style(job_of, a):
    alone, twice = evaluation(job_of(a)), evaluation(job_of([a, a], style_blend=(0.3, 0.7)))
    assert twice.loss == pytest.approx(alone.loss, rel=1e-5)


def test_each_style_has_its_own_size(job_of, a, b):
    assert job_of([a, b], style_size=(48, 32)).style_sizes == ((48, 32), (32, 16))
    assert job_of([a, b], style_size=48, style_scale=(1.0, 2.0)).style_sizes == ((48, 32), (96, 48))
    assert job_of(a, style_scale=0.5).style_sizes == ((28, 19),)


# ------------------------------------------------------------------------------------------------ regions


def test_a_mask_of_ones_is_no_mask(job_of, a):
    none, ones = evaluation(job_of(a)), evaluation(job_of(a, mask=np.ones((H, W), bool)))
    assert none.values == ones.values
    assert_close(ones.gradient, none.gradient)


def test_the_sums_of_two_complementary_masks_are_the_whole(job_of, a):
    """Where they should: at layers where a region's weights add up place by place."""
    job = job_of([a, a], mask=[SOFT, "rest"], style_layers={"relu1_1": 1.0, "relu2_1": 1.0})
    objective = job.objective(job.stages[0])
    x = job.input(job.content, (H, W))
    sums, _ = objective.passes.gather(x, objective.terms)
    whole = job_of(a, style_layers={"relu1_1": 1.0, "relu2_1": 1.0})
    expected, _ = whole.objective(whole.stages[0]).passes.gather(x, whole.objective(whole.stages[0]).terms)
    by_layer = {t.layer: S for t, S in expected.items() if t.kind == "style"}
    for layer, (G, M) in by_layer.items():
        parts = [S for t, S in sums.items() if t.kind == "style" and t.layer == layer]
        assert len(parts) == 2
        assert_close(parts[0][0] + parts[1][0], G, 1e-5)
        assert float(parts[0][1] + parts[1][1]) == pytest.approx(float(M), rel=1e-6)


def test_a_style_in_a_region_leaves_the_rest_alone(job_of, a):
    gradient = evaluation(job_of(a, mask=LEFT, style_layers={"relu1_1": 1.0}, content_layers="none")).gradient
    assert not gradient[..., W // 2 + 1 :].any()
    assert gradient[..., : W // 2].all(axis=1).mean() > 0.9


def test_a_region_weighs_as_much_as_it_covers(job_of, a, b):
    job = job_of([a, b], mask=[LEFT, "rest"], style_weight=8.0)
    assert {t.factor for t in job.terms if t.kind == "style"} == {4.0}
    assert [t.name for t in job.terms if t.kind == "style"][::5] == ["style relu1_1 region 1", "style relu1_1 region 2"]


def test_two_styles_under_one_mask_are_blended_there(job_of, a, b):
    job = job_of([a, b], mask=LEFT)
    assert len([t for t in job.terms if t.kind == "style"]) == 5
    (group,) = job.styles.groups
    assert group.members == ((0, 0.5), (1, 0.5))


@pytest.mark.parametrize("guidance", ["simple", "inside", "all"])
def test_regions_of_styles_in_tiles(content, a, b, guidance, rng):
    """Whole and tiled agree to 1e-12, with masks of both kinds."""
    net = cases.make_net()
    masks = [SOFT.astype(np.float64), 1 - SOFT.astype(np.float64)]
    terms = style.statistics.make_terms(content={"relu4_2": 1.0}, style={"relu1_1": 2.0, "relu2_1": 1.0})
    terms = [t.confined(Region(masks[0], guidance, net.names)) if t.kind == "style" else t for t in terms]
    pictures = {
        "content": rng.uniform(-90, 90, (1, 3, H, W)),
        "style": [
            (0.5, rng.uniform(-90, 90, (1, 3, 33, 40))),
            (0.5, rng.uniform(-90, 90, (1, 3, H, W)), Region(masks[1], guidance, net.names)),
        ],
    }
    whole = Objective.of(net, terms, pictures)
    tiled = Objective.of(net, terms, pictures, Tiled(net, Tiling(("pool2",), ((16, 24), (16, 16)))))
    x = rng.uniform(-90, 90, (1, 3, H, W))
    one, other = whole.evaluate(x), tiled.evaluate(x)
    assert other.loss == pytest.approx(one.loss, rel=1e-12)
    assert_close(other.gradient, one.gradient, 1e-12)


def test_receptive_fields_are_those_of_the_network(rng):
    """A place changes with the pixels that context() says it sees, and with no other."""
    net, names = cases.make_net(pooling="avg"), layer_names("vgg19")
    x = rng.uniform(-90, 90, (1, 3, 96, 96))
    for layer in ("relu1_1", "relu1_2", "pool1", "relu2_1", "relu3_1"):
        feats, cache = net.forward(x, [layer])
        d = np.zeros_like(feats[layer])
        y = d.shape[2] // 2
        d[0, :, y, y] = rng.standard_normal(d.shape[1])
        seen = np.flatnonzero(np.abs(net.backward({layer: d}, cache)).sum(axis=(0, 1, 2)))
        step = 96 // d.shape[2]
        r = context(layer, names)
        assert (seen[0], seen[-1]) == (y * step - r, (y + 1) * step - 1 + r), layer
    assert context(None, names) == 0


@pytest.mark.parametrize("guidance, holds", [("inside", np.less_equal), ("all", np.greater_equal)])
def test_guidance_by_receptive_field(guidance, holds):
    names = layer_names("vgg19")
    simple = Region(SOFT).weights("relu2_1")
    found = Region(SOFT, guidance, names).weights("relu2_1")
    assert holds(found, simple).all() and not np.array_equal(found, simple)
    place, r = 5, context("relu2_1", names)
    seen = SOFT[0, 2 * place - r : 2 * place + 2 + r]
    assert found[4, place] == (seen.min() if guidance == "inside" else seen.max())


def test_guidance_needs_a_mask_and_a_name(job_of, a):
    with pytest.raises(style.SettingsError, match="guidance: works with mask"):
        job_of(a, guidance="inside")
    with pytest.raises(ValueError, match="expected simple, inside, all"):
        Region(SOFT, "outside")


# ------------------------------------------------------------------------------------------------- paint


def test_transparent_parts_of_a_style_are_no_paint(job_of, a):
    """Transparency is the style's mask where it has none of its own."""
    alpha = np.where(np.arange(a.shape[1]) < 20, 255.0, 0.0)[None, :, None].repeat(a.shape[0], 0)
    seen = evaluation(job_of(np.concatenate([a, alpha], axis=2)))
    white = np.where(alpha > 0, a, 255.0)
    masked = evaluation(job_of(white, style_mask=alpha[..., 0] > 0))
    assert seen.loss == pytest.approx(masked.loss, rel=1e-6)
    assert_close(seen.gradient, masked.gradient, 1e-5)
    assert abs(seen.loss / evaluation(job_of(white)).loss - 1) > 0.01


def test_a_style_mask_chooses_the_paint(job_of, a, b):
    both = np.concatenate([a, b[:, :24]], axis=1)
    mask = np.zeros(both.shape[:2], bool)
    mask[:, : a.shape[1]] = True
    job = job_of(both, style_mask=mask)
    assert job.styles.paint[0].mean() == pytest.approx(a.shape[1] / both.shape[1])
    assert evaluation(job).loss != evaluation(job_of(both)).loss


def test_all_of_a_style_counts_where_its_mask_says_so(job_of, a):
    """What is transparent, too, which is white then; `all` beside a mask is of the same kind."""
    half = np.where(np.arange(a.shape[1]) < 20, 255.0, 0.0)[None, :, None].repeat(a.shape[0], 0)
    clear = np.concatenate([a, half], axis=2)
    opaque = evaluation(job_of(np.where(half > 0, a, 255.0))).loss
    for mask in ("all", [np.ones(a.shape[:2], bool)]):
        assert evaluation(job_of(clear, style_mask=mask)).loss == pytest.approx(opaque, rel=1e-6)
    for mask in ("all", np.ones(a.shape[:2], bool)):  # which must not cut off what --guidance inside sees beyond it
        assert job_of([clear, clear], style_mask=[half[..., 0] > 0, mask]).styles.paint[1] is None


# -------------------------------------------------------------------------------------------------- keep


@pytest.mark.parametrize("optimizer", ["l-bfgs", "l-bfgs-b", "adam"])
def test_what_is_kept_stays_as_it_is(job_of, content, a, optimizer):
    job = job_of(a, keep=LEFT, init="noise", optimizer=optimizer, lag=None)
    found = job.run().rgb
    assert np.abs(found - content)[:, : W // 2].max() < 1e-3
    assert np.abs(found - content)[:, W // 2 :].mean() > 3


def test_a_soft_mask_lets_a_pixel_go_so_far(job_of, content, a):
    found = job_of(a, keep=SOFT, init="noise", margin=4).run().rgb
    low, high = SOFT[..., None] * content, SOFT[..., None] * content + (1 - SOFT[..., None]) * 255
    assert (found >= low - 1e-3).all() and (found <= high + 1e-3).all()


def test_keep_needs_bounds(job_of, a):
    for options in ({"optimizer": "two-loop"}, {"bounds": False}):
        with pytest.raises(style.SettingsError, match="keep: works with bounds"):
            job_of(a, keep=LEFT, **options)


def test_what_is_kept_does_not_count_for_the_style(job_of, a):
    (group,) = job_of(a, keep=LEFT).styles.groups
    assert np.array_equal(group.mask, 1 - LEFT)
    assert group.area == 0.5


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "options, found",
    [
        ({"style_blend": (1, 2, 3)}, "style_blend: 3 values for 2 styles"),
        ({"style_blend": (0, 0)}, "style_blend: all of weight 0"),
        ({"style_blend": (1, 3), "mask": [LEFT, "rest"]}, "style_blend: shares of styles under one mask"),
        ({"style_blend": (1, -1)}, "style_blend -1: expected 0 or more"),
        ({"style_size": (40, 20, 10)}, "expected 16 or|expected 16 to|3 values for 2"),
        ({"style_scale": (1, 0)}, "style_scale 0: expected 0.05 to 20"),
        ({"mask": [LEFT] * 3}, "mask: 3 values for 2 styles"),
    ],
)
def test_options_that_do_not_fit_the_styles(job_of, a, b, options, found):
    with pytest.raises(style.SettingsError, match=found) as error:
        job_of([a, b], **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "mask, found",
    [
        (np.zeros((H, W), bool), "mask array: it covers nothing of the content picture"),
        (np.ones((H, 2 * W)), "mask array: 112x40, the content picture has 56x40; expected the same proportions"),
        (np.ones((H, W, 3)), r"mask: array \(40, 56, 3\) of float64; expected \(H, W\)"),
        (np.full((H, W), 255.0), "mask: values outside 0..1"),
        (np.full((H, W), np.nan), "mask: values outside 0..1"),
        ("alpha", "mask alpha: the content picture has no transparency"),
        ("rest", "mask rest: what no other mask covers; expected only beside others"),
        ("array", "mask array: it came from memory, and no picture keeps it; give the array again"),
        ("not:all", "mask not:all: it covers nothing of the content picture"),
        ("no.png", "no.png: no such file"),
        ("x.png#12345g", "mask x.png#12345g: colour '12345g'; expected six hexadecimal digits"),
    ],
)
def test_masks_that_cannot_be_used(job_of, a, mask, found):
    with pytest.raises((images.ImageError, style.SettingsError), match=found) as error:
        job_of(a, mask=mask)
    assert "\n" not in str(error.value)


def test_a_mask_that_covers_no_place_of_a_layer(job_of, a):
    corner = np.zeros((H, W), bool)
    corner[-8:, -8:] = True  # 40 rows are 2 places of relu5_1, of which the last ends at row 32
    with pytest.raises(style.SettingsError, match="mask array: at 56x40 it covers no place of relu5_1"):
        job_of(a, mask=corner)
    with pytest.raises(images.ImageError, match="keeps the whole content picture"):
        job_of(a, keep=np.ones((H, W)))


def test_a_saved_run_knows_its_masks(job_of, a):
    """A state of a run with one mask does not go on with another."""
    states = []
    job = job_of(a, mask=LEFT)
    job.run(lambda e: states.append(e.state()) if isinstance(e, style.events.Iterated) and e.state else None)
    with pytest.raises(style.StateError, match="mask of style"):
        job_of(a, mask=LEFT[:, ::-1]).run(state=states[0])


# --------------------------------------------------------------------------------------------- command line


@pytest.fixture
def folder(tmp_path, monkeypatch, content, a, b):
    monkeypatch.chdir(tmp_path)
    for name, rgb in (("content", content), ("a", a), ("b", b)):
        saving.save(f"{name}.png", rgb)
    saving.save("left.png", np.repeat(LEFT[..., None] * 255, 3, 2))
    saving.save("map.png", np.where(LEFT[..., None] > 0, (255, 0, 0), (0, 0, 255)))
    (tmp_path / "both").mkdir()
    saving.save("both/1.png", a)
    saving.save("both/2.png", b)
    weights.save_compact(cases.make_network(), "narrow.npz")
    return tmp_path


BASE = ["--weights", "narrow.npz", "--evaluations", "5", "--device", "cpu", "-o", "out.png"]


def test_styles_on_the_command_line(folder, capsys):
    assert run.main(["content.png", "a.png:0.7", "b.png:0.3", *BASE]) == 0
    out = capsys.readouterr().out
    assert "a.png 32x48 -> 37x56, 0.70 of the blend" in out
    assert "b.png 24x48 -> 28x56, 0.30 of the blend" in out
    record = saving.read_metadata("out.png")
    assert record["settings"]["style_blend"] == [0.7, 0.3]
    assert [s["name"] for s in record["style"]] == ["a.png", "b.png"]
    first = images.read("out.png").rgb
    assert run.main(["content.png", "a.png", "b.png", "--style-blend", "0.7,0.3", *BASE, "--overwrite"]) == 0
    assert np.array_equal(images.read("out.png").rgb, first)
    assert run.main(["content.png", "both", "--style-blend-weights", "0.7,0.3", *BASE, "--overwrite"]) == 0
    assert np.array_equal(images.read("out.png").rgb, first)
    assert run.main(["content.png", "both/*.png", "--style-blend", "0.7,0.3", *BASE, "--overwrite"]) == 0
    assert np.array_equal(images.read("out.png").rgb, first)


def test_masks_on_the_command_line(folder, capsys):
    assert run.main(["content.png", "a.png", "b.png", "--mask", "left.png,rest", "--overlay", "o.png", *BASE]) == 0
    assert "a.png 32x48 -> 37x56, in 50 % of the picture" in capsys.readouterr().out
    first = images.read("out.png").rgb
    shown = images.read("o.png").rgb
    assert np.abs(shown[:, : W // 2].mean((0, 1)) - shown[:, W // 2 :].mean((0, 1))).max() > 50
    for masks in ("map.png#ff0000,map.png#00f", "left.png,not:left.png", "rest,map.png#00f"):
        assert run.main(["content.png", "a.png", "b.png", "--mask", masks, *BASE, "--overwrite"]) == 0
        assert np.array_equal(images.read("out.png").rgb, first), masks
    assert saving.read_metadata("out.png")["settings"]["mask"] == ["rest", "map.png#00f"]
    assert run.main(["content.png", "a.png", "--keep", "left.png", *BASE, "--lag", "1", "--overwrite"]) == 0
    kept = images.read("out.png").rgb - images.read("content.png").rgb
    assert not kept[:, : W // 2].any() and kept[:, W // 2 :].any()


@pytest.mark.parametrize(
    "args, found",
    [
        (["a.png:-1"], "a.png:-1: share -1; expected a number from 0 up"),
        (
            ["a.png:0.5", "b.png", "--style-blend", "1,2"],
            "--style-blend: shares stand behind the pictures' names as well",
        ),
        (["none/*.png"], "none/*.png: no file has such a name; check the pattern"),
        (["empty"], "empty: a folder without pictures"),
        (
            ["a.png", "--style-size", "20,x"],
            "argument --style-size: '20,x': expected a whole number, or one for each style",
        ),
        (["a.png", "--overlay", "out.png"], "--overlay out.png: is the output file as well"),
        (["a.png", "--overlay", "a.png"], "--overlay a.png: is the style file as well"),
        (["a.png", "--mask", "left.png,rest"], "--mask: 2 values for 1 styles; expected one, or one each"),
    ],
)
def test_wrong_values_get_a_line(folder, capsys, args, found):
    (folder / "empty").mkdir()
    try:
        code = run.main(["content.png", *args, *BASE])
    except SystemExit as e:
        code = e.code
    error = capsys.readouterr().err
    assert code == 2
    assert found in error and error.count("\n") == 1
    assert not (folder / "out.png").exists()


def test_bounds_of_what_is_kept_on_a_device():
    """Arrays of bounds lie where the picture lies (the margin included)."""
    space = dataclasses.replace(style.ColourSpace(np.array([100.0, 110.0, 120.0])), device=Device("cpu"), margin=3)
    assert space.with_margin(LEFT).shape == (H + 6, W + 6)
