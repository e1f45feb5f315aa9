"""What a page asks for, checked: pictures by the ids that this program gave, options from a short list."""

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from ..options import SettingsError
from ..schedule import COARSEST
from ..settings import DEFAULT_SIZE, Settings, presets, settings_from

LARGEST = 4096  # pixels of a side: uploads are kept no larger
MOST_STYLES = 8
FIRST = 40  # evaluations at a scale of its own, coarser than those that pay: something to look at soon
NUMBERS = ("strength", "size", "evaluations", "seed")
OPTIONS = (*NUMBERS, "keep_colors", "style_blend")
FIELDS = ("content", "styles", "preset", *OPTIONS)
ID = re.compile(r"[0-9a-f]{16,24}")


class Refused(Exception):
    """What a page asked for and does not get: an HTTP status and a line that says why."""

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.message, self.status = message, status


def check_id(text: object) -> str:
    """An id that this program may have given. Raises Refused: nothing else ever becomes part of a path."""
    if not isinstance(text, str) or not ID.fullmatch(text):
        raise Refused("no such picture or run", 404)
    return text


def new_id(rank: str) -> str:
    """An id that sorts by rank, then by time: jobs are taken in the order of their names."""
    return f"{rank}{int(time.time() * 1000):011x}{secrets.token_hex(4)}"


def picture_names(count: int) -> list[str]:
    """Names of a run's pictures: the photograph, then the paintings."""
    return ["content.png", *(f"style-{k}.png" for k in range(1, count))]


@dataclass(frozen=True)
class Asked:
    """A picture that is wished for.

    content, styles  ids of uploads, or of a run's own pictures once they are there
    preset           a recipe's name, or None
    options          of OPTIONS
    """

    content: str
    styles: tuple[str, ...]
    preset: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, data: object) -> "Asked":
        """From a page's JSON. Raises Refused."""
        if not isinstance(data, dict):
            raise Refused("expected an object")
        unknown = [name for name in data if name not in FIELDS]
        if unknown:
            raise Refused(f"{unknown[0]!r:.40}: expected {', '.join(FIELDS)}")
        styles = data.get("styles")
        if not isinstance(styles, list) or not 1 <= len(styles) <= MOST_STYLES:
            raise Refused(f"styles: expected 1 to {MOST_STYLES} paintings")
        preset = data.get("preset") or None
        if preset is not None and (not isinstance(preset, str) or preset not in presets()):
            raise Refused(f"preset {preset!r:.40}: expected one of {', '.join(presets())}")
        options = checked({name: data[name] for name in OPTIONS if data.get(name) is not None})
        asked = cls(check_id(data.get("content")), tuple(map(check_id, styles)), preset, options)
        asked.settings()
        return asked

    def settings(self) -> Settings:
        """Settings of the job. Raises Refused."""
        count = len(self.styles)
        shares = self.options.get("style_blend", [1] * count)
        if len(shares) != count or not any(shares):
            raise Refused(f"style_blend: expected {count} shares, one for each painting, and one of them above 0")
        try:
            settings_from(self.preset, **self.options)
            return settings_from(self.preset, **self.job_options())
        except SettingsError as error:
            raise Refused(str(error)) from None

    def job_options(self) -> dict[str, Any]:
        """The options as a job file has them: coarse to fine from something that is there at once, but for recipes,
        which are what they were published as."""
        options = dict(self.options)
        if self.preset is None:
            size = options.setdefault("size", DEFAULT_SIZE)
            options["scales"] = scales(size, options.pop("evaluations", Settings.evaluations))
        return options


def checked(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a page, each of its type. Raises Refused; what their values may be, settings.py says."""
    for name, value in options.items():
        if name not in OPTIONS:
            raise Refused(f"{name!r:.40}: expected {', '.join(OPTIONS)}")
        if name in NUMBERS and not is_number(value):
            raise Refused(f"{name} {value!r:.40}: expected a number")
        if name == "keep_colors" and not isinstance(value, bool):
            raise Refused(f"{name} {value!r:.40}: expected a switch")
        if name == "style_blend" and not (isinstance(value, list) and all(map(is_number, value))):
            raise Refused(f"{name} {value!r:.40}: expected numbers")
    if options.get("size", 0) > LARGEST:
        raise Refused(f"size {options['size']}: expected at most {LARGEST} pixels")
    return options


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 2**63


def scales(size: int, evaluations: int) -> str:
    """--scales of a page's run: the sizes that `auto` gives and one coarser, of FIRST evaluations or fewer."""
    sizes = [size]
    while sizes[0] > COARSEST:
        sizes.insert(0, round(sizes[0] / 2))
    counts = [max(1, evaluations >> k) for k in range(len(sizes))]
    if sizes[0] >= 192:
        sizes.insert(0, round(sizes[0] / 2))
        counts.insert(0, min(FIRST, counts[0]))
    return ",".join(f"{side}:{count}" for side, count in zip(sizes, counts, strict=True))
