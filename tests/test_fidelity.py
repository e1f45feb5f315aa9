"""The fidelity program: what it measures on networks small enough for a test, and what it refuses."""

import numpy as np
import pytest
from cases import make_network
from PIL import Image

import weights
from benchmarks import fidelity


def network(width, seed):
    return make_network([width] * 5, seed, bias=0)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("content", "style"):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        small.resize((48, 36), Image.Resampling.BICUBIC).save(tmp_path / f"{name}.png")
    weights.save_compact(network(6, 1), tmp_path / "judge.npz")
    weights.save_compact(network(4, 2), tmp_path / "small.npz")
    return tmp_path


def test_the_judge_beats_others_at_its_own_losses_and_the_untouched_content_has_all_left(files):
    pair = fidelity.Pair(f"{files}/content.png:{files}/style.png", 32)
    networks = [(n, weights.load(files / f"{n}.npz")) for n in ("judge", "small")]
    rows = {r["network"]: r for r in fidelity.run_pair(pair, networks, 12, lambda row: None)}
    assert rows["content"]["style_left"] == pytest.approx(1)
    assert rows["content"]["content"] == pytest.approx(0, abs=1e-6)
    assert rows["judge"]["style_left"] < rows["small"]["style_left"]
    assert rows["judge"]["style_left"] < 0.9


def test_a_random_network_has_the_shape_and_the_loss_scale_and_comes_from_its_seed():
    judge, like = network(6, 1), network(4, 2)
    x = [np.random.default_rng(0).normal(0, 60, (3, 3, 32, 32)).astype(np.float32)]
    a, b, c = (fidelity.random_network(like, judge, x, seed) for seed in (0, 0, 1))
    scales = fidelity.student.loss_scales(a.params, judge.params, x)
    for name, (w, _) in like.params.items():
        assert a.params[name][0].shape == w.shape
        assert np.array_equal(a.params[name][0], b.params[name][0])
        assert not np.array_equal(a.params[name][0], c.params[name][0])
        assert scales[name][0] == pytest.approx(1, rel=1e-3)


def test_the_program_prints_the_table_and_saves_the_pictures(files, capsys):
    command = ["--weights", f"real={files}/judge.npz", f"{files}/small.npz", "random", "--size", "32", "--evaluations"]
    command += ["2", "--pairs", f"{files}/content.png:{files}/style.png", "--out-dir", f"{files}/out"]
    assert fidelity.main(command) == 0
    table = capsys.readouterr().out.split("\n\n")[1]
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["real", "small", "random", "content"]
    assert sorted(p.name for p in (files / "out").iterdir()) == [
        f"content-style-{n}.png" for n in ("content", "random", "real", "small")
    ]


def test_the_pooling_is_the_networks_and_the_judge_s(files, monkeypatch):
    made, VGG = [], fidelity.VGG
    monkeypatch.setattr(
        fidelity, "VGG", lambda params, *, pooling: made.append(pooling) or VGG(params, pooling=pooling)
    )
    command = ["--judge", f"{files}/judge.npz", "--weights", f"{files}/small.npz", "--size", "32", "--evaluations", "2"]
    command += ["--pairs", f"{files}/content.png:{files}/style.png"]
    assert fidelity.main([*command, "--pooling", "avg"]) == 0
    assert made == ["avg"] * 3  # the verdict, the judge to be timed, the network
    assert fidelity.main(command) == 0
    assert made[3:] == ["max"] * 3


def test_a_judge_apart_is_timed_and_not_measured(files, capsys):
    command = ["--judge", f"real={files}/judge.npz", "--weights", f"{files}/small.npz", "--size", "32"]
    assert fidelity.main([*command, "--evaluations", "2", "--pairs", f"{files}/content.png:{files}/style.png"]) == 0
    table = capsys.readouterr().out.split("\n\n")[1]
    rows = {line.split("|")[1].strip(): line for line in table.splitlines()[2:]}
    assert list(rows) == ["small", "content"]
    assert float(rows["small"].split("|")[-2]) > 0  # times cheaper than the judge


@pytest.mark.parametrize(
    ("weights_given", "pair", "message"),
    [("random", "{}/content.png:{}/style.png", "list one first"), ("{}/judge.npz", "{}/content.png", "CONTENT:STYLE")],
)
def test_what_cannot_be_read_is_one_line(files, capsys, weights_given, pair, message):
    command = ["--weights", weights_given.replace("{}", str(files)), "--pairs", pair.replace("{}", str(files))]
    assert fidelity.main(command) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
