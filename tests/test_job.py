"""The job: what a library caller gets, what is checked before the work, what is shared, what goes into the picture."""

import json

import numpy as np
import pytest
from PIL import Image
from strict_device import StrictModule

import style
import weights
from style import SettingsError, events, provenance, schedule
from style.large.tiles import Tiled
from style.pictures import images, saving
from style.running import Run


@pytest.fixture
def transfer(pictures, network_file):
    """transfer(pictures, **options) -> style.Result, 48 pixels, 4 evaluations unless the options say otherwise."""

    def call(pictures=pictures, **options):
        base = {"size": 48, "evaluations": 4, "device": "cpu", "weights": str(network_file), "margin": 0}
        options = base | ({} if "preset" in options or options.get("optimizer") == "adam" else {"lag": 1}) | options
        return style.transfer(*pictures, **options)

    return call


def evaluated(job, **how):
    """Run a job; returns its Result and its Evaluated events, each with a copy of its image."""
    seen = []

    def listener(event):
        if isinstance(event, events.Evaluated):
            seen.append((event, event.image.copy()))

    return job.run(listener, **how), seen


# ----------------------------------------------------------------------------------------------- pictures


def test_a_picture_comes_back_and_the_callback_sees_each_evaluation(transfer):
    seen = []
    result = transfer(callback=lambda p: seen.append(p.loss))
    assert result.image.shape == (34, 48, 3)
    assert result.image.dtype == np.uint8
    assert len(seen) == result.outcome.evaluations == 4
    assert result.losses == seen
    assert result.outcome.loss == result.outcome.totals()["loss"] == min(seen) < seen[0]


