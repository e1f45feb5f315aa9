"""What a layer remembers of a picture: reconstruction from noise. `marimo edit notebooks/reconstruction.py`"""

import marimo

app = marimo.App(app_title="Reconstruction by layer")

with app.setup:
    import marimo as mo
    from matplotlib.figure import Figure

    import style
    from style import samples


@app.cell
def _():
    mo.md("""
    # Reconstruction by layer

    What does a layer remember? Take a picture's activations at one layer, forget the picture, and look for another one
    with the same activations, starting from noise: this is the content loss alone (style/MATH.md, section 2). Whatever
    the picture found lacks, the layer has forgotten. With the Gram matrices in place of the activations (section 3)
    what is found is what the layers remember of the style, and the places are gone. It is figure 1 of Gatys, Ecker and
    Bethge 2015.
    """)
    return


@app.cell
def _():
    evaluations = mo.ui.slider(10, 200, 10, value=30, label="evaluations", show_value=True)
    size = mo.ui.slider(48, 128, 16, value=64, label="width, pixels", show_value=True)
    pooling = mo.ui.dropdown(["avg", "max"], value="avg", label="pooling")
    mo.hstack([evaluations, size, pooling], justify="start")
    return evaluations, pooling, size


@app.cell
def _(evaluations, pooling, size):
    LAYERS = [f"relu{k}_1" for k in range(1, 6)]
    _common = {
        "init": "noise",
        "weights": "mini",
        "size": size.value,
        "scales": 1,
        "evaluations": evaluations.value,
        "pooling": pooling.value,
    }
    scene, strokes = samples.scene(size.value), samples.strokes(size.value)
    content = [
        style.transfer(scene, strokes, content_layers={name: 1.0}, style_layers={}, **_common) for name in LAYERS
    ]
    # the styles of a layer and of all before it, as in the paper
    painted = [
        style.transfer(scene, strokes, content_layers={}, style_layers=dict.fromkeys(LAYERS[: k + 1], 1.0), **_common)
        for k in range(len(LAYERS))
    ]
    return LAYERS, content, painted, scene, strokes


@app.cell
def _(LAYERS, content, painted, scene, strokes):
    def _():
        fig = Figure(figsize=(10, 3.6), layout="constrained")
        rows = fig.subplots(2, 6)
        for row, original, results, kind in zip(rows, (scene, strokes), (content, painted), ("content", "style")):
            row[0].imshow(original / 255)
            row[0].set_title("the picture" if kind == "content" else "the painting", fontsize=9)
            for k, (ax, result) in enumerate(zip(row[1:], results)):
                ax.imshow(result.image)
                left = result.losses[-1] / result.losses[0]
                name = LAYERS[k] if kind == "content" or k == 0 else f"relu1_1 … {LAYERS[k]}"
                ax.set_title(f"{kind} {name}\n{left:.1e} of the loss left", fontsize=8)
            for ax in row:
                ax.set_axis_off()
        return fig

    _()
    return


@app.cell
def _():
    mo.md("""
    From the first layers the picture comes back nearly pixel by pixel. From the deep ones the parts lie where they
    were and colours and lines are free: that freedom is what a style can fill, and why content is asked for at
    relu4_2. The styles need no places from the first layer on; what grows from layer to layer is the size of what
    they keep: colours first, then strokes.

    How far each search has come is seen below. A deep layer's loss falls more slowly: many layers lie between it and
    the pixels. Peaks are trial steps that were too long (style/faster/MATH.md, section 2).
    """)
    return


@app.cell
def _(LAYERS, content, painted):
    def _():
        fig = Figure(figsize=(10, 3.4), layout="constrained")
        for ax, results, kind in zip(fig.subplots(1, 2, sharey=True), (content, painted), ("content at", "styles to")):
            for name, result in zip(LAYERS, results):
                ax.semilogy([loss / result.losses[0] for loss in result.losses], label=name)
            ax.set_xlabel("evaluation")
            ax.set_title(f"{kind} each layer")
            ax.legend()
        fig.axes[0].set_ylabel("loss, as a part of the noise's")
        return fig

    _()
    return


if __name__ == "__main__":
    app.run()
