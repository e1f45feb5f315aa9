"""Options: one place for the defaults, presets on top, what the user says on top of both, bad values refused."""

import numpy as np
import pytest

from style import Settings, SettingsError, presets, settings_from
from style.options import parse_layers


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
        ({"size": 8}, "size 8"),
        ({"iterations": 0}, "evaluations 0: expected 1 to 1000000000"),
        ({"optimizer": "sgd"}, "optimizer 'sgd'"),
        ({"pooling": "median"}, "pooling"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"content_weight": float("nan")}, "content_weight"),
        ({"style_weight": float("inf")}, "style_weight"),
        ({"tv_weight": -1.0}, "tv_weight"),
        ({"tv_beta": 9.0}, "tv_beta"),
        ({"style_layers": "relu1_1:x"}, "'x' of relu1_1"),
        ({"style_layers": "relu1_1,relu1_1"}, "twice"),
        ({"style_layers": "relu1_1:-1"}, "relu1_1"),
        ({"style_layers": "none", "content_layers": "none"}, "nothing to optimise"),
        ({"stile_weight": 3}, "did you mean style_weight?"),
        ({"seed": -1}, "seed"),
        ({"size": "64"}, "size '64': expected a number of pixels or original"),
        ({"iterations": 2.5}, "evaluations 2.5"),
        ({"style_weight": "1000"}, "style_weight '1000': expected a number, found text"),
        ({"content_layers": 5}, "content_layers 5"),
        ({"optimizer": ["adam"]}, "optimizer"),
        ({"scales": [32, 64]}, "scales"),
        ({"scales": True}, "scales True"),
        ({"seed": 1.5}, "seed 1.5"),
        ({"bounds": "no"}, "bounds 'no'"),
        ({"weights": 5}, "weights 5"),
        ({"memory": 2.5}, "memory 2.5"),
        ({"optimizer": "adam", "adam_betas": (0.9,)}, "adam_betas"),
        ({"optimizer": "adam", "adam_betas": (2, 3)}, "adam_betas"),
        ({"optimizer": "adam", "adam_betas": 5}, "adam_betas 5"),
        ({"optimizer": "adam", "adam_eps": -1.0}, "adam_eps"),
        ({"style_weight": 0, "content_weight": 0.0}, "nothing to optimise"),
        ({"noise_ratio": 0.5, "init": "noise"}, "noise_ratio: works with init blend"),
        ({"seed": 3}, "seed: works with init noise or blend"),
        ({"tolerance": 0.1, "optimizer": "adam"}, "tolerance: works with"),
        ({"iterations": 5, "preset": "large"}, "evaluations: works with"),
    ],
)
def test_bad_values_are_named(options, says):
    with pytest.raises(SettingsError, match=says.replace("?", r"\?")):
        settings_from(**options)


def test_what_works_is_not_refused():
    """Numbers of any library; options where they do something; a preset's own values, whatever is beside them."""
    settings = settings_from(size=np.int64(64), style_weight=np.float32(2), seed=3, init="noise", memory=10**9)
    assert (settings.size, settings.style_weight) == (64, 2)
    assert settings_from(scales="32:5,64", iterations=7).evaluations == 7
    assert settings_from("neural-style", optimizer="adam").history == 100
    assert settings_from(optimizer="adam", learning_rate=3, adam_betas=[0.5, 0.9]).adam_betas == (0.5, 0.9)


def test_a_refusal_is_one_line_whatever_the_value():
    with pytest.raises(SettingsError, match="palette array") as error:
        settings_from(palette=np.zeros((4, 3)))
    assert str(error.value).isprintable() and error.value.on_command_line.isprintable()


def test_unknown_preset_is_corrected():
    with pytest.raises(SettingsError, match="did you mean gatys"):
        settings_from("gaty")


def test_a_refused_value_of_the_preset_is_said_to_be_the_preset_s():
    with pytest.raises(SettingsError, match=r"precondition: .*optimizer l-bfgs .*\(preset fast sets 0.45\)"):
        settings_from("fast", optimizer="adam")
    with pytest.raises(SettingsError, match=r"lag: .*\(preset fast sets 40\)"):
        settings_from("fast", optimizer="l-bfgs-b", precondition=0.0)
    with pytest.raises(SettingsError) as e:
        settings_from("fast", optimizer="adam", precondition=0.3)
    assert "preset" not in str(e.value)


def test_python_s_errors_name_arguments_and_the_command_line_s_name_flags():
    with pytest.raises(SettingsError) as e:
        settings_from("fast", optimizer="adam")
    assert str(e.value).startswith("precondition: works with optimizer l-bfgs (preset fast")
    assert e.value.on_command_line.startswith("--precondition: works with --optimizer l-bfgs (--pre")
    assert e.value.option == "precondition"


def test_an_option_is_known_by_its_other_name_as_well():
    assert settings_from(iterations=7) == settings_from(evaluations=7)


def test_presets_are_handed_out_as_copies():
    presets()["gatys"]["size"] = 20
    assert settings_from("gatys").size == 512


@pytest.mark.parametrize(
    "options", [{"style_layers": {"relu1_1": 10**400}}, {"preset": 5}, {"preset": ["a"]}, {"style_loss": {1: 1}}]
)
def test_odd_types_are_settings_errors(options):
    with pytest.raises(SettingsError):
        settings_from(**options)
