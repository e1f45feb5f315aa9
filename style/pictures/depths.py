"""Bits a sample in a file whose decoder gives 8 and does not say of how many: AVIF and JPEG XL."""


def of_avif(start):
    """Of a file that begins with these bytes: those of its first AV1 configuration (AV1-ISOBMFF, 2.3.3), or 8."""
    at = start.find(b"av1C")
    if at < 0 or len(start) < at + 7:
        return 8
    high, twelve = start[at + 6] >> 6 & 1, start[at + 6] >> 5 & 1
    return 8 + 2 * high + 2 * (high & twelve)


def of_jxl(start):
    """Of a codestream, bare or in a container, that begins with these bytes (ISO 18181-1, annex D), or 8.

    One with a preview, which no encoder writes, counts as 8.
    """
    for box, further in ((b"jxlc", 4), (b"jxlp", 8)):
        if not start.startswith(b"\xff\x0a") and (at := start.find(box)) >= 0:
            start = start[at + further :]
    if not start.startswith(b"\xff\x0a"):
        return 8
    read = _Bits(start[2:66])
    read.size()
    if read(1):  # all as usual
        return 8
    if read(1):  # further fields
        read(3)  # orientation
        if read(1):
            read.size()
        if read(1):
            return 8
        if read(1):  # an animation: ticks, loops, time codes
            for ways in (((0, 0), (0, 0), (1, 10), (1, 30)), ((0, 0), (0, 0), (1, 8), (1, 10))):
                read.one_of(*ways)
            read.one_of((0, 0), (0, 3), (0, 16), (0, 32))
            read(1)
    floats = read(1)
    return read.one_of(*([(32, 0), (16, 0), (24, 0)] if floats else [(8, 0), (10, 0), (12, 0)]), (1, 6))


class _Bits:
    """JPEG XL's numbers, the lowest bit first."""

    def __init__(self, data):
        self.rest = int.from_bytes(data, "little")

    def __call__(self, count):
        value = self.rest & ((1 << count) - 1)
        self.rest >>= count
        return value

    def one_of(self, *ways):
        """U32: two bits say which (offset, bits) follows."""
        offset, bits = ways[self(2)]
        return offset + self(bits)

    def size(self):
        """A SizeHeader, of which nothing is wanted."""
        small = self(1)
        side = lambda: self(5) if small else self.one_of((1, 9), (1, 13), (1, 18), (1, 30))  # noqa: E731
        side()
        if self(3) == 0:  # no ratio
            side()
