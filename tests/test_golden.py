"""Loss and gradient against golden numbers that PyTorch's automatic differentiation gave (benchmarks/autodiff.py)."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import autodiff

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())["cases"]


@pytest.mark.parametrize("kernels", ["textbook", "fast"])
@pytest.mark.parametrize("dtype", list(autodiff.BARS))
@pytest.mark.parametrize("case", list(GOLDEN))
def test_objective_equals_automatic_differentiation(case, dtype, kernels):
    golden, bar = GOLDEN[case], autodiff.BARS[dtype]
    ours = autodiff.our_objective(
        autodiff.narrow_params(), *autodiff.pictures(), **autodiff.CASES[case], dtype=dtype, kernels=kernels
    )
    found = autodiff.summary(*ours)
    for term, value in golden["terms"].items():
        assert found["terms"][term] == pytest.approx(value, rel=bar, abs=0), term
    difference = np.subtract(found["projections"], golden["projections"])
    assert np.abs(difference).max() <= bar * golden["norm"]
    assert found["norm"] == pytest.approx(golden["norm"], rel=bar)


def test_a_gradient_off_by_a_thousandth_does_not_pass():
    golden = GOLDEN["max-squared"]
    terms, gradient = autodiff.our_objective(
        autodiff.narrow_params(), *autodiff.pictures(), **autodiff.CASES["max-squared"], dtype="float64"
    )
    gradient[..., 20:25, 20:25] *= 1.001
    found = autodiff.summary(terms, gradient)
    difference = np.subtract(found["projections"], golden["projections"])
    assert np.abs(difference).max() > 1e-10 * golden["norm"]
