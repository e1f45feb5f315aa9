"""What another program does with the packages: it has to run, and to satisfy a checker of types at its strictest."""

from pathlib import Path

import numpy as np
from PIL import Image

import style
import weights
from minivgg import VGG, Outline, layer_names
from minivgg.layers import avgpool2d_forward, conv2d_backward, conv2d_forward, relu_backward, relu_forward
from style import ColourSpace, Engine, Job, Result, Settings, State, events, limits, presets, samples, settings_from
from style.losses import content_loss, gram_backward, gram_forward, style_loss, tv_loss
from style.objective import Evaluation, Objective
from style.optimize import METHODS, minimize
from style.outcome import Outcome
from style.terms import Content, Gram, Term, TotalVariation, layers


class Listener:
    """Hears a run, keeps its last state, and ends it after three evaluations."""

    state: State | None = None

    def __call__(self, event: events.Event) -> events.Stop | None:
        if isinstance(event, events.Planned):
            sizes: list[tuple[int, int]] = [stage.size for stage in event.job.stages]
            assert sizes[-1] == (24, 32)
        elif isinstance(event, events.Evaluated):
            share: float = max(event.values.values()) / event.loss
            assert share <= 1 and event.to_rgb().shape == (24, 32, 3)
            return style.STOP if event.evaluation == 3 else None
        elif isinstance(event, events.Finished):
            assert event.result.outcome.status == "stopped"
            self.state = event.state() if event.state else None
        return None


def transfers(folder: Path) -> None:
    """A call, then the same in parts."""
    losses: list[float] = []
    Image.fromarray(samples.strokes(64).astype(np.uint8)).save(folder / "strokes.png")
    result: Result = style.transfer(
        samples.scene(64),
        ["sample:mosaic:64", folder / "strokes.png"],
        preset="fast",
        callback=lambda event: losses.append(event.loss),
        output=str(folder / "out.png"),
        size=32,
        evaluations=2,
        weights="mini",
    )
    outcome: Outcome = result.outcome
    assert result.losses == losses and outcome.totals()["loss"] <= losses[0]
    assert result.image.dtype == np.uint8 and result.metadata["settings"]["size"] == 32
    result.save(folder / "again.webp", quality=90)

    settings: Settings = settings_from("fast", size=32, style_layers="relu1_1", weights="mini")
    assert settings.style_layers == {"relu1_1": 1.0} and "fast" in presets()
    listener, engine = Listener(), Engine(settings)
    job = Job("sample:scene:64", Image.open(folder / "strokes.png"), settings, engine=engine)
    stopped = job.run(listener, limits.TimeLimit(600), limits.Patience(20))
    assert stopped.rgb.shape == (24, 32, 3) and job.plans[job.stages[0]].peak > 0
    assert listener.state is not None
    listener.state.save(folder / "state.npz")
    assert State.load(folder / "state.npz").stage == 1


def network(folder: Path) -> None:
    """The network, the pairs, the losses, and an optimisation with them."""
    found = weights.load("mini", dtype=np.float64)
    weights.save_compact(found, folder / "mini.npz", "float16")
    net, outline = VGG(found.params, pooling="avg"), Outline(found.params, np)
    assert layer_names("vgg19")[0] == "conv1_1" and outline.steps(["relu2_1"])[0].conv == "conv1_1"
    x = ColourSpace.of(found).to_input(samples.scene(32), dtype=np.float64)
    feats, cache = net.forward(x, ["relu2_1"])
    assert net.backward(feats, cache).shape == x.shape

    out, conv_cache = conv2d_forward(x, *found.params["conv1_1"], pad=1)
    out, relu_cache = relu_forward(out)
    dx, dw, db = conv2d_backward(relu_backward(out, relu_cache), conv_cache)
    assert (dx * dx).sum() > 0 and dw.shape[:1] == db.shape and avgpool2d_forward(out)[0].ndim == 4
    loss, dF = content_loss(x, 0 * x)
    assert loss > 0 and (2 * dF).shape == x.shape and tv_loss(x, beta=1)[1].shape == x.shape
    F = feats["relu2_1"][0].reshape(feats["relu2_1"].shape[1], -1)
    G = gram_forward(F)
    assert gram_backward(style_loss(G, 0 * G, F.shape[1])[1], F).shape == F.shape

    terms = [
        Term("content relu2_2", Content(), "relu2_2", source="content"),
        Term("style relu2_1", Gram(), "relu2_1", factor=200.0, source="style"),
        Term("tv", TotalVariation(beta=2.0), factor=1e-3),
    ]
    objective = Objective.of(net, terms, {"content": x, "style": x[..., ::-1]})
    start: Evaluation = objective.evaluate(x)
    best = minimize(objective, x, method="adam", evaluations=2, listener=lambda event: None, learning_rate=1.0)
    assert best.loss <= start.loss and layers(terms) == ("relu2_2", "relu2_1") and "adam" in METHODS


def main(folder: Path) -> None:
    transfers(folder)
    network(folder)
