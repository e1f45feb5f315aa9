"""VGG-16 and VGG-19 as a table: which layers there are, where they lie, how large and how wide they are.

Simonyan & Zisserman 2015, table 1, columns D and E: five blocks of 3×3 convolutions with a ReLU each, 2×2 pooling
after each block. Layers are called conv1_1, relu1_1, …, pool5; the widths come from the filters, so that a narrower
network of the same topology is the same table. Nothing here computes; params are {"conv1_1": (w, b), …} with
w (F, C, 3, 3) and b (F,), arrays of any device.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from .backend import Array
from .program import suggest

Params: TypeAlias = Mapping[str, tuple[Array, Array]]

ARCHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions in each of the five blocks
_PARTS = re.compile(r"((?:conv|relu|pool)[1-9])(?:_([1-9]\d*))?")  # kind and block, index
MIN_SIDE = 16  # pixels: a picture is halved four times before conv5_1, and below it nothing is left there
WIDTHS = (64, 128, 256, 512, 512)  # channels of each block, as published


def layer_names(arch: str) -> list[str]:
    """All layer names of an architecture in the order of computation: conv1_1, relu1_1, …, pool5."""
    names = []
    for block, convs in enumerate(ARCHS[arch], 1):
        for k in range(1, convs + 1):
            names += [f"conv{block}_{k}", f"relu{block}_{k}"]
        names.append(f"pool{block}")
    return names


def conv_names(arch: str) -> list[str]:
    """Names of an architecture's convolutions in order: conv1_1, conv1_2, conv2_1, …"""
    return [name for name in layer_names(arch) if name.startswith("conv")]


def reached_layers(arch: str, params: Params) -> list[str]:
    """The layers that filters reach: up to the last convolution, its ReLU, and the pooling if a block ends there."""
    names = layer_names(arch)
    end = max(names.index(name) for name in params) + 2
    return names[:end] + [name for name in names[end : end + 1] if name.startswith("pool")]


def check_layer_name(name: str, names: Sequence[str]) -> None:
    """Raise ValueError with a suggestion when `name` is not among `names`."""
    if name not in names:
        raise ValueError(f"layer {name!r} is not in this network ({names[0]} … {names[-1]}){suggest(name, names)}")


def nearest_layer(name: str, names: Iterable[str]) -> str | None:
    """The layer among `names` of the same kind and block whose index is nearest; None where the block has none.

    relu5_3 is relu5_3 where it is there, relu5_2 in a network that ends with relu5_2, never relu4_3 nor conv5_3. Of two
    that are equally near it is the shallower. A name that is none of the table's is near to nothing.
    """
    match = _PARTS.fullmatch(name)
    if match is None:
        return None
    there = [m for m in map(_PARTS.fullmatch, names) if m is not None and m[1] == match[1]]
    index = int(match[2] or 0)
    near = min(there, key=lambda m: (abs(int(m[2] or 0) - index), int(m[2] or 0)), default=None)
    return None if near is None else near[0]


def level(name: str | None) -> int:
    """Poolings between the picture and the activation at `name`; None is the picture."""
    return 0 if name is None else int(name[4]) - (not name.startswith("pool"))


def activation_size(name: str | None, H: int, W: int) -> tuple[int, int]:
    """(H, W) of layer `name`'s output for a picture of H×W; pooling drops an odd last row or column."""
    return H >> level(name), W >> level(name)


def context(name: str | None, names: Sequence[str]) -> int:
    """Pixels beyond those that a place of layer `name` stands for, to each side, that it sees; None: the picture, 0.

    names  the network's layers in order. A 3×3 convolution sees one place more, which is 2^level pixels.
    """
    if name is None:
        return 0
    reached = names[: names.index(name) + 1]
    return sum(1 << level(n) for n in reached if n.startswith("conv"))


def infer_arch(params: Params) -> str:
    """ "vgg19" or "vgg16" from the names of the filters; a beginning that both share counts as VGG-19."""
    for arch in ("vgg19", "vgg16"):
        if set(params) == set(conv_names(arch)[: len(params)]) and params:
            return arch
    raise ValueError(f"filters {', '.join(sorted(params)) or '(none)'} are not the beginning of VGG-16 or VGG-19")


def check_params(params: Params, arch: str) -> None:
    """Raise ValueError unless the filters chain: 3 channels in, then each layer's out is the next one's in; all 3×3.

    The names are the beginning of `arch`, as infer_arch found it or as a file says.
    """
    channels = 3
    for name in conv_names(arch)[: len(params)]:
        w, b = params[name]
        if w.ndim != 4 or w.shape[1:] != (channels, 3, 3) or w.shape[0] == 0 or b.shape != w.shape[:1]:
            raise ValueError(
                f"{name} has filters {_by(w.shape)} and biases {_by(b.shape)}; expected F x {channels} x 3 x 3 filters "
                f"and F biases, since {channels} channels come in"
            )
        channels = w.shape[0]


def channels_of(params: Params, names: Iterable[str]) -> dict[str, int]:
    """{layer name: channels of its activation} for the layers `names`, in order."""
    channels = {}
    for name in names:
        if name.startswith("conv"):
            width = params[name][0].shape[0]
        channels[name] = width
    return channels


def is_full_width(params: Params) -> bool:
    """Whether the channel counts are those of the published networks."""
    return all(w.shape[0] == WIDTHS[int(name[4]) - 1] for name, (w, _) in params.items())


def _by(shape):
    return " x ".join(map(str, shape)) or "none"
