"""One evaluation by hand: loss and gradient of a picture, and a step down: python examples/step.py [WIDTH]"""

import sys

import numpy as np

import style
import weights
from minivgg import VGG
from style import samples
from style.objective import Objective
from style.statistics import make_terms


def main(width=96):
    network = weights.load("mini")
    net, space = VGG(network.params, pooling="avg"), style.ColourSpace.of(network)
    pictures = {"content": space.to_input(samples.scene(width)), "style": space.to_input(samples.strokes(width))}
    terms = make_terms(content={"relu4_2": 1.0}, style={"relu1_1": 200.0, "relu2_1": 200.0, "relu3_1": 200.0})
    objective = Objective.of(net, terms, pictures)

    x, rate = pictures["content"].copy(), 1.0
    before = objective.evaluate(x)
    for _ in range(20):  # halve the step until the loss falls
        trial = x - rate * before.gradient / np.abs(before.gradient).max()
        if objective.evaluate(trial).loss < before.loss:
            break
        rate /= 2
    after = objective.evaluate(trial)
    print(f"loss {before.loss:.6g}, after a step of {rate:g} grey levels {after.loss:.6g}")
    for name, value in after.values.items():
        print(f"  {name:<16} {value:.6g}")
    return before.loss, after.loss


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
