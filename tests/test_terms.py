"""Terms: what they gather adds up, a region weighs places, targets blend, and what does not fit is refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from cases import STYLE_LAYERS, TERMS, Case, assert_same, blob, make_case, make_net, noise, worst

from minivgg.gradcheck import direction
from style import losses
from style.large.tiling import Tiling
from style.objective import Objective, aim
from style.passes import ALL, Whole
from style.statistics import make_terms
from style.terms import Content, Gram, Part, Region, Statistic, Term, TotalVariation, layers, merge

RNG = np.random.default_rng(6)
H, W = 45, 51


def confined(terms, region):
    """The terms of the network's layers, confined to a region."""
    return [replace(t, region=region) if t.layer is not None else t for t in terms]


def part(feat, m=None, target=None):
    return Part(feat, ALL, m, target, matmul=np.matmul)


def test_a_region_of_ones_is_no_region():
    case = make_case(H, W)
    expected = case.whole().evaluate(case.image)
    everywhere = replace(case, terms=confined(TERMS, Region(np.ones((H, W)))))
    assert_same(everywhere.whole().evaluate(case.image), expected, 1e-14)


def test_two_complementary_regions_add_up():
    """Gram matrices, counts and sums of squares: soft weights m and 1 - m."""
    feat, target = RNG.standard_normal((2, 1, 6, 9, 11))
    m = RNG.uniform(0, 1, 99)
    for statistic, options in ((Gram(), {}), (Content(), {"target": target})):
        whole = statistic.gather(part(feat, **options))
        both = merge(*(statistic.gather(part(feat, w, **options)) for w in (m, 1 - m)))
        for found, expected in zip(both, whole, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13 * np.abs(expected).max())


def test_region_terms_by_hand():
    """At each layer the weight of a place is the mean of its pixels', and the losses are means with these weights."""
    case = make_case(H, W)
    pixels = blob(H, W)
    names = {"content relu2_2": 1, "style relu1_1": 0, "style relu3_1": 2}
    terms = [t for t in TERMS if t.name in names]
    found = replace(case, terms=confined(terms, Region(pixels))).whole().evaluate(case.image).values
    nets = {which: case.net.forward(getattr(case, which), layers(terms))[0] for which in ("image", "content", "style")}
    feats = {w: {n: losses.features(f) for n, f in each.items()} for w, each in nets.items()}
    for term in terms:
        depth = names[term.name]
        h, w = H >> depth, W >> depth
        step = 1 << depth
        m = np.array(
            [[pixels[y * step : (y + 1) * step, x * step : (x + 1) * step].mean() for x in range(w)] for y in range(h)]
        ).reshape(-1)
        F = feats["image"][term.layer]
        if term.source == "content":
            expected = (m * (F - feats["content"][term.layer]) ** 2).sum() / (F.shape[0] * m.sum())
        else:  # the style picture counts whole
            S, M = feats["style"][term.layer], m.sum()
            expected = (((m * F) @ F.T / (F.shape[0] * M) - S @ S.T / S.size) ** 2).mean()
        assert found[term.name] == pytest.approx(term.factor * expected, rel=1e-12), term.name


def test_the_gradient_in_a_region():
    case = make_case(H, W)
    whole = replace(case, terms=confined(TERMS, Region(blob(H, W)))).whole()
    gradient = whole.evaluate(case.image).gradient
    d, step = direction(gradient, RNG), 1e-6
    slope = (whole.evaluate(case.image + step * d).loss - whole.evaluate(case.image - step * d).loss) / (2 * step)
    assert slope == pytest.approx((gradient * d).sum(), rel=1e-6)


def test_outside_the_region_nothing_counts():
    """Of a term at relu1_1, pixels farther away than one place have no gradient."""
    case = make_case(H, W, terms=make_terms(style={"relu1_1": 1.0}))
    pixels = np.zeros((H, W))
    pixels[:, 20:] = 1
    gradient = replace(case, terms=confined(case.terms, Region(pixels))).whole().evaluate(case.image).gradient
    assert not gradient[..., :19].any()
    assert gradient[..., 20:].all()


