"""The reader of MatConvNet files: both layouts, the orientation of filters, everything that is not such a file."""

import matfiles
import numpy as np
import pytest
import scipy.io
from PIL import Image

import weights
from minivgg.vgg import VGG
from weights.matconvnet import load_mat

PHOTOS = ("tuebingen.jpg", "stata.jpg", "golden_gate.jpg", "elephant.jpg")


@pytest.fixture(scope="module")
def real(vgg19_mat):
    """The real network, read once."""
    return weights.load(vgg19_mat)


@pytest.fixture(scope="module")
def photos(shared, real):
    """Photographs at 128x128, less the average: [(1,3,128,128), ...]."""
    inputs = []
    for name in PHOTOS:
        pixels = np.asarray(Image.open(shared / "images" / "content" / name).convert("RGB").resize((128, 128)))
        inputs.append((pixels - real.mean).astype(np.float32).transpose(2, 0, 1)[None])
    return inputs


def refused(path):
    """The message with which a file is refused; checks that it is one line that names the file."""
    with pytest.raises(weights.WeightsError) as caught:
        weights.load(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message, message
    return message


# --- what is read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["meta", "normalization", "filters"])
@pytest.mark.parametrize("arch", ["vgg16", "vgg19"])
@pytest.mark.parametrize("classifier", [True, False])
def test_layouts_give_the_same_network(tmp_path, layout, arch, classifier):
    path = matfiles.vgg_mat(tmp_path / "net.mat", arch, layout, classifier=classifier)
    network = weights.load(path)
    expected = matfiles.random_params(arch)
    assert network.arch == arch and list(network.params) == list(expected)
    for name, (filters, biases) in expected.items():
        w, b = network.params[name]
        assert w.dtype == b.dtype == np.float32 and w.flags.c_contiguous
        for y, x, c, f in np.ndindex(filters.shape):
            assert w[f, c, y, x] == filters[y, x, c, f]
        assert np.array_equal(b, biases)
    assert network.order == "RGB"
    np.testing.assert_allclose(network.mean, matfiles.MEAN, rtol=1e-6)


def test_fields_are_found_by_name_wherever_they_stand(tmp_path):
    layers = matfiles.layers_of(matfiles.random_params())
    for layer in layers[::2]:
        names = list(layer.dtype.names)[::-1]
        layer[...] = layer  # same content
        layers[next(i for i, l in enumerate(layers) if l is layer)] = matfiles.struct(
            extra="x", **{n: layer[n][0, 0] for n in names}
        )
    got = weights.load(matfiles.write_mat(tmp_path / "a.mat", layers))
    want = weights.load(matfiles.vgg_mat(tmp_path / "b.mat"))
    for name in want.params:
        assert np.array_equal(got.params[name][0], want.params[name][0])


def test_names_in_the_file_do_not_matter_their_order_does(tmp_path):
    layers = matfiles.layers_of(matfiles.random_params())
    for i, layer in enumerate(layers):
        layer["name"][0, 0] = f"layer{i}"
    assert list(weights.load(matfiles.write_mat(tmp_path / "a.mat", layers)).params)[:3] == [
        "conv1_1",
        "conv1_2",
        "conv2_1",
    ]


def test_without_pool5_and_compressed(tmp_path):
    path = matfiles.vgg_mat(tmp_path / "net.mat", pool5=False, do_compression=True)
    assert len(weights.load(path).params) == 16


def test_channel_order_comes_from_the_average(tmp_path):
    path = matfiles.vgg_mat(tmp_path / "net.mat", average=matfiles.MEAN[::-1])
    network = weights.load(path)
    assert network.order == "BGR"
    np.testing.assert_allclose(network.mean, matfiles.MEAN[::-1], rtol=1e-6)


def test_name_is_the_networks_only_for_the_published_widths_and_average(tmp_path):
    assert weights.load(matfiles.vgg_mat(tmp_path / "narrow.mat")).name == "narrow"
    widths = (64, 128, 256, 512, 512)
    full = matfiles.vgg_mat(tmp_path / "x.mat", "vgg16", widths=widths, classifier=False)
    assert weights.load(full).name == "vgg16"
    faces = matfiles.vgg_mat(tmp_path / "face.mat", "vgg16", widths=widths, classifier=False, average=(129, 105, 94))
    assert weights.load(faces).name == "face"


def test_dtype_and_hash(tmp_path):
    import hashlib

    path = matfiles.vgg_mat(tmp_path / "net.mat")
    network = weights.load(path, dtype=np.float64)
    assert all(w.dtype == b.dtype == np.float64 for w, b in network.params.values())
    assert network.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# --- orientation --------------------------------------------------------------------------------------------


def edge_response(w):
    """Largest response of a filter (3,3,3) to a picture bright below, and to one bright on the right."""
    below = np.zeros((1, 3, 8, 8))
    below[:, :, 4:, :] = 1
    right = below.transpose(0, 1, 3, 2)
    net = VGG({"conv1_1": (w[None].astype(np.float64), np.zeros(1))})
    return [net.forward(x, ["conv1_1"])[0]["conv1_1"][0, 0, 2:6, 2:6].max() for x in (below, right)]


def test_a_filter_for_edges_answers_to_the_edge_it_was_made_for(tmp_path):
    params = matfiles.random_params()
    filters, biases = params["conv1_1"]
    filters[:, :, :, 0] = np.array([-1.0, 0.0, 1.0])[:, None, None]  # H rises: bright below
    filters[:, :, :, 1] = np.array([-1.0, 0.0, 1.0])[None, :, None]  # W rises: bright on the right
    w = weights.load(matfiles.write_mat(tmp_path / "net.mat", matfiles.layers_of(params))).params["conv1_1"][0]
    below, right = edge_response(w[0])
    assert below == 9 and right == 0
    below, right = edge_response(w[1])
    assert below == 0 and right == 9
    assert edge_response(w[0].transpose(0, 2, 1)) == [0, 9]  # and swapped filters would be noticed
    assert edge_response(w[0][:, ::-1])[0] <= 0  # as would rows in reverse


def channel_means(net, x, layer):
    return net.forward(np.ascontiguousarray(x), [layer])[0][layer].mean(axis=(0, 2, 3))


@pytest.mark.slow
def test_the_network_cannot_tell_a_photograph_from_its_mirror_image(real, photos):
    """VGG was trained on pictures and their mirror images, never on pictures upside down.

    So its deep channels, averaged over the picture, change less when a photograph is mirrored than when it is turned
    upside down. With H and W swapped in the filters it is the other way round. Measured on 12 photographs: ratio of
    the two changes at relu5_4 0.19 to 0.56 as read, 1.31 to 2.30 swapped.
    """
    swapped = {n: (np.ascontiguousarray(w.transpose(0, 1, 3, 2)), b) for n, (w, b) in real.params.items()}
    for name, x in zip(PHOTOS, photos):
        ratios = []
        for net in (VGG(real.params), VGG(swapped)):
            base, mirror, upside = (channel_means(net, y, "relu5_4") for y in (x, x[..., ::-1], x[:, :, ::-1]))
            ratios.append(np.linalg.norm(base - mirror) / np.linalg.norm(base - upside))
        assert ratios[0] < 0.8 and ratios[1] > 1.1, (name, ratios)


def test_the_network_answers_more_to_photographs_that_stand_upright(real, photos):
    """Turned upside down (or read with the rows of its filters reversed) a photograph excites relu5_2 less.

    The mean over photographs of upright / upside down was 1.14 on 12 photographs, 0.985 to 1.27 singly.
    """
    net, ratios = VGG(real.params), []
    for x in photos:
        upright, upside = (channel_means(net, y, "relu5_2").mean() for y in (x, x[:, :, ::-1]))
        ratios.append(upright / upside)
    assert np.mean(ratios) > 1.05, ratios


def test_the_real_file(real):
    assert (real.name, real.arch, real.order, len(real.params)) == ("vgg19", "vgg19", "RGB", 16)
    np.testing.assert_allclose(real.mean, matfiles.MEAN)
    assert real.params["conv5_4"][0].shape == (512, 512, 3, 3)


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"\n  <html lang=en>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a git-lfs pointer"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(500), "v7.3"),
        (b"\x89HDF\r\n\x1a\n" + bytes(500), "v7.3"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"\x1f\x8b\x08" + bytes(100), "gzip"),
        (b"PK\x03\x04" + bytes(100), "damaged or truncated .npz"),
        (b"not found\n", "a text file"),
        (bytes(range(256)) * 4, "unknown kind"),
    ],
)
def test_other_files_are_called_by_their_name(tmp_path, content, said):
    path = tmp_path / "imagenet-vgg-verydeep-19.mat"
    path.write_bytes(content)
    assert said in refused(path)


