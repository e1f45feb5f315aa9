"""Reader of MatConvNet's .mat files (simplenn layout, both generations) for VGG-16 and VGG-19.

A file holds `layers`, a 1 x n cell of structs, in the network's order. What differs between the generations:

               newer                            older (up to beta16)
    average    meta.normalization.averageImage  normalization.averageImage
               3 values                         a 224 x 224 x 3 picture, constant in each channel for VGG
    a conv     field `weights`: {filters, biases}, anywhere in the struct; older still: `filters`, `biases`

Everything is therefore found by its field's name. Filters are (H, W, in, out); ours are (out, in, H, W). H
stays H: tests/test_matconvnet.py settles this by what the network does with photographs.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
import scipy.io

from minivgg.program import first_line
from minivgg.table import ARCHS, is_full_width

from .known import WeightsError, kind_of, read_head
from .store import Network, check_network

EXPECTED = "expected MatConvNet's imagenet-vgg-verydeep-19.mat or -16.mat"
REMEDY = "`python -m weights fetch vgg19` gets the right one"
HELP = f"{EXPECTED}; {REMEDY}"
LARGEST = 1 << 30  # bytes of a variable: VGG-19 with its classifier has 575 million
IMAGENET_MEAN = (123.68, 116.779, 103.939)  # RGB, Simonyan & Zisserman's average pixel


def load_mat(path, dtype=np.float32):
    """Convolutions, average colour and channel order of a MatConvNet file, as a Network.

    Fully connected layers are skipped whether they are there or not. Raises WeightsError, one line, for
    anything that is not a whole VGG-16 or VGG-19.
    """
    path = Path(path)
    _check_container(path)
    variables = _load_variables(path)
    arch, params, pooling = _read_layers(path, variables["layers"], dtype)
    mean, order = _read_mean(path, variables)
    rgb = mean if order == "RGB" else mean[::-1]
    whole = len(params) == sum(ARCHS[arch])
    published = whole and is_full_width(params) and np.allclose(rgb, IMAGENET_MEAN, atol=0.1)
    network = Network(arch if published else path.stem, arch, params, mean, order, path=path, pooling=pooling)
    check_network(network, path)
    return network


# --- the container ------------------------------------------------------------------------------------------


def _check_container(path):
    """Raise unless the file is a MAT-file of version 5 whose parts are all there."""
    head = read_head(path)
    kind = kind_of(head)
    if kind == "empty":
        raise WeightsError(f"{path}: an empty file; {HELP}")
    if kind == "zip":
        kind = "a zip archive"
    if "v7.3" in kind:
        raise WeightsError(f"{path}: it is {kind}; in MATLAB, save it with -v7 (save(FILE, ..., '-v7')), or {REMEDY}")
    if kind != "mat":
        raise WeightsError(f"{path}: it is {kind}; {HELP}")
    size = path.stat().st_size
    end = _declared_end(path, head)
    if end > size or size < 128:
        raise WeightsError(f"{path}: a truncated MAT-file, {size:,} bytes of at least {max(end, 128):,}; {HELP}")


def _declared_end(path, head):
    """Byte at which the file should end by its own account: each variable starts with its type and length."""
    order = ">" if head[126:128] == b"MI" else "<"
    size, position = path.stat().st_size, 128
    with open(path, "rb") as file:
        while position < size:
            file.seek(position)
            tag = file.read(8)
            if len(tag) < 8:
                return position + 8
            kind, length = struct.unpack(order + "II", tag)
            if kind not in (14, 15):  # miMATRIX, miCOMPRESSED: nothing else stands at the top level
                raise WeightsError(f"{path}: a damaged MAT-file (unknown part at byte {position:,}); {REMEDY}")
            _check_unpacked(path, file, order, kind, length)
            position += 8 + length
    return position


def _check_unpacked(path, file, order, kind, length):
    """Raise for a variable that would take too much memory; of a compressed one the first bytes tell."""
    if kind == 15:
        try:
            start = zlib.decompressobj().decompress(file.read(min(length, 512)), 8)
            length = struct.unpack(order + "II", start)[1]
        except (zlib.error, struct.error):
            return  # damaged, as SciPy's reader will say
    if length > LARGEST:
        raise WeightsError(f"{path}: a variable of {length:,} bytes; expected at most {LARGEST:,}; {HELP}")


def _load_variables(path):
    """The variables that matter, as SciPy gives them (nested object arrays, never pickles)."""
    try:
        variables = scipy.io.loadmat(path, variable_names=["net", "layers", "meta", "normalization", "params"])
    except Exception as error:
        # SciPy's reader meets arbitrary bytes here and answers damage with nearly any exception there is.
        raise WeightsError(f"{path}: a damaged MAT-file ({first_line(error)}); {HELP}") from None
    net = variables.pop("net", None)
    if "layers" not in variables and getattr(net, "dtype", None) is not None and net.dtype.names and net.size:
        variables = {name: net.ravel()[0][name] for name in net.dtype.names}
    if "params" in variables and "layers" in variables:
        raise WeightsError(f"{path}: a MatConvNet network in DagNN layout, which is not read; {HELP}")
    if "layers" not in variables:
        raise WeightsError(f"{path}: a MAT-file without the variable `layers`; {HELP}")
    return variables


def _field(record, name):
    """A struct's field by name, or None. SciPy gives a struct as a (1,1) array with named fields."""
    record = np.asarray(record)
    if record.dtype.names is None or name not in record.dtype.names or record.size == 0:
        return None
    return record.ravel()[0][name]


