"""The training of a student: Adam on filters and biases, with running regressions onto the teacher.

First in closed form (student.py), unless a student trained before is given; then at each layer a linear map A carries
the student's activation S to the teacher's T, and Σ_l ω_l |T_l - A_l S_l|² / |T_l|² falls (collaborative distillation,
Wang et al. 2020; PCA distillation, Chiu & Gurari 2022), with a like loss of the Gram matrices beside it if asked for.
The maps are regressions on running moments of S and T. The same seed gives the same network; a run that was killed goes
on from its checkpoint, digit by digit.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from minivgg.vgg import VGG

from . import lessons, student

# ω: the layers that recipes take their losses from. With one weight for all style layers, as most recipes have it,
# relu4_1 makes up 95 % of VGG-19's style loss: its activations are the largest.
LAYER_WEIGHTS = {"conv1_1": 0.5, "conv2_1": 1, "conv3_1": 1, "conv4_1": 8, "conv4_2": 1, "conv5_1": 0.3, "conv5_2": 0.1}
GRAMS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")  # the layers whose style loss recipes take
GRAM = " gram"  # ends the name of a Gram matrix's loss
POOLINGS = ("max", "avg", "both")
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
    pooling: str = "max"  # of teacher and student; "both": one worker has either, changing places at each step
    gram: float = 0.0  # how much the Gram matrices count beside the activations
    start: str = ""  # SHA-256 of the file that the student starts from; "": closed form


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
    """The steps of a run.

    teacher {"conv1_1": (w, b), …}; folders from lessons.read_folders; begin the student to start from, like teacher, or
    None for the closed form's
    """

    def __init__(self, teacher, mean, folders, settings, begin=None):
        names = list(teacher)[: len(settings.widths)]
        self.teacher = {name: teacher[name] for name in names}
        self.widths = dict(zip(names, settings.widths, strict=True))
        self.mean, self.folders, self.settings = mean, folders, settings
        self.relus = {n: n.replace("conv", "relu") for n in names if n in LAYER_WEIGHTS}
        self.begin = begin
        self.poolings = POOLINGS[:2] if settings.pooling == "both" else (settings.pooling,)
        self.wide = self._nets(self.teacher)
        self.narrow = None
        self.pool = ThreadPoolExecutor(WORKERS)

    def start(self, log=None):
        """State after the closed form, or that of a student trained before."""
        s, rng = self.settings, self._rng(0)
        crops = [self._batch(rng) for _ in range(s.closed_batches)]
        params = self.begin
        if params is None:  # fitted with maxima whatever the pooling is: a beginning, no more
            params, maps = student.closed_form(self.teacher, crops, self.widths, log=log)
            params = student.scale_channels(params, student.map_scales(maps))
        zeros = {name: tuple(np.zeros_like(v) for v in p) for name, p in params.items()}
        scale = {name: tuple(_rms(v) for v in p) for name, p in params.items()}
        state = State(0, params, zeros, dict(zeros), scale, {}, {}, {}, self._own(params, rng))
        for x in crops[:8]:
            for state.step in range(len(self.poolings)):
                self._observe(state, *self._share(state, x, self._activations), decay=1.0)
        state.step = 0
        self._refresh(state)
        return state

    def step(self, state):
        """One step of Adam on a fresh batch; returns {"conv1_1": |T - A S|² / |T|²} before the step."""
        s, rng = self.settings, self._rng(2 + state.step)
        if state.step and state.step % s.renew == 0:
            state.own = np.concatenate([state.own, self._own(state.params, rng)])[-s.keep :]
        parts = self._share(state, self._batch(rng, state.own), self._gradients)
        lost = {name: float(np.mean([part[0][name] for part in parts])) for name in parts[0][0]}
        grads = {n: tuple(sum(part[1][n][i] for part in parts) / WORKERS for i in (0, 1)) for n in parts[0][1]}
        self._adam(state, grads)
        self._observe(state, *(part[2] for part in parts), decay=0.98)
        if state.step % 10 == 0:
            self._refresh(state)
        state.step += 1
        return lost

    def _share(self, state, x, task):
        """[task(state, part of x, worker's teacher, worker's student), …], one for each worker, at the same time.

        The parts are kinds of lessons (lessons.batch), so with both poolings the workers change theirs at each step.
        """
        if self.narrow is None:
            self.narrow = self._nets(state.params)
        parts = np.array_split(x, WORKERS)
        turn = [(k + state.step) % len(self.poolings) for k in range(WORKERS)]
        wide, narrow = ([nets[k][p] for k, p in enumerate(turn)] for nets in (self.wide, self.narrow))
        for net in narrow:
            net.set_params(state.params)
        return list(self.pool.map(task, [state] * WORKERS, parts, wide, narrow))

    def _nets(self, params):
        """[[VGG for each pooling] for each worker]"""
        return [[VGG(params, pooling=p) for p in self.poolings] for _ in range(WORKERS)]

    def _activations(self, state, x, wide, narrow):
        """The moments of one part, see `_moments`."""
        names = list(self.relus.values())
        return self._moments(wide.forward(x, names, cached=False)[0], narrow.forward(x, names, cached=False)[0])

    def _gradients(self, state, x, wide, narrow):
        """({name: lost}, {name: (dw, db)}, moments) of Σ_l ω_l (mean_n |T - A S|² / |T|² + g · see `_gram_rest`).

        forward: R = T - A S, lost = Σ_n |R_n|² / (N |T_n|²), so dS_n = -2 ω / (N |T_n|²) Aᵀ R_n  (n counts pictures)
        """
        names = list(self.relus.values())
        T, _ = wide.forward(x, names, cached=False)
        S, cache = narrow.forward(x, names, param_grads=True)
        lost, dfeats, share = {}, {}, self.settings.gram
        for name, relu in self.relus.items():
            A = state.maps[name].astype(narrow.dtype)
            N, C, H, W = T[relu].shape
            size = np.sqrt(_energy(T[relu].reshape(N, C, H * W)))[:, None, None].astype(narrow.dtype)
            t, mapped = T[relu].reshape(N, C, H * W) / size, A @ S[relu].reshape(N, -1, H * W) / size
            rest = t - mapped  # (N, C, M)
            lost[name] = float(np.mean(_energy(rest)))
            dmapped = -2 / N * rest
            if share and name in GRAMS:
                lost[name + GRAM], dgram = _gram_rest(t, mapped)
                dmapped += share * dgram
            dfeats[relu] = (A.T @ (LAYER_WEIGHTS[name] / size * dmapped).astype(narrow.dtype)).reshape(S[relu].shape)
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
        """Pictures made with the student, each worker its share, with each pooling in turn."""
        s = self.settings
        seeds = rng.integers(2**32, size=s.own)

        def make(n, seed):
            own, pooling = np.random.default_rng(seed), self.poolings[n % len(self.poolings)]
            return lessons.own_picture(params, self.teacher, self.folders, s.size, self.mean, own, pooling)

        made = list(self.pool.map(make, range(s.own), seeds))
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

    # Not style.optimize.adam, which runs a whole optimisation of one picture on one objective: here every step has its
    # own batch and rate, the tensors are many, each with a rate in its own unit, and the moments go to the checkpoint.
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


def _gram_rest(t, mapped):
    """(lost, its gradient by `mapped`) of min_c mean_n |G - c Ĝ|² / |G|², G = t tᵀ, Ĝ = mapped mappedᵀ.

    t, mapped (N, C, M), the teacher's activation and what the map makes of the student's. What the maps leave out of
    the activation is missing from Ĝ; the factor c keeps the student from growing to make up for it. At the best c its
    own derivative is 0, so that d mapped_n = -4 c / (N |G_n|²) (G_n - c Ĝ_n) mapped_n.
    """
    G, ours = t @ t.transpose(0, 2, 1), mapped @ mapped.transpose(0, 2, 1)
    energy = _energy(G)
    both, alone = (sum(np.vdot(u, v) / e for u, v, e in zip(ours, other, energy, strict=True)) for other in (G, ours))
    c = both / max(alone, 1e-12)
    rest = G - G.dtype.type(c) * ours
    factor = (-4 * c / (len(t) * energy)).astype(t.dtype)
    return float(np.mean(_energy(rest) / energy)), factor[:, None, None] * (rest @ mapped)


def weighted(lost, gram=0.0):
    """The loss that training lowers, from {layer: lost}."""
    parts = {name: value * (gram if name.endswith(GRAM) else 1) for name, value in lost.items()}
    return sum(LAYER_WEIGHTS[name.removesuffix(GRAM)] * value for name, value in parts.items())
