"""What of a style's features a loss can compare: a row here, a file each but for the core's; and their terms."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..styles import Group
from ..terms import Content, Gram, Term, TotalVariation
from .discrepancy import Discrepancy
from .histogram import Histogram
from .laplacian import Laplacian
from .matting import Matting
from .moments import Moments
from .nearest import Nearest
from .shifted import ShiftedGram
from .sliced import Sliced
from .wasserstein import Wasserstein

STYLE_LOSSES = {
    "gram": Gram,
    "shifted": ShiftedGram,
    "moments": Moments,
    "w2": Wasserstein,
    "cmd": Discrepancy,
    "histogram": Histogram,
    "sliced": Sliced,
    "nearest": Nearest,
}


def terms_of(settings, groups=None):
    """The terms of a settings.Settings, without their targets. groups  of styles (styles.Group); None: one style"""
    s = settings
    content, style = s.factors
    return make_terms(
        content={n: content * s.content_weight * v for n, v in s.content_layers.items()},
        style={n: style * s.style_weight * v for n, v in s.style_layers.items()},
        style_loss=s.style_loss,
        groups=groups,
        tv=s.tv_weight,
        tv_beta=s.tv_beta,
        photo=s.photo_weight,
        laplacian=s.laplacian_weight,
    )


def make_terms(
    *, content=None, style=None, style_loss=None, groups=None, tv=0.0, tv_beta=2.0, photo=0.0, laplacian=0.0
):
    """A list of terms.Term without targets.

    content     {layer: factor}
    style       {layer: factor}, of the style losses
    style_loss  {name in STYLE_LOSSES: factor}; None: {"gram": 1.0}
    groups      of styles (styles.Group), for each of which there are all style terms; None: one style
    tv          factor of total variation, tv_beta its exponent
    photo       factor of the content's matting Laplacian
    laplacian   factor of the difference to the content's Laplacian
    """
    groups = [Group("style", ((0, 1.0),))] if groups is None else groups
    terms = [Term(f"content {n}", Content(), n, a, "content") for n, a in (content or {}).items()]
    for name, factor in ({"gram": 1.0} if style_loss is None else style_loss).items():
        kind = "style" if name == "gram" else name
        terms += [
            Term(f"{kind} {n}{g.where}", STYLE_LOSSES[name](), n, factor * g.area * b, g.source)
            for g in groups
            for n, b in (style or {}).items()
        ]
    if tv:
        terms.append(Term("tv", TotalVariation(tv_beta), factor=tv))
    if photo:
        terms.append(Term("photo", Matting(), factor=photo, source="content"))
    if laplacian:
        terms.append(Term("laplacian", Laplacian(), factor=laplacian, source="content"))
    return terms


def equalised(terms: Sequence[Term], values: Mapping[str, float]) -> list[Term]:
    """The terms, their factors changed so that among those of one source and statistic each has the same value.

    values  {name: factor · loss} somewhere; the sum over such terms stays what it is there. A term of value 0 stays.
    """
    alike: dict[tuple, list[Term]] = {}
    for t in terms:
        if t.layer is not None and t.source not in (None, "content") and values[t.name] > 0:
            alike.setdefault((t.source, repr(t.statistic)), []).append(t)
    mean = {t.name: sum(values[u.name] for u in group) / len(group) for group in alike.values() for t in group}
    return [replace(t, factor=t.factor * mean[t.name] / values[t.name]) if t.name in mean else t for t in terms]
