"""What the tests share: backends, the data beside the project, a small random network, a comparison that explains."""

import collections
import importlib.util
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

import cases
import numpy as np
import pytest

import style
import weights
from minivgg import VGG, gradcheck
from minivgg.backend import BackendError, Device, get_xp, resolve_device, to_device, to_numpy
from minivgg.gradcheck import rows

ROOT = Path(__file__).resolve().parent.parent

os.environ["PYTHON_COLORS"] = "0"  # what --help and tracebacks say is compared, whatever FORCE_COLOR wants of pytest

# Under nohup, or in a script's background, these are ignored, here and in the programs that the tests start.
for _name, _handler in (
    ("SIGINT", signal.default_int_handler),
    ("SIGHUP", signal.SIG_DFL),
    ("SIGTERM", signal.SIG_DFL),
):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _handler)


def pytest_terminal_summary(terminalreporter):
    """A line a reason for what was skipped, the most frequent first: hundreds of tests share a few."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [r.longrepr[2] if isinstance(r.longrepr, tuple) else str(r.longrepr) for r in skipped]
    for reason, count in collections.Counter(re.sub("^Skipped: ", "", text) for text in reasons).most_common(8):
        terminalreporter.write_line(f"skipped {count:4}: {reason}")


@dataclass(frozen=True)
class Backend:
    """Where a test body computes: `array` puts numbers there, `host` brings them back."""

    name: str
    device: Device

    @property
    def xp(self):
        return get_xp(self.array(0.0))

    def array(self, values, dtype=np.float64):
        return to_device(np.array(values, dtype=dtype), self.device)

    def host(self, a):
        return to_numpy(a)


# One test body for all of them. A stand-in for a device array, strict about mixing with NumPy, is one more param here.
@pytest.fixture(params=["numpy", pytest.param("cupy", marks=pytest.mark.gpu)])
def backend(request):
    """Each backend in turn; CuPy skips, saying why, where there is no device."""
    if request.param == "numpy":
        return Backend("numpy", Device("cpu"))
    try:
        return Backend("cupy", resolve_device("gpu"))
    except BackendError as e:
        pytest.skip(str(e))


@pytest.fixture(params=["textbook", "fast"])
def kernels(request, backend):
    """The names of the sets of kernels, for VGG(..., kernels=...); skips where "fast" is the textbook."""
    if request.param not in rows.kernel_sets(backend.device):
        pytest.skip(f"no fast kernels for {backend.name}: VGG takes the textbook's")
    return request.param


@pytest.fixture
def layers(backend, kernels):
    """The module with the layer pairs that `kernels` names."""
    return rows.kernels_on(backend.device, kernels)


@pytest.fixture
def make_net(backend, kernels):
    """make_net(arch="vgg19", *, dtype, pooling, ...) -> a narrow VGG with random filters on the backend."""

    def make(arch="vgg19", *, dtype=np.float64, pooling="max", seed=0, **options):
        params = rows.random_params(np.random.default_rng(seed), arch, dtype=dtype, **options)
        params = {n: (backend.array(w, dtype), backend.array(b, dtype)) for n, (w, b) in params.items()}
        return VGG(params, pooling=pooling, kernels=kernels)

    return make


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def shared():
    """The folder with pictures and weights beside the project: $MINIVGG_SHARED, or ../shared. Skips where missing."""
    folder = Path(os.environ.get("MINIVGG_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs data that is not part of the project: no folder {folder} (or set MINIVGG_SHARED)")
    return folder


@pytest.fixture(scope="session")
def vgg19_mat(shared):
    """Path of the real VGG-19's weights."""
    path = shared / "weights" / "imagenet-vgg-verydeep-19-conv-8bit.mat"
    if not path.is_file():
        pytest.skip(f"needs the real network's weights: no file {path}")
    return path


@pytest.fixture(scope="session")
def has_cupy():
    return importlib.util.find_spec("cupy") is not None


def assert_close(actual, expected, tolerance=0.0):
    """Largest deviation against the largest entry is at most `tolerance`; else shape, worst index and both values.

    tolerance 0 asks for equality, entry by entry.
    """
    actual, expected = np.asarray(gradcheck.to_host(actual)), np.asarray(gradcheck.to_host(expected))
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    error = gradcheck.relative_error(actual, expected)
    if not error <= tolerance:
        worst = gradcheck.worst_entry(actual, expected)
        pytest.fail(
            f"shape {actual.shape}: at {worst} found {actual[worst]!r}, expected {expected[worst]!r}; "
            f"relative error {error:.2e}, allowed {tolerance:.0e}"
        )


def assert_passed(table):
    """Every row of a gradient table passes, and there is one; else a line for each that does not. Returns the rows."""
    table = list(table)
    assert table, "no rows"
    failed = [str(row) for row in table if not row.passed]
    if failed:
        pytest.fail(f"{len(failed)} of {len(table)} rows failed\n" + "\n".join(failed), pytrace=False)
    return table


@pytest.fixture(scope="session")
def network_file(tmp_path_factory):
    """A narrow random VGG-19 as a compact file."""
    path = tmp_path_factory.mktemp("weights") / "narrow.npz"
    weights.save_compact(cases.make_network(), path)
    return path


@pytest.fixture
def pictures():
    """A content picture, 40 by 56 pixels, and a style, 48 by 32."""
    return cases.blocks(((5, 7), (6, 4)))


@pytest.fixture
def make_job(pictures, network_file):
    """make_job(engine=None, **options) -> style.Job of these pictures on that network, 48 pixels, 4
    exact evaluations, no margin."""

    def make(engine=None, **options):
        base = {"size": 48, "evaluations": 4, "weights": str(network_file), "device": "cpu", "margin": 0}
        options = base | ({} if "preset" in options else {"lag": 1}) | options
        return style.Job(*pictures, style.settings_from(**options), engine=engine)

    return make


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with photo.png, style.png and narrow.npz, a network."""
    monkeypatch.chdir(tmp_path)
    cases.lay_out(tmp_path, {"photo.png": (5, 7), "style.png": (6, 4)})
    return tmp_path
