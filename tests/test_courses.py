"""Values that courses publish, from their own inputs, under the courses' names. docs/courses.md leads here.

Numbers that a course prints rounded are compared to the digits that it prints.
"""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivgg import gradcheck, layers
from study.judges import layers as known
from study.judges.faster import CS231N_ADAM, cs231n_adam
from study.road import EXERCISES
from style import settings_from
from style.losses import content_loss, gram_forward, style_loss, tv_loss
from style.optimize import Adam

# --- Stanford, CS231n: assignment 2 (ConvolutionalNetworks, FullyConnectedNets), assignment 3 (StyleTransfer) ---------


def rel_error(x, y):
    """CS231n's: the largest |x - y| / (|x| + |y|), entry by entry."""
    return np.max(np.abs(x - y) / np.maximum(1e-8, np.abs(x) + np.abs(y)))


def test_cs231n_conv_forward_naive():
    """Also the difference that the notebook prints, 2.2121476e-08: it is the rounding of the published digits."""
    out, _ = layers.conv2d_forward(*known.cs231n_conv(), stride=2, pad=1)
    assert rel_error(out, known.CS231N_CONV) == pytest.approx(2.2121476e-8, rel=1e-7)


def test_cs231n_max_pool_forward_naive():
    out, _ = layers.maxpool2d_forward(known.cs231n_pool())
    assert rel_error(out, known.CS231N_POOL) == pytest.approx(4.1666665e-8, rel=1e-6)


def test_cs231n_relu_forward():
    out, _ = layers.relu_forward(known.cs231n_relu())
    assert np.abs(out - known.CS231N_RELU).max() <= 5e-9


PRINTED = {"dx": 1.16e-8, "dw": 2.25e-10, "db": 3.37e-11}  # conv; the difference is the numerical gradient's


def test_cs231n_conv_backward_naive():
    """seed 231, steps of 1e-5: differences of the order that the notebook prints."""
    rng = np.random.RandomState(231)
    x, w, b, dout = (rng.randn(*s) for s in ((4, 3, 5, 5), (2, 3, 3, 3), (2,), (4, 2, 5, 5)))
    _, cache = layers.conv2d_forward(x, w, b, stride=1, pad=1)
    found = dict(zip(PRINTED, layers.conv2d_backward(dout, cache)))
    alone = (
        lambda a: layers.conv2d_forward(a, w, b, stride=1, pad=1)[0],
        lambda a: layers.conv2d_forward(x, a, b, stride=1, pad=1)[0],
        lambda a: layers.conv2d_forward(x, w, a, stride=1, pad=1)[0],
    )
    for (name, printed), f, at in zip(PRINTED.items(), alone, (x, w, b)):
        numeric = gradcheck.central_difference(f, at, dout, step=1e-5).reshape(at.shape)
        assert rel_error(found[name], numeric) < 10 * printed, name


def test_cs231n_max_pool_backward_naive():
    """Printed: 3.27562514223145e-12."""
    rng = np.random.RandomState(231)
    x, dout = rng.randn(3, 2, 8, 8), rng.randn(3, 2, 4, 4)
    dx = layers.maxpool2d_backward(dout, layers.maxpool2d_forward(x)[1])
    numeric = gradcheck.central_difference(lambda a: layers.maxpool2d_forward(a)[0], x, dout, step=1e-5)
    assert rel_error(dx, numeric.reshape(x.shape)) < 3.3e-11


def test_cs231n_adam():
    """The sixth step at rate 1e-2: the first and the last row of next_w, and where m and v end."""
    found = cs231n_adam(Adam.step)
    for name, published in CS231N_ADAM.items():
        digits = 5.1e-9 if name.startswith("w") else 1e-12
        assert found[name] == pytest.approx(np.array(published), abs=digits), name


