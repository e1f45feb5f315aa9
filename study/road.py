"""The road: twelve steps from a convolution by hand to a picture by one's own code, each of a few functions."""

import importlib
import inspect
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

import minivgg_style


@dataclass(frozen=True)
class Exercise:
    """A function of the project that is to be written again.

    name     of the exercise and of its file
    module   where the function is; attribute  its name there ("Adam.step": a method)
    judges   the module in study.judges that has its judge, a function of the exercise's name
    text     the MATH.md whose section derives it, from the project's folder
    section  its number
    since    words of the section's first paragraph that belongs to it ("": the first)
    """

    name: str
    module: str
    judges: str
    text: str
    section: str
    since: str = ""
    attribute: str = ""

    @cached_property
    def function(self):
        """The function that runs."""
        if not self.module.startswith("minivgg."):
            minivgg_style.claim("style")  # not a style.py of the working folder
        found = attrgetter(self.attribute or self.name)(importlib.import_module(self.module))
        return inspect.unwrap(found)

    @cached_property
    def judge(self):
        """judge(function) -> its checks, one after the other."""
        return getattr(importlib.import_module(f"study.judges.{self.judges}"), self.name)


@dataclass(frozen=True)
class Step:
    title: str
    exercises: tuple


def _layer(name, section, since=""):
    return Exercise(name, "minivgg.layers", "layers", "minivgg/MATH.md", section, since)


def _loss(name, section, since=""):
    return Exercise(name, "style.losses", "losses", "style/MATH.md", section, since)


def _winograd(name, module, section):
    return Exercise(name, f"minivgg.fast_cpu.{module}", "faster", "minivgg/fast_cpu/MATH.md", section)


_STATISTICS = "style/statistics/MATH.md"

STEPS = (
    Step(
        "a convolution by hand, index by index",
        (Exercise("conv2d", "minivgg.naive", "layers", "minivgg/MATH.md", "3"),),
    ),
    Step(
        "patches as columns, and the way back",
        (_layer("im2col", "2"), _layer("col2im", "2", "`im2col` is linear")),
    ),
    Step(
        "convolution as a matrix product, and its three gradients",
        (_layer("conv2d_forward", "3", "**Forward.**"), _layer("conv2d_backward", "3", "**By the input.**")),
    ),
    Step("the rectifier", (_layer("relu_forward", "4"), _layer("relu_backward", "4"))),
    Step(
        "pooling, by the maximum and by the mean",
        (
            _layer("maxpool2d_forward", "5"),
            _layer("maxpool2d_backward", "5", "Let $`(i^"),
            _layer("avgpool2d_forward", "6"),
            _layer("avgpool2d_backward", "6", 'by "a linear layer"'),
        ),
    ),
    Step("losses place by place: content, total variation", (_loss("content_loss", "2"), _loss("tv_loss", "4"))),
    Step(
        "style: the Gram matrix, its gradient, its loss",
        (
            _loss("gram_forward", "3"),
            _loss("gram_backward", "3", "**Its gradient.**"),
            _loss("style_loss", "3", "**The loss.**"),
        ),
    ),
    Step(
        "going downhill: Adam, and L-BFGS in two loops",
        (
            Exercise("adam", "style.optimize", "faster", "style/MATH.md", "8", "**Adam**", attribute="Adam.step"),
            Exercise("two_loop", "style.optimize", "faster", "style/MATH.md", "8", "$`L`$ is a function"),
        ),
    ),
    Step(
        "Winograd: a quarter of the products",
        (_winograd("matrices", "taps", "1"), _winograd("winograd_textbook", "winograd_textbook", "2")),
    ),
    Step(
        "tiles: how much of its neighbours one needs",
        (Exercise("halo", "style.large.tiling", "faster", "style/large/MATH.md", "2"),),
    ),
    Step(
        "another idea of style: the Wasserstein-2 distance",
        (Exercise("wasserstein_loss", "style.statistics.wasserstein", "losses", _STATISTICS, "2"),),
    ),
    Step("a picture by your own code", ()),
)
PICTURE = "picture"  # the last step's name on the command line
EXERCISES = {exercise.name: exercise for step in STEPS for exercise in step.exercises}


def number_of(exercise):
    """The number of an exercise's step, from 1."""
    return next(k for k, step in enumerate(STEPS, 1) if exercise in step.exercises)
