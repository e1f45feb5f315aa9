"""The job: load what is asked for, check it, optimise, hand the picture back. Prints nothing.

    job = Job("photo.jpg", "painting.jpg", settings_from(size=512))  # reads and checks; raises before any work
    result = job.run(callback)                                        # the optimisation
    result.save("out.png")

`transfer(content, style, …)` is these lines in one call.
"""

import dataclasses
import importlib.metadata
import itertools
import math
import os
import platform
import time
from dataclasses import dataclass

import numpy as np

import weights
from minivgg import VGG
from minivgg.backend import resolve_device, to_device, to_numpy
from minivgg.table import activation_size, check_layer_name, reached_layers

from .large.plan import make_plan, objective_for, parse_memory
from .objective import Terms
from .optimize import minimize
from .pictures import images, saving
from .schedule import stages
from .settings import INITS, SettingsError, settings_from


def transfer(content, style, *, preset=None, callback=None, output=None, **options):
    """Paint `content` in the manner of `style`; returns a Result.

    content, style  a path, a Pillow image, an array (H, W), (H, W, 3) or (H, W, 4) uint8 or 0..255, or a Picture
    preset          a name from presets.toml
    callback        called with optimize.Progress after each evaluation; a true result ends the run with what it has
    output          a file to save to as well; checked before the work starts
    options         fields of settings.Settings: size=512, iterations=200, optimizer="adam", …

    Raises SettingsError, ImageError, WeightsError, BackendError or MemoryBudgetError, each with a one-line message,
    before the work.
    """
    if callback is not None and not callable(callback):
        raise SettingsError(f"callback {callback!r}: expected a function of one argument, or None")
    if output is not None:
        saving.check_output(output, overwrite=True)
    result = Job(content, style, settings_from(preset, **options)).run(callback)
    if output is not None:
        result.save(output)
    return result


@dataclass
class Result:
    """A finished transfer.

    rgb       (H, W, 3) float32, 0..255
    alpha     (H, W) or None: the content's, where it had one
    outcome   optimize.Outcome: losses, evaluations, seconds, status, message
    metadata  everything that went into the picture
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    outcome: object
    metadata: dict

    @property
    def image(self):
        """(H, W, 3) uint8."""
        return images.to_uint8(self.rgb)

    def save(self, path, replace=True):
        """Write the picture with its metadata, atomically; the format is the suffix's. replace  as for saving.save"""
        saving.save(path, self.rgb, alpha=self.alpha, metadata=self.metadata, replace=replace)


