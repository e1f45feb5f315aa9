"""The job: load what is asked for, check it, optimise, hand the picture back. Prints nothing.

    job = Job("photo.jpg", "painting.jpg", settings_from(size=512))  # reads and checks; raises before any work
    result = job.run(listener)                                        # the optimisation
    result.save("out.png")

`transfer(content, style, …)` is these lines in one call.
"""

import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minivgg.backend import Array, to_device
from minivgg.table import MIN_SIDE, layer_names

from .engine import Engine
from .events import Evaluated, Listener
from .faster.precondition import Metric, Spectrum, Waves
from .given import given_styles, is_name
from .large.forecast import EFFECTIVE, product_rate, work_of
from .large.plan import Plan, make_plan, objective_for
from .objective import Objective
from .options import ORIGINAL, SettingsError
from .pictures import files, images, saving
from .pictures.filters import Filters
from .pictures.images import Picture, PictureLike
from .recipes import attributed, fitted
from .result import Result
from .running import Run
from .schedule import Stage, check_depth, first_stage, needed, stages
from .settings import Settings, settings_from
from .specs import check_output_alone, files_of
from .state import State
from .statistics import equalised, terms_of
from .styles import Styles
from .terms import Term, confined, layers
from .units import format_size, parse_memory


def transfer(
    content: PictureLike | None,
    style: PictureLike | Sequence[PictureLike] | None,
    *,
    preset: str | os.PathLike[str] | None = None,
    callback: Callable[[Evaluated], object] | None = None,
    output: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Result:
    """Paint `content` in the manner of `style`; returns a Result.

    content         None for a texture: its size alone is the style's
    style           None for content alone, style_layers="none": what its layers know of it
    content, style  a path, a Pillow image, an array (H, W), (H, W, 3) or (H, W, 4) uint8 or 0..255, or a Picture;
                    style also a list of them (style_blend=(0.7, 0.3), mask=[…] say what each is to do)
    preset          a name in presets(), or a file of one's own, "my.toml"
    callback        called with an events.Evaluated after each evaluation; one that returns style.STOP ends the run
                    with the best picture so far, any other result is ignored; a callback that says which events it
                    `hears` is called with those: show_in_notebook()
    output          a file to save to as well; checked before the work starts
    options         fields of settings.Settings: size=512, evaluations=200, optimizer="adam", …; those of an earlier
                    picture are its metadata's "settings": transfer(content, style, **result.metadata["settings"])

    Raises SettingsError, ImageError, WeightsError, BackendError or MemoryBudgetError before the work, each of one line.
    """
    if callback is not None and not callable(callback):
        raise SettingsError(f"callback {callback!r}: expected a function of one argument, or None", "callback")
    settings = settings_from(preset, **options)
    if output is not None:
        if not isinstance(output, str | os.PathLike):
            raise SettingsError(f"output {output!r}: expected a file's name, or None", "output")
        saving.check_output(output, overwrite=True, depth=settings.depth)
        read = files_of([("content", content), *(("style", one) for one in images.several(style))], settings)
        check_output_alone(output, read, "give another name")
    hears = getattr(callback, "hears", Evaluated)
    heard = [] if callback is None else [lambda event: callback(event) if isinstance(event, hears) else None]
    job = Job(content, style, settings)
    if output is not None:
        saving.check_output(output, overwrite=True, size_hw=job.size, depth=settings.depth)
    result = job.run(*heard)
    if output is not None:
        result.save(output)
    return result


class Job:
    """One transfer, checked and ready to run. Attributes tell what it will do; the device is still empty.

    engine  an Engine of earlier jobs with the same network, or None
    """

    texture = False  # whether there is no content picture: `content` is then the style's, and says the size alone

    def __init__(
        self,
        content: PictureLike | None,
        style: PictureLike | Sequence[PictureLike] | None,
        settings: Settings,
        *,
        engine: Engine | None = None,
    ):
        with attributed(settings):
            self.engine = engine or Engine(settings)
            self.device, self.network = self.engine.device, self.engine.network
            self.settings, self.nearest = fitted(settings, self.engine.names)  # and what a preset's layers became
            self.engine.check(self.settings)
            self.colours = dataclasses.replace(self.engine.colours, margin=settings.margin, depth=settings.depth)
            self._read(content, style)
            self.size, self.style_sizes = self.stages[-1].size, self.stages[-1].style_sizes
            self.terms = terms_of(self.settings, self.styles.groups)
            check_depth(self.stages[0], self.terms, settings)
            self.styles.check(self.stages[0], layers([t for t in self.terms if t.source != "content"]))
            outline = self.engine.outline(self.terms)
            self.plans: dict[Stage, Plan] = {stage: self._plan(outline, stage) for stage in self.stages}
        self.started = time.time()
        self._balanced: list[Term] | None = None

    def _read(self, content, style):
        """The pictures, none larger than it is needed; how large that is, the schedule says."""
        s, several = self.settings, given_styles(self.settings, content, style)
        least, count = (MIN_SIDE, MIN_SIDE), len(several)
        known = dataclasses.replace(s, size=None) if s.size == ORIGINAL else s
        stages(known, least, *[least] * count)  # what is wrong with sizes, before any picture is read
        on_gpu = self.device.kind == "gpu"  # there, the budget is the card's
        budget = None if on_gpu or s.memory is None else parse_memory(s.memory)

        def read(source, need):
            return self.picture(source, need, files.room(budget))

        self.texture = texture = content is None
        if texture:  # the size is all that is taken of it
            content = several[0]
            self.content = read(content, None)
            own, asked = max(self.content.size), s.size if isinstance(s.size, int) else None
            if s.style_size is None and asked is not None:  # a texture may be larger than its sample
                s = self.settings = dataclasses.replace(s, style_size=max(MIN_SIDE, min(own, asked)))
        self.content = read(content, lambda H, W: needed(s, (H, W), *[least] * count))
        hw = self.content.size[::-1]
        stages(s, hw, *[least] * count)  # what is wrong with an original size
        pictures = [
            read(one, lambda H, W, k=k: stages(s, hw, *[(H, W)] * count)[-1].style_sizes[k])
            for k, one in enumerate(several)
        ]
        if texture:  # which is all there: holes in its sample are none of its own
            self.content = dataclasses.replace(self.content, alpha=None)
        self.filters = Filters(s, self.content, pictures, s.style_blend)
        self.content = self.filters.content
        self.styles = Styles(s, self.content, self.filters.styles, self.colours, layer_names(self.network.arch))
        found = stages(s, hw, *(p.size[::-1] for p in pictures))
        self.start = None if is_name(s.init) else read(s.init, lambda H, W: found[-1].size)
        first = first_stage(found, None if self.start is None else self.start.size[::-1])
        self.skipped, self.stages = found[:first], found[first:]

    def picture(self, source: PictureLike, need: Any, room: int) -> Picture:
        """One of the pictures. need, room  as for images.read"""
        return images.as_picture(source, need=need, room=room)

    def run(self, *listeners: Listener, state: State | None = None) -> Result:
        """Optimise; returns a Result, whatever ended the run (see its outcome.status).

        listeners  functions of one event (events.py), called in their order; one that returns STOP ends the run
        state      state.State of an earlier run of the same job: goes on from there, to the same digits

        Raises RuntimeError where another run uses the engine at this moment: one at a time.
        """
        with self.engine.alone():
            return Run(self, listeners).go(state)

    def objective(self, stage: Stage) -> Objective:
        """The objective of one stage, with its targets."""
        return self._objective(stage, self.balanced() if self.settings.balance else self.terms)

    def balanced(self) -> list[Term]:
        """The terms as --balance weighs them, by their values where the first stage starts: one evaluation, once."""
        if self._balanced is None:
            stage = self.stages[0]
            values = self._objective(stage, self.terms).exact(self.initial_image(stage)).values
            self._balanced = equalised(self.terms, values)
        return self._balanced

    def _objective(self, stage, terms):
        net = self.engine.load(terms)
        net.release()
        pictures = {"content": self.input(self.content, stage.size)}
        terms = confined(terms, self.styles.regions(stage.size))
        aim = functools.partial(self.engine.aim, keys=self.styles.keys(stage))
        return objective_for(self.plans[stage], net, terms, pictures | self.styles.inputs(stage), aim=aim)

    def _plan(self, outline, stage):
        """How one stage fits into the memory. Raises MemoryBudgetError, naming the largest size that would."""
        s = self.settings
        pictures = [p for p in (self.content, *self.styles.pictures, self.start) if p is not None]
        reserved = sum(p.rgb.nbytes + (0 if p.alpha is None else p.alpha.nbytes) for p in pictures)
        reserved += self.styles.nbytes(stage) + self.filters.nbytes(stage.size)
        return make_plan(
            outline,
            self.terms,
            *stage.size,
            memory=s.memory and parse_memory(s.memory),
            device=self.device,
            optimizer=s.optimizer,
            history=min(s.history, stage.evaluations),  # there are no more pairs than steps
            bounds=s.bounds,
            metric=self.precondition > 0,
            lag=s.lag,
            style_size=max(map(self.styles.computed, stage.style_sizes), key=math.prod, default=None),
            reserved=reserved,
            margin=s.margin,
        )

    def forecast(self) -> float | None:
        """Seconds that all stages will take, within a factor of two, or None where that is not known: on a GPU."""
        if self.device.kind != "cpu" or self.settings.kernels != "fast":
            return None
        outline = self.engine.outline(self.terms)
        work = sum(
            stage.evaluations * self.plans[stage].time * work_of(outline, self.terms, *stage.size)
            for stage in self.stages
        )
        return work / (EFFECTIVE * product_rate())

    def initial_image(self, stage: Stage) -> Array:
        """Network input (1, 3, H, W) at which the first stage starts."""
        s = self.settings
        if self.start is not None:
            return self.input(self.start, stage.size)
        if s.init in ("content", "style"):
            return self.input(self.content if s.init == "content" else self.styles.pictures[0], stage.size)
        rng = np.random.default_rng(s.seed)
        size = [v + 2 * s.margin for v in stage.size]
        noise = rng.uniform(-s.noise_level, s.noise_level, (1, 3, *size)).astype(np.float32)
        noise = to_device(noise, self.device)
        if s.init == "noise":
            return noise  # about the average colour, which is 0 here
        return s.noise_ratio * noise + (1 - s.noise_ratio) * self.input(self.content, stage.size)

    def alpha(self, size_hw: tuple[int, int]) -> np.ndarray | None:
        """The content's transparency at a picture's size, or None."""
        return self.content.opacity(size_hw)

    def as_saved(self, image: Array, stage: Stage) -> Array:
        """The network input that the file of a stage's picture has."""
        return self.colours.as_saved(image)

    def leaving(self, image: Array) -> np.ndarray:
        """(h, w, 3) float32, 0..255: a network input as a picture that leaves, colours filtered."""
        rgb = self.colours.to_rgb(image)
        return self.filters.after(rgb, self.alpha(rgb.shape[:2])) if self.filters.alters else rgb

    def made_of(self) -> dict[str, Any]:
        """{what: hash or value}: all that a saved state must agree with."""
        found = {"content": self.content.sha256, "weights": self.network.sha256, **self.styles.made_of()}
        for name, value in self.settings.to_dict().items():
            if name not in ("memory", "device", "weights"):
                found[name] = repr(value)
        if self.start is not None:
            found["init"] = self.start.sha256
        for stage, plan in self.plans.items():  # they follow from the memory there is, and the digits from them
            found[f"memory plan of {format_size(stage.size)}"] = repr((plan.tiling, plan.history, plan.lag))
        return found

    @property
    def precondition(self) -> float:
        """The exponent asked for; by default none on a GPU, where its cosine transforms have not been measured."""
        s = self.settings
        if s.precondition is not None:
            return s.precondition
        return 0.45 if s.optimizer == "l-bfgs" and self.device.kind == "cpu" else 0.0

    def optimizer_options(self, stage: Stage) -> dict[str, Any]:
        """The options of the stage's optimiser, as its class takes them."""
        s, plan = self.settings, self.plans[stage]
        box = self.styles.bounds(self.input(self.content, stage.size)) if s.bounds else None
        bounds: dict[str, Any] = {"bounds": box}
        quasi: dict[str, Any] = {"history": plan.history, "tolerance": s.tolerance}
        waves = Waves if s.wrap else Spectrum
        metric = Metric(self.precondition, waves) if self.precondition else None
        return {
            "adam": {**bounds, "learning_rate": s.learning_rate, "betas": s.adam_betas, "eps": s.adam_eps},
            "l-bfgs-b": {**bounds, **quasi},
            "l-bfgs": {**bounds, **quasi, "metric": metric},
            "two-loop": quasi,
        }[s.optimizer]

    def input(self, picture: Picture, size_hw: tuple[int, int]) -> Array:
        """A picture as a network input (1, 3, H, W): at (height, width), with its margin."""
        return self.colours.to_input(self.resized(picture, size_hw))

    def resized(self, picture: Picture, size_hw: tuple[int, int]) -> np.ndarray:
        """(h, w, 3) float32, 0..255: a picture at (height, width), as --resample says."""
        return picture.resized(size_hw, method=self.settings.resample)
