"""A transfer over several ranks: job.Job whose pictures, targets and vectors lie in strips. Every rank has one."""

import math

import numpy as np

from minivgg.backend import get_xp, resolve_device

from ..job import Job
from ..large.plan import available_memory
from ..large.tiling import segments
from ..objective import Evaluation, Objective
from ..provenance import metadata
from ..running import Run
from ..styles import kept_within
from ..terms import confined, layers
from ..units import parse_memory
from .colours import left
from .cut import Cut, beside_bytes, emptied, without_masks
from .pictures import WRITING, StripResult, enlarged, mirrored, noise, to_rgb, to_strip
from .plan import Request
from .reading import PAINT, by_rows, cutting, hashes, is_at, reading
from .refusals import check_settings
from .strips import Strip
from .tiles import Distributed, Division
from .vectors import Layout, Space, unit_of


class SpreadJob(Job):
    """job.Job over ranks. The same arguments, and ranks.Ranks; all ranks make and run it together.

    saving  whether states are saved meanwhile, which the plan counts
    whole   whether the picture is to be written by one rank that has all of it, which the plan counts as well
    """

    def __init__(self, content, style, settings, ranks, *, saving=False, whole=False):
        check_settings(settings)
        self.ranks, self.saving, self.whole, self.layouts = ranks, saving, whole, {}
        self.near = ranks.neighbours()
        device = resolve_device(settings.device)
        free = available_memory(device, 0)[0] // (self.near if device.kind == "cpu" else 1)
        self.free = min(ranks.everyone(free if settings.memory is None else parse_memory(settings.memory)))
        self.hashes = ranks.first(hashes(content, style, settings.init) if ranks.rank == 0 else None)
        ranks.in_turn(lambda: self._prepare(content, style, settings))
        ranks.agree(None)

    def _prepare(self, content, style, settings):
        super().__init__(content, style, settings)
        self._cut()

    def picture(self, source, need, room):
        """job.Job.picture, but no more than a file's tags where rows of it can be read alone."""
        return by_rows(source, need, self.hashes) or super().picture(source, need, room)

    def _cut(self):
        """Keep this rank's rows of the pictures at each stage, and let the pictures go."""
        self.own = Cut(self)
        self.content = emptied(self.content)
        self.start = None if self.start is None else emptied(self.start)
        self.styles.pictures = [emptied(p) for p in self.styles.pictures]
        without_masks(self.styles)
        self.filters.let_go(emptied)

    def divisions(self, stage, size, terms, margin):
        """[tiles.Division, …] of a network input of a size, in the stage's tiling."""
        H, W = (n + 2 * margin for n in size)
        parts = segments(self.engine.outline(self.terms), layers(terms), H, W, self.plans[stage].tiling)
        return [Division(part, self.ranks.size, terms) for part in parts]

    def _plan(self, outline, stage):
        s, weights = self.settings, [*self.styles.weights.values()]
        weights += [p.alpha for p in (self.content, *self.styles.pictures) if p.alpha is not None]
        writing = WRITING[s.depth] * math.prod(stage.size) * (3 if self.content.alpha is None else 4) // 3
        request = Request(
            outline,
            self.terms,
            self.ranks.size,
            self.free,
            s.optimizer,
            history=min(s.history, stage.evaluations),
            bounds=s.bounds,
            margin=s.margin,
            cutting=cutting(self.content, self.filters.beside, stage),
            reading=max(
                reading(self.content, self.start, self.styles.pictures, self.filters, stage, weights),
                writing if self.whole else 0,
            ),
            beside=beside_bytes(self.content, self.filters, self.styles, self.terms),
            painted=sum(
                PAINT * math.prod(n) for n, m in zip(stage.style_sizes, self.styles.paint, strict=True) if m is not None
            ),
            saving=self.saving,
        )
        return request.plan(*stage.size)

    def at(self, picture, size):
        """resized(), without a copy where a picture is of that size."""
        return picture.rgb if is_at(picture, size) else self.resized(picture, size)

    @property
    def precondition(self):
        return 0.0

    def layout(self, stage):
        """Layout of the stage's vectors."""
        if stage not in self.layouts:
            s, margin = self.settings, self.settings.margin
            shape = (1, 3, *(n + 2 * margin for n in stage.size))
            unit = unit_of(s.optimizer, self.plans[stage].history)
            rows = self.divisions(stage, stage.size, self.terms, margin)[0].cores
            self.layouts[stage] = Layout(self.ranks, shape, rows, unit)
        return self.layouts[stage]

    def _objective(self, stage, terms):
        net = self.engine.load(terms)
        net.release()
        net = net.keeping_transforms(False)
        passes = Distributed(net, self.plans[stage].tiling, self.ranks)
        content, layout = self.own.contents[stage], self.layout(stage)
        pictures, terms = {"content": content, **self.own.inputs[stage]}, confined(terms, self.own.regions[stage])
        aimed = self.engine.aim(terms, passes, pictures, keys=self.styles.keys(stage))
        net.release()
        aimed = passes.placed(aimed, *content.shape[2:])
        return SpreadObjective(net, aimed, passes, layout)

    def objective(self, stage):
        found = super().objective(stage)
        self.own.inputs[stage] = {}  # the targets are there, and the engine keeps them
        return found

    def initial_image(self, stage):
        s, layout = self.settings, self.layout(stage)
        if self.own.first is not None:
            return layout.from_strip(self.own.first)
        content = self.own.contents[stage]
        if s.init == "content":
            return layout.from_strip(content)
        part = noise(s.seed, s.noise_level, layout.shape, content.rows)
        if s.init == "blend":
            part = s.noise_ratio * part + (1 - s.noise_ratio) * content.part
        return layout.from_strip(Strip(get_xp(content.part).asarray(part), content.top, content.shape[2]))

    def optimizer_options(self, stage):
        found = super().optimizer_options(stage)
        if found["bounds"] is not None:
            found["bounds"] = self._bounds(stage)
        if self.settings.optimizer == "l-bfgs":
            found["space"] = Space(self.layout(stage))
        return found

    def _bounds(self, stage):
        """styles.Styles.bounds, this rank's part of the vectors."""
        layout, content = self.layout(stage), self.own.contents[stage]
        if stage not in self.own.kept:
            return tuple(map(layout.broadcast, self.colours.bounds()))
        found = kept_within(self.colours.bounds(), self.own.kept[stage], content.part)
        return tuple(layout.from_strip(Strip(part, content.top, content.shape[2])) for part in found)

    def input(self, picture, size_hw):
        """Nothing is made whole: bounds, which ask for it, are _bounds()."""

    def as_saved(self, image, stage):
        low, high = map(self.layout(stage).broadcast, self.colours.bounds())
        return self.colours.as_saved(image, (low, high))

    def forecast(self):
        alone = super().forecast()
        return None if alone is None else alone / self.ranks.size * self.near

    def run(self, *listeners, state=None):
        with self.engine.alone():
            return SpreadRun(self, listeners).go(state)

    def enlarged(self, image, index):
        """What running.Run._enlarged does: the vector at which stage `index` starts."""
        coarser, stage = self.stages[index - 1], self.stages[index]
        was, layout, margin = self.layout(coarser), self.layout(stage), self.colours.margin
        changed = any(t.source == "content" and t.factor for t in self.terms)
        rows, change = to_rgb(self.colours, was.to_strip(image), clip=False)
        if changed:
            change = change - to_rgb(self.colours, self.own.contents[coarser], clip=False)[1]
        planes = np.ascontiguousarray(np.moveaxis(change, -1, 0)[None])
        segment = self.divisions(stage, stage.size, self.terms, margin)[0].segment
        units = [self._units(segment, first, end) for first, end in layout.rows]
        needs = [[_span(mirrored(unit, stage.size[0], margin)) for unit in mine] for mine in units]
        made = enlarged(self.ranks, Strip(planes, rows[0], coarser.size[0]), coarser.size, stage.size, needs)
        first, end = layout.rows[self.ranks.rank]
        xp = get_xp(self.own.contents[stage].part)
        start = xp.empty((1, 3, end - first, layout.shape[3]), dtype=np.float32)
        for unit, need, rgb in zip(units[self.ranks.rank], needs[self.ranks.rank], made, strict=True):
            at = (slice(None), slice(None), slice(unit[0] - first, unit[1] - first))
            start[at] = to_strip(self.colours, rgb, unit, stage.size[0], need[0]).part
            if changed:  # both less the average colour, which counts once
                mean = xp.asarray(np.asarray(self.colours.mean, np.float32).reshape(1, 3, 1, 1))
                start[at] += self.own.contents[stage].part[at] + mean
        return layout.from_strip(Strip(start, first, layout.shape[2]))

    def _units(self, segment, first, end):
        """Rows of tiles, (top, bottom) each, between two rows: what is computed in one go on any number of ranks."""
        return sorted({t.core[:2] for t in segment.tiles if first <= t.core[0] < end})


class SpreadObjective(Objective):
    """objective.Objective of vectors. layout  vectors.Layout"""

    def __init__(self, net, terms, passes, layout):
        super().__init__(net, terms, passes)
        self.layout = layout

    def evaluate(self, image, *, fresh=True):
        found = super().evaluate(self.layout.to_strip(image))
        return Evaluation(found.values, self.layout.from_strip(found.gradient))


class SpreadRun(Run):
    """running.Run over ranks."""

    def _enlarged(self, image, index):
        return self.job.enlarged(image, index)

    def _result(self, outcome):
        job = self.job
        stage = next(s for s in reversed(job.stages) if s in job.layouts)
        rows, rgb = to_rgb(job.colours, job.layout(stage).to_strip(outcome.image))
        if job.filters.alters:
            beside, places = job.own.beside.get(stage), job.own.places.get(stage)
            rgb = left(job.ranks, job.filters, rgb, rows, stage.size, beside, places)
        more = {"losses": self.losses, "depth": job.settings.depth, "alpha": job.own.alpha.get(stage)}
        return StripResult(job.ranks, rows, rgb, stage.size, outcome, metadata(job, outcome), **more)


def _span(rows):
    return (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)
