"""The losses: against explicit loops, zero where they must be, gradients, additive over tiles, in the stated units."""

import numpy as np
import pytest
from conftest import assert_close, assert_passed

from minivgg import gradcheck
from study.judges.losses import tv_by_loops
from style import gradcheck as style_gradcheck
from style import losses

C, M = 4, 15


@pytest.fixture
def F(backend, rng):
    return backend.array(rng.standard_normal((C, M)))


@pytest.fixture
def P(backend, rng):
    return backend.array(rng.standard_normal((C, M)) + 1)


# --- the definitions, index by index -------------------------------------------------------------------------------


def content_by_loops(F, P):
    return sum((F[c, m] - P[c, m]) ** 2 for c in range(C) for m in range(M)) / (C * M)


def gram_by_loops(F):
    G = np.zeros((C, C))
    for i, j, m in np.ndindex(C, C, M):
        G[i, j] += F[i, m] * F[j, m]
    return G


def style_by_loops(G, A):
    return sum(((G[i, j] - A[i, j]) / (C * M)) ** 2 for i in range(C) for j in range(C)) / C**2


def test_content_loss_is_its_definition(backend, F, P):
    assert_close(losses.content_loss(F, P)[0], content_by_loops(backend.host(F), backend.host(P)), 1e-14)


def test_gram_is_its_definition(backend, F):
    assert_close(losses.gram_forward(F), gram_by_loops(backend.host(F)), 1e-14)


def test_style_loss_is_its_definition(backend, F, P):
    G, A = losses.gram_forward(F), losses.gram_forward(P)
    assert_close(losses.style_loss(G, A, M)[0], style_by_loops(backend.host(G), backend.host(A)), 1e-14)


@pytest.mark.parametrize("beta", [1, 2, 2.5, 1.5])
@pytest.mark.parametrize("shape", [(1, 3, 7, 5), (1, 1, 2, 6)], ids=str)
def test_tv_loss_is_its_definition(backend, rng, beta, shape):
    image = 100 * rng.standard_normal(shape)
    assert_close(losses.tv_loss(backend.array(image), beta=beta)[0], tv_by_loops(image, beta), 1e-14)


# --- gradients -----------------------------------------------------------------------------------------------------


def test_every_gradient_of_a_loss(backend):
    rows = assert_passed(style_gradcheck.loss_rows(backend.device))
    assert {row.name.split()[0] for row in rows} == {"content_loss", "gram", "style_loss", "tv_loss"}


@pytest.mark.parametrize("pooling, beta", [("max", 2.0), ("avg", 2.5), ("max", 1.0)])
def test_gradient_of_the_whole_objective(backend, kernels, pooling, beta):
    rows = assert_passed(style_gradcheck.objective_rows(backend.device, kernels, pooling=pooling, tv_beta=beta))
    assert rows[0].method == "central difference"


# --- zeros and units -----------------------------------------------------------------------------------------------


def test_losses_and_gradients_are_zero_at_their_own_target(backend, F):
    loss, dF = losses.content_loss(F, F.copy())
    assert loss == 0 and not backend.host(dF).any()
    G = losses.gram_forward(F)
    loss, dG = losses.style_loss(G, G.copy(), M)
    assert loss == 0 and not backend.host(dG).any()


@pytest.mark.parametrize("beta", [1, 2, 2.5, 1.5])
def test_tv_is_zero_on_a_flat_picture(backend, beta):
    """Also for β < 2, whose derivative has a negative power of 0 in it."""
    loss, dimage = losses.tv_loss(backend.array(np.full((1, 3, 5, 4), 77.0)), beta=beta)
    assert loss == 0 and not backend.host(dimage).any()


@pytest.mark.parametrize("beta", [1, 2, 2.5])
def test_tv_does_not_see_the_brightness(backend, rng, beta):
    """Whole grey levels, so exactly: the loss of image + 10 is that of image, and the gradient adds up to about 0."""
    image = backend.array(rng.integers(0, 200, (1, 3, 6, 5)))
    loss, dimage = losses.tv_loss(image, beta=beta)
    assert loss == losses.tv_loss(image + 10, beta=beta)[0] > 0
    assert abs(backend.host(dimage).sum()) <= 1e-13 * abs(backend.host(dimage)).sum()


def test_content_and_style_are_the_same_at_any_size(backend, F, P):
    """Means: a picture laid twice beside itself has twice the places and the same losses."""
    xp = backend.xp
    F2, P2 = xp.concatenate([F, F], axis=1), xp.concatenate([P, P], axis=1)
    assert_close(losses.content_loss(F2, P2)[0], losses.content_loss(F, P)[0], 1e-14)
    once = losses.style_loss(losses.gram_forward(F), losses.gram_forward(P), M)[0]
    assert_close(losses.style_loss(losses.gram_forward(F2), losses.gram_forward(P2), 2 * M)[0], once, 1e-14)


