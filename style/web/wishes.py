"""What a page wishes of a run: the name of an empty file. It is changed by a rename, which a full disk has room for."""

import contextlib
import os
from pathlib import Path

NOTHING, PAUSE, STOP, REMOVE = "", "pause", "stop", "remove"
NAMES = {wish: f"wish.{wish or 'none'}" for wish in (NOTHING, PAUSE, STOP, REMOVE)}
TIMES = 3  # that all names are looked for: another process may change one meanwhile


def begin(run: Path) -> None:
    """Make the file in a run's folder."""
    (run / NAMES[NOTHING]).touch()


def wish_of(run: Path) -> str:
    """What is wished, or NOTHING."""
    for _ in range(TIMES):
        for wish, name in NAMES.items():
            if (run / name).exists():
                return wish
    return NOTHING


def set_wish(run: Path, wish: str) -> None:
    """Wish something else, or NOTHING. A folder of an earlier version gets its file then."""
    for _ in range(TIMES):
        for name in NAMES.values():
            with contextlib.suppress(FileNotFoundError):
                os.replace(run / name, run / NAMES[wish])
                return
    if wish:
        (run / NAMES[wish]).touch()