def _text(value):
    return "" if value is None or np.size(value) == 0 else str(np.ravel(value)[0]).strip()


# --- layers -------------------------------------------------------------------------------------------------


def _read_layers(path, layers, dtype):
    """Walk the layers in the file's order: convolutions count within a block, a pool ends it.

    The file may end within the last two blocks, where a loss has all it needs. Returns the architecture,
    {"conv1_1": (w, b), ...} and how it pools, "max" or "avg".
    """
    params, counts, previous, methods = {}, [0], None, set()
    for index, layer in enumerate(np.ravel(layers), 1):
        kind = _text(_field(layer, "type")).lower()
        label = f"layer {index} ({_text(_field(layer, 'name')) or kind or 'nameless'})"
        if len(counts) > 5 or (kind == "conv" and _is_classifier(layer, params)):
            break  # everything after the fifth block is the classifier
        if kind == "conv" and previous in (None, "relu", "pool"):
            counts[-1] += 1
            params[f"conv{len(counts)}_{counts[-1]}"] = _read_conv(path, layer, label, dtype)
        elif kind == "relu" and previous == "conv":
            pass
        elif kind == "pool" and previous == "relu":
            _check_geometry(path, layer, label, pool=2, stride=2)
            methods.add(_pooling(path, layer, label))
            counts.append(0)
        else:
            raise WeightsError(
                f"{path}: another network: {label} of type {kind or 'unknown'!r} after "
                f"{previous or 'the start'!r}, where VGG has 3x3 convolutions, each with its relu, and 2x2 pools; "
                f"{HELP}"
            )
        previous = kind
    found = tuple(n for n in counts if n)
    for arch, blocks in ARCHS.items():
        last = len(found) - 1
        if last >= 3 and found[:last] == blocks[:last] and 1 <= found[last] <= blocks[last]:
            if len(methods) > 1:
                raise WeightsError(f"{path}: another network: some of its pools average and some do not; {HELP}")
            return arch, params, methods.pop()
    raise WeightsError(
        f"{path}: layers are missing or it is another network: {_plus(found)} convolutions in its blocks; "
        f"VGG-16 has {_plus(ARCHS['vgg16'])}, VGG-19 {_plus(ARCHS['vgg19'])}; {REMEDY}"
    )


def _pooling(path, layer, label):
    """How a pool combines its four values: "max" or "avg"."""
    method = _text(_field(layer, "method")).lower() or "max"
    if method not in ("max", "avg"):
        raise WeightsError(f"{path}: another network: {label} has method {method!r}; expected max or avg; {HELP}")
    return method


def _plus(counts):
    return "+".join(map(str, counts)) or "no"


def _is_classifier(layer, params):
    """Whether a convolution is fc6: 7x7 filters after the small ones, where a pool has been left out."""
    filters, _ = _conv_arrays(layer)
    return bool(params) and np.shape(filters)[:2] == (7, 7)


