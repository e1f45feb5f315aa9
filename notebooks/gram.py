"""Gram matrices as pictures: what they keep, what they forget. `marimo edit notebooks/gram.py`"""

import marimo

app = marimo.App(app_title="Gram matrices as pictures")

with app.setup:
    import marimo as mo
    import numpy as np
    from matplotlib.figure import Figure

    import style
    import weights
    from minivgg import VGG
    from style import losses, samples


@app.cell
def _():
    mo.md("""
    # Gram matrices as pictures

    A style is what does not depend on where: the sum over all places of the products of channels, $G = F F^T$
    (style/MATH.md, section 3). Entry $(i, j)$ says how much channels $i$ and $j$ answer together. Here $G / M$, a mean
    over the $M$ places, so that pictures of different sizes compare.
    """)
    return


@app.cell
def _():
    layer = mo.ui.dropdown([f"relu{k}_1" for k in range(1, 6)], value="relu3_1", label="layer")
    size = mo.ui.slider(48, 256, 16, value=96, label="width, pixels", show_value=True)
    mo.hstack([layer, size], justify="start")
    return layer, size


@app.cell
def _(layer, size):
    network = weights.load("mini")
    net, space = VGG(network.params), style.ColourSpace.of(network)
    pictures = {
        "strokes": samples.strokes(size.value),
        "strokes, mirrored": samples.strokes(size.value)[:, ::-1],
        "strokes, painted anew": samples.strokes(size.value, seed=7),
        "mosaic": samples.mosaic(size.value),
        "scene": samples.scene(size.value),
    }

    def features_of(picture):
        feats, _ = net.forward(space.to_input(np.ascontiguousarray(picture)), layer.value, cached=False)
        return losses.features(feats[layer.value]).copy()

    F = {name: features_of(picture) for name, picture in pictures.items()}
    G = {name: losses.gram_forward(f) / f.shape[1] for name, f in F.items()}
    return F, G, pictures


@app.cell
def _(F, G, layer, pictures):
    def _():
        order = np.argsort(-G["strokes"].diagonal())  # the strongest channels of the strokes first, for all
        fig = Figure(figsize=(11, 4.2), layout="constrained")
        above, below = fig.subplots(2, 5, height_ratios=[1, 1.5])
        for a, b, name in zip(above, below, G):
            a.imshow(pictures[name] / 255)
            a.set_title(name, fontsize=9)
            a.set_axis_off()
            im = b.imshow(np.cbrt(G[name][np.ix_(order, order)] / G[name].max()), cmap="magma", vmin=0, vmax=1)
            b.set_xlabel("channel j")
        below[0].set_ylabel("channel i")
        fig.colorbar(im, ax=below, label="³√ of G / its largest")
        fig.suptitle(f"{layer.value}: {F['strokes'].shape[0]} channels, sorted by the strokes' diagonal")
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    The bright rows and columns are channels that answer strongly; what lies beside the diagonal is what answers
    together. The same painter's pictures look alike although no stroke lies where it was. In numbers, the style loss
    of each pair, each scaled to the other's number of places:
    """)
    return


@app.cell
def _(F, G, layer):
    def _():
        names = list(G)
        M = {name: F[name].shape[1] for name in names}
        table = np.array([[losses.style_loss(G[a] * M[a], G[b] * M[a], M[a])[0] for b in names] for a in names])
        fig = Figure(figsize=(7, 4.6), layout="constrained")
        ax = fig.subplots()
        im = ax.imshow(np.sqrt(table), cmap="magma")
        for i, j in np.ndindex(table.shape):
            light = table[i, j] < table.max() / 3
            ax.text(j, i, f"{table[i, j]:.2g}", ha="center", va="center", color="white" if light else "black")
        ax.set_xticks(range(5), [name.replace(", ", ",\n") for name in names], fontsize=8)
        ax.set_yticks(range(5), names, fontsize=8)
        ax.set_title(f"style loss at {layer.value}, (4) of style/MATH.md; colour: its square root")
        fig.colorbar(im, ax=ax, label="√ style loss")
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    ## What it forgets

    Put the places of $F$ in any order: $G$ is the same sum. The left picture shows one channel's activation, the
    middle one the same numbers shuffled (all channels in the same order); the right one how far the two Gram matrices
    differ: by rounding.
    """)
    return


@app.cell
def _(F, G, layer, pictures):
    def _():
        f, M = F["strokes"], F["strokes"].shape[1]
        shuffled = f[:, np.random.default_rng(0).permutation(M)]
        off = np.abs(losses.gram_forward(shuffled) / M - G["strokes"]) / G["strokes"].max()
        channel, width = int(f.mean(axis=1).argmax()), pictures["strokes"].shape[1] >> (int(layer.value[4]) - 1)
        fig = Figure(figsize=(10, 2.8), layout="constrained")
        axes = fig.subplots(1, 3)
        for ax, shown, title in zip(axes, (f, shuffled), ("as it is", "places shuffled")):
            ax.imshow(shown[channel].reshape(-1, width), cmap="magma")
            ax.set_title(f"channel {channel}, {title}")
            ax.set_axis_off()
        im = axes[2].imshow(off, cmap="viridis")
        axes[2].set_title("|ΔG|, as a part of G's largest")
        fig.colorbar(im, ax=axes[2], label="part of the largest")
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    ## How much it keeps

    $G$ is a sum of $M$ products of a column with itself, so it has at most $\\min(C, M)$ eigenvalues above 0. The
    squares of its entries add up to the squares of these, so that the loss, a sum of squares, is governed by the few
    largest. The first carries about half of the sum, and its vector is nearly the mean activation (the legend has the
    cosine between the two). That is one reason for losses that take the mean off first (style/statistics/MATH.md,
    section 3).
    """)
    return


@app.cell
def _(F, G, layer):
    def _():
        fig = Figure(figsize=(8, 3.4), layout="constrained")
        ax = fig.subplots()
        for name in ("strokes", "mosaic", "scene"):
            values, vectors = np.linalg.eigh(G[name].astype(np.float64))
            values, mean = values[::-1], F[name].mean(axis=1)
            cosine = abs(vectors[:, -1] @ mean) / np.linalg.norm(mean)
            ax.semilogy(
                np.arange(1, len(values) + 1),
                np.maximum(values, 1e-8 * values[0]) / values.sum(),
                label=f"{name}: min(C, M) = {min(F[name].shape)}, cosine {cosine:.3f}",
            )
        ax.set_xlabel("eigenvalue, the largest first")
        ax.set_ylabel("part of their sum")
        ax.set_title(layer.value)
        ax.legend()
        return fig

    _()
    return


if __name__ == "__main__":
    app.run()
