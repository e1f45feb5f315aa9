"""The network: its table, where forward stops, gradients at any set of layers, what the cache keeps, and its errors."""

import numpy as np
import pytest
from conftest import assert_close, assert_passed

from minivgg import ARCHS, VGG, layer_names, layers, table
from minivgg.gradcheck import rows

EQUAL = {"textbook": 1e-13, "fast": 1e-10}  # float64, layers composed by hand against the network
H, W = 35, 38


@pytest.fixture
def x(backend, rng):
    return backend.array(rng.standard_normal((2, 3, H, W)))


def by_hand(params, x, last, pooling="max"):
    """{name: activation} up to `last`, one textbook layer after the other; NumPy."""
    feats = {}
    for name in layer_names("vgg19"):
        if name.startswith("conv"):
            x, _ = layers.conv2d_forward(x, *params[name], pad=1)
        elif name.startswith("relu"):
            x, _ = layers.relu_forward(x)
        else:
            x, _ = (layers.maxpool2d_forward if pooling == "max" else layers.avgpool2d_forward)(x)
        feats[name] = x
        if name == last:
            return feats


# --- the table -----------------------------------------------------------------------------------------------------


def test_vgg16_and_vgg19_have_the_published_layers():
    """Simonyan & Zisserman 2015, table 1, columns D and E."""
    convs = {arch: [n for n in layer_names(arch) if n.startswith("conv")] for arch in ARCHS}
    assert {arch: len(names) for arch, names in convs.items()} == {"vgg16": 13, "vgg19": 16}
    assert set(convs["vgg19"]) - set(convs["vgg16"]) == {"conv3_4", "conv4_4", "conv5_4"}
    for arch in ARCHS:
        names = layer_names(arch)
        assert names[:5] == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"] and names[-1] == "pool5"
        assert [n for n in names if n.startswith("relu")] == [n.replace("conv", "relu") for n in convs[arch]]
        assert [n for n in names if n.startswith("pool")] == [f"pool{k}" for k in range(1, 6)]


@pytest.mark.parametrize("arch", sorted(ARCHS))
@pytest.mark.parametrize("last", ["conv1_1", "conv4_1", "conv5_3"])
def test_filters_may_end_early(make_net, arch, last):
    net = make_net(arch, last=last)
    assert net.names[-1] == ("pool5" if (arch, last) == ("vgg16", "conv5_3") else last.replace("conv", "relu"))
    shared = last != "conv5_3"  # up to conv3_3 the two are the same; conv4_1 tells by conv3_4
    assert net.arch == ("vgg19" if shared and last == "conv1_1" else arch)


def test_activation_sizes_follow_the_floor_rule(make_net, x):
    net = make_net(last="conv5_4")
    feats, _ = net.forward(x, net.names)
    assert list(feats) == net.names == layer_names("vgg19")
    for name, feat in feats.items():
        assert feat.shape == (2, net.channels[name], *table.activation_size(name, H, W)), name


# --- forward -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_forward_is_one_layer_after_the_other(backend, kernels, make_net, x, pooling):
    """All names at once, before and after the ReLU; and any two of them, which may take fused kernels."""
    params = rows.random_params(np.random.default_rng(0), last="conv5_2")
    expected = by_hand(params, backend.host(x), "relu5_2", pooling)
    net = make_net(pooling=pooling, last="conv5_2")
    for names in (list(expected), ["relu5_2"], ["conv5_2"], ["pool2", "conv4_2"], ["relu2_2", "pool2", "pool4"]):
        feats, _ = net.forward(x, names)
        assert list(feats) == names
        for name in names:
            assert_close(feats[name], expected[name], EQUAL[kernels])


def test_forward_stops_at_the_deepest_layer_asked_for(make_net, x, monkeypatch):
    """From the start, or from the layer where it starts, to the deepest; not a layer further."""
    net, ran = make_net(), []
    step = net._forward_step
    monkeypatch.setattr(net, "_forward_step", lambda s, *args: ran.append(s.output) or step(s, *args))
    feats, _ = net.forward(x, ["conv3_1", "pool2"])
    assert ran[-1] == "conv3_1" and "pool2" in ran
    ran.clear()
    net.forward(feats["pool2"], ["conv3_2"], start="pool2")
    assert ran[0] in ("conv3_1", "relu3_1") and ran[-1] == "conv3_2"


def test_start_continues_where_an_earlier_forward_ended(kernels, make_net, x):
    net = make_net()
    whole, _ = net.forward(x, ["pool2", "relu3_2", "conv5_1"])
    rest, _ = net.forward(whole["pool2"], ["relu3_2", "conv5_1"], start="pool2")
    for name, feat in rest.items():
        assert_close(feat, whole[name], EQUAL[kernels])


