"""The compact file: round trips, what it refuses, and that it appears whole or not at all."""

import io
import json
import zipfile

import matfiles
import numpy as np
import pytest

import weights
from weights import cache, store


@pytest.fixture
def network(tmp_path):
    """A small network read from a .mat file."""
    return weights.load(matfiles.vgg_mat(tmp_path / "small.mat", "vgg16"))


def refused(path):
    with pytest.raises(weights.WeightsError) as caught:
        weights.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


# Relative to a filter's range: half of the last place of float16 (11 bits), half a step of 255.
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 0), ("float16", 2**-11), ("uint8", 0.501 / 255)])
def test_round_trip(tmp_path, network, precision, tolerance):
    path = tmp_path / "net.npz"
    network.about = "made for a test"
    weights.save_compact(network, path, precision)
    got = weights.load(path)
    assert (got.name, got.arch, got.order, got.about) == ("small", "vgg16", "RGB", "made for a test")
    assert got.sha256 == network.sha256 and got.path == path
    assert np.array_equal(got.mean, network.mean) and list(got.params) == list(network.params)
    for name, (w, b) in network.params.items():
        assert got.params[name][0].dtype == np.float32
        assert np.array_equal(got.params[name][1], b)
        span = np.ptp(w, axis=(1, 2, 3), keepdims=True)
        assert (np.abs(got.params[name][0] - w) <= tolerance * span).all(), name


def test_saving_what_was_loaded_changes_nothing(tmp_path, network):
    weights.save_compact(network, tmp_path / "a.npz", "uint8")
    weights.save_compact(weights.load(tmp_path / "a.npz"), tmp_path / "b.npz", "uint8")
    a, b = weights.load(tmp_path / "a.npz"), weights.load(tmp_path / "b.npz")
    for name in a.params:
        np.testing.assert_allclose(a.params[name][0], b.params[name][0], rtol=0, atol=1e-6)


