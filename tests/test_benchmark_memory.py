"""benchmarks/memory.py: a few of its configurations are within its bound."""

from pathlib import Path

import pytest

from benchmarks.common import in_own_process
from benchmarks.memory import BOUND


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    "hw, options",
    [
        ((96, 96), {}),
        ((256, 256), {"optimizer": "l-bfgs-b"}),
        ((64, 1600), {}),
        ((448, 448), {"optimizer": "adam"}),
        ((192, 192), {"optimizer": "two-loop"}),
        ((192, 192), {"optimizer": "two-loop", "style_size": 640}),
    ],
)
def test_a_whole_run_takes_what_was_predicted(hw, options):
    found = in_own_process("benchmarks.memory", ["mini", hw, options, None])
    assert found["predicted"] == pytest.approx(found["peak"], rel=BOUND)
