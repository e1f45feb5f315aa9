"""What a sweep's cells save by starting from their neighbours: python -m benchmarks.neighbours [--size 128]

For each pair of neighbouring values: evaluations until the loss is within 5 % and 2 % of the lowest that is reached
from the content picture, from there and from the neighbour's picture, and the mean difference of the two ends.
"""

import argparse

import numpy as np

import style
from style import samples
from style.pictures import images

SWEPT = (
    ("style_weight", (10, 100, 1000)),
    ("style_weight", (1000, 100, 10)),
    ("tv_weight", (0, 1, 10)),
    ("strength", (0.3, 0.5, 0.7)),
    ("style_scale", (0.5, 1.0, 2.0)),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--evaluations", type=int, default=120)
    args = parser.parse_args()
    content, strokes = (images.from_array(f(args.size)) for f in (samples.scene, samples.strokes))
    base = {"size": args.size, "evaluations": args.evaluations, "weights": "mini", "device": "cpu"}
    print("| option | from | to | 5 %: content | neighbour | 2 %: content | neighbour | grey levels apart |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    engine = None
    for name, values in SWEPT:
        before = None
        for number, value in enumerate(values):
            options = base | {name: value}
            job = style.Job(content, strokes, style.settings_from(**options), engine=engine)
            engine = job.engine
            alone = job.run()
            if before is not None:
                near = style.Job(content, strokes, style.settings_from(init=before, **options), engine=engine).run()
                counts = [needed(r.losses, f * min(alone.losses)) for f in (1.05, 1.02) for r in (alone, near)]
                apart = np.abs(near.rgb - alone.rgb).mean()
                cells = [name, values[number - 1], value, *counts, f"{apart:.0f}"]
                print(f"| {' | '.join(map(str, cells))} |", flush=True)
            before = images.from_array(alone.rgb)


def needed(losses, target):
    """The first evaluation whose loss is no more than `target`, or a dash."""
    found = np.flatnonzero(np.array(losses) <= target)
    return int(found[0]) + 1 if len(found) else "–"


if __name__ == "__main__":
    main()
