"""The state of a run that lies over ranks, in the one file that a run on one machine would write.

Rank 0 writes and reads it, a piece at a time; none ever holds the whole. A state goes on over any number of ranks.
"""

import hashlib
import json
import zipfile

import numpy as np

from minivgg.files import atomic_file

from ..checkpoint import Checkpoint
from ..faster.pairs import BLOCK
from ..state import CHANGED, State, parsed, reading

PIECE = 1 << 22  # values that go to the file, or come from it, at a time
VECTORS = ("before/image", "method/m", "method/v", "method/x", "tracker/best")
ROWS = "method/rows"  # the pairs', by blocks


class Spread:
    """Where the arrays of a state lie: name -> its Layout, its whole shape and how many values a step of it has.

    job  job.SpreadJob;  stage  of the state
    """

    def __init__(self, job, stage):
        self.job, self.stage = job, stage

    def layout(self, name):
        """The Layout of an array, or None for one that every rank has."""
        stages = self.job.stages
        if name == "before/image":
            return self.job.layout(stages[self.stage - 1])
        return self.job.layout(stages[self.stage]) if name in (*VECTORS, ROWS) else None

    def shape(self, name):
        layout = self.layout(name)
        if name != ROWS:
            return layout.shape
        return -(-layout.size // BLOCK), 2 * self.job.plans[self.job.stages[self.stage]].history + 2, BLOCK

    def pieces(self, name):
        """[(rank, (name, where in the rank's own array: first, end)), …] in the order of the whole."""
        layout = self.layout(name)
        unit = BLOCK if name == ROWS else 1
        step = max(1, PIECE // (np.prod(self.shape(name)[1:]) if name == ROWS else 1))
        found = []
        for rank, held in enumerate(layout.held):
            at = 0
            for a, b in held:
                count = -(-(b - a) // unit)
                for k in range(0, count, step):
                    last = min(k + step, count)
                    found.append((a // unit + k, rank, (name, at + k, at + last)))
                at += count
        return [(rank, key) for _, rank, key in sorted(found)]

    def piece_shape(self, key):
        name, first, end = key
        return ((end - first, *self.shape(name)[1:]) if name == ROWS else (end - first,)), np.float32

    def empty(self, name):
        """This rank's own part, to be filled."""
        own = self.layout(name).own
        return np.empty((-(-own // BLOCK), *self.shape(name)[1:]) if name == ROWS else own, np.float32)


def save(state, path, job):
    """State.save over ranks: the same file. Raises OSError, on all."""
    spread, ranks = Spread(job, state.stage), job.ranks
    here = {n: np.asarray(a) for n, a in state.arrays.items()}
    apart = sorted(n for n in here if n in VECTORS or n == ROWS)
    pieces = [piece for name in apart for piece in spread.pieces(name)]

    def write(parts):
        meta = state.meta
        h = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
        with atomic_file(path) as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            for name in sorted(here):
                own = [here[name]] if name not in apart else _taken(parts, len(spread.pieces(name)))
                shape = here[name].shape if name not in apart else spread.shape(name)
                _member(archive, name, own, here[name].dtype, shape, h)
            _member(archive, "meta", [np.array(json.dumps(meta | {"sha256": h.hexdigest()}))])

    ranks.collect(pieces, spread.piece_shape, lambda key: here[key[0]][key[1] : key[2]], write)


def _taken(parts, count):
    for _ in range(count):
        yield next(parts)


def _member(archive, name, parts, dtype=None, shape=None, h=None):
    """Write an array to an archive as np.savez does, from its parts; its hash as state.digest has it."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        for k, part in enumerate(parts):
            part = np.ascontiguousarray(part) if part.ndim else part
            if k == 0:
                dtype, shape = dtype or part.dtype, part.shape if shape is None else shape
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                if h is not None:
                    h.update(_heading(name, dtype, shape))
            data = part.tobytes()
            file.write(data)
            if h is not None:
                h.update(data)


def _heading(name, dtype, shape):
    """What stands before an array's values in state.digest."""
    return f"{name} {dtype.str} {shape or (1,)}".encode()


def read_about(path):
    """The State of a file without its arrays. Raises StateError."""
    with reading(path):
        with zipfile.ZipFile(path) as archive, archive.open("meta.npy") as file:
            meta, sha256 = parsed(np.lib.format.read_array(file, allow_pickle=False), path)
        return State(int(meta["stage"]), {"sha256": sha256}, dict(meta["made of"]), dict(meta["about"]), path)


def load(state, job):
    """The arrays of a State that read_about() gave: those that all have, and each rank's part of the others."""
    job.ranks.together(lambda: state.check(job.made_of()))
    spread, ranks, path = Spread(job, state.stage), job.ranks, state.path
    small, apart = {}, ()
    if ranks.rank == 0:
        with zipfile.ZipFile(path) as archive:
            apart = sorted(n.removesuffix(".npy") for n in archive.namelist())
    apart = [n for n in ranks.first(apart) if n in VECTORS or n == ROWS]
    arrays = {name: spread.empty(name) for name in apart}
    total = [piece for name in apart for piece in spread.pieces(name)]

    def take(key, values):
        name, first, end = key
        arrays[name][first:end] = values

    ranks.deal(_read(path, spread, state, small), spread.piece_shape, take, total)
    return State(state.stage, arrays | ranks.first(small), state.made_of, state.about, path)


def _read(path, spread, state, small):
    """(rank, key, values) of all pieces of a file; what every rank has goes to `small`. Raises StateError."""
    h = hashlib.sha256(json.dumps(state.meta, sort_keys=True).encode())
    with reading(path):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(n.removesuffix(".npy") for n in archive.namelist() if n != "meta.npy"):
                with archive.open(f"{name}.npy") as file:
                    if name not in VECTORS and name != ROWS:
                        small[name] = a = np.lib.format.read_array(file, allow_pickle=False)
                        h.update(_heading(name, a.dtype, a.shape) + a.tobytes())
                        continue
                    np.lib.format.read_magic(file)
                    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                    if shape != spread.shape(name) or dtype != np.float32:
                        raise ValueError(f"{name} of {shape} {dtype}, not {spread.shape(name)}")
                    h.update(_heading(name, dtype, shape))
                    for rank, key in spread.pieces(name):
                        whole = spread.piece_shape(key)[0]
                        data = file.read(4 * int(np.prod(whole)))
                        h.update(data)
                        yield rank, key, np.frombuffer(data, np.float32).reshape(whole)
        if h.hexdigest() != state.arrays["sha256"]:
            raise ValueError(CHANGED)


class SpreadCheckpoint(Checkpoint):
    """checkpoint.Checkpoint on every rank. When it is time, and whether a signal came, `together` says to all alike.

    together  run.Together
    """

    def __init__(self, path, every, about, warn, job, together):
        super().__init__(path, every, about, warn)
        self.job, self.together = job, together

    def _iterated(self, event):
        if self.together.signal or self.together.due:
            self.save(event.state(copy=False))
        if self.together.signal:
            raise KeyboardInterrupt

    def due(self):
        """Whether it is time, as rank 0's clock says."""
        return self.path is not None and self._due()

    def _write(self, state):
        save(state, self.path, self.job)

    def remove(self):
        if self.job.ranks.rank == 0:
            super().remove()
