"""What listeners hear, in which order, and that nothing but style.STOP ends a run."""

import numpy as np
import pytest

import style
from style.events import Evaluated, Finished, Iterated, Planned, StageDone, Stop


class Bar:
    """Like tqdm: true while there is something to count."""

    def __len__(self):
        return 3


@pytest.mark.parametrize("said", [True, 1, Bar(), "stop", np.ones(3), np.array([True, False]), None, False])
def test_only_stop_stops_a_run(make_job, pictures, network_file, said):
    result = make_job().run(lambda event: said)
    assert (result.outcome.status, result.outcome.evaluations) == ("done", 4)
    options = {"size": 48, "evaluations": 4, "weights": str(network_file), "device": "cpu"}
    assert style.transfer(*pictures, callback=lambda p: said, **options).outcome.status == "done"


def test_stop_stops_with_the_best_picture_so_far(pictures, network_file):
    options = {"size": 48, "evaluations": 9, "weights": str(network_file), "device": "cpu", "lag": 1}
    result = style.transfer(*pictures, callback=lambda p: style.STOP if p.evaluation == 3 else None, **options)
    assert result.outcome.status == "stopped"
    assert result.outcome.message == "stopped on request after 3 evaluations"
    assert result.outcome.loss == min(result.losses)
    assert len(result.losses) == 3
    assert repr(style.STOP) == "style.STOP"


@pytest.mark.parametrize("optimizer", ["l-bfgs-b", "l-bfgs", "two-loop", "adam"])
def test_stop_at_each_kind_of_event(make_job, optimizer):
    """Before the work it takes one evaluation to have a picture; at a scale's end that scale's is the result."""
    expected = {Planned: 1, Evaluated: 1, Iterated: None, StageDone: 6, Finished: 9}
    for kind, evaluations in expected.items():
        job = make_job(size=96, scales=2, evaluations=6, optimizer=optimizer)
        result = job.run(lambda e, kind=kind: style.STOP if isinstance(e, kind) else None)
        assert result.outcome.status == ("done" if kind is Finished else "stopped")
        assert evaluations is None or result.outcome.evaluations == evaluations
        number = result.outcome.evaluations
        after = f"stopped on request after {number} evaluation{'s' if number > 1 else ''}"
        assert result.outcome.message == (f"all {number} evaluations done" if kind is Finished else after)
        assert result.rgb.shape == ((69, 96, 3) if kind is Finished else (34, 48, 3))


def test_callbacks_of_transfer_hear_evaluations_only(pictures, network_file):
    heard = []
    options = {"size": 96, "scales": 2, "evaluations": 4, "weights": str(network_file), "device": "cpu"}
    style.transfer(*pictures, callback=heard.append, **options)
    assert [type(e) for e in heard] == [Evaluated] * 6


def test_the_order_of_events(make_job):
    heard = []
    job = make_job(size=96, scales=2, evaluations=6, optimizer="l-bfgs")
    result = job.run(heard.append)
    first, last = heard[0], heard[-1]
    assert isinstance(first, Planned)
    assert first.job is job
    assert isinstance(last, Finished)
    assert last.result is result
    (between,) = [k for k, e in enumerate(heard) if isinstance(e, StageDone)]
    assert heard[between].stage is job.stages[0]
    for part, scale in ((heard[1:between], 1), (heard[between + 1 : -1], 2)):
        assert {type(e) for e in part} == {Evaluated, Iterated}
        assert {e.scale for e in part if isinstance(e, Evaluated)} == {scale}
    counted = [e for e in heard if isinstance(e, Evaluated)]
    assert [e.evaluation for e in counted] == [*range(1, 10)]
    assert [e.size for e in counted] == [(48, 34)] * 6 + [(96, 69)] * 3
    assert {e.scales for e in counted} == {2}
    iterations, seconds = ([getattr(e, name) for e in counted] for name in ("iteration", "seconds"))
    assert iterations == sorted(iterations)
    assert seconds == sorted(seconds)
    assert [e.loss for e in counted] == pytest.approx([sum(e.values.values()) for e in counted])
    assert [e.loss for e in counted] == result.losses


def test_an_evaluation_gives_its_picture(make_job):
    job, heard = make_job(), []

    def listener(event):
        if isinstance(event, Evaluated):
            rgb = event.to_rgb()
            assert rgb.shape == (event.size[1], event.size[0], 3)
            assert rgb.dtype == np.float32
            assert 0 <= rgb.min() <= rgb.max() <= 255
            assert np.array_equal(rgb, job.colours.to_rgb(event.image))
            heard.append(rgb)

    job.run(listener)
    assert len(heard) == 4
    assert not np.array_equal(heard[0], heard[-1])


def test_each_listener_hears_each_event_even_after_one_has_said_stop(make_job):
    first, third = [], []

    def second(event):
        return style.STOP if isinstance(event, Evaluated) and event.evaluation == 2 else None

    make_job(evaluations=9).run(first.append, second, third.append)
    assert first == third
    assert [type(e) for e in first if not isinstance(e, Iterated)] == [Planned, Evaluated, Evaluated, Finished]


def test_iterated_carries_a_state(make_job):
    for optimizer in ("l-bfgs-b", "l-bfgs", "two-loop", "adam"):
        states = []
        make_job(optimizer=optimizer).run(
            lambda e, states=states: states.append(e.state) if isinstance(e, Iterated) else None
        )
        assert states
        assert all(callable(state) for state in states)


def test_listeners_cannot_change_the_picture(make_job):
    expected = make_job(optimizer="adam").run().rgb

    def careless(event):
        if isinstance(event, Evaluated):
            with pytest.raises(ValueError, match="read-only"):
                event.image[:] = 0

    assert np.array_equal(make_job(optimizer="adam").run(careless).rgb, expected)


def test_a_stop_says_why_and_may_be_of_one_scale(make_job):
    stop = Stop("enough colours", scale=True)
    result = make_job(size=96, scales=2, evaluations=6).run(
        lambda e: stop if isinstance(e, Evaluated) and e.evaluation in (2, 4) else None
    )
    assert result.rgb.shape == (69, 96, 3)
    assert result.outcome.status == "stopped"
    assert result.outcome.message == "enough colours: stopped after 4 evaluations"
