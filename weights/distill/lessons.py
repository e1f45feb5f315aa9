"""What a student is trained on: crops of pictures, crops with noise, and pictures that it made itself."""

import os

import numpy as np

from minivgg.vgg import VGG
from style.events import Evaluated
from style.objective import Objective
from style.optimize import minimize
from style.pictures import images
from style.statistics import make_terms

from ..known import WeightsError
from . import student

KINDS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
LONGEST = 640  # pixels: pictures are kept in memory at this size
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SNAPSHOTS = (4, 12, 30, 60)  # evaluations after which a picture in the making is kept


def read_folders(folders):
    """[[(H, W, 3) uint8, …], …]: the pictures of each folder in the order of their names."""
    out = []
    for folder in folders:
        files = sorted(p for p in folder.glob("*") if p.suffix.lower() in KINDS) if os.path.isdir(folder) else []
        if not files:
            raise WeightsError(f"{folder}: no pictures found; expected a folder with {', '.join(KINDS)}")
        pictures = []
        for file in files:
            rgb = images.read(file).rgb
            scale = min(1.0, LONGEST / max(rgb.shape[:2]))
            size = tuple(max(1, round(side * scale)) for side in rgb.shape[:2])
            pictures.append(images.to_uint8(images.resize(rgb, size)))
        out.append(pictures)
    return out


def crop(folders, size, rng):
    """A random square of a random picture of a random folder, (3, size, size) float32 0..255, scaled and mirrored.

    Squares of 1 to 2.2 times the size are shrunk to it, so that strokes and textures come at several scales.
    """
    pictures = folders[rng.integers(len(folders))]
    picture = pictures[rng.integers(len(pictures))]
    H, W = picture.shape[:2]
    side = min(H, W, round(size * rng.uniform(1.0, 2.2)))
    y, x = rng.integers(H - side + 1), rng.integers(W - side + 1)
    square = images.resize(picture[y : y + side, x : x + side].astype(np.float32), (size, size))
    if rng.random() < 0.5:
        square = square[:, ::-1]
    return square.transpose(2, 0, 1)


def batch(folders, size, count, mean, rng, own=None):
    """(count, 3, size, size) float32, mean taken off; of eight, two are crops, two crops with or without noise, four of
    `own` if given: at its own pictures the student is worst by far, and its losses are used on nothing else.
    """
    out = np.empty((count, 3, size, size), np.float32)
    for n in range(count):
        kind = (n * 8 // count) % 8
        if own is not None and len(own) and kind >= 4:
            out[n] = own[rng.integers(len(own))]
            if rng.random() < 0.5:
                out[n] = out[n, :, :, ::-1]
            continue
        out[n] = crop(folders, size, rng)
        if kind in (2, 3, 6, 7) and rng.random() < 0.5:
            out[n] += rng.normal(0, rng.uniform(5, 50), out[n].shape)
        out[n] -= np.asarray(mean, np.float32)[:, None, None]
    return out


def own_picture(params, teacher, folders, size, mean, rng, pooling="max"):
    """A picture in the making, (len(SNAPSHOTS) or fewer, 3, size, size): a style transfer between two crops.

    An optimiser finds what the student cannot see; these are the pictures where it must agree with the teacher.
    """
    scales = student.loss_scales(params, teacher, [batch(folders, size, 3, mean, rng)])
    params = student.scale_channels(params, scales)
    net = VGG(params, pooling=pooling)
    style_layers = [name for name in STYLE_LAYERS if name in net.names]
    content_layer = "relu4_2" if "relu4_2" in net.names else style_layers[-1]
    terms = make_terms(content={content_layer: 1.0}, style=dict.fromkeys(style_layers, 1000.0))
    content, style = (crop(folders, size, rng)[None] - np.asarray(mean, np.float32)[:, None, None] for _ in "cs")
    objective = Objective.of(net, terms, {"content": content, "style": style})
    kept = []

    def keep(event):
        if isinstance(event, Evaluated) and event.evaluation in SNAPSHOTS:
            kept.append(event.image[0].astype(np.float32))

    end = minimize(objective, content, evaluations=max(SNAPSHOTS), listener=keep).image[0]
    return np.stack(kept or [end])  # an optimiser that gave up at once still leaves its best picture
