"""The samples of a TIFF's page by rows: strips or tiles are decoded as they are asked for, none is kept for long."""

import numpy as np


class Rows:
    """Rows of a tifffile page, (H, W, S): rows[a:b] decodes the strips, or the rows of tiles, that these lie in.

    page  tifffile.TiffPage;  file  the open file;  tags  tiff.Tags
    """

    def __init__(self, page, file, tags):
        self.page, self.file = page, file
        self.shape = (tags.size[1], tags.size[0], len(tags.bits))
        self.planes = self.shape[2] if tags.planar else 1
        self.high = min(tags.segment_rows, self.shape[0])
        wide = page.tilewidth if page.is_tiled else self.shape[1]
        self.across, self.down = -(-self.shape[1] // wide), -(-self.shape[0] // self.high)
        self._kept = None, None  # the last row of segments: two calls may share it

    def __getitem__(self, rows):
        """(b - a, W, S) from a slice a:b."""
        first, last, _ = rows.indices(self.shape[0])
        out = []
        for k in range(first // self.high, -(-last // self.high)):
            top = k * self.high
            out.append(self._segments(k)[max(first - top, 0) : last - top])
        return out[0] if len(out) == 1 else np.concatenate(out)

    def _segments(self, k):
        """Row `k` of strips or tiles, (h, W, S)."""
        if self._kept[0] == k:
            return self._kept[1]
        self._kept = None, None
        H, W, S = self.shape
        high = min(self.high, H - k * self.high)
        out = np.empty((high, W, S), self.page.dtype)
        for plane in range(self.planes):
            for i in range(self.across):
                index = (plane * self.down + k) * self.across + i
                self.file.seek(self.page.dataoffsets[index])
                data = self.file.read(self.page.databytecounts[index])
                tables = {"jpegtables": self.page.jpegtables, "jpegheader": self.page.jpegheader}
                segment, (*_, left, _), _ = self.page.decode(data, index, **tables)
                segment = segment[0, :high, : W - left]  # (h, w, S or 1)
                if segment.shape[0] < high:
                    raise EOFError(f"{segment.shape[0]} of {high} rows in strip or tile {index}")
                samples = slice(plane, plane + 1) if self.planes > 1 else slice(None)
                out[:, left : left + segment.shape[1], samples] = segment
        self._kept = k, out
        return out
