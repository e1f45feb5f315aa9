"""The picture's spectrum, and why it is weighed. `marimo edit notebooks/spectrum.py`"""

import marimo

app = marimo.App(app_title="The spectrum, and why it is weighed")

with app.setup:
    import marimo as mo
    import numpy as np
    from matplotlib.figure import Figure

    import style
    import weights
    from minivgg import VGG
    from style import samples
    from style.faster.precondition import Spectrum
    from style.objective import Objective
    from style.statistics import make_terms


@app.cell
def _():
    mo.md("""
    # The spectrum, and why it is weighed

    L-BFGS knows the curvature of the loss along the few directions that it has walked. For all others it has a first
    guess, and the plain one takes them to be alike. They are not: fine patterns have much more curvature than broad
    ones (style/faster/MATH.md, section 3). Here that is measured, in bands of frequencies an octave wide, and the guess
    that replaces the plain one is laid over it. A frequency of 1 is the highest that a picture has along an axis, a
    wave of two pixels.
    """)
    return


@app.cell
def _():
    alpha = mo.ui.slider(0.0, 1.0, 0.05, value=0.45, label="exponent α (--precondition)")
    evaluations = mo.ui.slider(5, 80, 5, value=20, label="evaluations of the two runs")
    mo.hstack([alpha, evaluations], justify="start")
    return alpha, evaluations


@app.cell
def _():
    scene, strokes = samples.scene(96), samples.strokes(96)
    network = weights.load("mini")
    net, space = VGG(network.params, pooling="avg"), style.ColourSpace.of(network)
    x, painting = space.to_input(scene), space.to_input(strokes)
    terms = make_terms(content={"relu4_2": 1.0}, style={f"relu{k}_1": 200.0 for k in range(1, 6)})
    objective = Objective.of(net, terms, {"content": x, "style": painting})
    plain = Spectrum(x, 0.0)  # cosine coefficients, all of weight 1
    H, W = x.shape[2:]
    frequency = np.hypot(np.arange(H)[:, None] / H, np.arange(W)[None] / W)
    edges = 2.0 ** np.arange(-6, 1.1, 0.5)
    bands = [(a, b) for a, b in zip(edges, edges[2:]) if ((frequency >= a) & (frequency < b)).any()]
    middles = np.array([np.sqrt(a * b) for a, b in bands])
    return bands, frequency, middles, objective, plain, scene, strokes, x


@app.cell
def _(bands, frequency, objective, plain, x):
    def curvature(inside, rng, step=1.0):
        """dᵀ ∇²L d of a random picture d of these frequencies, length 1: how the gradient changes along it."""
        d = plain.apply((rng.standard_normal(x.shape) * inside).astype(np.float32))
        d /= np.sqrt((d * d).sum())
        h = step * np.sqrt(x.size).astype(np.float32)  # one grey level, root mean square
        change = objective.evaluate(x + h * d).gradient - objective.evaluate(x - h * d).gradient
        return float((change * d).sum() / (2 * h))

    _rng = np.random.default_rng(0)
    curvatures = np.array(
        [np.mean([curvature((frequency >= a) & (frequency < b), _rng) for _ in range(2)]) for a, b in bands]
    )
    return (curvatures,)


@app.cell
def _(alpha, bands, curvatures, frequency, middles, plain, scene, strokes, x):
    def amplitudes(picture):
        z = plain.adjoint((picture - picture.mean(axis=(0, 1))).transpose(2, 0, 1)[None].astype(np.float32))
        return [np.sqrt((z[..., (frequency >= a) & (frequency < b)] ** 2).mean()) for a, b in bands]

    def _():
        fig = Figure(figsize=(11, 3.8), layout="constrained")
        left, right = fig.subplots(1, 2)
        for picture, name in ((scene, "scene"), (strokes, "strokes")):
            left.loglog(middles, amplitudes(picture), "o-", label=name)
        left.loglog(middles, amplitudes(scene)[0] * middles[0] / middles, "k:", label="1 / f")
        left.set_ylabel("amplitude of a coefficient, grey levels")
        left.set_title("what pictures have")
        right.loglog(middles, curvatures, "o-", label="measured")
        guess = 1 / np.array(
            [  # the mean step of a band is the inverse of the curvature that it is made for
                (Spectrum(x, alpha.value).weights[(frequency >= a) & (frequency < b)] ** 2).mean() for a, b in bands
            ]
        )
        right.loglog(
            middles, guess * np.exp(np.log(curvatures / guess).mean()), "--", label=f"guess, α = {alpha.value:g}"
        )
        right.set_ylabel("curvature, loss per grey level²")
        right.set_title("what the loss asks for")
        for ax in (left, right):
            ax.set_xlabel("frequency, 1: a wave of two pixels")
            ax.legend()
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    A step that is short enough for the fine waves is too short for the broad ones, by the ratio of the curvatures. With
    $H_0 = \\gamma Q^T \\Lambda^2 Q$ each frequency has its own length of step. The best $\\alpha$ was found by runs and not
    by this curve: a run sees other places than its start, and pairs correct what the guess has wrong.

    Below, the same picture and the same number of evaluations, without weights and with them. Broad areas take on the
    painting's colours sooner.
    """)
    return


@app.cell
def _(alpha, evaluations, scene, strokes):
    def _run(a):
        return style.transfer(
            scene, strokes, size=96, evaluations=evaluations.value, optimizer="l-bfgs", precondition=a, weights="mini"
        )

    runs = {0.0: _run(0.0), alpha.value: _run(alpha.value)}
    return (runs,)


@app.cell
def _(runs, scene):
    def _():
        fig = Figure(figsize=(11, 3.4), layout="constrained")
        axes = fig.subplots(1, 4, width_ratios=[1, 1, 1, 1.4])
        axes[0].imshow(scene / 255)
        axes[0].set_title("the content")
        for ax, (a, result) in zip(axes[1:], runs.items()):
            ax.imshow(result.image)
            ax.set_title(f"α = {a:g}: loss {result.losses[-1]:.3g}")
        for ax in axes[:3]:
            ax.set_axis_off()
        for a, result in runs.items():
            axes[3].semilogy(np.minimum.accumulate(result.losses), label=f"α = {a:g}")
        axes[3].set_xlabel("evaluation")
        axes[3].set_ylabel("lowest loss so far")
        axes[3].legend()
        return fig

    _()
    return


if __name__ == "__main__":
    app.run()
