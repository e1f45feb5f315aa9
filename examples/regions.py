"""One painting in the sky, another below, a part kept: python examples/regions.py [WIDTH]"""

import sys

import numpy as np
from PIL import Image

import style
from style import samples
from style.pictures import masks


def main(width=320, **options):
    scene = samples.scene(width)
    H, W = scene.shape[:2]
    y, x = np.ogrid[:H, :W]
    sky = np.clip((0.6 * H - y) / (0.1 * H) + 0.5, 0, 1) * np.ones((1, W))  # soft at its lower edge
    lighthouse = np.hypot(x - 0.79 * W, y - 0.42 * H) < 0.16 * H
    options = {"mask": [sky, "rest"], "keep": lighthouse, "size": width, **options}
    job = style.Job(scene, [samples.strokes(width), samples.mosaic(width)], style.settings_from(**options))
    shown = masks.overlay(scene, [group.mask for group in job.styles.groups], job.styles.kept)
    Image.fromarray(shown.astype(np.uint8)).save("regions-overlay.png")
    job.run().save("regions.png")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
