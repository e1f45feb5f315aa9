"""What average pooling changes: gradients, shifts, pictures. `marimo edit notebooks/pooling.py`"""

import marimo

app = marimo.App(app_title="What average pooling changes")

with app.setup:
    import marimo as mo
    import numpy as np
    from matplotlib.figure import Figure

    import style
    import weights
    from minivgg import VGG
    from style import losses, samples
    from style.faster.precondition import Spectrum

    KINDS = ("max", "avg")


@app.cell
def _():
    mo.md("""
    # What average pooling changes

    VGG was trained with max pooling; Gatys, Ecker and Bethge put average pooling in its place, with the filters as they
    are, and found the pictures more appealing. Forward, the one takes the largest of four numbers, the other their
    mean; backward, the one gives the gradient to that place alone (minivgg/MATH.md, section 5), the other a quarter to
    each (minivgg/MATH.md, section 6).
    """)
    return


@app.cell
def _():
    layer = mo.ui.dropdown([f"relu{k}_1" for k in range(2, 6)], value="relu4_1", label="layer")
    style_weight = mo.ui.slider(20, 2000, 20, value=200, label="style weight", show_value=True)
    evaluations = mo.ui.slider(10, 100, 10, value=30, label="evaluations", show_value=True)
    mo.hstack([layer, style_weight, evaluations], justify="start")
    return evaluations, layer, style_weight


@app.cell
def _():
    network = weights.load("mini")
    space = style.ColourSpace.of(network)
    nets = {kind: VGG(network.params, pooling=kind) for kind in KINDS}
    scene, strokes = samples.scene(96), samples.strokes(96)
    x = space.to_input(scene)
    return nets, scene, space, strokes, x


@app.cell
def _():
    mo.md("""
    ## The gradient of a layer

    $\\tfrac12 \\sum F^2$ of one layer, and its gradient by the picture. Through maxima it comes down along single
    places, through means over all of them: the map of max pooling has single bright pixels, and more of its strength
    lies in the highest frequencies, where no painter works.
    """)
    return


@app.cell
def _(layer, nets, x):
    def _gradient(net):
        feats, cache = net.forward(x, layer.value)
        return net.backward({layer.value: feats[layer.value].copy()}, cache)

    gradients = {kind: _gradient(nets[kind]) for kind in KINDS}
    return (gradients,)


@app.cell
def _(gradients, layer, x):
    def by_frequency(g):
        """(middles, part of the squares in each of 16 bands of frequency)."""
        power = (Spectrum(x, 0.0).adjoint(g) ** 2).sum(axis=(0, 1))
        H, W = power.shape
        f = np.hypot(np.arange(H)[:, None] / H, np.arange(W)[None] / W)
        edges = np.linspace(0, np.sqrt(2), 17)
        found = np.histogram(f, edges, weights=power)[0]
        return (edges[1:] + edges[:-1]) / 2, found / found.sum()

    def _():
        fig = Figure(figsize=(11, 3.6), layout="constrained")
        axes = fig.subplots(1, 3, width_ratios=[1, 1, 1.1])
        for ax, kind in zip(axes, KINDS):
            strength = np.sqrt((gradients[kind][0] ** 2).sum(axis=0))
            tenth = np.sort(strength.ravel())[::-1][: strength.size // 10]
            part = (tenth**2).sum() / (strength**2).sum()
            im = ax.imshow(strength / strength.max(), cmap="magma")
            ax.set_title(f"{kind} pooling: a tenth of the pixels\nhas {part:.0%} of the squares")
            ax.set_axis_off()
            axes[2].semilogy(*by_frequency(gradients[kind]), "o-", ms=3, label=kind)
        fig.colorbar(im, ax=axes[:2], label="|gradient|, 1: the largest", location="bottom", shrink=0.6, pad=0.02)
        axes[2].set_xlabel("frequency, 1: a wave of two pixels")
        axes[2].set_ylabel("part of the squares")
        axes[2].legend()
        fig.suptitle(layer.value)
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    ## A shift by one pixel

    Move the picture by a few pixels. After $d$ poolings a place is $2^d$ pixels wide; how much does the layer's answer
    change until the shift is a whole place? Compared are the Gram matrices, which know no places: a perfect style would
    hardly notice (for each column that leaves, another comes in).
    """)
    return


@app.cell
def _(layer, nets, space):
    def _shifts(net):
        picture, found = samples.strokes(128), []
        for k in range(9):
            feats, _ = net.forward(
                space.to_input(np.ascontiguousarray(picture[:80, k : k + 96])), layer.value, cached=False
            )
            F = losses.features(feats[layer.value])
            found.append(losses.gram_forward(F))
        return [np.linalg.norm(G - found[0]) / np.linalg.norm(found[0]) for G in found]

    shifts = {kind: _shifts(nets[kind]) for kind in KINDS}
    return (shifts,)


@app.cell
def _(layer, shifts):
    def _():
        fig = Figure(figsize=(7, 3.2), layout="constrained")
        ax = fig.subplots()
        for kind, change in shifts.items():
            ax.plot(change, "o-", label=kind)
        ax.set_xlabel("shift, pixels")
        ax.set_ylabel("change of the Gram matrix")
        ax.set_title(f"{layer.value}, as a part of its norm")
        ax.set_ylim(0)
        ax.legend()
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    ## The pictures

    The same photograph, painting and number of evaluations. The losses of the two are of different networks and are
    shown each as a part of its own start. Average pooling is the default here, as the paper prefers; `--pooling max`
    takes the other.
    """)
    return


@app.cell
def _(evaluations, scene, strokes, style_weight):
    runs = {
        kind: style.transfer(
            scene,
            strokes,
            size=96,
            pooling=kind,
            style_weight=style_weight.value,
            evaluations=evaluations.value,
            weights="mini",
        )
        for kind in KINDS
    }
    return (runs,)


@app.cell
def _(runs, scene):
    def _():
        fig = Figure(figsize=(11, 3.2), layout="constrained")
        axes = fig.subplots(1, 4, width_ratios=[1, 1, 1, 1.3])
        axes[0].imshow(scene / 255)
        axes[0].set_title("the content")
        for ax, (kind, result) in zip(axes[1:], runs.items()):
            ax.imshow(result.image)
            ax.set_title(f"{kind} pooling")
            axes[3].semilogy(np.minimum.accumulate(result.losses) / result.losses[0], label=kind)
        for ax in axes[:3]:
            ax.set_axis_off()
        axes[3].set_xlabel("evaluation")
        axes[3].set_ylabel("lowest loss, start = 1")
        axes[3].legend()
        return fig

    _()
    return


if __name__ == "__main__":
    app.run()