def test_a_missing_file_and_a_folder(tmp_path):
    assert "no such file" in refused(tmp_path / "nothing.mat")
    assert "is a folder" in refused(tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_anywhere(tmp_path, compressed):
    whole = matfiles.vgg_mat(tmp_path / "whole.mat", do_compression=compressed).read_bytes()
    path = tmp_path / "cut.mat"
    for length in [20, 127, 128, 131, 140, 1000, len(whole) // 2, len(whole) - 1000, len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert any(word in refused(path) for word in ("truncated", "without the variable", "damaged")), length


def test_flipped_bytes_give_a_network_or_a_clear_message(tmp_path):
    whole = matfiles.vgg_mat(tmp_path / "whole.mat", do_compression=True).read_bytes()
    rng, path, bad = np.random.default_rng(1), tmp_path / "flipped.mat", 0
    for _ in range(60):
        data = bytearray(whole)
        data[rng.integers(126, len(data))] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            weights.load(path)
        except weights.WeightsError as error:
            bad += 1
            assert "\n" not in str(error)
    assert bad > 40  # deflate's checksum sees nearly all of them


def test_a_mat_file_of_something_else(tmp_path):
    path = tmp_path / "other.mat"
    scipy.io.savemat(path, {"x": np.eye(3)})
    assert "without the variable `layers`" in refused(path)
    scipy.io.savemat(path, {"layers": matfiles.cell("a"), "params": np.eye(3)})
    assert "DagNN" in refused(path)
    scipy.io.savemat(path, {"layers": np.eye(3)})
    assert "another network" in refused(path)


def test_no_average_colour(tmp_path):
    path = tmp_path / "net.mat"
    scipy.io.savemat(path, {"layers": matfiles.cell(*matfiles.layers_of(matfiles.random_params()))})
    assert "no average colour" in refused(path)
    assert "averageImage is" in refused(matfiles.vgg_mat(path, average=(1, 2, 3, 4)))
    assert "0..255" in refused(matfiles.vgg_mat(path, average=(1, 2, 300)))
    assert "0..255" in refused(matfiles.vgg_mat(path, average=(np.nan, 2, 3)))


def spoiled(tmp_path, change, layout="meta"):
    """Message for a file whose list of layers has been changed."""
    layers = matfiles.layers_of(matfiles.random_params(), layout)
    change(layers)
    return refused(matfiles.write_mat(tmp_path / "net.mat", layers, layout))


def replace_conv1_1(shape, biases=4):
    def change(layers):
        layers[0] = matfiles.conv("conv1_1", np.ones(shape, "f4"), np.ones(biases, "f4"), "meta")

    return change


def put(value, *, at, field, part=0):
    def change(layers):
        layers[at][field][0, 0][0, part] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda layers: layers.pop(0), "after 'the start'"),
        (lambda layers: layers.pop(1), "of type 'conv' after 'conv'"),
        (lambda layers: layers.pop(4), "4+4+4+4 convolutions"),
        (lambda layers: layers.__delitem__(slice(10, None)), "2+2 convolutions"),
        (lambda layers: layers.__delitem__(slice(14, 16)), "2+2+3+4+4 convolutions"),
        (lambda layers: layers.__delitem__(slice(0, None)), "no convolutions"),
        (lambda layers: layers.insert(2, matfiles.struct(type="lrn", name="norm1")), "'lrn'"),
        (replace_conv1_1((11, 11, 3, 4)), "11 x 11 x 3 x 4"),
        (replace_conv1_1((3, 3, 3, 5)), "4 biases"),
        (replace_conv1_1((3, 3, 1, 4)), "since 3 channels come in"),
        (replace_conv1_1((3, 3, 3, 6), 6), "conv1_2 has filters 4 x 4 x 3 x 3"),
        (put(np.full((3, 3, 3, 4), np.nan, "f4"), at=0, field="weights"), "108 filters that are not finite"),
        (put(np.full((4, 1), np.inf, "f4"), at=0, field="weights", part=1), "4 biases that are not finite"),
        (put("text", at=0, field="weights"), "expected numbers"),
        (put(3.0, at=0, field="stride"), "has stride"),
    ],
)
def test_another_network(tmp_path, change, said):
    assert said in spoiled(tmp_path, change)


def test_a_conv_without_weights(tmp_path):
    def change(layers):
        layers[0] = matfiles.struct(type="conv", name="conv1_1", precious=1)

    assert "its fields: type, name, precious" in spoiled(tmp_path, change)


def test_channels_of_one_keep_their_shape(tmp_path):
    """MATLAB drops trailing dimensions of 1: filters for one output channel come as 3 x 3 x in."""
    path = matfiles.vgg_mat(tmp_path / "thin.mat", widths=(1, 1, 1, 1, 1))
    assert load_mat(path).params["conv1_1"][0].shape == (1, 3, 3, 3)
