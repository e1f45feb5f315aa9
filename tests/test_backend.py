"""Devices by name, and the memory that is free on them."""

import psutil
import pytest

from minivgg import backend


def test_a_number_is_made_of_the_digits_that_int_takes():
    for spec in ("gpu:²", "gpu:-1", "gpu:x", "cpu:0"):
        with pytest.raises(backend.BackendError, match="is not known"):
            backend.resolve_device(spec)
    assert [backend.is_number(text) for text in ("12", "²", "٣", "-1", "")] == [True, False, False, False, False]


def test_free_memory_of_this_machine():
    """Bytes, not pages or kilobytes: less than all there is, more than what this program fits into."""
    assert 1 << 20 < backend.free_memory(backend.Device("cpu")).left < psutil.virtual_memory().total
