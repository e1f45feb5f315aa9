"""What a file is: by its first bytes, and by its hash when it is one of those in circulation."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from minivgg.program import first_line


class WeightsError(Exception):
    """A weights file that is missing, damaged or something else; the message is one line."""


class UnknownWeightsError(WeightsError):
    """A name that is none of the weights'."""


@dataclass(frozen=True)
class KnownFile:
    """One published file: which network, what people call it, and how to recognise it."""

    network: str
    label: str
    md5: str | None = None
    sha256: str | None = None
    size: int | None = None


# The hashes are those that MatConvNet's own documentation (doc/site/docs/pretrained.md) and the readers of these
# files publish. A size stands only where somebody has published it.
VGG19_NEWER = KnownFile(
    "vgg19",
    "MatConvNet's imagenet-vgg-verydeep-19.mat, newer layout",
    md5="106118b7cf60435e6d8e04f6a6dc3657",
    sha256="abdb57167f82a2a1fbab1e1c16ad9373411883f262a1a37ee5db2e6fb0044695",
    size=534904783,
)
VGG19_OLDER = KnownFile(
    "vgg19",
    "MatConvNet's imagenet-vgg-verydeep-19.mat, older layout (beta16)",
    md5="8ee3263992981a1d26e73b3ca028a123",
)
VGG19_2015 = KnownFile(
    "vgg19",
    "MatConvNet's imagenet-vgg-verydeep-19.mat as served in December 2015",
    md5="b9b4a9eb1c2fb3b50e1ec1aca6f22342",
)
VGG16_NEWER = KnownFile(
    "vgg16",
    "MatConvNet's imagenet-vgg-verydeep-16.mat, newer layout",
    md5="f72d927587ca4c97fbd165ec9cb9997f",
)
VGG19_8BIT = KnownFile(
    "vgg19",
    "VGG-19's convolutions in 8 bits a value",
    sha256="d8cba7bf6c0b036c89e2a95d40e82603782df3212a3a9a0d7c98b88cd3aa1741",
    size=17725094,
)
KNOWN = (VGG19_NEWER, VGG19_OLDER, VGG19_2015, VGG16_NEWER, VGG19_8BIT)


def file_hash(path, algorithm="sha256"):
    """Hexadecimal digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def identify(*, md5=None, sha256=None):
    """The known file with this hash, or None."""
    for known in KNOWN:
        if (md5 and known.md5 == md5) or (sha256 and known.sha256 == sha256):
            return known
    return None


def published_md5(network):
    """Every MD5 known for a network's file."""
    return [known.md5 for known in KNOWN if known.network == network and known.md5]


def kind_of(head):
    """What a file is by its first bytes (512 are plenty): "mat", "zip", or a phrase that fits after "it is".

    The phrases name what people really end up with under a weights file's name.
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "empty"
    if head.startswith(b"MATLAB 7.3") or head.startswith(b"\x89HDF"):
        return "a MATLAB v7.3 (HDF5) file"
    if head.startswith(b"MATLAB 5.0"):
        return "mat"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<script", b"<!--")):
        return "a web page (HTML), probably an error page saved under this name"
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, not the file it points to"
    if head.startswith(b"\x1f\x8b"):
        return "a gzip archive"
    if head.startswith(b"\x93NUMPY"):
        return "a single NumPy array (.npy)"
    if head.startswith(b"\x80"):
        return "a Python pickle, which is never opened here"
    if start.startswith((b"{", b"[")):
        return "a JSON text"
    if b"\0" not in head and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "a text file"
    return "a binary file of unknown kind, or a damaged one"


def read_head(path):
    """First 512 bytes of a file; WeightsError when it cannot be opened."""
    path = Path(path)
    if os.path.isdir(path):
        raise WeightsError(f"{path}: is a folder; expected a weights file (.mat or .npz)")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would be waited for without end
            raise WeightsError(f"{path}: not a regular file; expected a weights file (.mat or .npz)")
        with open(path, "rb") as file:
            return file.read(512)
    except FileNotFoundError:
        raise WeightsError(
            f"{path}: no such file; give a MatConvNet .mat, a compact .npz or a name "
            "(`python -m weights list` shows the names)"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise WeightsError(
            f"{path}: cannot be read ({first_line(error)}); expected a weights file (.mat or .npz)"
        ) from None
