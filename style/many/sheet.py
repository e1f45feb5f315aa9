"""A contact sheet: pictures in a grid, a label above each, and small ones of what they were made from at the left."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..pictures import images

LARGEST = 8192  # pixels of a sheet's longest side, about: larger cells are made smaller
COLUMNS = 6  # of a grid that has but one row: longer ones go on below
SMALLEST = 9  # pixels of a label's letters
GAP = 12  # pixels between cells
PAPER, INK = (255, 255, 255), (30, 30, 30)


def sheet_size(cell_hw, columns, count):
    """(height, width) of a sheet of `count` cells."""
    return _Layout(cell_hw, columns, count).size


def contact_sheet(cells, corner, cell_hw, columns):
    """(H, W, 3) uint8.

    cells    [(label, (h, w, 3) 0..255 or None), …], row by row; a picture is fitted into its cell
    corner   [(h, w, 3) 0..255]: the photograph and the styles, in the column at the left
    cell_hw  (height, width) of a cell, made smaller where the sheet would be larger than LARGEST
    columns  of the grid
    """
    layout = _Layout(cell_hw, columns, len(cells))
    sheet = Image.new("RGB", layout.size[::-1], PAPER)
    draw = ImageDraw.Draw(sheet)
    y = GAP + layout.text
    for rgb in corner:
        small = _fitted(rgb, (layout.cell[0], layout.side))
        if y + small.height > sheet.height - GAP:
            break  # more styles than there is room for
        sheet.paste(small, (GAP, y))
        y += small.height + GAP
    font = _font(draw, [label for label, _ in cells], layout.text, layout.cell[1])
    cells = [(_shortened(draw, label, font, layout.cell[1]), rgb) for label, rgb in cells]
    for k, (label, rgb) in enumerate(cells):
        x, y = layout.place(k)
        draw.text((x, y + layout.text // 2), label, fill=INK, font=font, anchor="lm")
        y += layout.text
        if rgb is None:
            box = (x, y, x + layout.cell[1] - 1, y + layout.cell[0] - 1)
            draw.rectangle(box, outline=INK)
            draw.line(box, fill=INK)
        else:
            sheet.paste(_fitted(rgb, layout.cell), (x, y))
    return np.asarray(sheet)


class _Layout:
    """Where everything goes: `cell` (h, w), `side` the width of the left column, `text` the height of a label."""

    def __init__(self, cell_hw, columns, count):
        self.columns = min(columns, COLUMNS) if columns == count else columns
        self.rows = -(-count // self.columns)
        scale = min(1.0, LARGEST / (cell_hw[0] * self.rows), LARGEST / (cell_hw[1] * (self.columns + 0.5)))
        self.cell = tuple(max(1, round(v * scale)) for v in cell_hw)
        self.side = max(self.cell[1] // 2, 32)
        self.text = min(max(self.cell[1] // 12, 16), 64)
        h, w = self.cell
        self.size = (GAP + self.rows * (h + self.text + GAP), 2 * GAP + self.side + self.columns * (w + GAP))

    def place(self, k):
        """(x, y) of cell k's upper left corner, its label included."""
        row, column = divmod(k, self.columns)
        h, w = self.cell
        return 2 * GAP + self.side + column * (w + GAP), GAP + row * (h + self.text + GAP)


def _fitted(rgb, box_hw):
    """A picture inside a box, as it is where it fits."""
    h, w = rgb.shape[:2]
    scale = min(1.0, box_hw[0] / h, box_hw[1] / w)
    size = (max(1, int(h * scale)), max(1, int(w * scale)))
    return Image.fromarray(images.to_uint8(rgb if scale == 1 else images.resize(rgb, size)))


def _font(draw, labels, height, width):
    """The largest font in which all labels fit into their lines."""
    size = height * 0.7
    while size > SMALLEST and max(draw.textlength(s, font=ImageFont.load_default(size)) for s in labels) > width:
        size *= 0.9
    return ImageFont.load_default(size)


def _shortened(draw, label, font, width):
    """A label that is too long for the smallest letters, cut at its end."""
    if draw.textlength(label, font=font) <= width:
        return label
    while label and draw.textlength(label + "…", font=font) > width:
        label = label[:-1]
    return label + "…"


def shown(value):
    """A value in a label."""
    if isinstance(value, dict):
        return ",".join(k if v == 1 else f"{k}:{v:g}" for k, v in value.items()) or "none"
    if isinstance(value, tuple | list):
        return ",".join(map(shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else "array" if _is_array(value) else str(value)


def _is_array(value):
    return getattr(value, "ndim", 0) > 0


def identity(value):
    """What tells one value from another; an array is told by itself, whatever is in it."""
    several = isinstance(value, tuple | list)
    return tuple(map(identity, value)) if several else id(value) if _is_array(value) else repr(value)
