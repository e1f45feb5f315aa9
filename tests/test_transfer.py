"""The job: what a library caller gets, what is checked before the work, what goes into the picture."""

import json

import cases
import numpy as np
import pytest
from PIL import Image
from strict_device import StrictModule

import style
import weights
from style import SettingsError, schedule
from style.pictures import images, saving
from style.transfer import _versions


@pytest.fixture(scope="module")
def network_file(tmp_path_factory):
    """A narrow random VGG-19 as a compact file."""
    path = tmp_path_factory.mktemp("weights") / "narrow.npz"
    weights.save_compact(cases.make_network(), path)
    return path


@pytest.fixture
def pictures():
    return cases.blocks(((5, 7), (6, 4)))


def transfer(pictures, network_file, **options):
    options = {"size": 48, "iterations": 4, "device": "cpu", **options}
    return style.transfer(*pictures, weights=str(network_file), **options)


def test_a_picture_comes_back_and_the_callback_sees_each_evaluation(pictures, network_file):
    seen = []
    result = transfer(pictures, network_file, callback=lambda p: seen.append(p.loss))
    assert result.image.shape == (34, 48, 3)
    assert result.image.dtype == np.uint8
    assert len(seen) == result.outcome.evaluations == 4
    assert result.outcome.totals["loss"] == min(seen) < seen[0]


