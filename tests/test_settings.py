"""Options: one place for the defaults, presets on top, what the user says on top of both, bad values refused."""

import pytest

from style import Settings, SettingsError, settings_from
from style.settings import parse_layers


def test_user_over_preset_over_default():
    assert settings_from().style_weight == Settings().style_weight
    assert settings_from("neural-style").content_weight == 5
    assert settings_from("neural-style", content_weight=7.0).content_weight == 7
    assert settings_from("neural-style", content_weight=None).content_weight == 5


def test_a_given_size_is_the_longest_side_whatever_the_preset_measures():
    assert settings_from("gatys").side == "shortest"
    assert settings_from("gatys", size=256).side == "longest"
    assert settings_from("gatys", size=256, side="shortest").side == "shortest"


def test_layers():
    assert parse_layers("style_layers", "relu1_1:0.5,relu2_1:1") == {"relu1_1": 0.5, "relu2_1": 1.0}
    assert parse_layers("style_layers", " relu1_1 , relu2_1 : 3") == {"relu1_1": 1.0, "relu2_1": 3.0}
    assert parse_layers("style_layers", "none") == {}
    assert parse_layers("style_layers", ["relu1_1"]) == {"relu1_1": 1.0}


@pytest.mark.parametrize("alias", ["lbfgs", "l-bfgs-b"])
def test_optimizer_names(alias):
    assert Settings(optimizer=alias).optimizer == "l-bfgs-b"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 8}, "--size 8"),
        ({"iterations": 0}, "--iterations 0"),
        ({"optimizer": "sgd"}, "--optimizer 'sgd'"),
        ({"pooling": "median"}, "--pooling"),
        ({"learning_rate": -1.0}, "--learning-rate"),
        ({"learning_rate": float("nan")}, "--learning-rate"),
        ({"content_weight": float("nan")}, "--content-weight"),
        ({"style_weight": float("inf")}, "--style-weight"),
        ({"tv_weight": -1.0}, "--tv-weight"),
        ({"tv_beta": 9.0}, "--tv-beta"),
        ({"style_layers": "relu1_1:x"}, "'x' of relu1_1"),
        ({"style_layers": "relu1_1,relu1_1"}, "twice"),
        ({"style_layers": "relu1_1:-1"}, "relu1_1"),
        ({"style_layers": "none", "content_layers": "none"}, "nothing to optimise"),
        ({"stile_weight": 3}, "did you mean style_weight?"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_bad_values_are_named(options, says):
    with pytest.raises(SettingsError, match=says.replace("?", r"\?")):
        settings_from(None, **options)


def test_unknown_preset_is_corrected():
    with pytest.raises(SettingsError, match="did you mean gatys"):
        settings_from("gaty")


def test_a_refused_value_of_the_preset_is_said_to_be_the_preset_s():
    with pytest.raises(SettingsError, match=r"--precondition: .*--optimizer l-bfgs .*\(--preset fast sets 0.45\)"):
        settings_from("fast", optimizer="adam")
    with pytest.raises(SettingsError, match=r"--lag: .*\(--preset fast sets 40\)"):
        settings_from("fast", optimizer="l-bfgs-b", precondition=0.0)
    with pytest.raises(SettingsError) as e:
        settings_from("fast", optimizer="adam", precondition=0.3)
    assert "preset" not in str(e.value)
