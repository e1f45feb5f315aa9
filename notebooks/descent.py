"""L-BFGS against gradient descent on a two-dimensional slice of the loss. `marimo edit notebooks/descent.py`"""

import marimo

app = marimo.App(app_title="Going downhill in two dimensions")

with app.setup:
    import marimo as mo
    import numpy as np
    from matplotlib.figure import Figure

    import style
    import weights
    from minivgg import VGG
    from style import samples
    from style.objective import Evaluating, Evaluation, Objective
    from style.optimize import minimize
    from style.statistics import make_terms


@app.cell
def _():
    mo.md("""
    # Going downhill in two dimensions

    The loss is a function of every pixel; two directions can be drawn. Here the picture is $x_0 + a\\,u + b\\,v$: $u$
    a broad wave over the picture, $v$ a fine one, both of one grey level (root mean square), so that $a$ and $b$ are
    grey levels. The loss is what a style transfer minimises, content and style (style/MATH.md, section 5).
    """)
    return


@app.cell
def _():
    waves = mo.ui.slider(3, 20, 1, value=12, label="fine wave: half-waves across the picture", show_value=True)
    rate = mo.ui.slider(
        0.1, 2.1, 0.1, value=0.9, label="rate of gradient descent, times 1 / largest curvature", show_value=True
    )
    steps = mo.ui.slider(5, 60, 5, value=25, label="evaluations", show_value=True)
    mo.vstack([waves, rate, steps])
    return rate, steps, waves


@app.cell
def _():
    class Slice(Evaluating):
        """An objective as a function of (a, b), an array of shape (1, 1, 1, 2)."""

        def __init__(self, objective, x0, u, v):
            self.objective, self.x0, self.directions = objective, x0, (u, v)

        def evaluate(self, image, *, fresh=True):
            at = self.x0 + sum(np.float32(c) * d for c, d in zip(image.ravel(), self.directions))
            found = self.objective.evaluate(at)
            gradient = [float((found.gradient * d).sum()) for d in self.directions]
            return Evaluation(found.values, np.array(gradient).reshape(1, 1, 1, 2))

    return (Slice,)


@app.function
def wave(across, shape):
    """A cosine of so many half-waves across a picture of a network input's shape, root mean square 1."""
    W = shape[3]
    d = np.broadcast_to(np.cos(np.pi * across * (np.arange(W) + 0.5) / W), shape)
    return (d / np.sqrt((d**2).mean())).astype(np.float32)


@app.cell
def _(Slice, waves):
    START = np.array([60.0, 12.0])
    network = weights.load("mini")
    net, space = VGG(network.params, pooling="avg"), style.ColourSpace.of(network)
    _content, _style = (space.to_input(p(40)) for p in (samples.scene, samples.strokes))
    _terms = make_terms(content={"relu4_2": 1.0}, style={f"relu{k}_1": 200.0 for k in range(1, 5)})
    objective = Objective.of(net, _terms, {"content": _content, "style": _style})
    plane = Slice(objective, _content, wave(1, _content.shape), wave(waves.value, _content.shape))

    def loss(a, b):
        return plane.evaluate(np.array([a, b])).loss

    lowest = minimize(plane, START.reshape(1, 1, 1, 2), method="two-loop", evaluations=40).image.ravel()
    return START, loss, lowest, plane


@app.cell
def _(lowest, plane):
    # the curvatures at the lowest point: differences of gradients, two grey levels apart
    _at = lowest.reshape(1, 1, 1, 2)
    H = np.array(
        [
            [(plane.evaluate(_at + e).gradient - plane.evaluate(_at - e).gradient).ravel() / 2]
            for e in np.eye(2).reshape(2, 1, 1, 1, 2)
        ]
    ).reshape(2, 2)
    H = (H + H.T) / 2
    curvatures = np.linalg.eigvalsh(H)
    mo.md(f"""
    At the lowest point of this plane the curvature along the broad wave is {H[0, 0]:.3g}, along the fine one
    {H[1, 1]:.3g}: the bowl is a valley, {np.sqrt(curvatures[1] / abs(curvatures[0])):.1f} times as long as it is wide.
    """)
    return (curvatures,)


