"""The loss as drawings: SVG that stands in a page, takes its colours from it, and is read out by its title."""

import html
import io
import math
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..objective import by_kind
from .curve import Curve

POINTS = 400  # of a line, at most
LINES = 8  # colours, and terms that are drawn by themselves
INK, GRID = "#0a0b00", "#0a0b01"  # stand for colours of the page's own, which dark mode changes
COLOURS = [f"#0a0b{k:02x}" for k in range(16, 16 + LINES)]
OTHERS = "others"
LONGEST = 22  # letters of a name beside a drawing: the table has it whole
ROOM = 0.13  # of the width, that a size takes
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


def total(curve: Curve) -> str:
    """The loss and its kinds of terms."""
    kinds: dict[str, np.ndarray] = {}
    for name, column in curve.terms.items():
        (kind,) = by_kind({name: 0.0})
        kinds[kind] = kinds.get(kind, 0.0) + np.asarray(column)
    lines = {"loss": np.asarray(curve.losses), **(kinds if len(kinds) > 1 else {})}
    return _lines(curve, lines, "total", "The loss at each evaluation", "and its parts by kind")


def by_term(curve: Curve) -> str:
    """Each term; of many the largest."""
    return _lines(curve, _largest(curve), "terms", "Each term of the loss at each evaluation", "on a logarithmic scale")


def shares(curve: Curve) -> str:
    """The terms' shares of the loss, one upon the other."""
    lines, k = _largest(curve), _thinned(len(curve))
    values = np.stack([np.nan_to_num(np.asarray(v)[k], posinf=0.0).clip(0) for v in lines.values()])
    values = 100 * values / np.maximum(values.sum(axis=0), np.finfo(float).tiny)
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "shares"}):
        figure, axes = _axes(curve)
        axes.stackplot(np.asarray(curve.evaluations)[k], values, labels=list(lines), colors=COLOURS)
        axes.set_ylim(0, 100)
        axes.set_ylabel("share of the loss, %")
        _legend(axes, reverse=True)
        said = ", ".join(f"{name} {v[0]:.0f} to {v[-1]:.0f} %" for name, v in zip(lines, values, strict=True))
        return _svg(figure, "shares", "The share of each term", f"from the first evaluation to the last: {said}")


def _lines(curve, lines, name, title, more):
    k = _thinned(len(curve))
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure, axes = _axes(curve)
        positive = False
        for colour, (label, values) in zip(COLOURS, lines.items()):
            values = np.where(np.isfinite(values), values, np.nan)[k]
            positive = positive or bool((values > 0).any())
            marker = {"marker": "o", "markersize": 4} if len(k) < 3 else {}
            axes.plot(np.asarray(curve.evaluations)[k], values, color=colour, label=label, linewidth=1.8, **marker)
        if positive:
            axes.set_yscale("log", nonpositive="mask")
        axes.set_ylabel("loss")
        _legend(axes)
        finite = [v for v in curve.losses if math.isfinite(v)]
        said = f"from {finite[0]:.4g} to {finite[-1]:.4g}" if finite else "not finite"
        return _svg(figure, name, title, f"{more}; the loss goes {said} in {len(curve)} evaluations")


def _axes(curve):
    """A figure with the scales' bounds and sizes in it."""
    figure = Figure(figsize=(8, 3.4))
    axes = figure.add_axes((0.085, 0.14, 0.64, 0.78))  # the legend stands at the right
    axes.set_xlabel("evaluation")
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    stages, free = curve.stages(), len(curve)
    for row in reversed(stages) if len(stages) > 1 else ():
        at = curve.evaluations[row["first"]]
        axes.axvline(at, color=INK, linewidth=0.8, linestyle=":")
        if row["first"] + len(curve) * ROOM <= free:  # where there is room beside the next size
            axes.annotate(row["size"], (at, 1), (3, 2), xycoords=("data", "axes fraction"), textcoords="offset points")
            free = row["first"]
    return figure, axes


def _legend(axes, reverse=False):
    handles, labels = axes.get_legend_handles_labels()
    labels = [text if len(text) <= LONGEST else text[: LONGEST - 1] + "…" for text in labels]
    labels = [text.replace("$", r"\$") for text in labels]  # they are text and no formula
    axes.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, reverse=reverse)


def _largest(curve):
    """{name: values} of the terms, the largest by themselves and the rest added up."""
    found = {name: np.asarray(column) for name, column in curve.terms.items()}
    if len(found) <= LINES:
        return found
    order = sorted(found, key=lambda name: -np.nan_to_num(found[name], posinf=0.0).max(initial=0))
    kept = {name: found[name] for name in found if name in order[: LINES - 1]}
    return kept | {OTHERS: np.sum([found[name] for name in order[LINES - 1 :]], axis=0)}


def _thinned(count: int) -> np.ndarray:
    """Indices of the points that are drawn: all, or POINTS evenly spaced, the ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int))


def step(curve: Curve) -> int:
    """Every how many evaluations one is drawn."""
    return max(1, round(len(curve) / POINTS))


def _svg(figure: "Figure", name: str, title: str, description: str) -> str:
    """The figure as an element of a page: its own names of parts, the page's colours, a title and a description."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(?<=\bid=")|(?<=href="#)|(?<=url\(#)', f"{name}-", text)  # several drawings are in one page
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)  # the page's
    for colour, own in zip((INK, GRID, *COLOURS), _names(), strict=True):
        text = text.replace(colour, f"var(--{own})")
    head = f'<svg role="img" aria-labelledby="{name}-title {name}-said" '
    said = (
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-said">{html.escape(description)}</desc>'
    )
    start = text.index(">") + 1
    return head + re.sub(r' (?:width|height)="[^"]*"', "", text[4:start]).lstrip() + said + text[start:].strip()


def _names() -> Sequence[str]:
    return ("ink", "grid", *(f"line-{k}" for k in range(1, LINES + 1)))
