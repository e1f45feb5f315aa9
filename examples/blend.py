"""Two paintings at three blends, with one network for all: python examples/blend.py [WIDTH]"""

import sys

import style
from style import samples


def main(width=320, **options):
    scene, strokes, mosaic = (draw(width) for draw in (samples.scene, samples.strokes, samples.mosaic))
    settings = [style.settings_from(size=width, style_blend=(1 - s, s), **options) for s in (0.25, 0.5, 0.75)]
    engine = style.Engine(settings[0])  # the network is read once; targets of pictures and sizes are kept
    for s in settings:
        result = style.Job(scene, [strokes, mosaic], s, engine=engine).run()
        name = f"blend-{100 * s.style_blend[1]:.0f}.png"
        result.save(name)
        print(name, result)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
