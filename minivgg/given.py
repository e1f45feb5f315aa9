"""A gradient handed to VGG.backward: an array, or something that makes it when backward arrives at its layer."""

from .backend import Array, get_xp


class Given:
    """The gradient of a loss by one activation (N, C, h, w). This class is the protocol; subclasses compute.

    shape  (N, C, h, w), the activation's

    VGG.backward walks from the deepest layer up. Where a gradient is given it asks for whole(), or several times for
    rows(), whichever suits the kernels, and then calls done(), once, after which it asks for nothing more. So a
    gradient need not exist before its layer is reached (a Gram matrix's needs as much memory as the activation), and
    by rows never exists as a whole. The sum of two, `a + b`, has both ways too.
    """

    shape: tuple[int, ...] = ()

    def whole(self) -> Array:
        """The gradient, an array (N, C, h, w) on the activation's device. It is not modified."""
        raise NotImplementedError

    def rows(self, n: int, y0: int, y1: int) -> Array:
        """Rows y0 to y1 of picture n, channels last: (y1-y0, w, C). It is not modified.

        Threads ask at the same time, in any order, and for some rows twice: a convolution's strips overlap.
        """
        raise NotImplementedError

    def done(self) -> None:
        """Backward does not need it any more: let go of the activation and of whatever else is large."""

    def __add__(self, other: "Given | Array") -> "Given":
        return _Sum(self, Given.of(other))

    @staticmethod
    def of(gradient: "Given | Array") -> "Given":
        """`gradient` itself if it is a Given, else an array as one. Raises TypeError for anything else."""
        return gradient if isinstance(gradient, Given) else _Array(gradient)


class _Array(Given):
    """A gradient that is there already."""

    def __init__(self, array):
        get_xp(array)
        self.shape, self._array = array.shape, array

    def whole(self):
        return self._array

    def rows(self, n, y0, y1):
        return self._array[n, :, y0:y1].transpose(1, 2, 0)

    def done(self):
        self._array = None


class _Sum(Given):
    """Two gradients by one activation, added."""

    def __init__(self, first, second):
        if first.shape != second.shape:
            raise ValueError(f"a gradient of {first.shape} and one of {second.shape} are not by the same activation")
        self.shape, self._parts = first.shape, (first, second)

    def whole(self):
        first, second = self._parts
        return first.whole() + second.whole()

    def rows(self, n, y0, y1):
        first, second = self._parts
        return first.rows(n, y0, y1) + second.rows(n, y0, y1)

    def done(self):
        for part in self._parts:
            part.done()
