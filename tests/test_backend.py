"""Devices by name, and the memory that is free on them."""

from types import SimpleNamespace

import pytest

from minivgg import backend


def test_a_number_is_made_of_the_digits_that_int_takes():
    for spec in ("gpu:²", "gpu:-1", "gpu:x", "cpu:0"):
        with pytest.raises(backend.BackendError, match="is not known"):
            backend.resolve_device(spec)
    assert [backend.is_number(text) for text in ("12", "²", "٣", "-1", "")] == [True, False, False, False, False]


@pytest.mark.parametrize("limit, expected", [(None, 3000), (2000, 2000), (5000, 3000)])
def test_free_memory_is_what_machine_and_container_allow(monkeypatch, limit, expected):
    monkeypatch.setattr(backend.psutil, "virtual_memory", lambda: SimpleNamespace(available=3000, total=9000))
    monkeypatch.setattr(backend, "_cgroup_headroom", lambda: limit)
    assert backend.free_memory(backend.Device("cpu")) == expected


def test_free_memory_of_this_machine():
    """Bytes, not pages or kilobytes: less than all there is, more than what this program fits into."""
    assert 1 << 20 < backend.free_memory(backend.Device("cpu")) < backend.psutil.virtual_memory().total
