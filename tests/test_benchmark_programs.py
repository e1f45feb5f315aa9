"""benchmarks/programs.py: the saved picture's loss, where a run reaches it, what is refused; both with PyTorch."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
from cases import blocks, make_network
from PIL import Image

import weights
from benchmarks import common, programs, runs
from benchmarks.peer import Factors, TorchObjective
from minivgg import VGG
from style.objective import Objective
from style.pictures.colour import ColourSpace
from style.settings import settings_from
from style.statistics import make_terms, terms_of

NO_TORCH = "PyTorch is not installed: the peer is not run"


@pytest.fixture
def files(tmp_path):
    for name, picture in zip(("content", "style"), blocks([(3, 4), (4, 4)])):
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / f"{name}.png")
    weights.save_compact(make_network(), tmp_path / "narrow.npz")
    return tmp_path


def command(files, *more):
    return [f"{files}/content.png:{files}/style.png", "--weights", f"{files}/narrow.npz", "--sizes", "32", *more]


def test_a_saved_picture_is_cut_off_and_rounded_and_its_loss_is_the_textbooks():
    network, settings = make_network(), settings_from(content_weight=2.0, style_weight=3.0, pooling="max", margin=0)
    content, style, image = (np.rint(p).astype(np.uint8) for p in blocks([(3, 4), (4, 4), (3, 4)], seed=1))
    colours = ColourSpace.of(network)
    x = colours.to_input(image) + 0.3
    x[0, 0, 0, 0], x[0, 0, 1, 1] = 400, -400
    saved = runs.to_saved(colours, x)
    assert saved.dtype == np.uint8
    assert (saved[0, 0, 0], saved[1, 1, 0]) == (255, 0)
    expected = image.copy()
    expected[0, 0, 0], expected[1, 1, 0] = 255, 0
    assert np.array_equal(saved, expected)
    params = {n: tuple(a.astype(np.float64) for a in pair) for n, pair in network.params.items()}
    pictures = {name: colours.to_input(p, np.float64) for name, p in (("content", content), ("style", style))}
    textbook = Objective.of(VGG(params, kernels="textbook"), terms_of(settings), pictures)
    found = runs.Judge(network, settings, content, style).loss(saved)
    assert found == pytest.approx(textbook.evaluate(colours.to_input(saved, np.float64)).loss, rel=1e-5)


@pytest.mark.parametrize("target, expected", [(9.5, 1), (7.0, 3), (6.9, 4), (1.0, 9), (0.5, None), (np.nan, None)])
def test_the_crossing_of_a_falling_curve(target, expected):
    asked = []

    def loss(k):
        asked.append(k)
        return {k: 10.0 - k for k in range(1, 10)}[k]

    assert runs.first_at_most(loss, 9, target) == expected
    assert len(asked) <= 5


def test_the_crossing_is_never_too_early():
    rng = np.random.default_rng(0)
    for _ in range(50):
        losses = rng.uniform(0, 1, 20) + np.linspace(2, 0, 20)
        target = rng.uniform(losses[-1], 2)
        found = runs.first_at_most(lambda k, losses=losses: losses[k - 1], 20, target)
        assert losses[found - 1] <= target
        assert found >= 1 + np.argmax(losses <= target)


def test_a_paused_clock_stands():
    clock = runs.Clock()
    before = clock.seconds()
    with clock.paused():
        time.sleep(0.2)
    assert clock.seconds() - before < 0.1


def test_saved_losses_are_evaluated_once_and_seconds_end_with_the_picture():
    run = runs.Run(ColourSpace.of(make_network()))
    run.curve, run.finish, run.pictures = [(1.0, 50.0), (2.0, 40.0), (3.0, 30.0)], 0.25, {1: 9.0, 2: 5.0, 3: 4.0}
    peer = SimpleNamespace(seconds=lambda mark: 9.0)
    asked = []
    judged = runs.Judged(SimpleNamespace(loss=lambda picture: asked.append(picture) or picture), run)
    found = programs.compare(
        100, {"peer": peer, "ours": run}, {"peer": SimpleNamespace(loss=lambda k: 5.5), "ours": judged}
    )
    assert (found["our evaluations"], found["our seconds"], found["ratio"]) == (2, 2.25, 4.0)
    assert sorted(asked) == sorted({*asked})
    found = programs.compare(
        100, {"peer": peer, "ours": run}, {"peer": SimpleNamespace(loss=lambda k: 3.5), "ours": judged}
    )
    assert (found["our evaluations"], found["our seconds"], found["ratio"]) == (None, None, None)
    turn = {"pair": "a, b", "size": 32, "rows": [found]}
    assert next(programs.table_rows(turn)) == "| a, b | 32 | 100 | 9.0 | 3.5 | not reached |  |  |"
    assert list(programs.summary([turn])) == ["32 pixels, 100 iterations: reached in 0 of 1 turns"]


def test_losses_that_differ_at_the_start_are_refused():
    programs.check_start({"peer": 1000.0, "ours": 1000.05})
    for other in (1000.2, np.nan):
        with pytest.raises(programs.Refused, match=r"differ by more than 0\.0001"):
            programs.check_start({"peer": 1000.0, "ours": other})


def test_options_of_ours_are_checked():
    assert programs.asked(["style-layers=relu1_1", "lag=3"], {}) == {"style_layers": "relu1_1", "lag": 3}
    for text, said in (("lga=3", "did you mean lag"), ("lag=x", "a whole number"), ("size=64", "settled")):
        with pytest.raises(programs.SettingsError, match=said):
            programs.asked([text], {"size": 32})


def test_without_pytorch_it_says_so(files, capsys, monkeypatch):
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda name: None)
    assert programs.main(command(files)) == 1
    assert capsys.readouterr().err == "benchmarks.programs: the peer needs PyTorch, which is not installed\n"


def test_the_peer_has_our_loss_with_any_factors():
    pytest.importorskip("torch", reason=NO_TORCH)
    params = make_network().params
    content, style, image = common.pictures(32, 40)
    peer = TorchObjective(params, content, style, factors=Factors(5.0, 100.0, 7.0))
    layers = {"content": {common.CONTENT: 5.0}, "style": dict.fromkeys(common.STYLE, 100.0)}
    terms = make_terms(**layers, tv=7.0, tv_beta=1.0)
    ours = Objective.of(VGG(params), terms, {"content": content, "style": style}).evaluate(image)
    loss, gradient = peer.evaluate(image)
    assert loss == pytest.approx(ours.loss, rel=1e-5)
    assert np.linalg.norm(gradient.numpy() - ours.gradient) < 1e-4 * np.linalg.norm(ours.gradient)


@pytest.mark.parametrize("more", [[], ["--recipe", "neural-style", "--tv-weight", "1e-3", "--layout", "channels_last"]])
def test_both_programs_in_turns(files, capsys, more):
    pytest.importorskip("torch", reason=NO_TORCH)
    out = files / "out.json"
    asked = ["--marks", "2", "6", "--repeats", "2", "--set", "evaluations=9", "--out", str(out), *more]
    assert programs.main(command(files, *asked)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| content, style | 32 | ") for line in lines) == 4
    assert str(files) not in out.read_text()  # no folder's name
    turns = json.loads(out.read_text())["turns"]
    assert [t["order"] for t in turns] == [["peer", "ours"], ["ours", "peer"]]
    assert [r["iterations"] for r in turns[0]["rows"]] == [2, 6]
    assert len(turns[0]["seconds and losses"]["peer"]) == 6
    assert turns[0]["rows"][1]["saved loss"] < turns[0]["rows"][0]["saved loss"]
    assert set(turns[0]["saved losses"]["peer"]) == {"2", "6"}


def test_another_pooling_is_refused(files, capsys):
    pytest.importorskip("torch", reason=NO_TORCH)
    assert programs.main(command(files, "--set", "pooling=avg")) == 1
    assert "the losses of the content picture differ" in capsys.readouterr().err
