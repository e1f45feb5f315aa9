"""Where L-BFGS's vectors lie: what depends on that is asked here."""

from ..method import check_finite
from .pairs import dot
from .pairs_gpu import make_pairs


class Here:
    """What is asked of vectors that lie whole in this process: cluster.vectors.Space asks several."""

    def size(self, x):
        return x.size

    def pairs(self, x, history, metric=False):
        return make_pairs(x, history, metric=metric)

    def dot(self, a, b):
        return dot(a, b)

    def check_finite(self, gradient, squared=False):
        check_finite(gradient, squared=squared)


HERE = Here()