def test_units_in_numbers_one_can_check_by_hand(backend):
    F, P = backend.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]), backend.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert_close(losses.content_loss(F, P)[0], 14 / 6, 1e-15)
    G, A = losses.gram_forward(F), losses.gram_forward(P)  # [[14, 3], [3, 1]] and [[0, 0], [0, 1]]
    assert_close(losses.style_loss(G, A, 3)[0], (14**2 + 3**2 + 3**2) / (2 * 3) ** 2 / 2**2, 1e-15)
    image = backend.array([[[[0.0, 3.0], [4.0, 4.0]]]])  # to the right 3, 0; below 4, 1
    assert losses.tv_loss(image, beta=2)[0] == (9 + 0 + 16 + 1) / 4
    assert losses.tv_loss(image, beta=1)[0] == (3 + 0 + 4 + 1) / 4
    assert_close(losses.tv_loss(image, beta=2.5)[0], 5**2.5 / 4, 1e-15)


# --- tiles, types, errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 7, 14])
def test_gram_adds_up_over_tiles(backend, rng, cut):
    """On whole numbers to the last digit; and the backward of a tile is the tile of the backward."""
    F = backend.array(rng.integers(-9, 10, (C, M)))
    left, right = F[:, :cut], F[:, cut:]
    assert_close(losses.gram_forward(left) + losses.gram_forward(right), losses.gram_forward(F))
    dG = backend.array(rng.integers(-9, 10, (C, C)))
    tiles = backend.xp.concatenate([losses.gram_backward(dG, left), losses.gram_backward(dG, right)], axis=1)
    assert_close(tiles, losses.gram_backward(dG, F))


def test_gram_is_symmetric_and_has_no_negative_eigenvalue(backend, F):
    G = backend.host(losses.gram_forward(F))
    assert_close(G, G.T)
    assert np.linalg.eigvalsh(G).min() > 0


def test_gradients_keep_their_type_and_inputs_stay(backend, F, P, rng):
    F, P = F.astype(np.float32), P.astype(np.float32)
    image = backend.array(rng.uniform(0, 255, (1, 3, 6, 5)), np.float32)
    kept = [backend.host(a).copy() for a in (F, P, image)]
    G, A = losses.gram_forward(F), losses.gram_forward(P)
    gradients = [losses.content_loss(F, P)[1], losses.style_loss(G, A, M)[1], losses.gram_backward(G, F)]
    gradients += [losses.tv_loss(image, beta=beta)[1] for beta in (1, 2, 2.5)]
    assert {g.dtype for g in gradients} == {np.dtype(np.float32)}
    for a, before in zip((F, P, image), kept):
        assert_close(a, before)


def test_sums_over_pixels_keep_their_digits_in_float32(backend):
    """4 million squares of 0.1: a running float32 sum would stall at two digits less."""
    F = backend.array(np.full((4, 1_000_000), 0.1), np.float32)
    loss, _ = losses.content_loss(F, 0 * F)
    assert_close(float(loss), float(np.float32(0.1) * np.float32(0.1)), 1e-12)


def test_features_are_channels_by_places(backend):
    feat = backend.array(np.arange(24.0).reshape(1, 2, 3, 4))
    assert_close(losses.features(feat), np.arange(24.0).reshape(2, 12))
    with pytest.raises(ValueError, match="one picture"):
        losses.features(backend.array(np.zeros((2, 2, 3, 4))))


# --- the real network ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_case(shared, vgg19_mat):
    """The whole objective on a 64x48 photograph with grain, painting as style; its loss function and gradient."""
    from PIL import Image

    import weights
    from minivgg.backend import Device

    def picture(path, size):
        image = Image.open(shared / "images" / path).convert("RGB").resize(size, Image.Resampling.BILINEAR)
        return np.asarray(image, dtype=np.float64).transpose(2, 0, 1)[None]

    content, style = picture("content/tuebingen.jpg", (64, 48)), picture("style/starry_night.jpg", (60, 48))
    grain = np.random.default_rng(0).normal(0, 5, content.shape)
    network = weights.load(vgg19_mat, dtype=np.float64)
    whole, x = style_gradcheck.real_objective(network, content, style, content + grain, device=Device("cpu"))
    return (lambda x: whole.evaluate(x).loss), x, whole.evaluate(x).gradient


@pytest.mark.parametrize("seed", range(3))
def test_directional_derivative_of_the_objective_with_the_real_network(real_case, seed):
    """At a step of 1e-6 grey levels; and with a complex step, which meets no kink and no rounding."""
    f, x, gradient = real_case
    u = gradcheck.direction(gradient, np.random.default_rng(seed))
    assert gradcheck.directional_error(f, x, gradient, u, step=style_gradcheck.STEP_REAL) <= style_gradcheck.BOUND_REAL
    assert gradcheck.directional_complex_error(f, x, gradient, u) <= gradcheck.BOUND_COMPLEX
    assert gradcheck.directional_error(f, x, 1.001 * gradient, u, step=1e-6) > 10 * style_gradcheck.BOUND_REAL