def _conv_arrays(layer):
    """Filters and biases of a conv struct, None for what is not there."""
    cell = _field(layer, "weights")
    if cell is not None:
        cell = np.asarray(cell)
        parts = cell.ravel() if cell.dtype == object else [cell]
        return parts[0] if len(parts) else None, parts[1] if len(parts) > 1 else None
    return _field(layer, "filters"), _field(layer, "biases")


def _read_conv(path, layer, label, dtype):
    """One convolution: filters (H, W, in, out) -> w (out, in, H, W), biases of any shape -> b (out,)."""
    filters, biases = _conv_arrays(layer)
    if filters is None or biases is None or not np.size(filters):
        fields = ", ".join(np.asarray(layer).dtype.names or ()) or "none"
        raise WeightsError(
            f"{path}: {label} has no filters or biases (its fields: {fields}); expected `weights`, or `filters` "
            f"and `biases`; {REMEDY}"
        )
    filters, biases = np.asarray(filters), np.asarray(biases)
    for what, values in (("filters", filters), ("biases", biases)):
        if values.dtype.kind != "f":  # whole numbers are of a scale that the file does not tell
            found = f"{label} has {what} of type {values.dtype}; expected numbers in floating point"
            raise WeightsError(f"{path}: {found}, single or double; {REMEDY}")
    shape = filters.shape + (1,) * (4 - filters.ndim)  # MATLAB drops trailing dimensions of 1
    if len(shape) != 4 or shape[:2] != (3, 3) or biases.size != shape[3]:
        raise WeightsError(
            f"{path}: another network: {label} has filters {' x '.join(map(str, shape))} and {biases.size} "
            f"biases; VGG has 3 x 3 x in x out and one bias for each out; {HELP}"
        )
    _check_geometry(path, layer, label, stride=1, pad=1)
    w = filters.reshape(shape).transpose(3, 2, 0, 1)  # (out, in, H, W)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and that is refused
        return np.ascontiguousarray(w, dtype=dtype), biases.reshape(-1).astype(dtype)


def _check_geometry(path, layer, label, **expected):
    """Raise when a field such as stride or pad is there and says something else than VGG's."""
    for name, value in expected.items():
        found = _field(layer, name)
        if found is not None and np.size(found) and not np.all(np.asarray(found) == value):
            numbers = np.ravel(found).tolist()
            raise WeightsError(f"{path}: another network: {label} has {name} {numbers}, VGG has {value}; {HELP}")


# --- average colour -----------------------------------------------------------------------------------------


def _read_mean(path, variables):
    """Average colour (3,), 0..255, in the network's channel order, and that order.

    Natural pictures are warm on the average (ImageNet's means: red 124, green 117, blue 104): the larger end
    is red. MatConvNet's own files are RGB; one made from Caffe's without reordering is BGR throughout.
    """
    normalization = _field(variables.get("meta"), "normalization")
    if normalization is None:
        normalization = variables.get("normalization")
    image = _field(normalization, "averageImage")
    values = None if image is None else np.asarray(image)
    if values is None or values.dtype.kind not in "fiu" or values.size < 3:
        raise WeightsError(
            f"{path}: no average colour: neither `meta.normalization.averageImage` nor "
            f"`normalization.averageImage` is there with numbers in it; {HELP}"
        )
    if values.size == 3:
        mean = values.astype(np.float64).reshape(3)
    elif values.ndim == 3 and values.shape[2] == 3:
        mean = values.astype(np.float64).mean(axis=(0, 1))  # (H, W, 3) -> (3,)
    else:
        raise WeightsError(
            f"{path}: averageImage is {' x '.join(map(str, values.shape))}; expected 3 values or H x W x 3; {REMEDY}"
        )
    if not (np.isfinite(mean).all() and (mean >= 0).all() and (mean <= 255).all()):
        raise WeightsError(f"{path}: the average colour is {mean.tolist()}; expected three values in 0..255")
    if 0 < mean.max() <= 1:
        raise WeightsError(
            f"{path}: the average colour is {mean.tolist()}, of pictures in 0..1; expected one in 0..255, with "
            f"filters made for it; {REMEDY}"
        )
    return mean, "BGR" if mean[2] > mean[0] else "RGB"
