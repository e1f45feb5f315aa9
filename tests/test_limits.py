"""How much memory the process may take: control groups in a tree of fake files, the process's limit, the machine."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from minivgg import limits

V2 = "31 23 0:28 {root} /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
V1 += "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
NONE_V1 = 9223372036854771712


def tree(tmp_path, mountinfo, cgroup, groups, point="sys/fs/cgroup"):
    """A root with /proc/self's two files and {group: {file: number or text}} below the mount point."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(mountinfo)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for group, files in groups.items():
        folder = tmp_path / point / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (folder / name).write_text(f"{value}\n")
    return tmp_path


def left(found):
    return {limit.what.rpartition("cgroup/")[2]: limit.left for limit in found}


def test_version_2_counts_all_groups_up_to_the_root_and_both_limits(tmp_path):
    groups = {
        "a/b c": {"memory.max": "max", "memory.high": 900, "memory.current": 300},
        "a": {
            "memory.max": 1000,
            "memory.high": "max",
            "memory.current": 500,
            "memory.stat": "anon 200\nfile 300\ninactive_file 250\nactive_file 40\nslab 7",
        },
    }
    root = tree(tmp_path, V2.format(root="/"), "0::/a/b c\n", groups)
    assert left(limits.control_groups(root)) == {"a/b c/memory.high": 600, "a/memory.max": 790}


def test_version_1_beside_an_empty_version_2(tmp_path):
    groups = {
        "x/y": {
            "memory.limit_in_bytes": 1000,
            "memory.usage_in_bytes": 700,
            "memory.stat": "inactive_file 1\ntotal_inactive_file 100\ntotal_active_file 50",
        },
        "x": {"memory.limit_in_bytes": NONE_V1, "memory.usage_in_bytes": 900},
        ".": {"memory.limit_in_bytes": 5000, "memory.usage_in_bytes": 4900},
    }
    mounts = V1.format(root="/") + V2.format(root="/").replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    cgroup = "5:cpuset:/elsewhere\n4:cpu,memory:/x/y\n1:name=systemd:/\n0::/\n"
    root = tree(tmp_path, mounts, cgroup, groups, "sys/fs/cgroup/memory")
    assert left(limits.control_groups(root)) == {
        "memory/x/y/memory.limit_in_bytes": 450,
        "memory/memory.limit_in_bytes": 100,
    }


@pytest.mark.parametrize("path", ["/docker/1f", "/", "/../../other"])
def test_a_container_whose_mount_is_its_own_group(tmp_path, path):
    """The path is the host's, the namespace's, or one outside: the files lie at the mount point all the same."""
    root = tree(
        tmp_path, V2.format(root="/docker/1f"), f"0::{path}\n", {".": {"memory.max": 100, "memory.current": 120}}
    )
    assert left(limits.control_groups(root)) == {"memory.max": 0}


@pytest.mark.parametrize(
    "mountinfo, cgroup",
    [
        ("", ""),
        ("nonsense\n - \n", "nonsense\n\n::\n"),
        (V2.format(root="/"), "0::/gone\n"),
        (V1.format(root="/"), "3:cpu:/\n"),
    ],
)
def test_no_groups_or_files_that_say_nothing_are_no_limit(tmp_path, mountinfo, cgroup):
    files = {"memory.max": "12x", "memory.current": 3, "memory.stat": "inactive_file\nactive_file x"}
    assert limits.control_groups(tree(tmp_path, mountinfo, cgroup, {".": files})) == []
    assert limits.control_groups(tmp_path / "nothing") == []


def test_the_smallest_is_taken_and_says_whose_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "address_space", list)
    monkeypatch.setattr(limits.psutil, "virtual_memory", lambda: SimpleNamespace(available=500))
    groups = {"a": {"memory.max": 1000, "memory.current": 100}}
    root = tree(tmp_path, V2.format(root="/"), "0::/a\n", groups)
    assert limits.smallest(root) == limits.Limit(500, "free memory")
    (tmp_path / "sys/fs/cgroup/a/memory.current").write_text("700")
    assert limits.smallest(root) == limits.Limit(300, "limit of the control group, /sys/fs/cgroup/a/memory.max")


def test_the_limit_of_the_address_space_is_less_what_is_mapped():
    resource = pytest.importorskip("resource")
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY or limits.address_space() == []
    program = (
        "import resource; from minivgg import limits; resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32));"
        "first = limits.smallest().left; held = bytearray(1 << 28); l = limits.smallest();"
        "print(first, first - l.left, l.what)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split(
        " ", 2
    )
    assert 0 < int(said[0]) < 1 << 32
    assert int(said[1]) == pytest.approx(1 << 28, rel=0.05)
    assert "ulimit -v" in said[2]