def test_cs231n_tv_loss(shared):
    """2e-2 · Σ of squared differences of the course's picture, 192 pixels on its short side, in ImageNet's units.

    Published: 303.2237. The decoder and the resize of that time differ from today's by 8 in 10 000.
    """
    path = shared / "images" / "content" / "tuebingen.jpg"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("e67d1869f01f")
    picture = Image.open(path).convert("RGB")
    scale = 192 / min(picture.size)
    picture = picture.resize([round(s * scale) for s in picture.size], Image.Resampling.BILINEAR)
    pixels = (np.asarray(picture) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    assert 2e-2 * tv_loss(x)[0] * x.size == pytest.approx(303.2237, rel=1e-3)


# --- DeepLearning.AI (Coursera), Convolutional Neural Networks, week 4: Art Generation -------------------------------


def philox_normals(count, seed, op_seed):
    """TensorFlow's tf.random.normal((count,), …, seed=op_seed) after tf.random.set_seed(seed), float32.

    Philox 4×32 of ten rounds (Salmon et al. 2011): key (seed, 0), counter (i, 0, op_seed, 0); its four words become
    four normals, in pairs by Box and Muller.
    """
    found = []
    for i in range(-(-count // 4)):
        c, (k0, k1) = [i, 0, op_seed, 0], (seed, 0)
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [p1 >> 32 ^ c[1] ^ k0, p1 & 0xFFFFFFFF, p0 >> 32 ^ c[3] ^ k1, p0 & 0xFFFFFFFF]
            k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
        u = [np.float32((word & 0x7FFFFF) / 2**23) for word in c]  # 23 low bits
        for a, b in (u[:2], u[2:]):
            r, angle = np.sqrt(np.float32(-2) * np.log(max(a, np.float32(1e-7)))), np.float32(2 * np.pi) * b
            found += [r * np.sin(angle), r * np.cos(angle)]
    return np.array(found[:count], np.float32)


def activations(seed, op_seed):
    """tf.random.normal([1, 4, 4, 3], mean=1, stddev=4), as features F (3, 16), and the 48 numbers as they come."""
    numbers = philox_normals(48, seed, op_seed) * np.float32(4) + np.float32(1)
    return numbers.astype(np.float64).reshape(16, 3).T, numbers


TF1 = (1, 3), (1, 9)  # a_C and a_G (or a_S and a_G): in a graph an operation's seed is how many came before it
TF2 = (1, 577090037), (1, 271041745)  # eager: random.Random(1).randint(0, 2**31 - 1), in turn


def test_deeplearning_ai_inputs():
    assert activations(*TF1[0])[1][:6] == pytest.approx(
        [-1.6834447, 1.894287, 4.1890917, 1.3846823, 3.8925915, 2.3524866], abs=5e-7
    )


def costs(seeds):
    """(J_content, J_style) as the course defines them, by our losses: c = 4 J_content, e = 4 J_style / C²."""
    (P, _), (F, _) = (activations(*s) for s in seeds)
    C, M = F.shape
    return content_loss(F, P)[0] / 4, style_loss(gram_forward(F), gram_forward(P), M)[0] * C**2 / 4


def test_deeplearning_ai_tf1_content_cost():
    """compute_content_cost: 6.76559"""
    assert costs(TF1)[0] == pytest.approx(6.765592986, rel=1e-7)


def test_deeplearning_ai_tf1_style_cost():
    """compute_layer_style_cost: 9.19028"""
    assert costs(TF1)[1] == pytest.approx(9.190278815, rel=1e-7)


def test_deeplearning_ai_tf1_gram_matrix():
    """gram_matrix of tf.random_normal([3, 2], mean=1, stddev=4)"""
    G = gram_forward(activations(*TF1[0])[1][:6].astype(np.float64).reshape(3, 2))
    published = [6.42230511, -4.42912197, -2.09668207, 19.46583748, 19.56387138, 20.6864624]
    two_units = 2 * np.finfo(np.float32).eps * G.max()  # the course's is a product in float32
    assert G[np.triu_indices(3)] == pytest.approx(published, abs=two_units)
    assert (G == G.T).all()


def test_deeplearning_ai_tf2_content_cost():
    """compute_content_cost: 7.0568767"""
    assert costs(TF2)[0] == pytest.approx(7.0568767, rel=1e-7)


def rounded_to_tf32(a):
    """float32 with the mantissa's first 10 bits, to the nearest: the factors of a matrix product on a tensor core."""
    bits = np.asarray(a, np.float32).view(np.uint32).astype(np.int64)
    return ((bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFF).astype(np.uint32).view(np.float32).astype(np.float64)


def test_deeplearning_ai_tf2_style_cost_is_tf32s():
    """compute_layer_style_cost: 14.01649, which is what a card makes of 14.0178: it rounds the factors to 10 bits."""
    assert costs(TF2)[1] == pytest.approx(14.017807917, rel=1e-7)
    (S, _), (F, _) = (activations(*s) for s in TF2)
    C, M = F.shape
    rounded = [gram_forward(rounded_to_tf32(a)) for a in (F, S)]
    assert style_loss(*rounded, M)[0] * C**2 / 4 == pytest.approx(14.01649, abs=5e-6)


def test_deeplearning_ai_tf2_gram_matrix_is_tf32s():
    """gram_matrix's first row: 63.193256 -26.729713 -7.732155; of unrounded factors, 63.1888 -26.7213 -7.7320."""
    A = activations(*TF2[0])[1][:6].astype(np.float64).reshape(3, 2)
    assert gram_forward(A)[0] == pytest.approx([63.1888, -26.7213, -7.7320], abs=5e-5)
    assert gram_forward(rounded_to_tf32(A))[0] == pytest.approx([63.193256, -26.729713, -7.732155], abs=5e-6)


def test_deeplearning_ai_total_cost():
    """total_cost(J_content=0.2, J_style=0.8) = 34, with alpha 10 and beta 40; the factors of --preset coursera."""
    s = settings_from("coursera")
    (content,) = s.content_layers.values()
    style = s.style_layers
    c, C = 4 * 0.2, {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}
    e = {layer: 4 * 0.8 / C[int(layer[4])] ** 2 for layer in style}  # J_style is 0.8 at every layer, so 0.8 in all
    total = s.content_weight * content * c + s.style_weight * sum(style[k] * e[k] for k in style)
    assert total == pytest.approx(34, rel=1e-6)


# --- docs/courses.md --------------------------------------------------------------------------------------------------


def test_the_page_names_each_test_and_each_exercise_that_there_is():
    text = (Path(__file__).resolve().parent.parent / "docs" / "courses.md").read_text(encoding="utf-8")
    ours = {name for name in globals() if re.match("test_(cs231n|deeplearning)", name)}
    assert set(re.findall(r"`(test_\w+)`", text)) == ours - {"test_deeplearning_ai_inputs"}
    named = re.findall(r"python -m study ([a-z]\w+)", text)
    assert len(named) > 3 and set(named) <= set(EXERCISES)
