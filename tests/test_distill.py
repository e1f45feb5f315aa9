"""Training a narrow network: the closed form's algebra, gradients of filters, a loss that falls, checkpoints."""

import io
import signal
import sys

import numpy as np
import pytest
from cases import MEAN, make_params
from PIL import Image

import weights
from minivgg import layers
from minivgg.vgg import VGG
from weights.distill import __main__ as program
from weights.distill import lessons, runs, student
from weights.distill import training as distill

CONVS = ("conv1_1", "conv1_2", "conv2_1")


def random_params(widths, seed=0, dtype=np.float32):
    return make_params(dtype, dict(zip(CONVS, widths)), seed)


def pictures(seed=0, count=4, H=40, W=50):
    """Smooth coloured noise: enough structure for the layers to differ."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, H // 5, W // 5, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(p).resize((W, H), Image.Resampling.BICUBIC)) for p in small]


def training(teacher=None, **changes):
    settings = {"steps": 12, "batch": 4, "size": 24, "closed_batches": 2, "own": 2, "renew": 5, "keep": 12, "seed": 3}
    settings = distill.Settings((4, 5, 6), **(settings | changes))
    return distill.Training(teacher or random_params((8, 8, 12)), MEAN, [pictures()], settings)


def everything(state):
    out = {"own": state.own}
    for part in ("params", "first", "second"):
        out |= {f"{part} {n} {i}": v for n, pair in getattr(state, part).items() for i, v in enumerate(pair)}
    for part in ("cross", "gram", "maps"):
        out |= {f"{part} {n}": v for n, v in getattr(state, part).items()}
    return out


def assert_same(a, b):
    a, b = everything(a), everything(b)
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name]), f"{name}: differs by {np.abs(a[name] - b[name]).max()}"


# --- closed form --------------------------------------------------------------------------------------------


def test_a_student_as_wide_as_the_teacher_loses_nothing():
    teacher = random_params((6, 6, 8))
    x = lessons.batch([pictures()], 24, 4, MEAN, np.random.default_rng(0))
    lost = {}
    params, _ = student.closed_form(teacher, [x], {n: len(b) for n, (_, b) in teacher.items()}, log=lost.__setitem__)
    assert max(lost.values()) < 1e-3
    assert {n: w.shape for n, (w, _) in params.items()} == {n: w.shape for n, (w, _) in teacher.items()}


def test_wider_students_lose_less():
    teacher = random_params((12, 12, 16))
    x = lessons.batch([pictures()], 32, 4, MEAN, np.random.default_rng(0))
    lost = []
    for widths in ((3, 3, 4), (6, 6, 8), (10, 10, 14)):
        student.closed_form(teacher, [x], dict(zip(CONVS, widths)), log=lambda name, v: lost.append((name, v)))
    last = [v for name, v in lost if name == "conv2_1"]
    assert last[0] > last[1] > last[2] > 0


def test_chosen_channels_span_the_others():
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(3, 200))
    T = np.vstack([basis, rng.normal(size=(5, 3)) @ basis])[[4, 0, 7, 1, 5, 2, 6, 3]]  # rank 3 in 8 channels
    chosen = student.choose_channels(T @ T.T, 3)
    A = student.regress(T @ T[chosen].T, T[chosen] @ T[chosen].T, ridge=1e-12)
    assert len(set(chosen)) == 3
    assert np.allclose(A @ T[chosen], T, atol=1e-6)


def test_regression_stays_at_its_prior_where_nothing_was_seen():
    prior = np.arange(6.0).reshape(2, 3)
    A = student.regress(np.array([[4.0, 0, 0], [6.0, 0, 0]]), np.diag([2.0, 0, 0]), ridge=1e-9, prior=prior)
    assert np.allclose(A, [[2, 1, 2], [3, 4, 5]])


def test_composed_filters_are_the_map_then_the_filters():
    rng = np.random.default_rng(0)
    w, A, s = rng.normal(size=(4, 6, 3, 3)), rng.normal(size=(6, 3)), rng.normal(size=(2, 3, 7, 5))
    mapped = np.einsum("cs,nshw->nchw", A, s)
    there, _ = layers.conv2d_forward(mapped, w, np.zeros(4), pad=1)
    here, _ = layers.conv2d_forward(s, student.compose(w, A), np.zeros(4), pad=1)
    assert np.allclose(there, here)


def test_scaled_channels_come_out_scaled_and_nothing_else_changes():
    params = random_params((4, 5, 6))
    rng = np.random.default_rng(0)
    scales = {name: rng.uniform(0.2, 5, len(b)) for name, (_, b) in params.items()}
    x = rng.normal(0, 50, (1, 3, 12, 14)).astype(np.float32)
    before, _ = VGG(params).forward(x, ["relu1_1", "relu2_1"])
    after, _ = VGG(student.scale_channels(params, scales)).forward(x, ["relu1_1", "relu2_1"])
    for relu, name in (("relu1_1", "conv1_1"), ("relu2_1", "conv2_1")):
        assert np.allclose(after[relu], before[relu] * scales[name][:, None, None], rtol=1e-4, atol=1e-3)


def test_loss_scales_undo_a_change_of_scale():
    params = random_params((4, 5, 6))
    changed = student.scale_channels(
        params, {"conv1_1": np.full(4, 3), "conv1_2": np.full(5, 2), "conv2_1": np.ones(6)}
    )
    x = lessons.batch([pictures()], 24, 4, MEAN, np.random.default_rng(0))
    scales = student.loss_scales(changed, params, [x])
    assert [pytest.approx(v[0], rel=1e-3) for v in scales.values()] == [1 / 3, 1 / 2, 1]


# --- training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gram", "pooling"), [(0, "max"), (0.7, "avg")])
def test_filter_and_bias_gradients_are_the_loss_s(gram, pooling):
    t = training(random_params((8, 8, 12), dtype=np.float64), gram=gram, pooling=pooling)
    state = t.start()
    state.params = {n: tuple(v.astype(np.float64) for v in pair) for n, pair in state.params.items()}
    x = lessons.batch([pictures()], 11, 2, MEAN, np.random.default_rng(1)).astype(np.float64)[:, :, :, :9]
    narrow = VGG(state.params, kernels="textbook", pooling=pooling)

    def loss():
        narrow.set_params(state.params)
        return distill.weighted(t._gradients(state, x, t.wide[0][0], narrow)[0], gram)

    narrow.set_params(state.params)
    grads = t._gradients(state, x, t.wide[0][0], narrow)[1]
    rng = np.random.default_rng(0)
    for name, pair in state.params.items():
        for values, gradient in zip(pair, grads[name], strict=True):
            direction = rng.normal(size=values.shape) * np.abs(values).mean()
            h = 1e-6
            values += h * direction
            high = loss()
            values -= 2 * h * direction
            low = loss()
            values += h * direction
            numerical, ours = (high - low) / (2 * h), float(np.sum(gradient * direction))
            assert numerical == pytest.approx(ours, rel=1e-5), f"{name} {values.shape}"


def test_training_lowers_the_loss():
    t = training(random_params((16, 16, 16)), steps=25, rate=0.08)
    state = t.start()
    x = [t._batch(np.random.default_rng(n), state.own) for n in (101, 102)]

    def loss():
        return np.mean([distill.weighted(part[0]) for b in x for part in t._share(state, b, t._gradients)])

    before = loss()
    while state.step < 25:
        t.step(state)
    assert loss() < 0.92 * before


def test_a_run_that_was_killed_goes_on_to_the_same_network(tmp_path):
    whole = runs.run(training(), tmp_path / "whole.npz", log=lambda line: None)
    t = training()
    state = t.start()
    for _ in range(7):  # past a renewal of the student's own pictures
        t.step(state)
    runs.save_checkpoint(tmp_path / "killed.npz", state, t.settings)
    lines = []
    resumed = runs.run(training(), tmp_path / "killed.npz", log=lines.append)
    assert lines[0].startswith("resumed at step 7")
    assert_same(whole, resumed)
    first, again = training().finish(whole), training().finish(resumed)
    assert all(np.array_equal(first[n][0], again[n][0]) for n in first)


def test_with_both_poolings_every_lesson_is_seen_through_either(monkeypatch):
    t, seen = training(pooling="both"), []
    state = t.start()
    monkeypatch.setattr(t, "_gradients", lambda state, x, wide, narrow: seen.append((wide.pooling, narrow.pooling)))
    for state.step in (0, 1):
        t._share(state, np.zeros((4, 3, 8, 8), np.float32), t._gradients)
    assert sorted(seen[:2]) == sorted(seen[2:]) == [("avg", "avg"), ("max", "max")]
    assert [n[k].pooling for k in (0, 1) for n in t.wide] == ["max", "max", "avg", "avg"]


def test_a_run_with_both_poolings_and_gram_matrices_goes_on_to_the_same_network(tmp_path):
    changes = {"pooling": "both", "gram": 1.0, "steps": 5}
    whole = runs.run(training(**changes), tmp_path / "whole.npz", log=lambda line: None)
    t = training(**changes)
    state = t.start()
    for _ in range(3):
        t.step(state)
    runs.save_checkpoint(tmp_path / "killed.npz", state, t.settings)
    assert_same(whole, runs.run(training(**changes), tmp_path / "killed.npz", log=lambda line: None))


def test_a_gram_matrix_s_rest_does_not_depend_on_the_student_s_size():
    rng = np.random.default_rng(0)
    t, mapped = rng.normal(size=(2, 5, 30)), rng.normal(size=(2, 5, 30))
    lost, gradient = distill._gram_rest(t, mapped)
    assert distill._gram_rest(t, 3 * mapped)[0] == pytest.approx(lost)
    assert np.vdot(gradient, mapped) == pytest.approx(0, abs=1e-12)  # so nothing draws the student to grow
    assert distill._gram_rest(t, 2 * t)[0] == pytest.approx(0, abs=1e-12)


def test_a_student_trained_before_begins_where_it_was():
    begin = random_params((4, 5, 6), seed=7)
    settings = distill.Settings((4, 5, 6), size=24, batch=4, own=1, closed_batches=2, start="its hash")
    state = distill.Training(random_params((8, 8, 12)), MEAN, [pictures()], settings, begin).start()
    assert all(np.array_equal(state.params[n][0], begin[n][0]) for n in begin)
    assert state.step == 0
    assert set(state.maps) == {"conv1_1", "conv2_1"}


def test_a_run_can_be_prolonged(tmp_path):
    runs.run(training(steps=2), tmp_path / "c.npz", log=lambda line: None)
    assert runs.run(training(steps=3, rate=0.001), tmp_path / "c.npz", log=lambda line: None).step == 3


def test_another_seed_gives_another_network():
    a, b = training().start(), training(seed=4).start()
    assert not np.array_equal(a.params["conv1_1"][0], b.params["conv1_1"][0])


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    t = training()
    runs.save_checkpoint(tmp_path / "c.npz", t.start(), t.settings)
    with pytest.raises(weights.WeightsError, match=r"size\)"):
        runs.load_checkpoint(tmp_path / "c.npz", training(size=25).settings)
    (tmp_path / "c.npz").write_bytes(b"not a checkpoint")
    with pytest.raises(weights.WeightsError, match="not a checkpoint"):
        runs.load_checkpoint(tmp_path / "c.npz", t.settings)


# --- the program --------------------------------------------------------------------------------------------


def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    for n, p in enumerate(pictures()):
        Image.fromarray(p).save(tmp_path / "pictures" / f"{n}.png")
    return tmp_path / "pictures"


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Arguments of a short run; its output would be m.npz."""
    monkeypatch.chdir(tmp_path)
    weights.save_compact(weights.Network("t", "vgg19", random_params((8, 8, 12)), MEAN), "t.npz")
    options = "--teacher t.npz --widths 4,4,6 --steps 2 --batch 2 --size 24 --own 1 --closed-batches 2 --out m.npz"
    return [*options.split(), "--pictures", str(folder(tmp_path))]


