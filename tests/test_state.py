"""Saved states: a run goes on from any of its iterations to the same digits, and what does not fit is refused."""

import io
import json
import tempfile
import tracemalloc
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cases import hears, make_case

from style.events import Evaluated, Iterated
from style.faster.precondition import Metric
from style.optimize import METHODS, minimize
from style.state import VERSION, State, StateError

BUDGET = 18
RUNS = {  # method, lag of the deferred terms, options
    "l-bfgs": ("l-bfgs", 1, {"history": 4}),
    "l-bfgs, preconditioned": ("l-bfgs", 1, {"history": 4, "metric": Metric(0.45)}),
    "l-bfgs, deferred": ("l-bfgs", 40, {"history": 4}),
    "l-bfgs, preconditioned, deferred": ("l-bfgs", 40, {"history": 60, "metric": Metric(0.45)}),
    "two-loop": ("two-loop", 1, {"history": 4}),
    "two-loop, deferred": ("two-loop", 40, {"history": 4}),
    "adam": ("adam", 1, {"learning_rate": 2.0}),
    "adam, deferred": ("adam", 40, {"learning_rate": 0.5}),
}
MADE_OF = {"content": "a1", "style": "b2", "history": "4"}


@pytest.fixture(scope="module")
def case():
    return make_case(24, 33, np.float32, kernels="fast")


def run(case, name, start, *, state=None, iterated=None):
    """(Outcome, [(evaluation, iteration, loss, values, exact, picture), …]) of one of RUNS, on an objective of its own.

    iterated  called with (number of evaluations heard before, Iterated)
    """
    method, lag, options = RUNS[name]
    seen = []

    def listener(event):
        if isinstance(event, Evaluated):
            values = event.evaluation, event.iteration, event.loss, event.values, event.exact
            seen.append((*values, event.image.tobytes()))
        elif iterated is not None:
            iterated(len(seen), event)

    objective = case.whole() if lag == 1 else case.deferred(lag)
    outcome = minimize(objective, start, method=method, evaluations=BUDGET, listener=listener, state=state, **options)
    return outcome, seen


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_to_the_same_digits(name, case, tmp_path):
    """From the first iterations and from every fourth, through a file, with another start and a fresh objective."""
    files = []

    def save(heard, event):
        path = tmp_path / f"{event.iteration}.npz"
        State(0, event.state(), MADE_OF).save(path)
        files.append((heard, path))

    straight, seen = run(case, name, case.image, iterated=save)
    assert len(seen) == straight.evaluations == BUDGET
    assert len(files) == straight.iterations > 8
    assert not RUNS[name][1] > 1 or not all(exact for *_, exact, _ in seen)  # deferred: there is something to restore
    for heard, path in [*files[:3], *files[3::4]]:
        state = State.load(path)
        assert (state.stage, state.made_of) == (0, MADE_OF)
        states, start = [], np.zeros_like(case.image)
        resumed, more = run(case, name, start, state=state.arrays, iterated=states_into(states))
        assert more == seen[heard:]
        assert np.array_equal(resumed.image, straight.image) and resumed.image.dtype == np.float32
        assert list(resumed.values.items()) == list(straight.values.items())
        for what in ("evaluations", "iterations", "status", "message"):
            assert getattr(resumed, what) == getattr(straight, what)
        assert resumed.seconds > 0
        if states:  # the last iteration's state is that of the straight run as well
            expected = State.load(files[-1][1]).arrays
            assert_same_arrays({**states[-1], "tracker/seconds": expected["tracker/seconds"]}, expected)


def states_into(states):
    return lambda _, event: states.append(event.state())