def test_each_picture_of_a_batch_is_on_its_own(kernels, make_net, x):
    net = make_net()
    both, _ = net.forward(x, ["relu4_1"])
    for k in range(2):
        one, _ = net.forward(x[k : k + 1], ["relu4_1"])
        assert_close(both["relu4_1"][k : k + 1], one["relu4_1"], EQUAL[kernels])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_stay_and_the_input_is_not_modified(backend, make_net, x, rng, dtype):
    net, x = make_net(dtype=dtype), x.astype(dtype)
    kept = backend.host(x).copy()
    feats, cache = net.forward(x, ["conv2_1", "relu4_2"])
    dfeats = {n: backend.array(rng.standard_normal(f.shape), dtype) for n, f in feats.items()}
    before = {n: backend.host(d).copy() for n, d in dfeats.items()}
    dx = net.backward(dfeats, cache)
    assert {a.dtype for a in (dx, *feats.values())} == {np.dtype(dtype)}
    assert_close(x, kept)
    for name, d in dfeats.items():
        assert_close(d, before[name])


# --- backward ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["max", pytest.param("avg", marks=pytest.mark.slow)])
def test_gradients_by_picture_and_filters(backend, kernels, pooling):
    assert_passed(rows.network_rows(backend.device, kernels, pooling=pooling))


def test_gradients_at_a_set_of_layers_add_up(backend, kernels, make_net, x, rng):
    """Backward is linear in what it is given: all together is the sum of one at a time."""
    net, names = make_net(), ["conv1_1", "relu1_1", "conv3_2", "relu3_2", "pool3", "conv5_1"]
    feats, _ = net.forward(x, names)
    dfeats = {n: backend.array(rng.standard_normal(f.shape)) for n, f in feats.items()}
    together = net.backward(dfeats, net.forward(x, names)[1])
    alone = [net.backward({n: d}, net.forward(x, names)[1]) for n, d in dfeats.items()]
    assert_close(together, sum(alone), EQUAL[kernels])
    assert_close(alone[0], net.backward({"conv1_1": dfeats["conv1_1"]}, net.forward(x, ["conv1_1"])[1]), EQUAL[kernels])


def test_backward_in_segments_is_backward_in_one(kernels, make_net, x):
    net = make_net()
    feats, cache = net.forward(x, ["conv4_1"])
    whole = net.backward(feats, cache)
    upper, upper_cache = net.forward(x, ["pool2"])
    lower, lower_cache = net.forward(upper["pool2"], ["conv4_1"], start="pool2")
    assert_close(net.backward({"pool2": net.backward(lower, lower_cache)}, upper_cache), whole, EQUAL[kernels])


def test_gradients_by_the_filters_have_their_shapes(make_net, x):
    net = make_net(last="conv3_1")
    feats, cache = net.forward(x, ["relu2_2"], param_grads=True)
    dx, grads = net.backward_params(feats, cache)
    assert dx.shape == x.shape
    assert set(grads) == {"conv1_1", "conv1_2", "conv2_1", "conv2_2"}  # as deep as forward went
    for name, (dw, db) in grads.items():
        assert dw.shape == (net.channels[name.replace("conv", "relu")], dw.shape[1], 3, 3) and db.shape == dw.shape[:1]


# --- memory --------------------------------------------------------------------------------------------------------


def arrays_in(cache):
    """Every array that a nest of tuples, lists and dicts holds, each once."""
    if isinstance(cache, dict):
        cache = list(cache.values())
    if isinstance(cache, tuple | list):
        return {id(a): a for item in cache for a in arrays_in(item)}.values()
    return [cache] if hasattr(cache, "nbytes") else []


def test_the_cache_keeps_no_activation_when_filters_are_frozen(backend, make_net, x):
    """One byte an element for a ReLU, one a window for a maximum; nothing of the picture, nothing in floating point."""
    net = make_net()
    filters = {id(a) for pair in net._params.values() for a in pair}
    _, cache = net.forward(x, ["conv5_1"])
    kept = [a for a in arrays_in(cache) if id(a) not in filters and a.dtype.kind == "f" and a.ndim == 4]
    activations = [a for a in kept if a.shape[0] == 2 and a.shape[2:] != (3, 3)]
    assert not activations
    _, cache = net.forward(x, ["conv5_1"], param_grads=True)
    assert any(a is x for a in arrays_in(cache))  # what the test above would have seen


def test_without_a_cache_nothing_is_kept(make_net, x):
    assert make_net().forward(x, ["relu3_1"], cached=False)[1] is None


# --- errors --------------------------------------------------------------------------------------------------------


def test_an_unknown_layer_is_named_with_a_suggestion(make_net, x):
    net = make_net()
    with pytest.raises(ValueError, match=r"relu4-2.*did you mean relu4_2\?"):
        net.forward(x, ["relu4-2"])
    with pytest.raises(ValueError, match=r"pool9.*did you mean pool"):
        net.forward(x, ["relu4_1"], start="pool9")
    with pytest.raises(ValueError, match=r"relu5_4.*not in this network \(conv1_1 … relu5_1\)"):
        net.forward(x, ["relu5_4"])  # there is one in VGG-19, but these filters end before
    with pytest.raises(ValueError, match="no layers"):
        net.forward(x, [])


