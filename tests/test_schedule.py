"""Coarse to fine: which sizes, how many evaluations, and what is refused."""

import pytest

from style import SettingsError, settings_from
from style.schedule import stages

CONTENT, STYLE = (1200, 1600), (800, 1000)


def sizes(**options):
    return [(s.size, s.evaluations) for s in stages(settings_from(None, **options), CONTENT, STYLE)]


def test_small_pictures_have_one_scale():
    assert sizes(size=384, evaluations=100) == [((288, 384), 100)]


def test_automatic_scales_halve_the_size_and_the_evaluations():
    assert sizes(evaluations=100) == [((192, 256), 100), ((384, 512), 50)]
    assert sizes(size=1600, evaluations=200) == [((300, 400), 200), ((600, 800), 100), ((1200, 1600), 50)]


def test_a_number_and_a_list():
    assert [s for s, _ in sizes(size=512, scales="2")] == [(192, 256), (384, 512)]
    assert sizes(scales="200:30,400", evaluations=80) == [((150, 200), 30), ((300, 400), 40)]
    assert sizes(size=1600, scales=1, evaluations=9) == [((1200, 1600), 9)]


def test_the_style_picture_is_scaled_with_the_content():
    found = stages(settings_from(size=1600, style_size=800), CONTENT, STYLE)
    assert [s.style_sizes for s in found] == [((160, 200),), ((320, 400),), ((640, 800),)]


@pytest.mark.parametrize(
    "scales", ["512,256", "256,256,512", "256", "a,512", "256:0,512", "256:x,512", "0", "99", "4,512"]
)
def test_bad_scales(scales):
    with pytest.raises(SettingsError, match="scales"):
        sizes(size=512, scales=scales)


@pytest.mark.parametrize("preset", ["gatys", "neural-style", "narayanan", "coursera", "tf-tutorial"])
def test_published_recipes_have_one_scale(preset):
    assert len(stages(settings_from(preset, size=1600), CONTENT, STYLE)) == 1


def test_the_large_preset_names_its_sizes_and_a_given_size_replaces_them():
    found = stages(settings_from("large"), CONTENT, STYLE)
    assert [(max(s.size), s.evaluations) for s in found] == [
        (256, 1000),
        (512, 500),
        (1024, 200),
        (2048, 100),
        (3620, 50),
    ]
    assert [max(s.size) for s in stages(settings_from("large", size=512), CONTENT, STYLE)] == [256, 512]
