"""How tiles' halos grow: what a part of a picture must know of its neighbours. `marimo edit notebooks/halo.py`"""

import marimo

app = marimo.App(app_title="Tiles and their halos")

with app.setup:
    import marimo as mo
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    import style
    import weights
    from minivgg import VGG
    from minivgg.table import layer_names, level
    from style import samples
    from style.large.tiling import halo


@app.cell
def _():
    mo.md("""
    # Tiles and their halos

    A picture that is too large for the memory is cut into tiles, and the loss and its gradient must be those of the
    whole (style/large/MATH.md). At a tile's inner edge the convolutions' zero padding stands where neighbours should
    be, and what it spoils grows by one place a convolution, $2^d$ pixels after $d$ poolings. So a tile's core is
    computed with a halo around it, as wide as what is spoilt: $h = \\sum_c 2^{d(c)}$ (style/large/MATH.md, section 2).
    """)
    return


@app.cell
def _():
    NAMES = layer_names("vgg19")[: layer_names("vgg19").index("relu5_1") + 1]
    network = weights.load("mini")
    net, space = VGG(network.params), style.ColourSpace.of(network)
    x = space.to_input(samples.scene(160))
    return NAMES, net, x


@app.cell
def _(NAMES):
    def _():
        fig = Figure(figsize=(10, 3.4), layout="constrained")
        ax = fig.subplots()
        convs = [n for n in NAMES if not n.startswith("relu")]
        ax.step(
            range(len(convs)),
            [halo(NAMES[: NAMES.index(n) + 1], 0) for n in convs],
            where="mid",
            label="picture to the layer",
        )
        start = NAMES.index("pool3") + 1
        deep = [n for n in convs if NAMES.index(n) >= start]
        ax.step(
            [convs.index(n) for n in deep],
            [halo(NAMES[start : NAMES.index(n) + 1], level("pool3")) * 8 for n in deep],
            where="mid",
            label="pool3 to the layer, in pixels",
        )
        for n in convs:
            if n.startswith("pool"):
                ax.axvline(convs.index(n), color="lightgrey", lw=1)
        ax.set_xticks(range(len(convs)), convs, rotation=60)
        ax.set_ylabel("halo, pixels to each side")
        ax.set_title("(5): a convolution adds one place of its level; grey: poolings, which double a place's width")
        ax.legend()
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    ## What is wrong stays in the halo

    Below, a region is cut out of the picture and run through the network by itself: the core (dashed) and a halo of the
    width chosen. The map shows where the layer's activation differs from that of the whole picture. As long as the
    halo is narrower than (5), something in the core is wrong; from there on nothing is, but for rounding. Halos here
    are multiples of 16, so that pooling windows lie where they lie in the whole picture
    (style/large/MATH.md, section 4).
    """)
    return


@app.cell
def _(net):
    layer = mo.ui.dropdown(
        [n for n in net.names if n.startswith("relu") and int(n[4]) < 5], value="relu3_2", label="layer"
    )
    width = mo.ui.slider(0, 48, 16, value=16, label="halo, pixels", show_value=True)
    mo.hstack([layer, width], justify="start")
    return layer, width


@app.cell
def _(layer, net, x):
    CORE = (48, 80, 64, 112)  # top, bottom, left, right, pixels
    feats, _ = net.forward(x, layer.value, cached=False)
    whole = feats[layer.value][0].copy()

    def deviation(h):
        """(map, core) of a region with a halo of h pixels: the largest difference of a place's channels."""
        d = level(layer.value)
        top, bottom, left, right = CORE[0] - h, CORE[1] + h, CORE[2] - h, CORE[3] + h
        part, _ = net.forward(np.ascontiguousarray(x[:, :, top:bottom, left:right]), layer.value, cached=False)
        there = whole[:, top >> d : bottom >> d, left >> d : right >> d]
        off = np.abs(part[layer.value][0] - there).max(axis=0) / whole.max()
        inside = slice(h >> d, off.shape[0] - (h >> d)), slice(h >> d, off.shape[1] - (h >> d))
        return off, off[inside].max()

    return deviation, whole


@app.cell
def _(NAMES, deviation, layer, width):
    def _():
        d, h = level(layer.value), width.value
        needed = halo(NAMES[: NAMES.index(layer.value) + 1], 0)
        off, worst = deviation(h)
        fig = Figure(figsize=(11, 3.8), layout="constrained")
        left, right = fig.subplots(1, 2)
        im = left.imshow(np.log10(off + 1e-9), cmap="magma", vmin=-8, vmax=0)
        places = h >> d
        left.add_patch(
            Rectangle(
                (places - 0.5, places - 0.5),
                off.shape[1] - 2 * places,
                off.shape[0] - 2 * places,
                fill=False,
                color="tab:cyan",
                ls="--",
                lw=2,
            )
        )
        fig.colorbar(im, ax=left, label="log10 of the difference", shrink=0.9)
        left.set_title(f"{layer.value}, halo {h}: at most {worst:.1e} of the largest in the core", fontsize=10)
        left.set_xlabel(f"places of {1 << d} pixels")
        widths = [0, 16, 32, 48]
        right.semilogy(widths, [max(deviation(v)[1], 1e-9) for v in widths], "o-")
        right.axvline(needed, color="tab:green", ls="--", label=f"(5): {needed} pixels")
        right.axvline(h, color="grey", lw=1, label="chosen")
        right.set_xticks(widths)
        right.set_ylim(3e-10, 3)
        right.set_xlabel("halo, pixels")
        right.set_ylabel("largest difference in the core")
        right.legend()
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    ## What it costs

    A tile of edge $e$ computes $(e + 2h)^2$ places for $e^2$; (6) of style/large/MATH.md, section 5, counts both
    passes. Cutting the network
    at pool3 as well makes two smaller halos of a large one, and the deep part is often one tile.
    """)
    return


@app.cell
def _():
    share = mo.ui.slider(
        0.0, 1.0, 0.01, value=0.62, label="share of the multiplications before the cut (VGG-19: 0.62)", show_value=True
    )
    mo.hstack([share], justify="start")
    return (share,)


@app.cell
def _(NAMES, share):
    def _():
        e = np.geomspace(64, 4096, 60)

        def cost(h):
            return 1.5 * ((e + 2 * h) / e) ** 2

        cut = NAMES.index("pool3") + 1
        first, second, uncut = halo(NAMES[:cut], 0), halo(NAMES[cut:], level("pool3")) * 8, halo(NAMES, 0)
        part = share.value
        fig = Figure(figsize=(8, 3.6), layout="constrained")
        ax = fig.subplots()
        ax.loglog(e, cost(uncut), label=f"no cut, h = {uncut}")
        ax.loglog(e, part * cost(first) + (1 - part) * cost(second), label=f"cut at pool3, h = {first} and {second}")
        ax.loglog(e, part * cost(first) + (1 - part), label="the same, the deep part as one tile")
        ax.axhline(1, color="grey", lw=1)
        ax.set_xticks([64, 128, 256, 512, 1024, 2048, 4096], [64, 128, 256, 512, 1024, 2048, 4096], minor=False)
        ax.set_yticks([1, 1.5, 2, 3, 5, 10], [1, 1.5, 2, 3, 5, 10])
        ax.minorticks_off()
        ax.set_xlabel("edge of a core, pixels")
        ax.set_ylabel("cost, undivided = 1")
        ax.legend()
        return fig

    _()
    return


if __name__ == "__main__":
    app.run()
