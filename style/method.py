"""What an optimiser is to optimize.minimize: a thing that steps, and whose state can be saved."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from minivgg.backend import Array

from .objective import Evaluation


class Ended(Exception):
    """The run is over. status, message  as in outcome.Outcome; the message is the reason alone, or empty."""

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status, self.message = status, message


class Method:
    """One optimiser at work on one picture.

    Made from the start, (1, 3, H, W), which it does not modify, and its options. `step` is one iteration.
    """

    name = ""
    resumable = True  # whether state() and restore() carry all that step() goes by

    def run(self, evaluate: Callable[..., Evaluation], iterated: Callable[[], None]) -> None:
        """Iterate until something raises Ended. evaluate, iterated  as for step, and a function to call after each."""
        while True:
            self.step(evaluate)
            iterated()

    def step(self, evaluate: Callable[..., Evaluation]) -> None:
        """One iteration; raises Ended where there is no better picture.

        evaluate  (image, *, fresh=True) -> objective.Evaluation
        """
        raise NotImplementedError

    def state(self) -> dict[str, np.ndarray]:
        """{name: NumPy array}: what a later run needs to go on to the same digits. They may be the method's own, which
        its next step changes: who keeps them copies.
        """
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what state() gave, whose arrays become the method's own; ValueError if that was of another
        picture's size or other options.
        """


def check_finite(gradient: Array, squared: bool = False, size: int | None = None) -> None:
    """Raise Ended unless all of a gradient is finite: what steps along it goes nowhere, and has not converged.

    squared  whether the sum of its squares must be, too, in its own type; size: of how many, if not of these alone
    """
    largest = float(abs(gradient).max())
    if not math.isfinite(largest):
        raise Ended("non-finite", "the gradient is not finite")
    if squared and largest**2 * (size or gradient.size) > float(np.finfo(gradient.dtype).max):
        raise Ended("non-finite", f"the gradient, up to {largest:.1e}, is too large for {gradient.dtype}")


def check_option(name: str, found: object, own: object) -> None:
    """Raise ValueError unless a saved state was made with the option that is to go on with it."""
    if found != own:
        raise ValueError(f"saved optimiser state: {name} is {found}, expected {own}")


def check_state(name: str, found: Array, own: Array) -> None:
    """Raise ValueError unless a saved array has the shape and type of the one that it takes the place of."""
    if found.shape != own.shape or found.dtype != own.dtype:
        raise ValueError(
            f"saved optimiser state: {name} is {found.shape} {found.dtype}, expected {own.shape} {own.dtype}"
        )
