"""Signals of one rank among several: before the run one ends all of them, in the run each mode has its way."""

import os

from minivgg.program import Signals, fail

from ..run import INTERRUPTED, NAME


class RankSignals(Signals):
    """minivgg.program.Signals of one rank among several: none raises here alone. What came, Together says to all.

    number  of the first that came, or 0. Before the run one ends all ranks at once
    """

    def __init__(self, ranks):
        super().__init__()
        self.ranks, self.number, self.running = ranks, 0, False

    def hold(self):
        self.running = self.held = True

    def _heard(self, number, frame):
        self.number = self.number or int(number)
        if not self.running:
            if self.ranks.rank == 0:
                fail(NAME, INTERRUPTED, 0)
            os._exit(128 + number)  # the launcher ends those that have not heard it

    def poll(self):
        pass


class OwnSignals(RankSignals):
    """The same of ranks with a picture each: in the run a signal is answered as on one machine."""

    def _heard(self, number, frame):
        (Signals if self.running else RankSignals)._heard(self, number, frame)

    poll = Signals.poll
