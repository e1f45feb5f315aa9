"""In a notebook: one output that shows how far a run has come, and its picture as it grows."""

import base64
import html
import time

from .events import Evaluated, Finished, Planned
from .pictures import images, saving
from .units import duration
from .watching import Falling, Pace

SIDE = 640  # pixels, at most: the result itself is the picture in full


def show_in_notebook():
    """A callback for transfer(), and a listener for all that takes them: it shows the run where the cell's output is.

    style.transfer("photo.jpg", "painting.jpg", callback=style.show_in_notebook())

    It is replaced about once a second, by IPython's own displays: nothing has to be installed in the notebook. Raises
    ImportError where there is no IPython.
    """
    try:
        from IPython.display import display
    except ImportError:
        raise ImportError("show_in_notebook: needs IPython, which notebooks have; elsewhere use --preview") from None
    return Shown(display)


class Shown:
    """What show_in_notebook() gives. display  IPython.display.display"""

    hears = (Planned, Evaluated, Finished)  # of transfer(), which tells other callbacks of evaluations alone

    def __init__(self, display, clock=time.monotonic):
        self.display, self.pace = display, Pace(clock)
        self.handle, self.total, self.better = None, None, None

    def __call__(self, event):
        if isinstance(event, Planned):
            self.total = sum(stage.evaluations for stage in event.job.stages)
            self.better, self.handle = Falling(), None
        elif isinstance(event, Evaluated) and self.better(event):
            self.pace(lambda: self._evaluated(event))
        elif isinstance(event, Finished) and event.result.outcome.values:
            outcome = event.result.outcome
            said = f"loss {outcome.loss:.5g} in {duration(outcome.seconds)}: {outcome.message}"
            self._show(event.result.rgb, said, self.total)

    def _evaluated(self, event):
        said = f"evaluation {event.evaluation} of {self.total}, loss {event.loss:.5g}, {duration(event.seconds)}"
        self._show(event.to_rgb(), said, event.evaluation)

    def _show(self, rgb, said, count):
        size = rgb.shape[:2]
        rgb = images.resize(rgb, images.fit(SIDE, *size)) if max(size) > SIDE else rgb
        data = base64.b64encode(saving.encode("picture.jpg", rgb, quality=85)).decode("ascii")
        bundle = {"text/plain": said, "text/html": _markup(data, said, count, self.total)}
        if self.handle is None:
            self.handle = self.display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)


def _markup(data, said, count, total):
    said = html.escape(said)
    picture = f'<img src="data:image/jpeg;base64,{data}" alt="The picture: {said}" style="max-width: 100%">'
    progress = f'<progress max="{total}" value="{count}" aria-label="evaluations"></progress>'
    return f'<figure style="margin: 0">{picture}<figcaption>{progress} {said}</figcaption></figure>'