def test_forward_says_what_does_not_fit(backend, make_net, x):
    net = make_net()
    with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\) at the input, found \(2, 2, 35, 38\)"):
        net.forward(x[:, :2], ["relu1_1"])
    with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\)"):
        net.forward(x[0], ["relu1_1"])
    with pytest.raises(ValueError, match="at pool2"):
        net.forward(x, ["relu3_1"], start="pool2")
    with pytest.raises(ValueError, match=r"pool2.*before the start"):
        net.forward(x, ["pool2"], start="relu4_1")
    with pytest.raises(ValueError, match="2x2 window"):
        net.forward(x[:, :, :5, :], ["relu4_1"])


def test_backward_says_what_does_not_fit(make_net, x):
    net = make_net()
    feats, cache = net.forward(x, ["relu1_1", "relu2_1"])
    with pytest.raises(ValueError, match=r"relu1_2.*relu1_1, relu2_1"):
        net.backward({"relu1_2": x}, cache)
    with pytest.raises(ValueError, match="none"):
        net.backward({}, cache)
    with pytest.raises(ValueError, match=r"relu2_1, expected \(2, "):
        net.backward({"relu2_1": feats["relu2_1"][:, :1]}, cache)
    _, cache = net.forward(x, ["relu1_1"])
    net.backward({"relu1_1": feats["relu1_1"]}, cache)
    with pytest.raises(ValueError, match="has been used"):
        net.backward({"relu1_1": feats["relu1_1"]}, cache)


def test_filters_that_do_not_belong_are_refused():
    params = rows.random_params(np.random.default_rng(0), last="conv2_1")
    with pytest.raises(ValueError, match=r"conv1_2.*beginning"):
        VGG({name: pair for name, pair in params.items() if name != "conv1_1"})
    with pytest.raises(ValueError, match="beginning"):
        VGG({})
    w, b = params["conv1_2"]
    for wrong in ((w[:, :2], b), (w, b[:-1]), (w[..., :2], b), (w[0], b)):
        with pytest.raises(ValueError, match=r"conv1_2 has filters .* since 4 channels come in"):
            VGG({**params, "conv1_2": wrong})
    with pytest.raises(ValueError, match="pooling 'mean'"):
        VGG(params, pooling="mean")
    with pytest.raises(ValueError, match="kernels 'slow'"):
        VGG(params, kernels="slow")


def test_one_name_is_a_set_of_one(kernels, make_net, x):
    """Not a set of letters."""
    net = make_net()
    feats, cache = net.forward(x, "relu4_1")
    assert list(feats) == ["relu4_1"]
    assert_close(feats["relu4_1"], net.forward(x, ["relu4_1"])[0]["relu4_1"])
    assert net.backward(feats, cache).shape == x.shape
    with pytest.raises(ValueError, match=r"'relu4-1' is not in this network .*did you mean relu4_1"):
        net.forward(x, "relu4-1")


def test_it_says_in_a_line_what_it_is(backend, kernels, make_net):
    name = "textbook" if kernels == "textbook" else {"numpy": "fast_cpu", "cupy": "fast_gpu"}[backend.name]
    assert repr(make_net()) == f"VGG(vgg19 to relu5_1, 4–8 channels, float64, {name})"
    assert repr(make_net("vgg16", last="conv1_2", dtype=np.float32)) == (
        f"VGG(vgg19 to pool1, 4 channels, float32, {name})"  # a beginning that both share
    )


def test_a_precision_that_the_kernels_do_not_have_is_refused(rng):
    params = rows.random_params(rng, last="conv1_2")
    for kernels, name in (("fast", "fast_cpu"), ("textbook", "textbook")):
        assert VGG(params, kernels=kernels, precision="float32").kernels.name == name
        with pytest.raises(ValueError, match=f"precision 'tf32': the {name} kernels have float32"):
            VGG(params, kernels=kernels, precision="tf32")


def test_transforms_are_kept_by_the_network_that_is_to_keep_them(rng):
    """One that is not shares filters and buffers with it; a pass of either does as it says itself."""
    params = rows.random_params(rng, widths=16, last="conv2_1", dtype=np.float32)
    keeping = VGG(params)
    fresh = keeping.keeping_transforms(False)
    assert (keeping.keep_transforms, fresh.keep_transforms) == (True, False)
    assert not VGG(params, keep_transforms=False).keep_transforms
    x = rng.standard_normal((1, 3, 40, 44)).astype(np.float32)
    filters, found = keeping._params["conv2_1"][0], []
    assert fresh._params["conv2_1"][0] is filters
    for net in (fresh, keeping, fresh):
        found.append(net.forward(x, "relu2_1", cached=False)[0]["relu2_1"].copy())
        assert (filters.forward._stored is not None) == net.keep_transforms
    assert_close(found[1], found[0], 1e-5)
    assert_close(found[2], found[0])
    keeping.forward(x, "relu2_1")
    keeping.release()
    assert filters.forward._stored is None


# --- the real network ----------------------------------------------------------------------------------------------


def test_the_real_network_is_a_vgg19(vgg19_mat):
    import weights

    network = weights.load(vgg19_mat)
    net = VGG(network.params)
    assert (network.arch, net.arch, net.names[-1]) == ("vgg19", "vgg19", "pool5")
    assert [net.channels[f"pool{k}"] for k in range(1, 6)] == [64, 128, 256, 512, 512]