@pytest.mark.parametrize("tiled", [False, True])
def test_a_region_that_covers_no_place_is_refused(tiled):
    """The last row and column, which the poolings leave out, have no place at the deep layers."""
    pixels = np.zeros((H, W))
    pixels[-1, -1] = 1
    terms = confined(make_terms(style=dict.fromkeys(("relu1_1", "relu3_1"), 1.0)), Region(pixels))
    case = make_case(H, W, terms=terms)
    objective = case.tiled(Tiling((), ((32, 32),))) if tiled else case.whole()
    with pytest.raises(ValueError, match="the region covers no place of relu3_1: use a larger one") as error:
        objective.evaluate(case.image)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="the region covers no place of the picture"):
        Region(np.zeros((H, W))).weights(None)


def test_shapes_that_do_not_fit_are_refused():
    case = make_case(H, W)
    larger = noise(48, 51)[0]
    with pytest.raises(ValueError, match=r"content relu4_2: .* gives \(6, 6\) places, the target has \(5, 6\)"):
        case.whole().evaluate(larger)
    terms = confined(make_terms(style={"relu1_1": 1.0, "relu4_1": 1.0}), Region(np.ones((H, W))))
    with pytest.raises(ValueError, match=r"style relu1_1: .* gives \(48, 51\) places, its region has \(45, 51\)"):
        replace(case, terms=terms).whole().evaluate(larger)
    with pytest.raises(ValueError, match="one picture at a time, found 2"):
        case.whole().evaluate(np.concatenate([case.image] * 2))
    with pytest.raises(KeyError, match="style"):
        Objective.of(case.net, case.terms, {"content": case.content})


@pytest.mark.parametrize("region", [None, Region(blob(H, W))], ids=["everywhere", "region"])
def test_a_blend_of_styles_is_the_mixture_of_their_targets(region):
    net, (image, a, b) = make_net(), noise(H, W, 3)
    b = b[..., :40, :33]  # styles may differ in size
    terms = confined(make_terms(style=dict.fromkeys(STYLE_LAYERS, 3.0)), region)
    found = Objective.of(net, terms, {"style": [(0.3, a), (0.7, b)]})
    one, other = (Objective.of(net, terms, {"style": s}).terms for s in (a, b))
    mixed = [t.aimed(0.3 * t.target + 0.7 * u.target) for t, u in zip(one, other, strict=True)]
    for term, expected in zip(found.terms, mixed, strict=True):
        assert term.name == expected.name
        assert worst(term.target, expected.target) <= 1e-15
    assert_same(found.evaluate(image), Objective(net, mixed).evaluate(image), 1e-14)
    alone = Objective.of(net, terms, {"style": [(1.0, a)]})
    assert_same(alone.evaluate(image), Objective(net, one).evaluate(image), 0)


def test_a_blend_of_contents_is_the_mixture_of_their_activations():
    net, (image, a, b) = make_net(), noise(H, W, 3)
    terms = make_terms(content={"relu2_2": 1.0, "relu4_2": 2.0})
    found = Objective.of(net, terms, {"content": [(0.25, a), (0.75, b)]})
    feats = [net.forward(p, ("relu4_2",))[0]["relu4_2"].copy() for p in (a, b, image)]
    mixed = 0.25 * feats[0] + 0.75 * feats[1]
    assert worst(found.terms[1].target, mixed) <= 1e-15
    assert found.evaluate(image).values["content relu4_2"] == pytest.approx(2 * ((feats[2] - mixed) ** 2).mean())


def test_a_blend_of_targets_in_parts():
    """A statistic whose target is a tuple: each part of it for itself."""
    a, b = (np.arange(3.0), 1.0), (np.ones(3), 5.0)
    found = Statistic().blend([(0.5, a), (0.5, b)])
    assert found[0].tolist() == [0.5, 1.0, 1.5] and found[1] == 3.0


