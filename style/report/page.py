"""A report as HTML: one file with everything in it, whose text is escaped and which asks for nothing from elsewhere."""

import base64
import hashlib
import math
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import features

from minivgg.program import printable

from ..options import default_of, flag, options_of
from ..pictures import images, saving
from ..provenance import is_texture, records
from ..settings import Settings
from ..units import duration, format_size
from . import plots
from .facts import LARGEST, SIDE, reduced
from .repeat import again, as_text, changed, command

FOLDER = Path(__file__).parent
LARGE, MEDIUM, FILM = 400_000, 250_000, 150_000  # bytes: the result and the content each; all styles; the film
ATTEMPTS = [(LARGEST, 85), (LARGEST, 75), (1000, 75), (1000, 60), (800, 60), (600, 50), (400, 40), (240, 40)]
STYLE_SIDE, THUMBNAILS = 480, 1_500_000  # pixels of a style; bytes of all of a sheet's pictures


def page(facts):
    """The HTML of facts.Facts, of less than about 2 MB."""
    record, curve = facts.record, facts.curve
    size = record["stages"][-1]["size"]
    names = {"content": (record.get("content") or {}).get("name"), "texture": is_texture(record)}
    styles = records(record.get("style"))
    shown = [rgb for rgb in facts.styles if rgb is not None]
    film = [{"label": label, "url": url(frame, FILM // len(facts.frames), SIDE)} for label, frame in facts.frames]
    return _render(
        "report.html",
        facts=facts,
        record=record,
        result=record["result"],
        names=names,
        size=f"{size[0]}x{size[1]}",
        picture=url(facts.rgb, LARGE, alpha=facts.alpha),
        content=None if facts.content is None else url(facts.content, LARGE),
        small=None if facts.content is None else url(facts.content, MEDIUM // 4, STYLE_SIDE),
        styles=[
            (one.get("name"), None if rgb is None else url(rgb, MEDIUM // len(shown), STYLE_SIDE))
            for one, rgb in zip(styles, facts.styles, strict=True)
        ],
        film=film,
        drawings=_drawings(curve),
        step=plots.step(curve),
        terms=_terms(curve, record["result"]["terms"]),
        stages=_stages(record, curve),
        parameters=list(_parameters(record["settings"])),
        hashes=_hashes(facts),
        command=command(record),
        again=again(facts.name),
    )


def sheet(title, entries):
    """The HTML of a sheet of listener.Entry."""
    each = THUMBNAILS // max(1, len(entries))
    cards = [(e, None if e.rgb is None else url(e.rgb, each, SIDE)) for e in entries]
    return _render("sheet.html", title=title, cards=cards)


def url(rgb, budget, side=LARGEST, alpha=None):
    """A picture as a data URI of at most about `budget` bytes: made smaller and coarser until it is.

    rgb  (H, W, 3) 0..255, alpha (H, W) 0..1 or None
    """
    name = "picture.webp" if features.check("webp") else "picture.jpg"
    data = b""
    exact = [(LARGEST, 100)] if name.endswith("webp") and rgb.size <= budget else []  # without loss, where it fits
    for largest, quality in exact + ATTEMPTS:
        size = reduced(rgb.shape[:2], min(side, largest))
        opacity = None if alpha is None else images.resize(alpha, size)
        data = saving.encode(name, images.resize(rgb, size), alpha=opacity, quality=quality)
        if len(data) <= budget:
            break
    kind = "webp" if name.endswith("webp") else "jpeg"
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")


def _drawings(curve):
    """The loss as SVG: the whole, and by term where there are several."""
    wished = (plots.total, plots.by_term, plots.shares) if len(curve.terms) > 1 else (plots.total,)
    return [Markup(draw(curve)) for draw in wished] if len(curve) else []


def _terms(curve, values):
    """[(term, first value, share of it, the picture's, share of it)], the last two of the picture that was kept."""
    first = {name: column[0] for name, column in curve.terms.items()} if len(curve) else {}
    totals = [sum(found.values()) or 1.0 for found in (first, values)]
    rows = []
    for name, value in values.items():
        start = first.get(name, math.nan)
        rows.append((name, _number(start), _percent(start / totals[0]), _number(value), _percent(value / totals[1])))
    return rows


def _stages(record, curve):
    """A row for each scale: what was planned, and what it took."""
    took = {row["scale"]: row for row in curve.stages()}
    rows = []
    for number, stage in enumerate(record["stages"], 1):
        found = took.get(number, {})
        done, seconds = found.get("evaluations", 0), found.get("seconds", math.nan)
        styles = stage["style size"]  # of one style its size, else a list of them
        styles = [styles] if styles and not isinstance(styles[0], list | tuple) else styles
        rows.append(
            {
                "size": format_size(stage["size"][::-1]),
                "styles": ", ".join(format_size(s[::-1]) for s in styles),
                "planned": stage["evaluations"],
                "done": done if len(curve) else "–",
                "took": "–" if math.isnan(seconds) else duration(seconds),
                "each": "–" if math.isnan(seconds) or not done else f"{seconds / done:.3g} s",
                "memory": stage["memory"],
                "more": ", ".join(f"{name} {as_text(stage[name])}" for name in ("history", "lag", "precondition")),
            }
        )
    return rows


def _parameters(stored):
    """(flag, value, default, whether it is another) of each."""
    other = changed(stored)
    for name in options_of(Settings):
        yield flag(name), _said(stored.get(name)), _said(default_of(Settings, name)), name in other


def _said(value):
    return "–" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else as_text(value)


def _hashes(facts):
    """[(what, name, sha256)]"""
    record = facts.record
    found = [] if facts.sha256 is None else [("the picture's file", facts.name, facts.sha256)]
    kinds = [("content", record.get("content"))] if not is_texture(record) else []
    kinds += [("style", one) for one in records(record.get("style"))] + [("start", record.get("init"))]
    kinds += [("weights", record.get("weights"))]
    return found + [(what, one.get("name"), one.get("sha256")) for what, one in kinds if one]


def _number(value):
    return "–" if value is None or math.isnan(value) else f"{value:.6g}"


def _percent(share):
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def _render(name, **values):
    script = (FOLDER / "slider.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    more = {"script": Markup(script), "script_hash": digest, "style": Markup(style), "duration": duration}
    return _environment().get_template(name).render(**values, **more)


@cache
def _environment():
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FileSystemLoader(FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda v: printable(v) if isinstance(v, str) and not isinstance(v, Markup) else v,
    )
    environment.filters["number"] = _number
    return environment