def test_the_same_network_gives_the_same_bytes(tmp_path, network):
    for name in ("a.npz", "b.npz"):
        weights.save_compact(network, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_quantize_keeps_ends_and_constants():
    w = np.zeros((3, 2, 3, 3), "f4")
    w[0, 0, 0, 0], w[0, 1, 2, 2], w[1] = -3, 5, 7
    back = store.dequantize(*store.quantize(w))
    np.testing.assert_allclose(back[0, 0, 0, 0], -3, rtol=1e-6)
    np.testing.assert_allclose(back[0, 1, 2, 2], 5, rtol=1e-6)
    assert (back[1] == 7).all() and (back[2] == 0).all()


def test_dtype(tmp_path, network):
    for precision in store.PRECISIONS:
        weights.save_compact(network, tmp_path / "net.npz", precision)
        params = weights.load(tmp_path / "net.npz", dtype=np.float64).params
        assert all(w.dtype == b.dtype == np.float64 for w, b in params.values())


def test_a_network_of_our_own_without_a_source(tmp_path):
    params = {n: (f.transpose(3, 2, 0, 1), b) for n, (f, b) in matfiles.random_params().items()}
    params = {n: params[n] for n in list(params)[:13]}  # ends at conv5_1: nothing later is asked for
    own = weights.Network("mini", "vgg19", params, matfiles.MEAN, "RGB")
    assert own.sha256 is None
    weights.save_compact(own, tmp_path / "own.npz", "float16")
    got = weights.load(tmp_path / "own.npz")
    assert len(got.params) == 13 and len(got.sha256) == 64  # its own hash, since nothing stands behind it


def test_bad_networks_are_not_written(tmp_path, network):
    network.params["conv1_1"][0][0, 0, 0, 0] = np.nan
    with pytest.raises(weights.WeightsError, match="1 filters that are not finite"):
        weights.save_compact(network, tmp_path / "net.npz")
    del network.params["conv1_1"]
    with pytest.raises(weights.WeightsError, match="its convolutions are conv1_2"):
        weights.save_compact(network, tmp_path / "net.npz")
    with pytest.raises(ValueError, match="int4"):
        weights.save_compact(network, tmp_path / "net.npz", "int4")
    assert not list(tmp_path.glob("*.npz"))


def test_an_error_while_writing_leaves_the_old_file(tmp_path, network, monkeypatch):
    path = tmp_path / "net.npz"
    weights.save_compact(network, path)
    before = path.read_bytes()

    def savez(file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(store.np, "savez", savez)
    with pytest.raises(KeyboardInterrupt):
        weights.save_compact(network, path)
    assert path.read_bytes() == before and not list(tmp_path.glob(".*"))


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", store.PRECISIONS)
def test_truncated_or_flipped(tmp_path, network, precision):
    path = tmp_path / "net.npz"
    weights.save_compact(network, path, precision)
    whole = path.read_bytes()
    for length in (4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "damaged or truncated" in refused(path)
    member = zipfile.ZipFile(io.BytesIO(whole)).getinfo("conv5_1.filters.npy")
    data = bytearray(whole)
    data[member.header_offset + 300 + (member.compress_size - 300) // 2] ^= 1  # among the values, past both headers
    path.write_bytes(data)
    assert "damaged or truncated" in refused(path)


def directory_bytes(whole):
    """Positions of everything in a zip that is not an entry's content: local headers, directory, end record."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        places = list(range(archive.start_dir, len(whole)))
        for member in archive.infolist():
            lengths = whole[member.header_offset + 26 : member.header_offset + 30]
            name, extra = (int.from_bytes(lengths[i : i + 2], "little") for i in (0, 2))
            places += range(member.header_offset, member.header_offset + 30 + name + extra)
    return places


# stored and deflated
@pytest.mark.parametrize("precision", ["float32", pytest.param("uint8", marks=pytest.mark.slow)])
def test_a_changed_byte_in_the_directory(tmp_path, network, precision):
    """Loads as before or is refused in one line, whichever byte it is: method, flags, sizes, names, checksums."""
    path = tmp_path / "net.npz"
    network.params = {"conv1_1": network.params["conv1_1"]}  # may end early; few entries, all of them looked at
    weights.save_compact(network, path, precision)
    whole, want = path.read_bytes(), weights.load(path)
    said = set()
    for place in directory_bytes(whole):
        for change in (1, 14, 64):  # 1: encrypted; 14: stored to LZMA
            data = bytearray(whole)
            data[place] ^= change
            path.write_bytes(data)
            try:
                got = weights.load(path)
            except weights.WeightsError as error:
                assert "\n" not in str(error) and str(path) in str(error)
                said.add(str(error))
            else:
                assert (got.name, got.arch, got.sha256) == (want.name, want.arch, want.sha256)
                assert all(np.array_equal(a, b) for a, b in zip(got.params["conv1_1"], want.params["conv1_1"]))
    for reason in ("compression method is not supported", "is encrypted", "Bad CRC-32"):
        assert any(reason in s for s in said), reason


def test_a_changed_byte_in_an_array_header(tmp_path, network):
    """It is parsed before the checksum is known."""
    path = tmp_path / "net.npz"
    network.params = {"conv1_1": network.params["conv1_1"]}
    weights.save_compact(network, path)
    whole = path.read_bytes()
    start = whole.index(b"\x93NUMPY")
    for place in range(start, start + 128):
        for change in (1, 14, 64):
            data = bytearray(whole)
            data[place] ^= change
            path.write_bytes(data)
            refused(path)


def change(path, new=None, **metadata):
    """Rewrite a compact file with other metadata and entries (None takes one away)."""
    with np.load(path) as archive:
        entries = dict(archive)
    old = json.loads(str(entries["metadata"].item()))
    entries["metadata"] = np.array(json.dumps({**old, **metadata}))
    entries.update(new or {})
    np.savez(path, **{k: v for k, v in entries.items() if v is not None})


@pytest.mark.parametrize(
    ("new", "metadata", "said"),
    [
        ({"conv2_1.filters": None}, {}, "without its entry"),
        ({"conv2_1.filters": np.ones((5, 5, 3, 3), "f4")}, {}, "since 4 channels come in"),
        ({"conv1_1.biases": np.array([1, 2, np.nan, 4], "f4")}, {}, "1 biases that are not finite"),
        ({}, {"arch": "vgg11"}, "architecture 'vgg11'"),
        ({}, {"layers": ["conv1_1", "conv2_1"]}, "its convolutions are conv1_1, conv2_1"),
        ({}, {"version": 2}, "version 2"),
        ({}, {"format": "x"}, "format 'x'"),
        ({}, {"precision": "int4"}, "precision 'int4'"),
        ({}, {"mean": [1, 2]}, "average colour"),
        ({}, {"order": "GRB"}, "channel order 'GRB'"),
        ({"metadata": None, "archive/data.pkl": np.ones(1)}, {}, "a PyTorch checkpoint"),
        ({"metadata": None}, {}, "another archive"),
        ({"metadata": np.array("{")}, {}, "damaged"),
    ],
)
def test_other_contents(tmp_path, network, new, metadata, said):
    path = tmp_path / "net.npz"
    weights.save_compact(network, path)
    change(path, new, **metadata)
    assert said in refused(path)


def test_nothing_is_unpickled(tmp_path, network):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    path = tmp_path / "net.npz"
    weights.save_compact(network, path)
    change(path, {"conv1_1.filters": np.array([Trap()], dtype=object)})
    assert "damaged" in refused(path)


# --- names --------------------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An empty cache, and no embedded network."""
    monkeypatch.setenv("MINIVGG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "EMBEDDED", tmp_path / "mini.npz")


def test_the_best_that_is_there(places, network):
    with pytest.raises(weights.WeightsError, match="python -m weights fetch vgg19"):
        weights.load()
    for name in ("mini", "vgg16", "vgg19"):  # worst first: each new one is better
        network.name = name
        network.arch = "vgg16"
        weights.save_compact(network, cache.entry(name))
        assert weights.load().name == weights.load("best").name == name
    assert cache.names() == cache.present() == ["vgg19", "vgg16", "mini"]
    assert weights.load("mini").path == cache.EMBEDDED


def test_names_that_are_not_there(places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spec, said in [
        ("vgg19", "python -m weights fetch vgg19"),
        ("mini", "the embedded network is missing"),
        ("vg19", "did you mean vgg19"),
        ("VGG16", "did you mean vgg16"),
        ("xyz", "names: vgg19, vgg16, mini"),
        ("no/such.mat", "no such file"),
        ("nothing.npz", "no such file"),
    ]:
        with pytest.raises(weights.WeightsError, match=said):
            weights.load(spec)


def test_other_entries_have_names_too(places, network):
    weights.save_compact(network, cache.entry("faces"))
    assert cache.names() == ["vgg19", "vgg16", "mini", "faces"]
    assert weights.load("faces").path == cache.entry("faces")


def test_a_file_is_read_by_what_it_is(tmp_path, network):
    weights.save_compact(network, tmp_path / "net.mat")
    assert weights.load(tmp_path / "net.mat").name == "small"
    assert weights.load(str(tmp_path / "small.mat")).name == "small"


def test_the_real_network_in_each_precision(tmp_path, vgg19_mat):
    """What the precisions cost on VGG-19: root mean square error of a layer's filters, relative to the filters'."""
    network = weights.load(vgg19_mat)
    for precision, most, megabytes in [("float32", 0, 81), ("float16", 4e-4, 41), ("uint8", 0.02, 15)]:
        path = tmp_path / f"{precision}.npz"
        weights.save_compact(network, path, precision)
        got = weights.load(path)
        for name, (w, _) in network.params.items():
            error = np.sqrt(np.mean((got.params[name][0] - w) ** 2) / np.mean(w**2))
            assert error <= most, (precision, name, error)
        assert path.stat().st_size < megabytes * 1e6


def test_a_disk_that_fails_while_weights_are_read(network_file, monkeypatch):
    def fails(*args, **options):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(weights, "load_compact", fails)
    with pytest.raises(weights.WeightsError, match=r"narrow\.npz: cannot be read \(Input/output error\)"):
        weights.load(network_file)