@app.cell
def _(START, curvatures, plane, rate, steps):
    def descend():
        """[(a, b), …] and losses of steps along the gradient, all of one rate."""
        x, path, found = START.reshape(1, 1, 1, 2).copy(), [], []
        for _ in range(steps.value):
            result = plane.evaluate(x)
            path.append(x.ravel().copy())
            found.append(result.loss)
            if result.loss > 10 * found[0]:  # it climbs out of the valley
                break
            x = x - rate.value / curvatures[-1] * result.gradient
        return np.array(path), found

    def quasi_newton():
        """The same of L-BFGS, every trial of its line search included."""
        path, found = [], []

        def listener(event):
            if hasattr(event, "loss"):
                path.append(np.array(event.image).ravel())
                found.append(event.loss)

        minimize(plane, START.reshape(1, 1, 1, 2), method="two-loop", evaluations=steps.value, listener=listener)
        return np.array(path), found

    ways = {"gradient descent": descend(), "L-BFGS (two-loop)": quasi_newton()}
    return (ways,)


@app.cell
def _(START, loss, lowest, rate, ways):
    def _():
        reach_a, reach_b = (1.25 * abs(s - m) + 3 for s, m in zip(START, lowest))
        a = np.linspace(lowest[0] - reach_a, lowest[0] + reach_a, 13)
        b = np.linspace(lowest[1] - reach_b, lowest[1] + reach_b, 13)
        values = np.array([[loss(p, q) for p in a] for q in b])
        least = min(loss(*lowest), values.min())
        fig = Figure(figsize=(11, 4.4), layout="constrained")
        left, right = fig.subplots(1, 2, width_ratios=[1.3, 1])
        drawn = left.contourf(a, b, np.log10(values - least + 1e-3 * (values.max() - least)), 20, cmap="viridis")
        fig.colorbar(drawn, ax=left, label="log10 of loss - lowest")
        for (name, (path, found)), colour in zip(ways.items(), ("white", "tab:red")):
            left.plot(*path.T, ".-", color=colour, label=name, lw=1)
            right.semilogy(
                np.maximum(np.array(found) - least, 1e-7 * (found[0] - least)) / (found[0] - least),
                ".-",
                color={"white": "tab:blue"}.get(colour, colour),
                label=name,
            )
        left.plot(*lowest, "k*", ms=10, label="lowest point")
        left.set_xlim(a[0], a[-1])
        left.set_ylim(b[0], b[-1])
        left.set_xlabel("a, grey levels of the broad wave")
        left.set_ylabel("b, grey levels of the fine wave")
        left.legend(loc="lower left", fontsize=8, facecolor="lightgrey")
        right.set_xlabel("evaluation")
        right.set_ylabel("loss above the lowest, as a part of the start's")
        right.set_title(f"rate {rate.value:g} / largest curvature")
        right.legend()
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    A step along the gradient multiplies what is left along a direction of curvature $\\lambda$ by $1 - \\eta\\lambda$:
    little is gained along the valley while $\\eta$ is small enough for its walls, and from $\\eta = 2 / \\lambda$ on
    the steps climb (move the rate to 2.1). L-BFGS sees by how much the gradient changed along its last steps, and two
    pairs $(s, y)$ are all that there is to know of a bowl in two dimensions (style/MATH.md, section 8). It ends where
    single precision does, at a millionth. Where a second valley shows, it is the style's, which does not mind a wave's
    sign.

    A picture has a million directions and L-BFGS keeps ten or twenty pairs. What is done about the others is in
    spectrum.py: broad waves are given longer steps from the start (style/faster/MATH.md, section 3). Move the fine wave
    to 3 half-waves: then there is less to gain.
    """)
    return


if __name__ == "__main__":
    app.run()
