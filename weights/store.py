"""Networks as the rest of the project sees them, and the compact file they are kept in."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minivgg.files import FileError, atomic_file
from minivgg.program import first_line
from minivgg.table import ARCHS, Params, check_params, conv_names

from .known import WeightsError, file_hash

FORMAT = "minivgg-compact"
VERSION = 1
LARGEST = 1 << 29  # bytes unpacked: VGG-19 has 80 million in float32
PRECISIONS = ("float32", "float16", "uint8")


class Network:
    """The convolutions of one network.

    name    "vgg19", "vgg16", "mini", or a file's stem when it is none of these
    arch    "vgg19" or "vgg16": which table of layers the names belong to
    params  {"conv1_1": (w, b), ...} in the network's order; w (F,C,3,3), b (F,)
    mean    (3,) average colour, 0..255, in the network's channel order
    order   "RGB" or "BGR": channel order of the input and of `mean`
    path    the file that it was read from, or None
    about   one line on where it comes from, or ""
    pooling how it was trained to pool, "max" or "avg"
    """

    def __init__(
        self,
        name: str,
        arch: str,
        params: Params,
        mean: ArrayLike,
        order: str = "RGB",
        sha256: str | None = None,
        path: str | os.PathLike[str] | None = None,
        about: str = "",
        pooling: str = "max",
    ):
        self.pooling = pooling
        self.name, self.arch, self.params, self.order, self.about = name, arch, params, order, about
        self.mean = np.asarray(mean, dtype=np.float64)
        self.path = None if path is None else Path(path)
        self._sha256 = sha256

    @property
    def sha256(self) -> str | None:
        """Hash of the file the values come from; computed on first use, half a gigabyte takes a second."""
        if self._sha256 is None and self.path is not None:
            self._sha256 = file_hash(self.path)
        return self._sha256

    def __repr__(self) -> str:
        return f"Network({self.name!r}, {self.arch}, {len(self.params)} convolutions, {self.order}, {self.path})"


def check_network(network: Network, where: object) -> None:
    """Raise WeightsError unless the network is a chain of 3x3 convolutions from 3 channels, all finite.

    A network may end early (a narrow one need not have what no loss asks for); it may not have gaps.
    """
    if network.arch not in ARCHS:
        raise WeightsError(f"{where}: architecture {network.arch!r}; expected one of {', '.join(ARCHS)}")
    names = conv_names(network.arch)
    if not network.params or list(network.params) != names[: len(network.params)]:
        found = ", ".join(network.params) or "none"
        raise WeightsError(f"{where}: its convolutions are {found}; expected {', '.join(names)}, in this order")
    try:
        check_params(network.params, network.arch)
    except ValueError as error:
        raise WeightsError(f"{where}: {error}: another network or a damaged file") from None
    for name, (w, b) in network.params.items():
        for what, values in (("filters", w), ("biases", b)):
            if not np.isfinite(values).all():
                bad = int(values.size - np.isfinite(values).sum())
                found = f"{name} has {bad} {what} that are not finite"
                raise WeightsError(f"{where}: {found}; a damaged file, download it again")
    if network.mean.shape != (3,) or not np.isfinite(network.mean).all():
        raise WeightsError(f"{where}: the average colour is {network.mean.tolist()}; expected three numbers")
    if network.order not in ("RGB", "BGR"):
        raise WeightsError(f"{where}: channel order {network.order!r}; expected RGB or BGR")


# --- the compact file ---------------------------------------------------------------------------------------


def quantize(w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Filters to 8 bits with a scale and an offset for each output channel.

    w (F,C,KH,KW) -> q (F,C,KH,KW) uint8, scale (F,) float32, offset (F,) float32
    w[f] ~ offset[f] + scale[f] * q[f],  offset[f] = min w[f],  scale[f] = (max w[f] - min w[f]) / 255
    An error is at most scale/2 (and float32 rounding).
    """
    rows = w.reshape(w.shape[0], -1).astype(np.float64)  # (F, C*KH*KW)
    offset = rows.min(axis=1).astype(np.float32)
    scale = ((rows.max(axis=1) - offset) / 255).astype(np.float32)
    step = np.where(scale > 0, scale, 1).astype(np.float64)  # a constant filter: every q is 0
    q = np.rint((rows - offset[:, None]) / step[:, None]).clip(0, 255).astype(np.uint8)
    return q.reshape(w.shape), scale, offset