def assert_same_arrays(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert np.array_equal(found[key], value, equal_nan=value.dtype.kind == "f"), key


@pytest.mark.parametrize("name", RUNS)
def test_what_was_saved_is_not_touched_by_what_follows(name, case):
    states = []

    def keep(_, event):
        state = event.state()
        states.append((state, {key: value.copy() for key, value in state.items()}))

    run(case, name, case.image, iterated=keep)
    assert len(states) > 8
    for state, copy in states:
        assert_same_arrays(state, copy)


def test_a_state_on_its_way_to_a_file_takes_no_copy_of_the_pairs(case, tmp_path):
    """Nor does a run that goes on from one keep it: the pairs are most of what L-BFGS has in memory."""
    taken, rows = {True: [], False: []}, []

    def save(_, event):
        for copy, found in taken.items():
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            state = event.state(copy)
            found.append(tracemalloc.get_traced_memory()[1] - before)
            rows.append(state["method/rows"].nbytes)
            if event.iteration == 5:
                State(0, state, MADE_OF).save(tmp_path / "state.npz")
            del state

    name = "l-bfgs, preconditioned, deferred"  # 60 pairs
    tracemalloc.start()
    try:
        run(case, name, case.image, iterated=save)
    finally:
        tracemalloc.stop()
    assert min(taken[True]) > rows[0]
    assert max(taken[False]) < rows[0] / 2
    state = State.load(tmp_path / "state.npz").arrays
    kept = weakref.ref(state["method/rows"])
    once = []

    def look(_, event):
        once.append(kept() is None or np.shares_memory(kept(), event.state(False)["method/rows"]))

    run(case, name, case.image, state=state, iterated=look)
    assert state == {} and once and all(once)


def test_scipys_starts_again_at_the_best_picture(case):
    """With what is left of its evaluations: its pairs are its own."""
    states, heard = [], []
    listener = hears(Iterated, lambda event: states.append(event.state()))
    minimize(case.whole(), case.image, method="l-bfgs-b", evaluations=8, listener=listener)
    state, seen = states[-2], hears(Evaluated, lambda event: heard.append((event.evaluation, event.image.copy())))
    start = np.zeros_like(case.image)
    again = minimize(case.whole(), start, method="l-bfgs-b", evaluations=8, listener=seen, state=dict(state))
    assert np.allclose(heard[0][1], state["tracker/best"], atol=1e-3)
    assert heard[0][0] == state["tracker/counts"][0] + 1 and heard[-1][0] == again.evaluations == 8
    assert again.loss <= state["tracker/values"].sum()
    assert [name for name, method in METHODS.items() if not method.resumable] == ["l-bfgs-b"]


def state_of(case, name, image=None):
    """The state after the fourth iteration of one of RUNS."""
    states = []
    run(case, name, case.image if image is None else image, iterated=states_into(states))
    return states[3]


@pytest.mark.parametrize("name", RUNS)
def test_another_size_or_type_is_refused(name, case):
    state = state_of(case, name)
    other = make_case(24, 31, np.float32, kernels="fast")
    with pytest.raises(ValueError, match=r"x is \(1, 3, 24, 33\) float32, expected \(1, 3, 24, 31\) float32") as error:
        run(other, name, other.image, state=state)
    assert "\n" not in str(error.value)
    other = make_case(24, 33, np.float64, kernels="fast")
    with pytest.raises(ValueError, match=r"x is \(1, 3, 24, 33\) float32, expected \(1, 3, 24, 33\) float64"):
        run(other, name, other.image, state=state)


@pytest.mark.parametrize(
    "name, method, options, message",
    [
        ("l-bfgs", "l-bfgs", {"history": 5}, r"rows is \(.*\) float32, expected \(.*\) float32"),
        ("two-loop", "two-loop", {"history": 5}, "history is 4, expected 5"),
        (
            "l-bfgs",
            "l-bfgs",
            {"history": 4, "metric": Metric(0.45)},
            r"metric is None, expected precondition 0.45 \(Spectrum\)",
        ),
        (
            "l-bfgs, preconditioned",
            "l-bfgs",
            {"history": 4},
            r"metric is precondition 0.45 \(Spectrum\), expected None",
        ),
        ("adam", "l-bfgs", {}, "optimizer is adam, expected l-bfgs"),
        ("l-bfgs", "adam", {}, "optimizer is l-bfgs, expected adam"),
        ("l-bfgs", "l-bfgs-b", {}, "optimizer is l-bfgs, expected l-bfgs-b"),
        (None, "l-bfgs", {}, "optimizer is none, expected l-bfgs"),
    ],
)
def test_other_options_are_refused(name, method, options, message, case):
    state = {} if name is None else state_of(case, name)
    with pytest.raises(ValueError, match=f"saved optimiser state: {message}") as error:
        minimize(case.whole(), case.image, method=method, evaluations=BUDGET, state=state, **options)
    assert "\n" not in str(error.value)


def test_other_pictures_are_refused():
    state = State(0, {}, MADE_OF)
    state.check(MADE_OF)
    for made_of, message in (
        ({**MADE_OF, "style": "c3"}, "saved state: style was b2, is c3"),
        ({**MADE_OF, "weights": "d4"}, "saved state: weights was None, is d4"),
    ):
        with pytest.raises(StateError, match=message) as error:
            state.check(made_of)
        assert "\n" not in str(error.value)


class Explosive:
    def __reduce__(self):
        return pytest.fail, ("a saved state was executed",)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def meta(**changes):
    return np.array(json.dumps({"version": VERSION, "stage": 0, "made of": {}} | changes))


def huge():
    """An archive whose one array claims more values than there is memory."""
    buffer, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 48,)})
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("meta.npy", header.getvalue())
    return buffer.getvalue()