def test_terms_that_have_their_targets_keep_them():
    case = make_case(H, W)
    aimed = case.whole().terms
    assert aim(aimed, Whole(case.net), {}) == aimed
    some = [t.aimed(None) if t.source == "content" else t for t in aimed]
    found = Objective.of(case.net, some, {"content": case.content})
    assert all(t.target is u.target for t, u in zip(found.terms, aimed, strict=True) if u.source != "content")
    assert_same(found.evaluate(case.image), case.whole().evaluate(case.image), 0)


def test_merge_adds_up_in_double_precision():
    parts = [(np.full((2, 2), 1 / 3, np.float32), 5), (np.full((2, 2), 1e-9, np.float32), 7)]
    total = None
    for each in parts:
        total = merge(total, each)
    expected = np.float64(np.float32(1 / 3)) + np.float64(np.float32(1e-9))
    assert total[0].dtype == np.float64 and np.array_equal(total[0], np.full((2, 2), expected)) and total[1] == 12
    assert merge(None, (np.ones(2, np.complex64),))[0].dtype == np.complex128
    assert parts[0][0].dtype == np.float32


def test_two_terms_of_one_layer_add_their_gradients():
    """Each with its own region; their sum is the sum of two objectives."""
    case = make_case(H, W)
    left = np.zeros((H, W))
    left[:, :24] = 1
    terms = [
        Term("style relu2_1", Gram(), "relu2_1", 2.0, "style", region=Region(left)),
        Term("style relu2_1 right", Gram(), "relu2_1", 3.0, "style", region=Region(1 - left)),
    ]
    found = replace(case, terms=terms).whole().evaluate(case.image)
    alone = [replace(case, terms=[t]).whole().evaluate(case.image) for t in terms]
    assert found.loss == pytest.approx(sum(a.loss for a in alone), rel=1e-14)
    assert worst(found.gradient, alone[0].gradient + alone[1].gradient) < 1e-13
    assert list(found.totals()) == ["loss", "style"]


def test_what_make_terms_makes():
    terms = make_terms(content={"relu4_2": 2.0}, style={"relu1_1": 3.0, "relu2_1": 4.0}, tv=0.5, tv_beta=1.5)
    assert [(t.name, t.kind, t.layer, t.factor, t.source) for t in terms] == [
        ("content relu4_2", "content", "relu4_2", 2.0, "content"),
        ("style relu1_1", "style", "relu1_1", 3.0, "style"),
        ("style relu2_1", "style", "relu2_1", 4.0, "style"),
        ("tv", "tv", None, 0.5, None),
    ]
    assert terms[-1].statistic.beta == 1.5
    halved = make_terms(style={"relu1_1": 3.0}, style_loss={"gram": 0.5})
    assert [t.factor for t in halved] == [1.5]
    assert make_terms() == []
    assert Case(None, make_terms(tv=2.0), None, None, noise(5, 6)[0]).whole().evaluate(noise(5, 6)[0]).loss > 0


def test_a_statistic_that_knows_no_regions_refuses_one():
    with pytest.raises(ValueError, match="tv: TotalVariation knows no regions"):
        Term("tv", TotalVariation()).confined(Region(np.ones((4, 4))))


def test_two_terms_of_one_name_are_refused():
    """Their values would overwrite each other, and the loss would not be the gradient's."""
    with pytest.raises(ValueError, match="two terms are called 'style relu1_1'"):
        Objective(None, [Term("style relu1_1", Gram(), "relu1_1"), Term("style relu1_1", Gram(), "relu1_1")])


def test_a_term_of_the_picture_itself_with_a_source_is_refused():
    with pytest.raises(ValueError, match="no target from another picture"):
        Term("odd", Gram(), None, 1.0, "style")
