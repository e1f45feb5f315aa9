"""The README's picture (PYTHONPATH=. python docs/pictures.py): our own scene and paintings, and what comes of them."""

from pathlib import Path

import numpy as np
from PIL import Image

import style
from style import samples
from style.pictures import images

SIZE, GAP = 480, 8


def main():
    scene, strokes, mosaic = (samples.SAMPLES[name](SIZE) for name in ("scene", "strokes", "mosaic"))
    after = [style.transfer(scene, painting, weights="mini", size=SIZE).rgb for painting in (strokes, mosaic)]
    rows = [[scene, strokes, after[0]], [scene, mosaic, after[1]]]
    h, w = scene.shape[:2]
    sheet = np.full((2 * h + GAP, 3 * w + 2 * GAP, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, rgb in enumerate(row):
            sheet[r * (h + GAP) : r * (h + GAP) + h, c * (w + GAP) : c * (w + GAP) + w] = images.to_uint8(rgb)
    Image.fromarray(sheet).save(Path(__file__).with_name("first.jpg"), quality=88)


if __name__ == "__main__":
    main()
