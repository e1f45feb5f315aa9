"""A run that was interrupted goes on from its saved state to the same digits, or says in one line why it cannot."""

import numpy as np
import pytest

import style
from style.events import Evaluated, Iterated


def until(iterated, path, stop):
    """A listener that saves the state at an iteration, counted over all scales, and then ends the run."""
    count = [0]

    def listener(event):
        if isinstance(event, Iterated):
            count[0] += 1
            if count[0] == iterated:
                event.state().save(path)
                if stop:
                    return style.STOP
                raise KeyboardInterrupt
        return None

    return listener


@pytest.mark.parametrize(
    "lag, stop",
    [
        pytest.param(1, True, id="1-STOP"),
        pytest.param(40, False, id="40-Ctrl-C"),
        pytest.param(1, False, id="1-Ctrl-C", marks=pytest.mark.slow),
        pytest.param(40, True, id="40-STOP", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("optimizer", ["l-bfgs", "adam"])
def test_a_run_goes_on_to_the_same_digits(make_job, tmp_path, optimizer, lag, stop):
    """Two scales, interrupted in the first, at its end and in the second."""
    options = {"size": 96, "scales": 2, "evaluations": 16, "optimizer": optimizer, "lag": lag}
    if optimizer == "l-bfgs":
        options |= {"precondition": 0.45, "history": 5, "bounds": lag == 1}
    whole = make_job(**options).run()
    last = whole.outcome.iterations - 1
    for number, iterated in enumerate((1, last // 3, last * 2 // 3, last)):
        path = tmp_path / f"{number}.npz"
        broken = make_job(**options).run(until(iterated, path, stop))
        assert broken.outcome.status == ("stopped" if stop else "interrupted")
        assert broken.outcome.evaluations < whole.outcome.evaluations
        heard = []
        again = make_job(**options).run(heard.append, state=style.State.load(path))
        assert np.array_equal(again.rgb, whole.rgb)
        assert again.losses == whole.losses
        assert again.outcome.values == whole.outcome.values
        for name in ("evaluations", "iterations", "status", "message"):
            assert getattr(again.outcome, name) == getattr(whole.outcome, name)
        counted = [e.evaluation for e in heard if isinstance(e, Evaluated)]
        assert counted == [*range(whole.outcome.evaluations - len(counted) + 1, whole.outcome.evaluations + 1)]


def test_the_textbook_s_l_bfgs_goes_on_too(make_job, tmp_path):
    options = {"optimizer": "two-loop", "evaluations": 12}
    whole = make_job(**options).run()
    make_job(**options).run(until(4, tmp_path / "state.npz", stop=True))
    assert np.array_equal(make_job(**options).run(state=style.State.load(tmp_path / "state.npz")).rgb, whole.rgb)


@pytest.fixture
def state(make_job, tmp_path):
    make_job(optimizer="adam").run(until(2, tmp_path / "state.npz", stop=True))
    return style.State.load(tmp_path / "state.npz")


@pytest.mark.parametrize(
    "options, says",
    [
        ({"style_weight": 5}, "style_weight was 200.0, is 5.0"),
        ({"size": 64}, "size was 48, is 64"),
        ({"optimizer": "l-bfgs"}, "optimizer was 'adam', is 'l-bfgs'"),
    ],
)
def test_other_settings_are_refused_in_one_line(make_job, state, options, says):
    with pytest.raises(style.StateError, match=says) as e:
        make_job(**{"optimizer": "adam"} | options).run(state=state)
    assert "\n" not in str(e.value)


def test_other_pictures_are_refused_in_one_line(pictures, network_file, state):
    settings = style.settings_from(size=48, evaluations=4, optimizer="adam", weights=str(network_file), device="cpu")
    for others, what in ((pictures[::-1], "content"), ([pictures[0], pictures[0]], "style")):
        with pytest.raises(style.StateError, match=f"{what} was [0-9a-f]+, is [0-9a-f]+: ") as e:
            style.Job(*others, settings).run(state=state)
        assert "\n" not in str(e.value)


def test_how_a_setting_is_written_does_not_matter(pictures, network_file, state):
    """Numbers of another type, and another budget of memory, are the same run."""
    weights = network_file
    options = {
        "size": np.int64(48),
        "evaluations": 4,
        "optimizer": "adam",
        "device": "cpu",
        "memory": "3GB",
        "margin": 0,
    }
    settings = style.settings_from(style_weight=np.float32(200), adam_betas=[0.9, 0.999], weights=weights, **options)
    assert style.Job(*pictures, settings).run(state=state).outcome.evaluations == 4
    with pytest.raises(style.StateError, match="a run has gone on from it and taken its arrays; load it again"):
        style.Job(*pictures, settings).run(state=state)


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_state_is_one_line(tmp_path, content):
    path = tmp_path / "state.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(style.StateError, match="saved state of a run") as e:
        style.State.load(path)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)
