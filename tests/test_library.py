"""The library's manners: names, short reprs, pictures in notebooks, and what a user may well try."""

import importlib.metadata
import io
import pydoc

import cases
import numpy as np
import pytest
from PIL import Image

import style
import weights
from minivgg import VGG
from style.events import Evaluated
from style.objective import Evaluation
from style.pictures import ImageError, images, saving
from style.pictures.colour import ColourSpace
from style.terms import Region, Term


def test_transfer_is_a_function_and_no_module_hides_it():
    assert callable(style.transfer)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("style.transfer")
    importlib.import_module("style.run")
    assert callable(style.transfer)


def test_help_names_what_is_meant_for_use():
    text = pydoc.render_doc(style)
    for name in ("transfer", "Job", "Engine", "settings_from", "Settings", "presets", "STOP", "State", "samples"):
        assert name in style.__doc__, name
        assert name in text, name
        assert name in style.__all__, name
    for name in style.__all__:
        assert getattr(style, name) is not None
    assert style.samples.scene(64).shape == (48, 64, 3)
    with pytest.raises(AttributeError, match="'style' has no attribute 'nothing'"):
        _ = style.nothing


def test_the_version_is_that_of_the_package():
    assert style.__version__ == importlib.metadata.version("minivgg-style")


def test_reprs_are_short(make_job):
    heard = []
    job = make_job()
    result = job.run(lambda e: heard.append(e) if isinstance(e, Evaluated) else None)
    evaluation = Evaluation({"content relu4_2": 1.0}, np.zeros((1, 3, 34, 48)))
    region = Term("style relu1_1", job.terms[1].statistic, "relu1_1", region=Region(np.ones((34, 48))))
    of_result = [result, result.outcome, heard[0], evaluation]
    for thing in (*of_result, job.engine.net, *job.terms, region, job.stages[0], job.plans[job.stages[0]]):
        assert len(repr(thing)) < 200, repr(thing)
        assert "array" not in repr(thing)
    assert repr(result).startswith("Result(48x34, loss ")
    assert "4 evaluations, done" in repr(result)
    assert repr(job.engine.net).startswith("VGG(vgg19 to relu5_1, 4–8 channels, float32")


@pytest.mark.parametrize("optimizer", ["l-bfgs-b", "l-bfgs", "adam"])
def test_losses_has_a_number_for_each_evaluation(make_job, optimizer):
    result = make_job(size=96, scales=2, evaluations=6, optimizer=optimizer).run()
    assert len(result.losses) == result.outcome.evaluations == 9
    assert np.isfinite(result.losses).all()


def test_a_result_shows_itself_in_a_notebook(make_job, pictures, network_file, tmp_path):
    result = make_job().run()
    png = result._repr_png_()
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (48, 34), "RGB")
        assert np.array_equal(np.asarray(image), result.image)
    (tmp_path / "shown.png").write_bytes(png)
    assert saving.read_metadata(tmp_path / "shown.png")["settings"]["size"] == 48
    rgba = np.dstack([pictures[0], np.linspace(0, 255, 56) * np.ones((40, 1))])
    options = {"size": 48, "evaluations": 1, "weights": str(network_file), "device": "cpu"}
    with Image.open(io.BytesIO(style.transfer(rgba, pictures[1], **options)._repr_png_())) as image:
        assert image.mode == "RGBA"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_encode_gives_the_bytes_that_save_writes(tmp_path, pictures, name):
    rgb, alpha = pictures[0], np.full(pictures[0].shape[:2], 0.5)
    saving.save(tmp_path / name, rgb, alpha=alpha, metadata={"a": 1})
    assert (tmp_path / name).read_bytes() == saving.encode(name, rgb, alpha=alpha, metadata={"a": 1})
    assert not list(tmp_path.parent.glob("a.*"))
    with pytest.raises(ImageError, match="a: no suffix"):
        saving.encode("a", rgb)


def test_a_string_where_names_are_expected_is_one_name(make_job):
    net = VGG(cases.make_params(np.float32))
    (x,) = cases.noise(32, 32, dtype=np.float32)
    feats, cache = net.forward(x, "relu4_2")
    assert [*feats] == ["relu4_2"]
    assert np.array_equal(feats["relu4_2"], net.forward(x, ["relu4_2"])[0]["relu4_2"])
    net.backward(feats, cache)
    job = make_job(style_layers="relu2_1", style_loss="gram", content_layers=["relu2_2"])
    assert [t.name for t in job.terms] == ["content relu2_2", "style relu2_1"]


def test_a_list_of_pictures_where_one_is_expected_says_so(tmp_path, pictures, network_file):
    for picture, name in zip(pictures, "ab", strict=True):
        saving.save(tmp_path / f"{name}.png", picture)
    names = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    opened = [Image.open(name) for name in names]
    try:
        for many in (names, tuple(names), opened, pictures, [images.as_picture(p) for p in pictures], names[:1]):
            with pytest.raises(ImageError, match=f"^a list of {len(many)} pictures?: expected one"):
                style.transfer(many, names[1], weights=str(network_file))
            assert len(
                style.Job(names[0], many, style.settings_from(weights=str(network_file))).styles.pictures
            ) == len(many)
        with pytest.raises(ImageError, match="no style: expected a picture"):
            style.transfer(names[0], [], weights=str(network_file))
    finally:
        for image in opened:
            image.close()
    assert images.as_picture(pictures[0].tolist()).rgb.shape == (40, 56, 3)  # rows of numbers are one picture
    assert images.as_picture([*pictures[0]]).rgb.shape == (40, 56, 3)


def test_a_network_s_input_from_whatever_is_a_picture(tmp_path, network_file):
    """ColourSpace.to_input gives what VGG.forward wants, and to_rgb brings it back."""
    network = weights.load(network_file)
    colours, net = ColourSpace.of(network), VGG(network.params)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    for source in (path, str(path), Image.fromarray(pixels), pixels, pixels.astype(np.float32), pixels.tolist()):
        x = colours.to_input(source)
        assert x.shape == (1, 3, 32, 40)
        assert x.dtype == np.float32
        assert np.allclose(colours.to_rgb(x), pixels, atol=1e-4)
        feats, _ = net.forward(x, "relu4_2")
        assert feats["relu4_2"].shape == (1, 7, 4, 5)
    assert colours.to_input(pixels[..., 0]).shape == (1, 3, 32, 40)  # grey
    assert colours.to_input("sample:scene:64").shape == (1, 3, 48, 64)
