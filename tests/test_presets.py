"""Each preset's factors against its project's own formula, written out here, at the size at which it was published."""

import numpy as np
import pytest

import style
from style import presets, settings_from
from style.losses import content_loss, gram_forward, style_loss, tv_loss

CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}
SIZE = 512


def shape_of(layer):
    block = int(layer[4])
    return CHANNELS[block], (SIZE >> (block - 1)) ** 2


def ours(preset):
    """(content, style, tv) of one preset as functions of features and pictures."""
    s = settings_from(preset)

    def content(layer, F, P):
        return s.content_weight * s.content_layers[layer] * content_loss(F, P)[0]

    def style(layer, G, A):
        return s.style_weight * s.style_layers[layer] * style_loss(G, A, shape_of(layer)[1])[0]

    def tv(image):
        # the preset's factor belongs to a 512×512 picture; the loss itself is a mean, so a small picture will do
        return s.tv_weight * tv_loss(image, beta=s.tv_beta)[0] * image.size / (3 * SIZE**2)

    return content, style, tv


def grams(layer, seed=0):
    """Two Gram matrices of plausible size at `layer`, built from few columns and scaled to M places."""
    C, M = shape_of(layer)
    rng = np.random.default_rng(seed)
    return [gram_forward(rng.uniform(0, 50, (C, 40))) * M / 40 for _ in range(2)]


def maps(layer, seed=1):
    C, M = shape_of(layer)
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 50, (2, C, M)).astype(np.float32)


STYLE_FORMULAS = {
    # nn.MSELoss(G/M, A/M), weight 1e3/C²
    "gatys": lambda G, A, C, M, layer: 1e3 / C**2 * ((G / M - A / M) ** 2).mean(),
    # nn.MSECriterion on G/(C·M), strength 100
    "neural-style": lambda G, A, C, M, layer: 100 * ((G / (C * M) - A / (C * M)) ** 2).mean(),
    # Σ(G-A)² / (4 · 3² · (512·512)²), weight 1
    "narayanan": lambda G, A, C, M, layer: ((G - A) ** 2).sum() / (4 * 3**2 * (SIZE * SIZE) ** 2),
    # 40 · 0.2 · Σ(G-A)² / (4 C² (n_H n_W)²)
    "coursera": lambda G, A, C, M, layer: 40 * 0.2 * ((G - A) ** 2).sum() / (4 * C**2 * M**2),
    # 1e-2 / 5 · mean (G/M - A/M)²
    "tf-tutorial": lambda G, A, C, M, layer: 1e-2 / 5 * ((G / M - A / M) ** 2).mean(),
}
STYLE_FORMULAS["fast"] = STYLE_FORMULAS["gatys"]  # another way to the same loss
STYLE_FORMULAS["large"] = lambda *a: 5 * STYLE_FORMULAS["neural-style"](*a)  # -style_weight 500
CONTENT_FORMULAS = {
    "gatys": lambda F, P: ((F - P) ** 2).mean(),
    "neural-style": lambda F, P: 5 * ((F - P) ** 2).mean(),
    "narayanan": lambda F, P: 0.025 * ((F - P) ** 2).sum(),
    "coursera": lambda F, P: 10 * ((F - P) ** 2).sum() / (4 * F.size),
    "tf-tutorial": lambda F, P: 1e4 * ((F - P) ** 2).mean(),
}


CONTENT_FORMULAS["fast"], CONTENT_FORMULAS["large"] = CONTENT_FORMULAS["gatys"], CONTENT_FORMULAS["neural-style"]


def differences(image):
    return image[..., 1:] - image[..., :-1], image[..., 1:, :] - image[..., :-1, :]


def tv_squared(image):
    dx, dy = differences(image)
    return (dx**2).sum() + (dy**2).sum()


def tv_keras(image):
    dx, dy = differences(image)
    return ((dx[..., :-1, :] ** 2 + dy[..., :-1] ** 2) ** 1.25).sum()


def tv_tensorflow(image):
    dx, dy = differences(image / 255)
    return abs(dx).sum() + abs(dy).sum()


TV_FORMULAS = {
    "gatys": lambda image: 0.0,
    "fast": lambda image: 0.0,
    "large": lambda image: 0.0,
    "neural-style": lambda image: 0.5e-3 * tv_squared(image),
    "narayanan": lambda image: 1.0 * tv_keras(image),
    "coursera": lambda image: 0.0,
    "tf-tutorial": lambda image: 30 * tv_tensorflow(image),
}


def test_every_preset_is_tested():
    assert set(presets()) == set(STYLE_FORMULAS) == set(CONTENT_FORMULAS) == set(TV_FORMULAS)


@pytest.mark.parametrize("preset", list(STYLE_FORMULAS))
def test_style_factor(preset):
    for layer in settings_from(preset).style_layers:
        G, A = grams(layer)
        C, M = shape_of(layer)
        assert ours(preset)[1](layer, G, A) == pytest.approx(STYLE_FORMULAS[preset](G, A, C, M, layer), rel=1e-6)


@pytest.mark.parametrize("preset", list(CONTENT_FORMULAS))
def test_content_factor(preset):
    for layer in settings_from(preset).content_layers:
        F, P = (m.astype(np.float64) for m in maps(layer))
        assert ours(preset)[0](layer, F, P) == pytest.approx(CONTENT_FORMULAS[preset](F, P), rel=1e-6)


@pytest.mark.parametrize("preset", list(TV_FORMULAS))
def test_tv_factor(preset):
    image = np.random.default_rng(2).uniform(0, 255, (1, 3, 40, 56))
    assert ours(preset)[2](image) == pytest.approx(TV_FORMULAS[preset](image), rel=1e-6)


def test_what_the_recipes_say_beside_the_factors():
    gatys, coursera, tf = (settings_from(p) for p in ("gatys", "coursera", "tf-tutorial"))
    assert (gatys.size, gatys.side, gatys.init, gatys.evaluations, gatys.optimizer) == (
        512,
        "shortest",
        "content",
        500,
        "l-bfgs-b",
    )
    assert (coursera.optimizer, coursera.init, coursera.noise_ratio, coursera.pooling) == ("adam", "blend", 0.6, "avg")
    # a step of 0.02 and eps of 0.1 on pixels 0..1, in grey levels
    assert tf.learning_rate == pytest.approx(0.02 * 255)
    assert tf.adam_eps == pytest.approx(0.1 / 255)


def test_a_network_that_a_preset_does_not_fit_names_the_preset(pictures, network_file):
    with pytest.raises(style.SettingsError) as caught:
        style.transfer(*pictures, preset="narayanan", weights="mini", size=32)
    said = caught.value.on_command_line
    assert said.startswith("--preset narayanan sets --style-layers") and "python -m weights fetch vgg16" in said
    with pytest.raises(style.SettingsError) as caught:
        style.transfer(*pictures, preset="narayanan", weights="mini", size=32, style_layers="relu5_4")
    assert "preset" not in str(caught.value)