def dequantize(q: np.ndarray, scale: np.ndarray, offset: np.ndarray, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Filters back from 8 bits: offset[f] + scale[f] * q[f].  q (F,C,KH,KW) -> (F,C,KH,KW)"""
    w = q.astype(dtype)
    w *= scale.astype(dtype)[:, None, None, None]
    w += offset.astype(dtype)[:, None, None, None]
    return w


def save_compact(network: Network, path: str | os.PathLike[str], precision: str = "float32") -> None:
    """Write a network's convolutions and what belongs to them as one .npz, atomically.

    precision  "float32" keeps the values; "float16" halves the file; "uint8" quarters it (see `quantize`).
    Biases and scales stay float32 always: they are few. The hash kept is that of the file the values came
    from.
    """
    path = Path(path)
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    check_network(network, path)
    arrays: dict[str, Any] = {}
    for name, (w, b) in network.params.items():
        if precision == "uint8":
            arrays[f"{name}.filters"], arrays[f"{name}.scale"], arrays[f"{name}.offset"] = quantize(w)
        else:
            arrays[f"{name}.filters"] = w.astype(precision)
        arrays[f"{name}.biases"] = b.astype(np.float32)
    metadata = _described(network, precision)
    # Only 8-bit values shrink enough under deflate (a fifth) to be worth the time it takes to load them.
    save = np.savez_compressed if precision == "uint8" else np.savez
    try:
        with atomic_file(path, make_folder=True) as file:
            save(file, metadata=np.array(json.dumps(metadata)), **arrays)
    except FileError as error:
        raise WeightsError(str(error)) from None


def _described(network, precision):
    """What a compact file holds beside the arrays, as JSON values."""
    source = None
    if network.sha256:
        source = {"file": network.path.name if network.path else None, "sha256": network.sha256}
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": network.name,
        "arch": network.arch,
        "precision": precision,
        "mean": network.mean.tolist(),
        "order": network.order,
        "layers": list(network.params),
        "source": source,
        "about": network.about,
        **({} if network.pooling == "max" else {"pooling": network.pooling}),
    }


def load_compact(path: str | os.PathLike[str], dtype: DTypeLike = np.float32) -> Network:
    """Read what `save_compact` wrote. Nothing is unpickled; damage is found by the checksums inside."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            _check_unpacked(path, archive)
            metadata = _metadata(path, archive)
            params = {name: _layer(archive, name, metadata["precision"], dtype) for name in metadata["layers"]}
        source = metadata.get("source") or {}
        network = Network(
            metadata["name"],
            metadata["arch"],
            params,
            metadata["mean"],
            metadata["order"],
            sha256=source.get("sha256"),
            path=path,
            about=metadata.get("about", ""),
            pooling=metadata.get("pooling", "max"),
        )
    except WeightsError:
        raise
    except KeyError as error:
        raise WeightsError(f"{path}: a compact weights file without its entry {error}; download it again") from None
    except Exception as error:
        # A changed byte in the zip's directory or in an array's header can raise nearly any exception there is.
        raise WeightsError(
            f"{path}: a damaged or truncated .npz file ({first_line(error)}); download it again"
        ) from None
    check_network(network, path)
    return network


def _check_unpacked(path, archive):
    """Raise WeightsError for an archive that would take too much memory, before any of it is taken."""
    size = sum(entry.file_size for entry in archive.zip.infolist())
    if size > LARGEST:
        raise WeightsError(f"{path}: {size:,} bytes when unpacked; expected at most {LARGEST:,}: not compact weights")


def _metadata(path, archive):
    """The metadata entry as a dictionary; WeightsError when the archive is something else."""
    if "metadata" not in archive.files:
        what = "a PyTorch checkpoint" if any(n.endswith("data.pkl") for n in archive.files) else "another archive"
        raise WeightsError(
            f"{path}: {what}, not compact weights; expected a file written by `python -m weights convert`"
        )
    metadata = json.loads(str(archive["metadata"].item()))
    if not isinstance(metadata, dict):
        raise WeightsError(f"{path}: its metadata is {type(metadata).__name__}; expected an object of {FORMAT!r}")
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise WeightsError(
            f"{path}: format {metadata.get('format')!r} version {metadata.get('version')!r}; expected "
            f"{FORMAT!r} version {VERSION}: convert the original file again"
        )
    if metadata["precision"] not in PRECISIONS:
        raise WeightsError(f"{path}: precision {metadata['precision']!r}; expected one of {', '.join(PRECISIONS)}")
    for name in ("name", "arch", "order", "about", "pooling"):
        if not (isinstance(metadata.get(name, ""), str) and metadata.get(name, "").isprintable()):
            raise WeightsError(f"{path}: {name} {metadata[name]!r} in its metadata; expected one line of plain text")
    if metadata.get("pooling", "max") not in ("max", "avg"):
        raise WeightsError(f"{path}: pooling {metadata['pooling']!r}; expected max or avg")
    return metadata


def _layer(archive, name, precision, dtype):
    w, b = archive[f"{name}.filters"], archive[f"{name}.biases"]
    for what, values, kind in (("filters", w, "u" if precision == "uint8" else "f"), ("biases", b, "f")):
        if values.dtype.kind != kind:
            raise ValueError(f"{name} has {what} of type {values.dtype}")
    if precision == "uint8":
        w = dequantize(w, archive[f"{name}.scale"], archive[f"{name}.offset"], dtype)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and that is refused
        return w.astype(dtype, copy=False), b.astype(dtype, copy=False)


def check_name(name: str, arch: str) -> None:
    """Raise WeightsError unless a network of this architecture may be kept in the cache under this name."""
    if name in ("mini", "best") or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise WeightsError(
            f"{name!r} cannot name an entry of the cache; expected letters, digits, '.', '_' or '-', "
            "and neither mini nor best"
        )
    if name in ARCHS and name != arch:
        raise WeightsError(f"the file holds {arch}; expected {name} under that name: use --name {arch}")
