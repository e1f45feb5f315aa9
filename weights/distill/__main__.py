"""Train a narrow network to stand in for VGG-19, with this project's own backward pass.

    python -m weights.distill --teacher FILE --pictures DIR [DIR ...] --widths 32,32,64,... --out FILE

First in closed form (student.py), then by Adam on filters and biases: at each layer a linear map A carries the
student's activation S to the teacher's T, and Σ_l ω_l |T_l - A_l S_l|² / |T_l|² falls (collaborative distillation,
Wang et al. 2020; PCA distillation, Chiu & Gurari 2022). The maps are regressions on running moments of S and T. The
same seed gives the same network; a run that was killed goes on from its checkpoint, digit by digit.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from minivgg.vgg import VGG
from style.pictures.images import ImageError

from .. import load
from ..cache import atomic_file
from ..known import WeightsError
from ..store import PRECISIONS, Network, save_compact
from . import lessons, student

# ω: the layers that recipes take their losses from. With one weight for all style layers, as most recipes have it,
# relu4_1 makes up 95 % of VGG-19's style loss: its activations are the largest.
LAYER_WEIGHTS = {"conv1_1": 0.5, "conv2_1": 1, "conv3_1": 1, "conv4_1": 8, "conv4_2": 1, "conv5_1": 0.3, "conv5_2": 0.1}
WORKERS = 2  # threads, each with its share of a batch; part of the result (sums are taken in this order), so fixed


@dataclass(frozen=True)
class Settings:
    """What decides the result: equal settings, teacher and pictures give equal networks."""

    widths: tuple
    steps: int = 1000
    batch: int = 4
    size: int = 128
    rate: float = 0.01  # of the root mean square of each tensor, the most that Adam moves a value in one step
    closed_batches: int = 32  # batches for the closed form
    own: int = 8  # style transfers with the student, at the start and each time `renew` steps have passed
    renew: int = 250
    keep: int = 192  # own pictures kept, the latest
    seed: int = 0


@dataclass
class State:
    """All that a run is: filters, Adam's moments, the maps' running moments, the student's own pictures."""

    step: int
    params: dict  # {"conv1_1": (w, b), …}
    first: dict  # Adam's m and v, like params
    second: dict
    scale: dict  # {"conv1_1": (rms of w, rms of b)} at the start: what `rate` is a part of
    cross: dict  # {"conv1_1": Σ T Sᵀ}, decaying
    gram: dict  # {"conv1_1": Σ S Sᵀ}, decaying
    maps: dict  # {"conv1_1": A}
    own: np.ndarray


