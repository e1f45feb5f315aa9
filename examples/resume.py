"""A run that is cut off and goes on, to the same digits: python examples/resume.py [WIDTH]"""

import sys

import numpy as np

import style
from style import samples
from style.events import Iterated


class CutOff(Exception):
    pass


def main(width=160, **options):
    options = {"size": width, "evaluations": 30, **options}
    scene, strokes = samples.scene(width), samples.strokes(width)

    def job():
        return style.Job(scene, strokes, style.settings_from(**options))

    def keep_and_cut(event):
        if isinstance(event, Iterated) and event.iteration == 8:
            event.state().save("resume.state")
            raise CutOff

    try:
        job().run(keep_and_cut)
    except CutOff:
        print("cut off after iteration 8")
    resumed = job().run(state=style.State.load("resume.state"))
    whole = job().run()
    print("the same picture:", np.array_equal(resumed.rgb, whole.rgb))
    resumed.save("resume.png")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
