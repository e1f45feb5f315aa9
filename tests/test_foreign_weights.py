"""Weights files as people bring them: read right, or refused in one line that names the file and the fault."""

import json
import os
import zipfile

import matfiles
import numpy as np
import pytest
import scipy.io

import weights
from weights import cache, fetch, store


def refused(path):
    with pytest.raises(weights.WeightsError) as caught:
        weights.load(path)
    text = str(caught.value)
    assert text.isprintable() and str(path) in text
    return text


def rewritten(path, change):
    """A .mat file whose layers a function has changed."""
    layers = matfiles.layers_of(matfiles.random_params())
    change(layers)
    return matfiles.write_mat(path, layers)


def test_a_network_inside_a_variable_net(tmp_path):
    plain = matfiles.vgg_mat(tmp_path / "plain.mat")
    inside = {k: v for k, v in scipy.io.loadmat(plain).items() if not k.startswith("__")}
    scipy.io.savemat(tmp_path / "net.mat", {"net": matfiles.struct(**inside)})
    got, want = weights.load(tmp_path / "net.mat"), weights.load(plain)
    assert all(np.array_equal(got.params[n][0], want.params[n][0]) for n in want.params)
    scipy.io.savemat(tmp_path / "dag.mat", {"net": matfiles.struct(params=np.zeros(1), **inside)})
    assert "DagNN" in refused(tmp_path / "dag.mat")


@pytest.mark.parametrize(("kept", "convolutions"), [("relu5_1", 13), ("relu4_2", 10)])
def test_a_file_may_end_where_the_loss_ends(tmp_path, kept, convolutions):
    def cut(layers):
        at = next(i for i, layer in enumerate(layers) if layer["name"][0, 0] == kept)
        del layers[at + 1 :]

    network = weights.load(rewritten(tmp_path / "cut.mat", cut))
    assert len(network.params) == convolutions and network.name == "cut"


def test_a_gap_is_no_early_end(tmp_path):
    def gap(layers):
        at = next(i for i, layer in enumerate(layers) if layer["name"][0, 0] == "conv3_4")
        del layers[at : at + 2]
        del layers[-8:]

    assert "layers are missing" in refused(rewritten(tmp_path / "gap.mat", gap))


@pytest.mark.parametrize(("method", "found"), [("avg", "avg"), ("max", "max")])
def test_how_it_pools_is_kept(tmp_path, method, found):
    def change(layers):
        for layer in layers:
            if layer["type"][0, 0] == "pool":
                layer["method"][0, 0] = method

    network = weights.load(rewritten(tmp_path / "a.mat", change))
    weights.save_compact(network, tmp_path / "b.npz")
    assert network.pooling == weights.load(tmp_path / "b.npz").pooling == found


def test_pools_that_differ_are_another_network(tmp_path):
    def change(layers):
        next(layer for layer in layers if layer["type"][0, 0] == "pool")["method"][0, 0] = "avg"

    assert "some of its pools average" in refused(rewritten(tmp_path / "a.mat", change))


def test_mat_files_of_another_scale(tmp_path):
    assert "0..1" in refused(matfiles.vgg_mat(tmp_path / "a.mat", average=(0.485, 0.456, 0.406)))
    params = {n: (w.astype("u1"), b) for n, (w, b) in matfiles.random_params().items()}
    assert "uint8" in refused(matfiles.write_mat(tmp_path / "b.mat", matfiles.layers_of(params)))


def test_a_mat_file_that_unpacks_to_more_than_memory(tmp_path, monkeypatch):
    path = matfiles.vgg_mat(tmp_path / "a.mat", do_compression=True)
    monkeypatch.setattr(weights.matconvnet, "LARGEST", 1000)
    assert "expected at most 1,000" in refused(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "net.npz")
    assert "not a regular file" in refused(tmp_path / "net.npz")


# --- compact files ------------------------------------------------------------------------------------------


@pytest.fixture
def compact(tmp_path):
    """compact(arrays, **metadata) -> a compact file with these entries changed."""
    original = tmp_path / "original.npz"
    weights.save_compact(weights.load(matfiles.vgg_mat(tmp_path / "a.mat")), original)

    def make(arrays=None, **changed):
        with np.load(original) as archive:
            found = dict(archive)
        metadata = json.loads(found["metadata"].item()) | changed
        np.savez(tmp_path / "b.npz", **(found | {"metadata": np.array(json.dumps(metadata))} | (arrays or {})))
        return tmp_path / "b.npz"

    return make


@pytest.mark.parametrize(
    "changed",
    [{"arch": ["vgg19"]}, {"name": "a\x1b[31m"}, {"about": "a\nb"}, {"order": 3}, {"pooling": "median"}, {"mean": "x"}],
)
def test_metadata_of_another_kind(compact, changed):
    refused(compact(**changed))


@pytest.mark.parametrize("dtype", ["c16", "M8[s]", "i4", "U3", "O"])
def test_filters_of_another_kind(compact, dtype):
    refused(compact({"conv1_1.filters": np.zeros((2, 3, 3, 3)).astype(dtype)}))


def test_a_zip_that_unpacks_to_more_than_memory(compact, tmp_path, monkeypatch):
    path = compact()
    monkeypatch.setattr(store, "LARGEST", 1000)
    assert "when unpacked" in refused(path)
    with zipfile.ZipFile(path) as archive:
        assert sum(e.file_size for e in archive.infolist()) > 1000


# --- the cache and the way to it ----------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX modes")
def test_a_cache_folder_that_anybody_may_write(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("MINIVGG_CACHE", str(folder))
    weights.save_compact(weights.load(matfiles.vgg_mat(tmp_path / "a.mat")), folder / "vgg19.npz")
    assert weights.load().name == "a"
    folder.chmod(0o777)
    for spec in ("vgg19", None):
        with pytest.raises(weights.WeightsError, match="chmod o-w"):
            weights.load(spec)
    with pytest.raises(weights.WeightsError, match="chmod o-w"), cache.lock(folder / "x.lock", lambda: None):
        pass
    assert weights.load("mini").name == "mini"


def test_no_redirect_leaves_https():
    handler = fetch.StayOnHttps()
    request = fetch.urllib.request.Request("https://example.org/a.mat")
    with pytest.raises(fetch.urllib.error.URLError, match="leads from https to http"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://example.org/a.mat")
    assert (
        handler.redirect_request(request, None, 302, "Found", {}, "https://example.org/b.mat").full_url[-5:] == "b.mat"
    )


def test_only_https_where_no_hash_is_known():
    for sources in fetch.SOURCES.values():
        assert all(source.md5 or source.url.startswith("https://") for source in sources)
