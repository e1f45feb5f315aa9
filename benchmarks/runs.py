"""Whole runs that keep their pictures as saved: neural-style-pt's scheme in PyTorch, and ours (programs.py)."""

import contextlib
import time

from minivgg import VGG
from style.events import Evaluated
from style.job import Job
from style.objective import Objective
from style.pictures import images
from style.pictures.colour import ColourSpace
from style.statistics import terms_of

from .common import down_to
from .peer import TorchObjective

LEARNING_RATE, PAIRS = 1, 100  # neural-style-pt's


class Clock:
    """Seconds since it was made, less those spent within `paused`."""

    def __init__(self):
        self.start = time.perf_counter()

    def seconds(self):
        return time.perf_counter() - self.start

    @contextlib.contextmanager
    def paused(self):
        since = time.perf_counter()
        yield
        self.start += time.perf_counter() - since


class Run:
    """One program's run, its clock started.

    curve     [(seconds, loss), …], one an evaluation; the loss is the program's own, which may be approximate
    pictures  {evaluation: (H, W, 3) uint8}, as saved if the run had ended there
    finish    seconds from the last evaluation to the picture
    """

    def __init__(self, colours):
        self.colours, self.clock = colours, Clock()
        self.curve, self.pictures, self.finish = [], {}, 0.0

    def evaluated(self, loss, image, *, keep=True):
        """Note an evaluation at `image`, a network input (1, 3, H, W), and keep the picture if it is wanted."""
        self.curve.append((self.clock.seconds(), loss))
        if keep:
            with self.clock.paused():
                self.pictures[len(self.curve)] = to_saved(self.colours, image)

    def ended(self):
        """Note that the picture is there; returns the run."""
        self.finish = self.clock.seconds() - self.curve[-1][0]
        return self

    def seconds(self, evaluation):
        """Until the picture would have been there, had the run ended with this evaluation."""
        return self.curve[evaluation - 1][0] + self.finish


def to_saved(colours, image):
    """(H, W, 3) uint8 from a network input (1, 3, H, W): cut off at 0 and 255, rounded."""
    return images.to_uint8(colours.to_rgb(image))


def peer_run(network, content, style, *, factors, layout, iterations, marks=()):
    """Run of neural-style-pt's scheme, its pictures kept at the iterations `marks`.

    content, style  (H, W, 3) uint8
    factors         peer.Factors
    Its iterations are evaluations, and the picture of one is that which was evaluated, as neural-style-pt saves it.
    """
    run = Run(ColourSpace.of(network))
    start, target = run.colours.to_input(content), run.colours.to_input(style)
    peer = TorchObjective(down_to(network.params), start, target, factors=factors, layout=layout)
    x = peer.tensor(start).requires_grad_()
    optimiser = peer.torch.optim.LBFGS(
        [x], lr=LEARNING_RATE, max_iter=iterations, history_size=PAIRS, tolerance_grad=-1, tolerance_change=-1
    )

    def closure():
        optimiser.zero_grad()
        loss = peer.loss(x)
        loss.backward()
        run.evaluated(loss.item(), x.detach().numpy(), keep=len(run.curve) + 1 in marks)
        return loss

    optimiser.step(closure)
    return run.ended()


def our_run(content, style, settings):
    """Run of ours, all pictures kept. content, style  (H, W, 3) uint8"""
    job = Job(content, style, settings)  # reads the filters: before the clock starts
    run = Run(job.colours)
    job.run(lambda event: run.evaluated(event.loss, event.image) if isinstance(event, Evaluated) else None)
    return run.ended()


class Judge:
    """The loss of saved pictures, by our exact objective with the terms of a settings.Settings.

    content, style  (H, W, 3) uint8
    """

    def __init__(self, network, settings, content, style):
        self.colours = ColourSpace.of(network)
        self.net = VGG(network.params, pooling=settings.pooling)
        pictures = {"content": self.colours.to_input(content), "style": self.colours.to_input(style)}
        self.objective = Objective.of(self.net, terms_of(settings), pictures)

    def loss(self, picture):
        """Of a picture (H, W, 3) uint8."""
        return self.objective.evaluate(self.colours.to_input(picture)).loss


class Judged:
    """The losses of a Run's saved pictures, each evaluated when it is first asked for. found  {evaluation: loss}"""

    def __init__(self, judge, run):
        self.judge, self.pictures, self.found = judge, run.pictures, {}

    def loss(self, evaluation):
        if evaluation not in self.found:
            self.found[evaluation] = self.judge.loss(self.pictures[evaluation])
        return self.found[evaluation]


def first_at_most(loss, count, target):
    """The first evaluation of 1 … count with loss(evaluation) at most `target`, by halving; None if the last is above.

    Where the losses do not fall throughout, it may be a later one, and never one too early.
    """
    if not loss(count) <= target:
        return None
    above, reached = 0, count
    while reached - above > 1:
        middle = (above + reached) // 2
        above, reached = (above, middle) if loss(middle) <= target else (middle, reached)
    return reached
