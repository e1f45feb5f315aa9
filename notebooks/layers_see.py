"""What each layer sees: filters, receptive fields, activations. `marimo edit notebooks/layers_see.py`"""

import marimo

app = marimo.App(app_title="What each layer sees")

with app.setup:
    import marimo as mo
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    import style
    import weights
    from minivgg import VGG
    from minivgg.table import context, level
    from style import samples


@app.cell
def _():
    mo.md("""
    # What each layer sees

    The network turns a picture into activations, layer after layer (minivgg/MATH.md, section 7). Three questions to a
    layer: what does its filter look for, how much of the picture does one number of it depend on, and what does it
    answer to a whole picture? The network is the embedded `mini`, VGG-19 with fewer channels.
    """)
    return


@app.cell
def _():
    network = weights.load("mini")
    net, space = VGG(network.params), style.ColourSpace.of(network)
    picture = samples.scene(128)
    x = space.to_input(picture)
    relus = [name for name in net.names if name.startswith("relu")]
    return net, network, picture, relus, x


@app.cell
def _():
    mo.md("""
    ## Filters

    Only the first convolution can be looked at as pictures: its filters are 3×3 pixels in red, green and blue
    (minivgg/MATH.md, section 3). Grey is 0, and each filter is scaled by its own largest value. Some answer to a
    colour, some to an edge in one direction, some to a single bright spot. A filter of a deeper layer has as many
    channels as the layer before it has filters, and no colours of its own.
    """)
    return


@app.cell
def _(network):
    def _():
        w, _ = network.params["conv1_1"]  # (F, 3, 3, 3)
        fig = Figure(figsize=(9, 3.4), layout="constrained")
        for k, ax in enumerate(fig.subplots(3, 8).flat):
            ax.imshow(0.5 + w[k].transpose(1, 2, 0) / (2 * np.abs(w[k]).max()))
            ax.set_title(f"filter {k}", fontsize=8)
            ax.set_axis_off()
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    ## Receptive field

    A number of a layer depends on a square of pixels: each 3×3 convolution adds one place of its own level to every
    side, and a place is $2^d$ pixels wide after $d$ poolings (style/large/MATH.md, section 2). The square is drawn
    dashed. How strongly it depends on each of them is a gradient: hand in 1 at that number and 0 elsewhere, and
    `VGG.backward` gives $\\partial\\, \\text{number} / \\partial\\, \\text{pixel}$.
    """)
    return


@app.cell
def _(relus):
    layer = mo.ui.dropdown(relus, value="relu3_1", label="layer")
    across = mo.ui.slider(0.05, 0.95, 0.05, value=0.6, label="across (share of the width)", show_value=True)
    down = mo.ui.slider(0.05, 0.95, 0.05, value=0.5, label="down (share of the height)", show_value=True)
    mo.hstack([layer, across, down], justify="start")
    return across, down, layer


@app.function
def seen_by(net, x, layer, down, across):
    """(|gradient| (H, W), row, column, channel) of the strongest channel at one place of a layer."""
    feats, cache = net.forward(x, layer)
    feat = feats[layer]
    row, column = int(down * feat.shape[2]), int(across * feat.shape[3])
    channel = int(feat[0, :, row, column].argmax())
    one = np.zeros_like(feat)
    one[0, channel, row, column] = 1
    return np.abs(net.backward({layer: one}, cache)[0]).sum(axis=0), row, column, channel


@app.function
def square(layer, names, place, sizes):
    """(top, bottom, left, right) in pixels of what a place sees, cut off at the picture's edges."""
    wide, more = 1 << level(layer), context(layer, names)
    ends = [(p * wide - more, (p + 1) * wide + more) for p in place]
    return [min(max(v, 0), size) for (a, b), size in zip(ends, sizes) for v in (a, b)]


@app.cell
def _(across, down, layer, net, picture, x):
    def _():
        gradient, row, column, channel = seen_by(net, x, layer.value, down.value, across.value)
        top, bottom, left, right = square(layer.value, net.names, (row, column), picture.shape[:2])
        fig = Figure(figsize=(9, 4), layout="constrained")
        for ax, shown, title in zip(
            fig.subplots(1, 2),
            (picture / 255, gradient),
            ("the picture, and what the place can see", f"what channel {channel} does see there: |gradient|"),
        ):
            im = ax.imshow(shown, cmap="magma")
            ax.add_patch(
                Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, color="tab:cyan", ls="--")
            )
            ax.set_title(title)
            ax.set_xlabel("pixels")
        fig.colorbar(im, ax=ax, label="per grey level, all three colours", shrink=0.8)
        fig.suptitle(f"{layer.value}, row {row}, column {column}")
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    The gradient is largest in the middle of the square: from there, more ways lead to the number. So the layers see
    less than the formula allows. Below, the side of the formula's square, and of the square around the place that
    holds nine tenths of the gradient (the mean over four places).
    """)
    return


@app.function
def effective(net, x, layer, share=0.9):
    """Side in pixels of the centred square that holds `share` of the gradient, the mean over places."""
    sides = []
    for down in (0.4, 0.6):
        for across in (0.35, 0.65):
            gradient, row, column, _ = seen_by(net, x, layer, down, across)
            if not gradient.any():  # nothing answers there
                continue
            wide = 1 << level(layer)
            rows, columns = (
                np.abs(np.arange(n) - (p + 0.5) * wide + 0.5) for n, p in zip(gradient.shape, (row, column))
            )
            distance = np.maximum(rows[:, None], columns[None])
            order = np.argsort(distance, axis=None)
            enough = np.searchsorted(np.cumsum(gradient.ravel()[order]), share * gradient.sum())
            sides.append(2 * distance.ravel()[order[enough]] + 1)
    return np.mean(sides)


@app.cell
def _(net, relus, x):
    def _():
        fig = Figure(figsize=(9, 3.4), layout="constrained")
        ax = fig.subplots()
        at = np.arange(len(relus))
        ax.bar(
            at - 0.2, [(1 << level(n)) + 2 * context(n, net.names) for n in relus], 0.4, label="can see: the formula"
        )
        ax.bar(at + 0.2, [effective(net, x, n) for n in relus], 0.4, label="nine tenths of the gradient")
        ax.axhline(picture_height := x.shape[2], color="grey", lw=1, ls=":")
        ax.text(0, picture_height + 2, "the picture's height", color="grey", ha="left")
        ax.set_xticks(at, relus, rotation=45)
        ax.set_ylabel("side of the square, pixels")
        ax.legend(loc="upper left")
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    ## Activations

    What a layer answers to the whole picture: the twelve channels with the largest mean, each scaled by its own
    largest value. Early layers keep places and lose little; late ones have few places, each for a larger part of the
    picture. A channel that lights up along the borders alone sees no picture there but the zeros that every convolution
    puts around it: that is why a margin of mirrored pixels is stylised along. (Choose the layer above.)
    """)
    return


@app.cell
def _(layer, net, x):
    def _():
        feats, _ = net.forward(x, layer.value, cached=False)
        F = feats[layer.value][0]
        best = np.argsort(-F.mean(axis=(1, 2)))[:12]
        fig = Figure(figsize=(9, 4), layout="constrained")
        for ax, k in zip(fig.subplots(3, 4).flat, best):
            ax.imshow(F[k], cmap="magma")
            ax.set_title(f"channel {k}, up to {F[k].max():.3g}", fontsize=8)
            ax.set_axis_off()
        fig.suptitle(f"{layer.value}: {F.shape[0]} channels of {F.shape[2]}x{F.shape[1]} places")
        return fig

    _()
    return


if __name__ == "__main__":
    app.run()