def test_the_program_writes_a_network_that_loads(command, capsys):
    assert program.main(command) == 0
    network = weights.load("m.npz")
    assert [w.shape[0] for w, _ in network.params.values()] == [4, 4, 6]
    assert "Simonyan" in network.about
    assert "after 2 steps" in capsys.readouterr().out


def start_from(command, *start):
    k = command.index("--widths")
    return [*command[:k], *start, *command[k + 2 :]]


def test_the_program_trains_its_own_file_further(command, capsys):
    assert program.main(command) == 0
    first = weights.load("m.npz")
    assert program.main([*start_from(command, "--start", "m.npz"), "--out", "n.npz"]) == 0
    network = weights.load("n.npz")
    assert [w.shape for w, _ in network.params.values()] == [w.shape for w, _ in first.params.values()]
    assert not np.array_equal(network.params["conv1_1"][0], first.params["conv1_1"][0])
    assert "closed form" not in capsys.readouterr().out.split("m.npz:")[1]
    weights.save_compact(first, "other.npz", "uint8")
    assert program.main([*start_from(command, "--start", "other.npz"), "--out", "n.npz"]) == 1
    assert "other settings (start)" in capsys.readouterr().err


def test_a_student_that_does_not_fit_the_teacher_is_usage(command, capsys):
    wide, other = random_params((8, 9, 12)), random_params((4, 4, 6))
    weights.save_compact(weights.Network("wide", "vgg19", wide, MEAN), "wide.npz")
    weights.save_compact(weights.Network("bgr", "vgg19", other, MEAN, "BGR"), "bgr.npz")
    for file, message in (("wide.npz", "no wider"), ("bgr.npz", "expected the teacher's")):
        assert program.main(start_from(command, "--start", file)) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [("--batch", "1"), ("--size", "0"), ("--own", "-1"), ("--steps", "x"), ("--widths", "4,0")]
)
def test_numbers_out_of_range_are_usage(command, capsys, option):
    with pytest.raises(SystemExit) as caught:
        program.main([*command, *option])
    assert caught.value.code == 2
    assert option[0] in capsys.readouterr().err


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_the_run_in_a_line_and_the_same_command_goes_on(command, capsys, monkeypatch, name, code):
    number, step = getattr(signal, name), distill.Training.step

    def second_step(self, state):
        if state.step == 1:
            assert signal.getsignal(number) is not signal.SIG_DFL  # which would end the tests
            signal.raise_signal(number)
        return step(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(distill.Training, "step", second_step)
        assert program.main(command) == code
    assert capsys.readouterr().err == "distill: interrupted; the same command goes on from m.npz.checkpoint.npz\n"
    assert program.main(command) == 0
    assert "resumed at step 0" in capsys.readouterr().out


def test_a_signal_before_the_first_checkpoint(command, capsys, monkeypatch):
    monkeypatch.setattr(distill.Training, "start", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    assert program.main(command) == 143
    assert capsys.readouterr().err == "distill: interrupted before the first checkpoint: nothing was written\n"


def test_an_output_that_takes_nothing_costs_no_network(command, monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert program.main(command) == 0
    assert weights.load("m.npz").params


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (("--widths", "4,4,99"), 2, "distill: --widths (4, 4, 99): the teacher has (8, 8, 12); expected no more"),
        (("--pictures", "nowhere"), 1, "no pictures found"),
        (("--teacher", "missing.npz"), 1, "missing.npz"),
        (("--out", "t.npz/m.npz"), 1, "cannot be written"),
    ],
)
def test_what_cannot_be_used_is_one_line(command, capsys, change, code, message):
    assert program.main([*command, *change]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