class Training:
    """The steps of a run. teacher {"conv1_1": (w, b), …}; folders from lessons.read_folders."""

    def __init__(self, teacher, mean, folders, settings):
        names = list(teacher)[: len(settings.widths)]
        self.teacher = {name: teacher[name] for name in names}
        self.widths = dict(zip(names, settings.widths, strict=True))
        self.mean, self.folders, self.settings = mean, folders, settings
        self.relus = {n: n.replace("conv", "relu") for n in names if n in LAYER_WEIGHTS}
        self.wide = [VGG(self.teacher) for _ in range(WORKERS)]
        self.narrow = None
        self.pool = ThreadPoolExecutor(WORKERS)

    def start(self, log=None):
        """State after the closed form."""
        s, rng = self.settings, self._rng(0)
        crops = [self._batch(rng) for _ in range(s.closed_batches)]
        params, maps = student.closed_form(self.teacher, crops, self.widths, log=log)
        params = student.scale_channels(params, student.map_scales(maps))
        zeros = {name: tuple(np.zeros_like(v) for v in p) for name, p in params.items()}
        scale = {name: tuple(_rms(v) for v in p) for name, p in params.items()}
        state = State(0, params, zeros, dict(zeros), scale, {}, {}, {}, self._own(params, rng))
        for x in crops[:8]:
            self._observe(state, *self._share(state, x, self._activations), decay=1.0)
        self._refresh(state)
        return state

    def step(self, state):
        """One step of Adam on a fresh batch; returns {"conv1_1": |T - A S|² / |T|²} before the step."""
        s, rng = self.settings, self._rng(2 + state.step)
        if state.step and state.step % s.renew == 0:
            state.own = np.concatenate([state.own, self._own(state.params, rng)])[-s.keep :]
        parts = self._share(state, self._batch(rng, state.own), self._gradients)
        lost = {name: float(np.mean([part[0][name] for part in parts])) for name in self.relus}
        grads = {n: tuple(sum(part[1][n][i] for part in parts) / WORKERS for i in (0, 1)) for n in parts[0][1]}
        self._adam(state, grads)
        self._observe(state, *(part[2] for part in parts), decay=0.98)
        if state.step % 10 == 0:
            self._refresh(state)
        state.step += 1
        return lost

    def _share(self, state, x, task):
        """[task(state, part of x, worker's teacher, worker's student), …], one for each worker, at the same time."""
        if self.narrow is None:
            self.narrow = [VGG(state.params) for _ in range(WORKERS)]
        for net in self.narrow:
            net.set_params(state.params)
        parts = np.array_split(x, WORKERS)
        return list(self.pool.map(task, [state] * WORKERS, parts, self.wide, self.narrow))

    def _activations(self, state, x, wide, narrow):
        """The moments of one part, see `_moments`."""
        names = list(self.relus.values())
        return self._moments(wide.forward(x, names, cached=False)[0], narrow.forward(x, names, cached=False)[0])

    def _gradients(self, state, x, wide, narrow):
        """({name: lost}, {name: (dw, db)}, moments) of Σ_l ω_l mean_n |T - A S|² / |T|² (n counts pictures).

        forward: R = T - A S, lost = Σ_n |R_n|² / (N |T_n|²), so dS_n = -2 ω / (N |T_n|²) Aᵀ R_n
        """
        names = list(self.relus.values())
        T, _ = wide.forward(x, names, cached=False)
        S, cache = narrow.forward(x, names, param_grads=True)
        lost, dfeats = {}, {}
        for name, relu in self.relus.items():
            A = state.maps[name].astype(narrow.dtype)
            N, C, H, W = T[relu].shape
            t, s = T[relu].reshape(N, C, H * W), S[relu].reshape(N, -1, H * W)
            rest = t - A @ s  # (N, C, M)
            energy = _energy(t)
            lost[name] = float(np.mean(_energy(rest) / energy))
            factor = (-2 * LAYER_WEIGHTS[name] / (N * energy)).astype(narrow.dtype)
            dfeats[relu] = (factor[:, None, None] * (A.T @ rest)).reshape(S[relu].shape)
        moments = self._moments(T, S)
        return lost, narrow.backward_params(dfeats, cache)[1], moments

    def _moments(self, T, S):
        """{name: (Σ T Sᵀ, Σ S Sᵀ)}, every picture with the weight it has in the loss, 1 / |T|²."""
        out = {}
        for name, relu in self.relus.items():
            N, C, H, W = T[relu].shape
            t, s = T[relu].reshape(N, C, H * W), S[relu].reshape(N, -1, H * W)
            weighted = (s / _energy(t).astype(s.dtype)[:, None, None]).transpose(0, 2, 1)  # (N, M, D)
            cross, gram = t @ weighted, s @ weighted
            out[name] = cross.sum(axis=0, dtype=np.float64), gram.sum(axis=0, dtype=np.float64)
        return out

    def _observe(self, state, *parts, decay):
        """Let the running moments decay and add a batch's."""
        for name in self.relus:
            for kept, i in ((state.cross, 0), (state.gram, 1)):
                kept[name] = decay * kept.get(name, 0) + sum(part[name][i] for part in parts)

    def _refresh(self, state):
        for name in self.relus:
            state.maps[name] = student.regress(state.cross[name], state.gram[name], ridge=1e-4)

    def _own(self, params, rng):
        """Pictures made with the student, each worker its share."""
        s = self.settings
        seeds = rng.integers(2**32, size=s.own)

        def make(seed):
            own = np.random.default_rng(seed)
            return lessons.own_picture(params, self.teacher, self.folders, s.size, self.mean, own)

        made = list(self.pool.map(make, seeds))
        return np.concatenate(made) if made else np.empty((0, 3, s.size, s.size), np.float32)

    def finish(self, state, batches=4):
        """The student's filters, each layer scaled so that losses come out as large as the teacher's."""
        rng = self._rng(1)
        size = self.settings.size
        pictures = [lessons.batch(self.folders, size, 8, self.mean, rng) for _ in range(batches)]
        scales = {name: np.ones_like(b) for name, (_, b) in state.params.items()} | student.map_scales(state.maps)
        params = student.scale_channels(state.params, scales)
        return student.scale_channels(params, student.loss_scales(params, self.teacher, pictures))

    def _rng(self, stage):
        """0 for the closed form, 1 for the end, 2 + step: a step's chance does not depend on how it was reached."""
        return np.random.default_rng([self.settings.seed, stage])

    def _batch(self, rng, own=None):
        s = self.settings
        return lessons.batch(self.folders, s.size, s.batch, self.mean, rng, own)

    def _adam(self, state, grads):
        """Adam (Kingma & Ba 2015, algorithm 1); the rate rises over the first steps and falls to 0 as half a cosine."""
        t, total = state.step + 1, self.settings.steps
        rate = self.settings.rate * min(1, t / 20) * 0.5 * (1 + np.cos(np.pi * min(state.step / total, 1)))
        b1, b2 = 0.9, 0.99
        for name, pair in grads.items():
            new = [[], [], []]
            for i, g in enumerate(pair):
                p, m, v = state.params[name][i], state.first[name][i], state.second[name][i]
                m = b1 * m + (1 - b1) * g
                v = b2 * v + (1 - b2) * g * g
                move = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + 1e-30)
                p = p - np.float32(rate * state.scale[name][i]) * move
                for values, value in zip(new, (p, m, v), strict=True):
                    values.append(value.astype(np.float32))
            state.params[name], state.first[name], state.second[name] = (tuple(values) for values in new)


