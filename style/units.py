"""Amounts as people write them: memory, durations, sizes."""

import re

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
INCH = {"in": 1, "cm": 2.54, "mm": 25.4}
BINARY = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_memory(text):
    """Bytes of "2GB", "1.5 GiB", "800M" or a plain number. GB is 10^9, GiB 2^30. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(i?)b?\s*", str(text), re.IGNORECASE)
    if not match or (match[3] and not match[2]):
        raise ValueError(f"memory {text!r}: expected a number with a unit, like 2GB, 1.5GiB or 800MB")
    unit = match[2].lower()
    amount = float(match[1]) * (BINARY if match[3] else UNITS)[unit]
    if amount > 1e18:
        raise ValueError(f"memory {str(text)[:20]!r}: expected less than 1000000 TB")
    found = int(amount)
    if found <= 0:
        raise ValueError(f"memory {text!r}: expected more than 0")
    return found


def parse_duration(text):
    """Seconds of "10m", "90s", "1.5h" or "1h30m". Raises ValueError."""
    found = re.fullmatch(r"(?=.)(?:([\d.]+)h)?(?:([\d.]+)m(?:in)?)?(?:([\d.]+)s)?", str(text).replace(" ", "").lower())
    try:
        seconds = sum(float(v) * unit for v, unit in zip(found.groups(), (3600, 60, 1), strict=True) if v)
    except (AttributeError, ValueError):
        seconds = 0
    if not 0 < seconds <= 1e9:
        raise ValueError(f"{str(text)[:40]!r}: expected a time with its unit, like 90s, 10m or 1h30m")
    return seconds


def parse_lengths(text):
    """(inches, …) of "90x60cm", "300mm" or "24x36in". Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)(?:\s*[x×]\s*(\d+(?:\.\d+)?))?\s*(cm|mm|in)\s*", str(text), re.IGNORECASE)
    if not match:
        raise ValueError(f"{text!r}: expected a size with a unit, like 90x60cm, 300mm or 24x36in")
    found = tuple(float(v) / INCH[match[3].lower()] for v in match.groups()[:2] if v is not None)
    if not all(0 < v < 1e4 for v in found):
        raise ValueError(f"{text!r}: expected sides above 0 and below 10000 inches")
    return found


def counted(number, thing):
    """1 tile, 2 tiles"""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def format_memory(nbytes):
    """2.4 GB, 850 MB"""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 999.5e6 else f"{nbytes / 1e6:.0f} MB"


def format_size(hw):
    """WIDTHxHEIGHT of (height, width): the one place that turns them."""
    return f"{hw[1]}x{hw[0]}"


def duration(seconds):
    """'42 s', '3 min 5 s', '2 h 10 min'"""
    s = round(seconds)
    if s < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{s} s"
    return f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"
