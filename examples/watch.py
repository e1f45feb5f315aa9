"""A run that is watched and ended by a listener of one's own: python examples/watch.py [WIDTH]"""

import sys

import style
from style import samples
from style.events import Evaluated, StageDone


class Watch:
    """Prints the loss now and then, saves each scale, and stops when the loss has halved ten times."""

    def __init__(self):
        self.first = None

    def __call__(self, event):
        if isinstance(event, StageDone):
            event.result.save(f"watch-{event.stage.size[1]}.png")
        if not isinstance(event, Evaluated):
            return None
        self.first = self.first or event.loss
        if event.evaluation % 10 == 0:
            size = "x".join(map(str, event.size))
            print(f"{event.evaluation:4d}  {size}  {event.loss / self.first:.4f} of the first loss")
        return style.STOP if event.loss < self.first / 2**10 else None


def main(width=320, **options):
    settings = style.settings_from(size=width, scales=2, **options)
    result = style.Job(samples.scene(width), samples.strokes(width), settings).run(Watch())
    print(result.outcome.message)
    result.save("watch.png")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
