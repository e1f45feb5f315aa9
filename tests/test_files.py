"""Files that appear whole or not at all, whatever happens while they are written."""

import errno
import os
import threading

import pytest
from cases import behind_a_link

from minivgg import files
from minivgg.files import FileError, FileTakenError, atomic_file

FULL = OSError(errno.ENOSPC, "No space left on device")


def write(path, data, **options):
    with atomic_file(path, **options) as file:
        file.write(data)


def raising(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize("step", ["fsync", "replace", "write"])
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, step, error):
    path = tmp_path / "a.bin"
    write(path, b"old")
    if step != "write":
        monkeypatch.setattr(os, step, raising(error))
    with pytest.raises(FileError if error is FULL else KeyboardInterrupt) as caught, atomic_file(path) as file:
        file.write(b"new")
        if step == "write":
            raise error
    if error is FULL:
        assert str(caught.value) == f"{path}: cannot be written (No space left on device)"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_writers_own_passes_as_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "a.bin") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_what_is_there_is_replaced_only_where_it_may_be(tmp_path, monkeypatch, links):
    """Also where the file system has no hard links."""
    if not links:
        monkeypatch.setattr(os, "link", raising(OSError(errno.EPERM, "Operation not permitted")))
    path = tmp_path / "a.bin"
    write(path, b"first", replace=False)
    with pytest.raises(FileTakenError, match=r"a\.bin: exists already"):
        write(path, b"second", replace=False)
    assert path.read_bytes() == b"first"
    write(path, b"third")
    assert path.read_bytes() == b"third"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_came_while_this_one_was_written_stays(tmp_path):
    path = tmp_path / "a.bin"
    with pytest.raises(FileTakenError), atomic_file(path, replace=False) as file:
        path.write_bytes(b"another's")
        file.write(b"ours")
    assert path.read_bytes() == b"another's"


def test_a_link_that_fails_otherwise_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", raising(FULL))
    with pytest.raises(FileError, match="No space left"):
        write(tmp_path / "a.bin", b"data", replace=False)
    assert list(tmp_path.iterdir()) == []


def test_the_umask_holds_and_is_not_touched(tmp_path, monkeypatch):
    """The umask is the process's: another thread would make its files with the one set for a moment."""
    old = os.umask(0o027)
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask was changed"))
    try:
        write(tmp_path / "a.bin", b"data")
    finally:
        monkeypatch.undo()
        os.umask(old)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


def test_the_file_behind_a_link_is_written_and_the_link_stays(tmp_path, monkeypatch):
    link, opened = behind_a_link("a.bin", tmp_path, monkeypatch)
    files.check_folder(link)
    write(link, b"data")
    assert opened == ["there", "there"]
    assert link.is_symlink()
    assert (tmp_path / "there" / "target.bin").read_bytes() == b"data"


def test_two_writers_of_one_file(tmp_path):
    path = tmp_path / "a.bin"
    contents = [bytes([value]) * 10_000 for value in range(10)]
    threads = [threading.Thread(target=write, args=(path, data)) for data in contents]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made_when_asked_for(tmp_path):
    path = tmp_path / "a" / "b" / "c.bin"
    with pytest.raises(FileError, match=r"c\.bin: cannot be written \(No such file or directory\)"):
        write(path, b"data")
    write(path, b"data", make_folder=True)
    assert path.read_bytes() == b"data"
    with pytest.raises(FileError, match=r"exists|directory"):  # where a folder should be, there is a file
        write(path / "d.bin", b"data", make_folder=True)


def test_check_folder_tries_and_leaves_nothing(tmp_path, monkeypatch):
    files.check_folder(tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "open", raising(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(FileError, match=r"a\.bin: cannot write to .* \(Permission denied\)"):
        files.check_folder(tmp_path / "a.bin")


@pytest.mark.parametrize("character, count", [("画", 80), ("é", 120), ("🙂", 60)])
def test_names_as_long_as_the_file_system_takes(tmp_path, character, count):
    path = tmp_path / f"{character * count}.png"
    files.check_folder(path)
    write(path, b"data")
    assert path.read_bytes() == b"data"