class Job:
    """One transfer, checked and ready to run. Attributes tell what it will do."""

    def __init__(self, content, style, settings):
        self.settings = settings
        self.device = resolve_device(settings.device)
        if self.device.kind == "cpu" and settings.precision != "float32":
            raise SettingsError(f"--precision {settings.precision}: on a GPU only; the processor has float32")
        if settings.kernels == "textbook" and settings.precision != "float32":
            raise SettingsError(f"--precision {settings.precision}: of the fast kernels only; the textbook has float32")
        self.content, self.style = images.as_picture(content), images.as_picture(style)
        self.start = images.as_picture(settings.init) if not _is_name(settings.init) else None
        self.network = weights.load(settings.weights)
        self._check_layers()
        self.stages = stages(settings, self.content.rgb.shape[:2], self.style.rgb.shape[:2])
        self.size, self.style_size = self.stages[-1].size, self.stages[-1].style_size
        self.terms = Terms(
            {k: settings.content_weight * v for k, v in settings.content_layers.items()},
            {k: settings.style_weight * v for k, v in settings.style_layers.items()},
            settings.tv_weight,
            settings.tv_beta,
        )
        self._check_depth()
        self._net = None
        self.plans = {stage: self._plan(stage) for stage in self.stages}
        self._started = time.time()

    def run(self, callback=None, on_stage=None):
        """Optimise; returns a Result, whatever ended the run (see its outcome.status).

        callback  called with a Progress after each evaluation, counted over all stages
        on_stage  called with (stage, Result) after each stage but the last
        """
        before = None
        try:
            for coarser, stage in itertools.pairwise((None, *self.stages)):
                start = self.initial_image(stage) if before is None else self._enlarged(before.image, coarser, stage)
                outcome = minimize(
                    self.objective(stage),
                    start,
                    method=self.settings.optimizer,
                    iterations=stage.iterations,
                    callback=callback and (lambda p, before=before: callback(_counted_on(p, before))),
                    **self._optimizer_options(stage),
                )
                before = _joined(before, outcome)
                if before.status not in ("done", "converged"):
                    break
                if on_stage is not None and stage is not self.stages[-1]:
                    on_stage(stage, self._result(before))
            return self._result(before)
        except KeyboardInterrupt:  # minimize() has its own: this one came before, between or after
            if before is None:
                raise
            message = f"interrupted after {before.evaluations} evaluations"
            return self._result(dataclasses.replace(before, status="interrupted", message=message))

    def objective(self, stage):
        """The Objective of one stage, with its targets."""
        self.net.release()
        content = self._input(self.content, stage.size)
        style = self._input(self.style, stage.style_size)
        return objective_for(self.plans[stage], self.net, self.terms, content, style)

    @property
    def net(self):
        """The network on its device, with no more layers than the loss needs."""
        if self._net is None:
            params = {
                name: tuple(to_device(a, self.device) for a in pair) for name, pair in self._needed_params().items()
            }
            s = self.settings
            self._net = VGG(params, pooling=s.pooling, kernels=s.kernels, precision=s.precision)
            self.network.params = {}  # the network has what it needs of them; the file's copy can go
        return self._net

    def _plan(self, stage):
        """How one stage fits into the memory. Raises MemoryBudgetError, naming the largest size that would."""
        s = self.settings
        pictures = [p for p in (self.content, self.style, self.start) if p is not None]
        held = sum(p.rgb.nbytes + (0 if p.alpha is None else p.alpha.nbytes) for p in pictures)
        held += 2 * 4 * 3 * math.prod(stage.style_size)
        return make_plan(
            self.net,
            self.terms,
            *stage.size,
            memory=s.memory and parse_memory(s.memory),
            device=self.device,
            optimizer=s.optimizer,
            history=s.history,
            bounds=s.bounds,
            lag=s.lag,
            style_size=stage.style_size,
            held=held,
        )

    def initial_image(self, stage):
        """Network input (1, 3, H, W) at which the first stage starts."""
        s = self.settings
        if self.start is not None:
            return self._input(self.start, stage.size)
        if s.init in ("content", "style"):
            return self._input(getattr(self, s.init), stage.size)
        rng = np.random.default_rng(s.seed)
        noise = rng.uniform(-s.noise_level, s.noise_level, (1, 3, *stage.size)).astype(np.float32)
        noise = to_device(noise, self.device)
        if s.init == "noise":
            return noise  # about the average colour, which is 0 here
        return s.noise_ratio * noise + (1 - s.noise_ratio) * self._input(self.content, stage.size)

    def to_rgb(self, image):
        """(H, W, 3) float32 0..255 on the host, from a network input."""
        return np.clip(images.from_network(to_numpy(image), self.network.mean, self.network.order), 0, 255)

    def alpha(self, size_hw):
        """The content's transparency at a picture's size, or None."""
        return None if self.content.alpha is None else images.resize(self.content.alpha, size_hw)

    def metadata(self, outcome):
        """Everything that went into the picture, as plain values."""
        return {
            "program": f"minivgg-style {_version('minivgg-style')}",
            "versions": _versions(self.net.xp),
            "device": str(self.device),
            "settings": self.settings.to_dict(),
            "stages": [
                {"size": s.size[::-1], "style size": s.style_size[::-1], "iterations": s.iterations}
                | {"history": self.plans[s].history, "lag": self.plans[s].lag, "memory": self.plans[s].describe()}
                for s in self.stages
            ],
            "content": _provenance(self.content),
            "style": _provenance(self.style),
            **({} if self.start is None else {"init": _provenance(self.start)}),
            "weights": {"name": self.network.name, "sha256": self.network.sha256},
            "result": {
                **outcome.totals,
                "evaluations": outcome.evaluations,
                "iterations": outcome.iterations,
                "seconds": round(outcome.seconds, 3),
                "status": outcome.status,
                "message": outcome.message,
            },
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
        }

    def _result(self, outcome):
        rgb = self.to_rgb(outcome.image)
        return Result(rgb, self.alpha(rgb.shape[:2]), outcome, self.metadata(outcome))

    def _optimizer_options(self, stage):
        s = self.settings
        if s.optimizer == "adam":
            own = {"learning_rate": s.learning_rate, "betas": s.adam_betas, "eps": s.adam_eps}
        else:
            own = {"history": self.plans[stage].history, "tolerance": s.tolerance}
            if s.optimizer == "l-bfgs":
                own["precondition"] = s.precondition
        return {"bounds": self._bounds(), **own}

    def _enlarged(self, image, coarser, stage):
        """A finished picture as the next stage's start; not clipped, so that nothing of it is lost.

        Where the loss has content, only what was changed of it is enlarged: its fine detail need not be found again.
        """
        mean, order = self.network.mean, self.network.order
        rgb = images.from_network(to_numpy(image), mean, order)
        if any(self.terms.content.values()):
            rgb -= images.resize(self.content.rgb, coarser.size, method=self.settings.resample)
            change, rgb = rgb, images.resize(self.content.rgb, stage.size, method=self.settings.resample)
            rgb += images.resize(change, stage.size)
        else:
            rgb = images.resize(rgb, stage.size)
        return images.to_network(rgb, mean, order, np.float32, self.device)

    def _input(self, picture, size_hw):
        rgb = images.resize(picture.rgb, size_hw, method=self.settings.resample)
        return images.to_network(rgb, self.network.mean, self.network.order, np.float32, self.device)

    def _bounds(self):
        """Grey levels 0 and 255 as network inputs, or None."""
        if not self.settings.bounds:
            return None
        mean = np.asarray(self.network.mean, np.float32).reshape(1, 3, 1, 1)
        return to_device(-mean, self.device), to_device(255 - mean, self.device)

    def _needed_params(self):
        """Filters up to the deepest layer of the loss: deeper ones would only cost memory."""
        names = reached_layers(self.network.arch, self.network.params)
        if not self.terms.layers:
            return self.network.params
        deepest = max(names.index(n) for n in self.terms.layers)
        return {n: p for n, p in self.network.params.items() if names.index(n) <= deepest}

    def _check_layers(self):
        names = reached_layers(self.network.arch, self.network.params)
        for option in ("content_layers", "style_layers"):
            for name in getattr(self.settings, option):
                try:
                    check_layer_name(name, names)
                except ValueError as e:
                    raise SettingsError(f"--{option.replace('_', '-')}: {self.network.name}: {e}") from None

    def _check_depth(self):
        """A picture so small that a layer of the loss would be empty is found here, not in the middle of a run."""
        for what, size in (("content", self.stages[0].size), ("style", self.stages[0].style_size)):
            for name in self.terms.layers:
                if min(activation_size(name, *size)) < 1:
                    raise SettingsError(
                        f"{what} picture at {size[1]}x{size[0]} leaves nothing at {name}: use a larger size, "
                        "a less elongated picture, or shallower layers"
                    )