def _energy(a):
    """Σ a² of each picture, (N,), never 0. a (N, C, M)"""
    return np.maximum([np.vdot(x, x) for x in a], 1e-12)


def _rms(a):
    return float(np.sqrt(np.mean(np.square(a, dtype=np.float64)))) or 1.0


# --- checkpoints --------------------------------------------------------------------------------------------

PAIRS = ("params", "first", "second")
ARRAYS = ("cross", "gram", "maps")


def save_checkpoint(path, state, settings):
    """The whole State and the Settings in one file, which takes its name only when it is complete."""
    arrays = {"own": state.own}
    for part in PAIRS:
        for name, pair in getattr(state, part).items():
            arrays |= {f"{part}/{name}/{i}": v for i, v in enumerate(pair)}
    for part in ARRAYS:
        arrays |= {f"{part}/{name}": v for name, v in getattr(state, part).items()}
    about = {"step": state.step, "scale": state.scale, "settings": asdict(settings)}
    with atomic_file(path) as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)


def load_checkpoint(path, settings):
    """State from save_checkpoint; WeightsError when the file is another run's, or no checkpoint.

    `steps` and `rate` may differ: so a run is prolonged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"].item()))
            arrays = {name: archive[name] for name in archive.files if name != "about"}
        names = list(about["scale"])
        pairs = {part: {n: tuple(arrays[f"{part}/{n}/{i}"] for i in (0, 1)) for n in names} for part in PAIRS}
        maps = {p: {n.split("/")[1]: v for n, v in arrays.items() if n.startswith(p + "/")} for p in ARRAYS}
        scale = {n: tuple(v) for n, v in about["scale"].items()}
        found = about["settings"]
        state = State(step=about["step"], scale=scale, own=arrays["own"], **pairs, **maps)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: not a checkpoint of this program ({error}); remove it to begin anew") from None
    expected = json.loads(json.dumps(asdict(settings)))
    if differ := ", ".join(k for k in expected if found.get(k) != expected[k] and k not in ("steps", "rate")):
        raise WeightsError(f"{path}: a checkpoint of a run with other settings ({differ}); remove it to begin anew")
    return state


# --- the program --------------------------------------------------------------------------------------------


def run(training, checkpoint, *, minutes=None, every=50, log=print):
    """Start or resume, and go on to the last step or until `minutes` are over. Returns the State."""
    settings, begun = training.settings, time.perf_counter()
    if os.path.exists(checkpoint):
        state = load_checkpoint(checkpoint, settings)
        log(f"resumed at step {state.step} from {checkpoint}")
    else:
        state = training.start(log=lambda name, lost: log(f"closed form {name}: {lost:.4f} lost"))
        save_checkpoint(checkpoint, state, settings)
    recent = []
    while state.step < settings.steps:
        if minutes is not None and time.perf_counter() - begun > 60 * minutes:
            log(f"{minutes:g} minutes are over at step {state.step}; the same command goes on from there")
            break
        recent.append(training.step(state))
        if state.step % 10 == 0 or state.step == settings.steps:
            log(_progress(state.step, recent, time.perf_counter() - begun))
            recent = []
        if state.step % every == 0:
            save_checkpoint(checkpoint, state, settings)
    save_checkpoint(checkpoint, state, settings)
    return state


def weighted(lost):
    """The loss that training lowers, from {layer: lost}."""
    return sum(LAYER_WEIGHTS[name] * value for name, value in lost.items())


def _progress(step, recent, seconds):
    parts = " ".join(f"{n[4:]} {np.mean([r[n] for r in recent]):.4f}" for n in recent[0])
    return f"step {step:5d}  {seconds:6.0f} s  loss {np.mean([weighted(r) for r in recent]):.4f}  lost at {parts}"


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m weights.distill", description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, help="vgg19, or a weights file")
    parser.add_argument("--pictures", nargs="+", type=Path, required=True, metavar="DIR")
    parser.add_argument("--widths", type=_widths, required=True, help="channels of conv1_1, conv1_2, …: 32,32,64,…")
    parser.add_argument("--steps", type=int, default=Settings.steps, help=f"of Adam ({Settings.steps}); 0: closed form")
    parser.add_argument("--minutes", type=float, help="stop after this time; the same command then goes on")
    for name in ("batch", "size", "own", "renew", "keep", "closed_batches", "seed"):
        default = getattr(Settings, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"({default})")
    parser.add_argument("--rate", type=float, default=Settings.rate, help=f"({Settings.rate})")
    parser.add_argument("--precision", choices=PRECISIONS, default="uint8", help="of the file that is written (uint8)")
    parser.add_argument("--name", default="mini", help="of the network (mini)")
    parser.add_argument("--out", type=Path, required=True, help="a .npz; OUT.checkpoint.npz beside it until removed")
    return parser.parse_args(argv)


def _widths(text):
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers with commas between") from None
    if min(widths) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a layer needs at least one channel")
    return widths


def main(argv=None):
    """Train and write the file; exit code 0, 1 with one line when something cannot be read, 130 on Ctrl-C."""
    args = parse(argv)
    fields = [f for f in Settings.__dataclass_fields__ if f != "widths"]
    settings = Settings(args.widths, **{f: getattr(args, f) for f in fields})
    checkpoint = args.out.with_name(args.out.name + ".checkpoint.npz")
    try:
        teacher = load(args.teacher)
        wide = [w.shape[0] for w, _ in teacher.params.values()]
        if len(settings.widths) > len(wide) or any(n > w for n, w in zip(settings.widths, wide, strict=False)):
            raise WeightsError(
                f"widths {settings.widths}: the teacher has {tuple(wide)}; expected no more and no wider"
            )
        training = Training(teacher.params, teacher.mean, lessons.read_folders(args.pictures), settings)
        state = run(training, checkpoint, minutes=args.minutes, log=lambda line: print(line, flush=True))
        about = f"stands in for {teacher.name} (Simonyan & Zisserman, CC BY 4.0): weights/README.md"
        network = Network(args.name, teacher.arch, training.finish(state), teacher.mean, teacher.order, about=about)
        save_compact(network, args.out, args.precision)
    except (WeightsError, ImageError) as error:
        print(f"distill: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"distill: interrupted; the same command goes on from {checkpoint}", file=sys.stderr)
        return 130
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB after {state.step} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
