"""Ranks that are threads of this process, for the tests of what each has and computes."""

import threading
from concurrent.futures import ThreadPoolExecutor

from cases import ThreadedRanks

from style.cluster.job import SpreadJob
from style.pictures import images
from style.settings import settings_from


def in_threads(ranks, work):
    """[work(cases.ThreadedRanks) of each rank], all at once."""
    shared = {"size": ranks, "barrier": threading.Barrier(ranks), "turn": threading.Lock(), "posts": {}}
    with ThreadPoolExecutor(ranks) as pool:
        found = list(pool.map(lambda rank: work(ThreadedRanks(rank, shared)), range(ranks)))
    return found


def spread(ranks, content, style="sample:strokes:64", **options):
    """[SpreadJob of each rank], which are threads."""
    options = {"weights": "mini", "device": "cpu", "memory": "2GB", **options}
    settings = settings_from(optimizer="l-bfgs", precondition=0, lag=1, style_size=64, evaluations=2, **options)
    picture = images.as_picture(style)
    return in_threads(ranks, lambda one: SpreadJob(content, picture, settings, one))
