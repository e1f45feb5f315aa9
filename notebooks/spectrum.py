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
    guess, and the plain one takes them to be alike. They are not (style/faster/MATH.md, section 3). Here that is
    measured at the painting itself, where its style loss is 0 and bends upwards in every direction: in bands of
    frequencies an octave wide, along random patterns, and along the stiffest pattern that a few rounds of power
    iteration find. A frequency of 1 is the highest that a picture has along an axis, a wave of two pixels.
    """)
    return


@app.cell
def _():
    alpha = mo.ui.slider(0.0, 1.0, 0.05, value=0.45, label="exponent α (--precondition)", show_value=True)
    evaluations = mo.ui.slider(5, 80, 5, value=20, label="evaluations of the two runs", show_value=True)
    mo.hstack([alpha, evaluations], justify="start")
    return alpha, evaluations


@app.cell
def _():
    scene, strokes = samples.scene(96), samples.strokes(96)
    network = weights.load("mini")
    net, space = VGG(network.params, pooling="avg"), style.ColourSpace.of(network)
    x = space.to_input(strokes)
    objective = Objective.of(net, make_terms(style={f"relu{k}_1": 200.0 for k in range(1, 6)}), {"style": x})
    plain = Spectrum(x, 0.0)  # cosine coefficients, all of weight 1
    H, W = x.shape[2:]
    frequency = np.hypot(np.arange(H)[:, None] / H, np.arange(W)[None] / W)
    starts = 2.0 ** np.arange(-6, 0)
    bands = [(frequency >= a) & (frequency < 2 * a) for a in starts]
    middles = np.sqrt(2) * starts
    return bands, middles, objective, plain, scene, strokes, x


@app.cell
def _(bands, objective, plain, x):
    def bent(d):
        """∇²L d, by how the gradient changes over one grey level (root mean square) to either side."""
        h = np.float32(np.sqrt(x.size))
        return (objective.evaluate(x + h * d).gradient - objective.evaluate(x - h * d).gradient) / (2 * h)

    def curvatures_of(band, rng):
        """(mean dᵀ ∇²L d of two random pictures d of a band, length 1; that of the stiffest found from there)"""
        found = []
        for z in rng.standard_normal((2, *x.shape)).astype(np.float32) * band:
            for _ in range(4):  # power iteration: what is stiff in d grows
                d = plain.apply((z / np.sqrt((z * z).sum())).astype(np.float32))
                change = bent(d)
                z = plain.adjoint(change) * band
                found.append(float((change * d).sum()))
        return np.mean(found[::4]), max(found)

    _rng = np.random.default_rng(0)
    random, stiffest = np.array([curvatures_of(band, _rng) for band in bands]).T
    return random, stiffest


@app.cell
def _(alpha, bands, middles, plain, random, scene, stiffest, strokes, x):
    def amplitudes(picture):
        z = plain.adjoint((picture - picture.mean(axis=(0, 1))).transpose(2, 0, 1)[None].astype(np.float32))
        return [np.sqrt((z[..., band] ** 2).mean()) for band in bands]

    def _():
        fig = Figure(figsize=(11, 3.8), layout="constrained")
        left, right = fig.subplots(1, 2)
        for picture, name in ((scene, "scene"), (strokes, "strokes")):
            left.loglog(middles, amplitudes(picture), "o-", label=name)
        left.loglog(middles, amplitudes(scene)[0] * middles[0] / middles, "k:", label="1 / f")
        left.set_ylabel("amplitude of a coefficient, grey levels")
        left.set_title("what pictures have")
        right.loglog(middles, stiffest, "o-", label="the stiffest pattern found")
        right.loglog(middles, random, "o-", label="random patterns")
        weight = Spectrum(x, alpha.value).weights
        guess = np.array([(weight[band] ** -2.0).mean() for band in bands])
        level = np.exp(np.log(stiffest / guess).mean())  # the guess says ratios; γ sets its level
        right.loglog(middles, guess * level, "k--", label=f"the first guess, α = {alpha.value:g}")
        right.set_ylabel("curvature, loss per grey level²")
        right.set_title("how the loss bends")
        for ax in (left, right):
            ax.set_xlabel("frequency, 1: a wave of two pixels")
            ax.set_xticks(1 / 2.0 ** np.arange(7), ["1", *(f"1/{1 << k}" for k in range(1, 7))])
            ax.minorticks_off()
            ax.legend()
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    Random patterns bend the loss about alike in all bands but the finest, and there less. But a step must be short
    enough for the *stiffest* pattern in it, and those are the fine ones: what is short enough for them is needlessly
    short for what is broad. With $H_0 = \\gamma Q^T \\Lambda^2 Q$ each frequency has its own length of step. The best
    $\\alpha$ was found by runs and not by this curve: pairs correct what the guess has wrong, and the curve is another
    at every place.

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

    runs = [(a, _run(a)) for a in (0.0, alpha.value)]
    return (runs,)


@app.cell
def _(runs, scene):
    def _():
        fig = Figure(figsize=(11, 3.4), layout="constrained")
        axes = fig.subplots(1, 4, width_ratios=[1, 1, 1, 1.4])
        axes[0].imshow(scene / 255)
        axes[0].set_title("the content")
        for ax, (a, result) in zip(axes[1:], runs):
            ax.imshow(result.image)
            ax.set_title(f"α = {a:g}: loss {result.losses[-1]:.3g}")
        for ax in axes[:3]:
            ax.set_axis_off()
        for a, result in runs:
            axes[3].semilogy(np.minimum.accumulate(result.losses), label=f"α = {a:g}")
        axes[3].set_xlabel("evaluation")
        axes[3].set_ylabel("lowest loss so far")
        axes[3].legend()
        return fig

    _()
    return


if __name__ == "__main__":
    app.run()