def test_same_seed_same_picture_other_seed_another(pictures, network_file):
    first, again, other = (
        transfer(pictures, network_file, init="noise", optimizer="adam", seed=seed).rgb for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("init", ["content", "style", "noise", "blend"])
def test_every_start(init, pictures, network_file):
    job = style.Job(*pictures, style.settings_from(size=48, init=init, weights=str(network_file), device="cpu"))
    start = job.initial_image(job.stages[0])
    assert start.shape == (1, 3, 34, 48)
    assert start.dtype == np.float32
    content = job._input(job.content, job.size)
    if init == "content":
        assert np.array_equal(start, content)
    if init == "noise":
        assert abs(start).max() <= 20
    if init == "blend":
        assert abs(start - 0.4 * content).max() <= 0.6 * 20 + 1e-3


def test_start_from_a_file(tmp_path, pictures, network_file):
    path = tmp_path / "start.png"
    saving.save(path, pictures[1])
    job = style.Job(*pictures, style.settings_from(size=48, init=str(path), weights=str(network_file)))
    assert job.initial_image(job.stages[0]).shape == (1, 3, 34, 48)
    with pytest.raises(SettingsError, match="missing"):
        style.Job(*pictures, style.settings_from(init="missing.png", weights=str(network_file)))


def test_size_defaults_to_512_or_the_pictures_own(pictures, network_file):
    job = style.Job(*pictures, style.settings_from(weights=str(network_file)))
    assert job.size == (40, 56)
    assert max(style.Job(*pictures, style.settings_from(size=100, weights=str(network_file))).size) == 100
    short = style.Job(*pictures, style.settings_from(size=100, side="shortest", weights=str(network_file)))
    assert min(short.size) == min(short.style_size) == 100
    assert (
        max(style.Job(*pictures, style.settings_from(size=100, style_size=64, weights=str(network_file))).style_size)
        == 64
    )


def test_unknown_layer_is_named_with_a_suggestion(pictures, network_file):
    with pytest.raises(SettingsError, match=r"--style-layers: narrow: layer 'rleu1_1'.*did you mean relu1_1"):
        transfer(pictures, network_file, style_layers="rleu1_1")
    with pytest.raises(SettingsError, match="relu5_2"):
        transfer(pictures, network_file, content_layers="relu5_2")


def test_picture_too_thin_for_a_layer(network_file):
    thin = np.zeros((16, 600, 3))
    with pytest.raises(SettingsError, match="leaves nothing at relu5_1"):
        transfer([thin, thin], network_file, size=300)


def test_alpha_of_the_content_reaches_the_output(tmp_path, pictures, network_file):
    rgba = np.dstack([pictures[0], np.full(pictures[0].shape[:2], 255.0)])
    rgba[:, :20, 3] = 0
    result = transfer([rgba, pictures[1]], network_file)
    result.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == "RGBA"
        alpha = np.asarray(image)[..., 3]
    assert alpha[:, 2].max() == 0
    assert alpha[:, -2].min() == 255


def test_metadata_tells_how_to_make_it_again(tmp_path, pictures, network_file):
    path = tmp_path / "content.png"
    saving.save(path, pictures[0])
    result = transfer([path, pictures[1]], network_file, preset="coursera", seed=5, output=tmp_path / "out.png")
    found = saving.read_metadata(tmp_path / "out.png")
    assert found["settings"]["seed"] == 5
    assert found["settings"]["optimizer"] == "adam"
    assert found["content"] == {"name": "content.png", "sha256": images.read(path).sha256}
    assert found["weights"]["sha256"] == weights.load(network_file).sha256
    assert found["result"]["loss"] == result.outcome.totals["loss"]
    assert set(found["versions"]) >= {"numpy", "scipy", "pillow", "python"}


def test_bounds_keep_grey_levels(pictures, network_file):
    options = {"bounds": True, "optimizer": "adam", "learning_rate": 100.0}
    job_rgb = transfer(pictures, network_file, **options).rgb
    assert job_rgb.min() >= 0
    assert job_rgb.max() <= 255


def test_output_is_checked_before_the_work(tmp_path, pictures, network_file):
    with pytest.raises(images.ImageError, match="suffix"):
        transfer(pictures, network_file, output=tmp_path / "out.xyz", callback=lambda p: pytest.fail("work was done"))


def test_metadata_names_the_version_of_what_computed():
    assert _versions(np)["numpy"] == np.__version__
    assert _versions(StrictModule())["strict_device"] == StrictModule.__version__


def test_coarse_to_fine(pictures, network_file):
    seen, finished = [], []
    settings = style.settings_from(size=96, scales=2, iterations=6, weights=str(network_file), device="cpu")
    job = style.Job(*pictures, settings)
    result = job.run(seen.append, lambda stage, result: finished.append((stage.size, result.rgb.shape)))
    assert [stage.iterations for stage in job.stages] == [6, 3]
    assert finished == [((34, 48), (34, 48, 3))]
    assert result.rgb.shape == (69, 96, 3)
    assert [p.evaluation for p in seen] == list(range(1, 10))
    assert [p.image.shape[-1] for p in seen] == [48] * 6 + [96] * 3
    assert result.outcome.evaluations == 9


@pytest.mark.parametrize("content_layers, detail_kept", [("relu4_2", True), ("none", False)])
def test_the_fine_stage_starts_where_the_coarse_one_ended(pictures, network_file, content_layers, detail_kept):
    """Enlarged is what was changed of the content, where there is content in the loss; else the whole picture."""
    seen = []
    settings = style.settings_from(
        size=96, scales=2, iterations=6, content_layers=content_layers, weights=str(network_file), device="cpu"
    )
    job = style.Job(*pictures, settings)
    job.run(lambda p: seen.append((p.loss, p.image.copy())) and False)
    _, best = min(seen[:6], key=lambda p: p[0])
    mean, order = job.network.mean, job.network.order
    coarse, fine = (images.from_network(x, mean, order) for x in (best, seen[6][1]))
    small, large = (images.resize(job.content.rgb, size) for size in ((34, 48), (69, 96)))
    expected = large + images.resize(coarse - small, (69, 96)) if detail_kept else images.resize(coarse, (69, 96))
    assert np.allclose(fine, expected, atol=1e-3)
    assert not np.allclose(large - images.resize(small, (69, 96)), 0, atol=1)  # the two starts do differ


def test_stop_between_two_stages_keeps_the_first(pictures, network_file, monkeypatch):
    settings = style.settings_from(size=96, scales=2, iterations=6, weights=str(network_file), device="cpu")
    job = style.Job(*pictures, settings)
    objective = job.objective

    def breaks(stage):
        if stage is job.stages[1]:
            raise KeyboardInterrupt
        return objective(stage)

    monkeypatch.setattr(job, "objective", breaks)
    result = job.run()
    assert result.outcome.status == "interrupted"
    assert result.outcome.evaluations == 6
    assert result.rgb.shape == (34, 48, 3)


@pytest.mark.parametrize("hw, expected", [((200, 300), (200, 300)), ((600, 900), (512, 768))])
def test_the_shortest_side_is_the_pictures_own_where_that_is_smaller(hw, expected):
    """And the style is measured by the same side."""
    *_, stage = schedule.stages(style.settings_from(side="shortest"), hw, (80, 100))
    assert stage.size == expected
    assert min(stage.style_size) == min(expected)


def test_a_start_that_is_an_array(pictures, network_file, rng):
    options = {"size": 48, "iterations": 2, "weights": str(network_file), "device": "cpu"}
    start = rng.uniform(0, 255, (30, 40, 3))
    result = style.transfer(*pictures, init=start, **options)
    assert result.metadata["settings"]["init"] == "a picture"
    assert len(json.dumps(result.metadata, default=str)) < 10_000
    assert result.metadata["init"]["sha256"] == images.as_picture(start).sha256
    with pytest.raises(style.SettingsError, match="callback 'x': expected a function"):
        style.transfer(*pictures, callback="x", **options)


@pytest.mark.parametrize("where", ["_result", "on_stage", "_enlarged"])
def test_an_interrupt_outside_the_optimiser_keeps_what_there_is(pictures, network_file, monkeypatch, where):
    settings = style.settings_from(size=96, scales=2, iterations=6, weights=str(network_file), device="cpu")
    job = style.Job(*pictures, settings)

    def once(*args):
        times.append(1)
        if len(times) == 1:
            raise KeyboardInterrupt
        return real(*args)

    times, real = [], getattr(job, where, None)
    if real is not None:
        monkeypatch.setattr(job, where, once)
    result = job.run(on_stage=once if where == "on_stage" else None)
    assert result.outcome.status == "interrupted"
    done = 9 if where == "_result" else 6
    assert result.outcome.evaluations == done
    assert result.outcome.message == f"interrupted after {done} evaluations"


def test_stop_in_the_second_stage_before_it_has_anything_keeps_the_first(pictures, network_file, monkeypatch):
    settings = style.settings_from(size=96, scales=2, iterations=6, weights=str(network_file), device="cpu")
    job = style.Job(*pictures, settings)
    objective = job.objective

    def breaks(stage):
        made = objective(stage)
        if stage is job.stages[1]:
            monkeypatch.setattr(made, "evaluate", lambda image: (_ for _ in ()).throw(KeyboardInterrupt))
        return made

    monkeypatch.setattr(job, "objective", breaks)
    result = job.run()
    assert result.outcome.status == "interrupted"
    assert result.outcome.message == "interrupted after 6 evaluations"
    assert result.rgb.shape == (34, 48, 3)
    assert np.isfinite(result.outcome.totals["loss"])
