"""An objective whose evaluations are recorded once and replayed, where the network's kernels have a way (a GPU's)."""

from minivgg.backend import get_xp, to_numpy

from ..objective import Evaluation, Objective


class Recorded(Objective):
    """The same objective as `whole`, for pictures of one size and type. The first evaluation records.

    reserve  bytes that an evaluation is expected to take, besides the network's own

    An evaluation is a few hundred launches, each of which takes the host longer than a small picture takes the card.
    """

    def __init__(self, whole, reserve=0):
        super().__init__(whole.net, whole.terms, whole.passes)
        self._call, self._reserve = None, reserve

    def evaluate(self, image, *, fresh=True):
        with self.computing():
            if self._call is None:
                self._call = self.net.kernels.record(self._flat, image, self._reserve)
            values, gradient = self._call(image)
            names = [term.name for term in self.terms]
            return Evaluation(dict(zip(names, to_numpy(values).tolist(), strict=True)), gradient)

    def _flat(self, image):
        """compute(), with the values in one array."""
        values, gradient = self.compute(image)
        return get_xp(image).stack(list(values.values())), gradient
