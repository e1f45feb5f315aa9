"""How much memory this process may still take: what machine, container and the process's own limits leave of it.

Linux: the files that cgroups(7), proc(5) and the kernel's Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst
describe. Elsewhere what psutil says is free.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

UNLIMITED = 1 << 60  # what version 1 writes for no limit is the largest number of whole pages


@dataclass(frozen=True)
class Limit:
    """left  bytes that may still be taken;  what  the limit, in words"""

    left: int
    what: str


_sharing = 1  # processes


def share_among(count):
    """From here on, what machine and control groups leave is shared evenly by `count` processes like this one."""
    global _sharing
    _sharing = count


def smallest(root="/"):
    """The Limit that leaves least. root  where proc and sys lie: elsewhere in tests"""
    found = [machine(), *control_groups(root)]
    if _sharing > 1:
        found = [Limit(one.left // _sharing, f"{one.what}, for {_sharing} processes") for one in found]
    return min([*found, *address_space()], key=lambda limit: limit.left)


def machine():
    """What is free on the machine, by the system's own count: file cache that can be given up is free."""
    return Limit(psutil.virtual_memory().available, "free memory")


def address_space():
    """[Limit] of RLIMIT_AS, less what the process has mapped; [] where there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return []
    mapped = psutil.Process().memory_info().vms
    return [Limit(max(limit - mapped, 0), "limit of the process's address space, ulimit -v")]


def control_groups(root="/"):
    """[Limit, …] of the control groups that the process is in, each up to the top of what is mounted here.

    Version 1 and 2 may both be there. What they count as used has file cache in it, which the kernel gives up before it
    refuses memory; that is left out.
    """
    root, found = Path(root), []
    mounts = _mounts(_read(root / "proc/self/mountinfo"))
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        version = 2 if number == "0" and not controllers else 1
        if version not in mounts or (version == 1 and "memory" not in controllers.split(",")):
            continue
        top, point = mounts[version]
        for group in _up_from(PurePosixPath(path), top):
            found += _of_group(root / point.relative_to("/") / group, point / group, version)
    return found


def _mounts(mountinfo):
    """{version: (path of the group that is mounted, where)} of the hierarchies that know memory."""
    found = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3:
            continue
        version = {"cgroup2": 2, "cgroup": 1}.get(kinds[0])
        if version == 2 or (version == 1 and "memory" in kinds[2].split(",")):
            found.setdefault(version, (PurePosixPath(_plain(fields[3])), PurePosixPath(_plain(fields[4]))))
    return found


def _plain(name):
    r"""A name as proc(5) writes it, with \040 for a space."""
    return name.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _up_from(path, top):
    """The groups from `path` up to `top`, as names below where `top` is mounted; of a path that is not below it, `top`.

    In a container the mount may be the container's own group while the path still is the host's.
    """
    below = path.relative_to(top) if path.is_relative_to(top) else PurePosixPath()
    return [below, *below.parents] if below.parts and ".." not in below.parts else [PurePosixPath()]


def _of_group(folder, name, version):
    """[Limit, …] of one group; a file that is not there, or holds no number, limits nothing."""
    if version == 2:
        limits, usage, cache = ("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file")
    else:
        limits, usage = ("memory.limit_in_bytes",), "memory.usage_in_bytes"
        cache = ("total_inactive_file", "total_active_file")
    used = _number(folder / usage)
    if used is None:
        return []
    stat = dict(line.split(maxsplit=1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
    used -= sum(int(stat[key]) for key in cache if stat.get(key, "").isdecimal())
    found = ((file, _number(folder / file)) for file in limits)
    return [
        Limit(max(limit - max(used, 0), 0), f"limit of the control group, {name / file}")
        for file, limit in found
        if limit is not None and limit < UNLIMITED
    ]


def _number(path):
    """The number in a file, or None ("max" is none)."""
    text = _read(path).strip()
    return int(text) if text.isascii() and text.isdecimal() else None


def _read(path):
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
