"""The loss along a line and its kinks: why a gradient check needs the right step. `marimo edit notebooks/kinks.py`"""

import marimo

app = marimo.App(app_title="The loss along a line")

with app.setup:
    import itertools

    import marimo as mo
    import numpy as np
    from matplotlib.figure import Figure

    import style
    import weights
    from minivgg import VGG, gradcheck
    from style import samples
    from style.objective import Objective
    from style.statistics import make_terms


@app.cell
def _():
    mo.md("""
    # The loss along a line, and its kinks

    Walk from a picture $x$ along a direction $u$: $L(x + t u)$ is a function of one number. A network of convolutions
    and ReLUs is piecewise linear, so the loss is smooth but for kinks, where a ReLU's input passes through 0 or the
    maximum of a pooling window changes its place. A gradient check by central differences must not step across them
    (minivgg/MATH.md, section 8.5). $u$ has about one grey level in every pixel, so $t$ is in grey levels.
    """)
    return


@app.cell
def _():
    reach = mo.ui.slider(
        -4.0, 1.0, 0.5, value=-2.0, label="reach: t from -10^k to 10^k grey levels, k", show_value=True
    )
    pooling = mo.ui.dropdown(["max", "avg"], value="max", label="pooling")
    layer = mo.ui.dropdown(["relu1_1", "relu2_1", "relu3_1", "relu4_1"], value="relu3_1", label="style at")
    mo.hstack([reach, pooling, layer], justify="start")
    return layer, pooling, reach


@app.cell
def _(layer, pooling):
    network = weights.load("mini", dtype=np.float64)
    net, space = VGG(network.params, pooling=pooling.value, kernels="textbook"), style.ColourSpace.of(network)
    x = space.to_input(samples.scene(32), np.float64)
    objective = Objective.of(
        net, make_terms(style={layer.value: 1.0}), {"style": space.to_input(samples.strokes(32), np.float64)}
    )
    start = objective.evaluate(x)
    u = gradcheck.direction(start.gradient, np.random.default_rng(0))
    slope = float((start.gradient * u).sum())
    return net, objective, slope, start, u, x


@app.cell
def _(layer, net, objective, reach, start, u, x):
    def switches(image):
        """All decisions on the way to the layer: which ReLUs are on, which place is a window's maximum."""
        names = net.names[: net.names.index(layer.value) + 1]
        feats, _ = net.forward(image, names, cached=False)
        found = [feats[n].ravel() > 0 for n in names if n.startswith("relu")]
        for n, after in itertools.pairwise(names):
            if after.startswith("pool") and net.pooling == "max":
                H, W = feats[after].shape[2:]
                quarters = [feats[n][:, :, i : 2 * H : 2, j : 2 * W : 2] for i in (0, 1) for j in (0, 1)]
                found.append(np.argmax(quarters, axis=0).ravel())
        return np.concatenate(found)

    def _():
        t = np.linspace(-1, 1, 51) * 10**reach.value
        along, crossed, before = [], [], None
        for step in t:
            result, now = objective.evaluate(x + step * u), switches(x + step * u)
            along.append((result.loss - start.loss, float((result.gradient * u).sum())))
            crossed.append(0 if before is None else int((now != before).sum()))
            before = now
        return t, np.array(along).T, np.array(crossed), before.size

    t, (rise, slopes), crossed, places = _()
    return crossed, places, rise, slopes, t


@app.cell
def _(crossed, places, rise, slope, slopes, t):
    def _():
        fig = Figure(figsize=(11, 3.6), layout="constrained")
        a, b, c = fig.subplots(1, 3)
        a.plot(t, rise, label="L(x + tu) - L(x)")
        a.plot(t, slope * t, "--", label="the tangent, <dx, u> t")
        a.set_ylabel("loss")
        a.legend()
        b.plot(t, (slopes - slope) / abs(slope), ".-", ms=3)
        b.set_ylabel("(slope at t - slope at 0) / slope at 0")
        b.set_title("the slope, by backward")
        c.step(t, np.cumsum(crossed), where="post")
        c.set_ylabel("switches crossed since the left end")
        c.set_title(f"{crossed.sum()} switches, of {places} places")
        for ax in (a, b, c):
            ax.set_xlabel("t, grey levels")
            ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    From afar the loss is a smooth bowl. Closer (a smaller $k$) it is its tangent, and the slope shows what it is made
    of: straight pieces, whose rise is the curvature, and jumps between them, one for each switch. Average pooling has
    no maxima to change places, so that only the ReLUs are left.

    ## What a central difference makes of it

    Each switch within the step adds an error of the size of its jump, however small $h$ is ((17) of minivgg/MATH.md).
    The curve falls to the left because a smaller step meets fewer of them, and drops where it meets none. Farther left
    only rounding remains, which grows as $1/h$. Between the two lies the step to take. The complex step has neither
    (section 8.2).
    """)
    return


@app.cell
def _(objective, start, u, x):
    def loss(image):
        return sum(objective.compute(image)[0].values())

    def _():
        steps = 10.0 ** np.arange(-9, 1.1, 0.5)
        errors = [gradcheck.directional_error(loss, x, start.gradient, u, step=h) for h in steps]
        return steps, errors, gradcheck.directional_complex_error(loss, x, start.gradient, u)

    steps, errors, by_complex_step = _()
    return by_complex_step, errors, steps


@app.cell
def _(by_complex_step, errors, pooling, steps):
    def _():
        fig = Figure(figsize=(8, 3.6), layout="constrained")
        ax = fig.subplots()
        ax.loglog(steps, np.maximum(errors, 1e-17), "o-", label="central difference")
        ax.axhline(max(by_complex_step, 1e-17), color="tab:green", ls="--", label="complex step, h = 1e-30")
        ax.set_xlabel("step h, grey levels")
        ax.set_ylabel("relative error of the slope")
        ax.set_title(f"{pooling.value} pooling")
        ax.legend()
        return fig

    _()
    return


if __name__ == "__main__":
    app.run()
