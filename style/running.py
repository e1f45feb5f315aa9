"""A job's run: stage after stage, from a start or a saved state; listeners hear what happens. Prints nothing."""

import dataclasses

import numpy as np

from minivgg.backend import to_device

from .events import Evaluated, Finished, Iterated, Planned, StageDone, foremost
from .optimize import minimize
from .outcome import joined, restored, saved
from .pictures import images
from .provenance import metadata
from .result import Result
from .state import State, StateError


class Run:
    """One run of a job.Job: tells the listeners what happens, counted over all stages.

    listeners  functions of one event (events.py), called in their order; one that returns STOP ends the run
    """

    def __init__(self, job, listeners):
        self.job, self.listeners, self.losses, self.stopped = job, listeners, [], None

    def go(self, state=None):
        """Run all stages, or from a saved State on, which is empty then; returns a Result, whatever ended it."""
        job, before, first = self.job, None, 0
        if state is not None:
            first, before = state.stage, self._restored(state)
            self.losses = state.arrays["losses"].tolist()
        self.tell(Planned(job, tuple(self.losses), first + 1, before.evaluations if before else 0))
        try:
            for index in range(first, len(job.stages)):
                stage = job.stages[index]
                start = job.initial_image(stage) if before is None else self._enlarged(before.image, index)
                resumed = state.arrays if state is not None and index == first else None
                outcome = self.stage(index, start, before, resumed)
                before = joined(before, outcome)
                if before.status not in ("done", "converged", "stopped") or self.stopped:
                    break
                if stage is not job.stages[-1]:
                    self.tell(StageDone(stage, self._result(before)))
                    if self.stopped:
                        before = before.ended("stopped", self.stopped.reason)
                        break
            result = self._result(before)
            self.tell(Finished(result, self._ended(before)))
        except KeyboardInterrupt:  # minimize() has its own: this one came before, between or after
            if before is None:
                raise
            result = self._result(before.ended("interrupted"))
            self.tell(Finished(result))
        return result

    def tell(self, event):
        """Tell all listeners; the Stop that one of them wishes, or has wished of the whole run."""
        said = foremost([listener(event) for listener in self.listeners])  # all hear it, whatever one says
        if self.stopped is None and said is not None and not said.scale:
            self.stopped = said
        return self.stopped or said

    def stage(self, index, start, before, resumed):
        """Optimise at one scale, from `start` or from saved arrays; returns its Outcome."""
        job, stage = self.job, self.job.stages[index]

        def listener(event):
            if isinstance(event, Evaluated):
                self.losses.append(event.loss)
                event = self._counted(event, index, before)
            elif isinstance(event, Iterated):
                event = dataclasses.replace(event, state=self._saving(event.state, index, before))
            return self.tell(event)

        objective = job.objective(stage)
        outcome = minimize(
            objective,
            start,
            method=job.settings.optimizer,
            evaluations=stage.evaluations,
            listener=listener,
            state=resumed,
            **job.optimizer_options(stage),
        )
        if not outcome.values or job.filters.alters:  # what is saved then is not what was optimised
            return outcome
        try:
            with np.errstate(all="ignore"):
                saved = objective.exact(job.as_saved(outcome.image, stage)).loss
        except KeyboardInterrupt:  # a figure is not worth the picture
            return outcome.ended("interrupted")
        return dataclasses.replace(outcome, saved=saved)

    def _ended(self, outcome):
        """A function that gives the State of a run that is at its end, or None where it is not."""
        if outcome.status in ("interrupted", "non-finite"):
            return None
        return lambda: State(
            len(self.job.stages), saved(outcome) | {"losses": np.array(self.losses)}, self.job.made_of()
        )

    def _saving(self, save, index, before):
        """A function that gives the State of the whole run, from one that gives the arrays of the scale's."""

        def state(copy=True):
            arrays = save(copy) | saved(before) | {"losses": np.array(self.losses, np.float64)}
            return State(index, arrays, self.job.made_of())

        return state

    def _counted(self, event, index, before):
        """An evaluation of a stage, with what came before it added."""
        size = self.job.stages[index].size
        return dataclasses.replace(
            event,
            evaluation=event.evaluation + (before.evaluations if before else 0),
            iteration=event.iteration + (before.iterations if before else 0),
            seconds=event.seconds + (before.seconds if before else 0),
            scale=index + 1,
            scales=len(self.job.stages),
            size=(size[1], size[0]),
            to_rgb=lambda: self.job.leaving(event.image),
        )

    def _restored(self, state):
        """The outcome of the scales before a saved state, or None. Raises StateError if it is of another run."""
        state.check(self.job.made_of())
        if not state.arrays:
            raise StateError("saved state: a run has gone on from it and taken its arrays; load it again")
        complete = "losses" in state.arrays and ("optimizer" in state.arrays or state.stage == len(self.job.stages))
        if not 0 <= state.stage <= len(self.job.stages) or not complete:
            raise StateError(f"saved state: it is of scale {state.stage + 1} of {len(self.job.stages)}, or incomplete")
        before = restored(state.arrays)
        return before if before is None else dataclasses.replace(before, image=to_device(before.image, self.job.device))

    def _enlarged(self, image, index):
        """A finished picture as the start of stage `index`; not clipped, so that nothing of it is lost.

        Where the loss has content, only what was changed of it is enlarged: its fine detail need not be found again.
        """
        job = self.job
        coarser, stage = job.stages[index - 1], job.stages[index]
        rgb = job.colours.to_rgb(image, clip=False)
        resize = images.resize_around if job.settings.wrap else images.resize
        if any(t.source == "content" and t.factor for t in job.terms):
            rgb -= job.resized(job.content, coarser.size)
            change, rgb = rgb, job.resized(job.content, stage.size)
            rgb += resize(change, stage.size)
        else:
            rgb = resize(rgb, stage.size)
        return job.colours.to_input(rgb)

    def _result(self, outcome):
        job = self.job
        rgb = job.leaving(outcome.image)
        alpha = job.alpha(rgb.shape[:2])
        return Result(rgb, alpha, outcome, metadata(job, outcome), self.losses, job.settings.depth)