def saved(**arrays):
    with tempfile.TemporaryDirectory() as folder:
        State(0, arrays, {}).save(Path(folder) / "state")
        return (Path(folder) / "state").read_bytes()


WHOLE = saved(x=np.arange(3000.0))


def other_contents():
    """A whole archive whose arrays are not those that its hash is of."""
    with np.load(io.BytesIO(WHOLE)) as found:
        return npz(meta=found["meta"], x=found["x"] + 1)


BROKEN = {
    "empty": b"",
    "text": b"not a state\n",
    "an array alone": WHOLE[WHOLE.index(b"\x93NUMPY") :][:900],
    "an archive of something else": npz(weights=np.ones(3)),
    "cut off": WHOLE[: len(WHOLE) // 2],
    "one byte short": WHOLE[:-1],
    "a bit turned": WHOLE[:4000] + bytes([WHOLE[4000] ^ 1]) + WHOLE[4001:],
    "contents of another state": other_contents(),
    "pickled objects": npz(meta=meta(), x=np.array([Explosive()], dtype=object)),
    "a pickled meta": npz(meta=np.array([Explosive()], dtype=object)),
    "meta that is no JSON": npz(meta=np.array("{")),
    "meta of another kind": npz(meta=np.array("[1, 2]")),
    "meta without a stage": npz(meta=np.array(json.dumps({"version": VERSION}))),
    "more than the memory": huge(),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_is_no_state_is_refused(what, tmp_path):
    """In one line that names the file, what was found and what was expected; and nothing in it is executed."""
    path = tmp_path / "run.npz"
    path.write_bytes(BROKEN[what])
    with pytest.raises(StateError) as error:
        State.load(path)
    assert str(error.value).startswith(f"{path}: found ")
    assert str(error.value).endswith("; expected the saved state of a run")
    assert "\n" not in str(error.value)


def test_another_version_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    path.write_bytes(npz(meta=meta(version=VERSION + 1)))
    with pytest.raises(
        StateError, match=rf"run\.npz: saved by another version \({VERSION + 1}\); this one reads {VERSION}"
    ):
        State.load(path)
    path.write_bytes(WHOLE)
    assert State.load(path).arrays["x"][-1] == 2999


def test_no_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(StateError, match="no such file; expected the saved state of a run"):
        State.load(tmp_path / "run.npz")
    with pytest.raises(StateError, match="expected the saved state of a run"):
        State.load(tmp_path)


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "run.npz"
    State(1, {"x": np.arange(3)}, MADE_OF).save(path)

    class Broken:
        def __array__(self, *args, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        State(2, {"x": np.arange(5), "y": Broken()}, MADE_OF).save(path)
    assert State.load(path).stage == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