def test_same_seed_same_picture_other_seed_another(transfer):
    first, again, other = (transfer(init="noise", optimizer="adam", seed=seed).rgb for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("init", ["content", "style", "noise", "blend"])
def test_every_start(init, make_job):
    job = make_job(init=init)
    start = job.initial_image(job.stages[0])
    assert start.shape == (1, 3, 34, 48)
    assert start.dtype == np.float32
    content = job.colours.to_input(images.resize(job.content.rgb, job.size))
    if init == "content":
        assert np.array_equal(start, content)
    if init == "noise":
        assert abs(start).max() <= 20
    if init == "blend":
        assert abs(start - 0.4 * content).max() <= 0.6 * 20 + 1e-3


def test_start_from_a_file(tmp_path, pictures, make_job):
    path = tmp_path / "start.png"
    saving.save(path, pictures[1])
    job = make_job(init=str(path))
    assert job.initial_image(job.stages[0]).shape == (1, 3, 34, 48)
    with pytest.raises(SettingsError, match=r"init 'missing\.png'"):
        make_job(init="missing.png")


def test_a_start_that_is_an_array(transfer, rng):
    start = rng.uniform(0, 255, (30, 40, 3))
    result = transfer(init=start, evaluations=2)
    assert result.metadata["settings"]["init"] == "a picture"
    assert len(json.dumps(result.metadata, default=str)) < 10_000
    assert result.metadata["init"]["sha256"] == images.as_picture(start).sha256
    with pytest.raises(SettingsError, match="callback 'x': expected a function"):
        transfer(callback="x")


def test_size_defaults_to_512_or_the_pictures_own(make_job):
    assert make_job(size=None).size == (40, 56)
    assert max(make_job(size=100).size) == 100
    short = make_job(size=100, side="shortest")
    assert min(short.size) == min(short.style_sizes[0]) == 100
    assert max(make_job(size=100, style_size=64).style_sizes[0]) == 64


@pytest.mark.parametrize("hw, expected", [((200, 300), (200, 300)), ((600, 900), (512, 768))])
def test_the_shortest_side_is_the_pictures_own_where_that_is_smaller(hw, expected):
    """And the style is measured by the same side."""
    *_, stage = schedule.stages(style.settings_from(side="shortest"), hw, (80, 100))
    assert stage.size == expected
    assert min(stage.style_sizes[0]) == min(expected)


def test_unknown_layer_is_named_with_a_suggestion(transfer):
    with pytest.raises(SettingsError, match=r"style_layers: narrow: layer 'rleu1_1'.*did you mean relu1_1") as e:
        transfer(style_layers="rleu1_1")
    assert e.value.on_command_line.startswith("--style-layers: narrow")
    with pytest.raises(SettingsError, match="relu5_2"):
        transfer(content_layers="relu5_2")


def test_picture_too_thin_for_a_layer(transfer):
    thin = np.zeros((16, 600, 3))
    with pytest.raises(SettingsError, match="leaves nothing at relu5_1"):
        transfer([thin, thin], size=300)


@pytest.mark.parametrize(
    "content, options, ways",
    [
        ((16, 64), {}, "use a larger size"),
        ((64, 64), {"style_size": 16}, "style picture at .*: use a larger style_size"),
        ((64, 64), {"scales": 4}, "content picture at 6x6 .*: use fewer or larger scales"),
    ],
)
def test_what_is_too_small_for_a_layer_says_which_option_helps(transfer, content, options, ways):
    with pytest.raises(SettingsError, match=ways):
        transfer([np.zeros((*content, 3)), np.zeros((64, 32, 3))], **{"size": 48, **options})


def test_sizes_of_scales_may_end_with_the_original_one(tmp_path, transfer):
    """Which is not known before the picture is read."""
    pictures = [np.zeros((64, 48, 3)), np.zeros((64, 48, 3))]
    assert transfer(pictures, size="original", scales="32,64").rgb.shape == (64, 48, 3)
    Image.fromarray(np.zeros((64, 48, 3), np.uint8)).save(tmp_path / "content.png")
    for content in (pictures[0], tmp_path / "content.png"):
        with pytest.raises(SettingsError, match=r"^scales '32,63': expected sizes that end with the picture's, 64"):
            transfer([content, tmp_path / "content.png"], size="original", scales="32,63")


def test_alpha_of_the_content_reaches_the_output(tmp_path, pictures, transfer):
    rgba = np.dstack([pictures[0], np.full(pictures[0].shape[:2], 255.0)])
    rgba[:, :20, 3] = 0
    result = transfer([rgba, pictures[1]])
    result.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == "RGBA"
        alpha = np.asarray(image)[..., 3]
    assert alpha[:, 2].max() == 0
    assert alpha[:, -2].min() == 255


def test_bounds_keep_grey_levels(transfer):
    rgb = transfer(bounds=True, optimizer="adam", learning_rate=100.0).rgb
    assert rgb.min() >= 0
    assert rgb.max() <= 255


def test_output_is_checked_before_the_work(tmp_path, pictures, transfer):
    fail = {"callback": lambda p: pytest.fail("work was done")}
    with pytest.raises(images.ImageError, match="suffix"):
        transfer(output=tmp_path / "out.xyz", **fail)
    path = tmp_path / "a.png"
    saving.save(path, pictures[0])
    content, painting = pictures
    for what, read, options in (
        ("content", (path, painting), {}),
        ("style", (content, [painting, path]), {}),
        ("keep", pictures, {"keep": f"not:{path}"}),
        ("mask", (content, [painting] * 2), {"mask": [np.ones((40, 56)), f"{path}#ffffff"]}),
    ):
        said = f"a.png: would be written, and is the (--)?{what} file; give another name"
        with pytest.raises(SettingsError, match=said):
            transfer(read, output=path, **options, **fail)


# ----------------------------------------------------------------------------------------------- metadata


def test_metadata_tells_how_to_make_it_again(tmp_path, pictures, network_file, transfer):
    path = tmp_path / "content.png"
    saving.save(path, pictures[0])
    result = transfer([path, pictures[1]], preset="coursera", seed=5, output=tmp_path / "out.png")
    found = saving.read_metadata(tmp_path / "out.png")
    assert found["settings"]["seed"] == 5
    assert found["settings"]["optimizer"] == "adam"
    assert found["content"] == {"name": "content.png", "sha256": images.read(path).sha256}
    assert found["weights"]["sha256"] == weights.load(network_file).sha256
    assert found["result"]["loss"] == result.outcome.loss
    assert set(found["versions"]) >= {"numpy", "scipy", "pillow", "python"}
    assert found["settings"]["weights"] == network_file.name  # no folder
    again = transfer([path, pictures[1]], **found["settings"] | {"weights": str(network_file)})
    assert np.array_equal(again.rgb, result.rgb)


def test_metadata_names_the_version_of_what_computed():
    assert provenance.versions(np)["numpy"] == np.__version__
    assert provenance.versions(StrictModule())["strict_device"] == StrictModule.__version__


# --------------------------------------------------------------------------------------------- the scales


def test_coarse_to_fine(make_job):
    finished = []
    job = make_job(size=96, scales=2, evaluations=6)
    result = job.run(lambda e: finished.append(e) if isinstance(e, events.StageDone) else None)
    assert [stage.evaluations for stage in job.stages] == [6, 3]
    assert [(e.stage.size, e.result.rgb.shape) for e in finished] == [((34, 48), (34, 48, 3))]
    assert result.rgb.shape == (69, 96, 3)
    assert result.outcome.evaluations == len(result.losses) == 9


@pytest.mark.parametrize("content_layers, detail_kept", [("relu4_2", True), ("none", False)])
def test_the_fine_stage_starts_where_the_coarse_one_ended(make_job, content_layers, detail_kept):
    """Enlarged is what was changed of the content, where there is content in the loss; else the whole picture."""
    job = make_job(size=96, scales=2, evaluations=6, content_layers=content_layers)
    _, seen = evaluated(job)
    _, best = min(seen[:6], key=lambda pair: pair[0].loss)
    coarse, fine = (job.colours.to_rgb(x, clip=False) for x in (best, seen[6][1]))
    small, large = (images.resize(job.content.rgb, size) for size in ((34, 48), (69, 96)))
    expected = large + images.resize(coarse - small, (69, 96)) if detail_kept else images.resize(coarse, (69, 96))
    assert np.allclose(fine, np.clip(expected, 0, 255), atol=1e-3)
    assert not np.allclose(large - images.resize(small, (69, 96)), 0, atol=1)  # the two starts do differ


def interrupt(*args, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize("made", [False, True])
def test_stop_in_the_second_stage_before_it_has_anything_keeps_the_first(make_job, monkeypatch, made):
    """While its objective is made, and in its first evaluation."""
    job = make_job(size=96, scales=2, evaluations=6)
    objective = job.objective

    def breaks(stage):
        if stage is job.stages[1] and not made:
            interrupt()
        found = objective(stage)
        if stage is job.stages[1]:
            monkeypatch.setattr(found, "evaluate", interrupt)
        return found

    monkeypatch.setattr(job, "objective", breaks)
    result = job.run()
    assert result.outcome.status == "interrupted"
    assert result.outcome.message == "interrupted after 6 evaluations"
    assert result.outcome.evaluations == 6
    assert result.rgb.shape == (34, 48, 3)
    assert np.isfinite(result.outcome.loss)


@pytest.mark.parametrize("where", ["_result", "_enlarged", "StageDone", "Finished"])
def test_an_interrupt_outside_the_optimiser_keeps_what_there_is(make_job, monkeypatch, where):
    job = make_job(size=96, scales=2, evaluations=6)
    times = []

    def once(*args):
        times.append(1)
        if len(times) == 1:
            raise KeyboardInterrupt
        return real(*args)

    real = getattr(Run, where, None)
    if real is not None:
        monkeypatch.setattr(Run, where, once)

    def listener(event):
        if type(event).__name__ == where and not times:
            once()

    result = job.run(listener)
    assert times
    assert result.outcome.status == "interrupted"
    done = 9 if where == "Finished" else 6
    assert result.outcome.evaluations == done
    assert result.outcome.message == f"interrupted after {done} evaluations"


# ------------------------------------------------------------------------- what a job holds, and what it shares


def attributes(thing):
    """{name: value} of everything public that can be read of an object."""
    return {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}


def test_making_a_job_fills_no_device_and_reading_it_changes_nothing(make_job):
    job = make_job()
    assert job.engine.net is None
    assert job.network.params

    def look():
        plain = {k: v for k, v in attributes(job).items() if not callable(v)}
        inside = {(k, n): id(v) for k in ("engine", "network") for n, v in vars(plain[k]).items()}
        return {k: id(v) for k, v in plain.items()}, inside, [*job.network.params], len(job.engine._targets)

    first = look()
    assert look() == first
    assert job.engine.net is None


def test_after_the_run_the_file_s_copy_is_let_go_and_the_device_has_what_the_loss_needs(make_job):
    job = make_job(style_layers="relu1_1,relu2_1", content_layers="relu2_2")
    job.run()
    assert not job.engine.network.params
    assert "conv2_2" in job.engine.net.names
    assert "conv3_1" not in job.engine.net.names


@pytest.fixture
def work(monkeypatch):
    """[("load" or "sums", count of terms), …]: each reading of a file, and each pass for targets, as they come."""
    done, load, sums = [], weights.load, Tiled.sums
    monkeypatch.setattr(weights, "load", lambda *a, **k: (done.append(("load", 1)), load(*a, **k))[1])
    monkeypatch.setattr(Tiled, "sums", lambda s, x, terms: (done.append(("sums", len(terms))), sums(s, x, terms))[1])
    return done


def test_a_second_job_shares_the_network_and_the_style_s_targets(make_job, work):
    first = make_job()
    alone = first.run()
    assert work == [("load", 1), ("sums", 5)]
    again = make_job(engine=first.engine).run()
    assert work == [("load", 1), ("sums", 5)]
    assert np.array_equal(again.rgb, alone.rgb)
    make_job(engine=first.engine, style_size=32).run()  # another size has other targets
    assert work[2:] == [("sums", 5)]


def test_a_deeper_loss_reads_the_file_again_and_keeps_the_targets_it_has(make_job, work):
    first = make_job(style_layers="relu1_1,relu2_1", content_layers="relu2_2")
    first.run()
    deeper = make_job(engine=first.engine)
    assert work == [("load", 1), ("sums", 2), ("load", 1)]
    found = deeper.run()
    assert work[3:] == [("sums", 3)]
    assert np.allclose(found.rgb, make_job().run().rgb, atol=1e-2)  # kernels fuse otherwise: other last bits


def test_an_engine_of_another_network_is_refused(make_job):
    engine = make_job().engine
    with pytest.raises(SettingsError, match="pooling max: the engine was made for avg"):
        make_job(engine=engine, pooling="max")


def test_an_engine_is_one_run_s_at_a_time(pictures, make_job):
    """Two at once would write to one network's buffers, and both pictures be wrong."""
    job = make_job()
    with job.engine.alone(), pytest.raises(RuntimeError, match="in use by another run"):
        job.run()
    assert job.run().outcome.status == "done"