def _counted_on(progress, before):
    """Progress of a stage, with what came before it added."""
    if before is None:
        return progress
    return dataclasses.replace(
        progress,
        evaluation=progress.evaluation + before.evaluations,
        iteration=progress.iteration + before.iterations,
        seconds=progress.seconds + before.seconds,
    )


def _joined(before, outcome):
    """Outcome of all stages so far; the picture before is kept where this stage has not one finite evaluation."""
    if before is None:
        return outcome
    kept = outcome if math.isfinite(outcome.totals["loss"]) else before
    count = outcome.evaluations + before.evaluations
    messages = {
        "done": f"all {count} evaluations done",
        "interrupted": f"interrupted after {count} evaluations",
        "stopped": f"stopped on request after {count} evaluations",
    }
    return dataclasses.replace(
        outcome,
        message=messages.get(outcome.status, outcome.message),
        image=kept.image,
        totals=kept.totals,
        evaluations=count,
        iterations=outcome.iterations + before.iterations,
        seconds=outcome.seconds + before.seconds,
    )


def _is_name(init):
    """Whether --init names one of our starts; anything else is a file that must exist."""
    if not isinstance(init, str | os.PathLike):
        return False
    if init in INITS:
        return True
    if os.path.exists(init) or str(init).startswith("sample:"):
        return False
    raise SettingsError(f"--init {str(init)!r}: neither {', '.join(INITS)} nor a file that exists")


def _provenance(picture):
    name = picture.path.name if picture.path is not None else picture.mode
    return {"name": name, "sha256": picture.sha256}


def _versions(xp):
    """What computed: Python, the packages, and CuPy where the arrays are CuPy's."""
    versions = {name: _version(name) for name in ("numpy", "scipy", "pillow")}
    return versions | {xp.__name__: xp.__version__} | {"python": platform.python_version()}


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
