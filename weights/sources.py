"""Where the published networks lie: addresses and the hashes of what is there."""

import hashlib
from dataclasses import dataclass

from .known import VGG16_NEWER, VGG19_NEWER, VGG19_OLDER

VLFEAT = "www.vlfeat.org/matconvnet/models"


@dataclass(frozen=True)
class Source:
    """An address and the hash of what lies there (None: not published, the reader has to judge)."""

    url: str
    md5: str | None
    size: int | None = None

    @property
    def tag(self):
        """Part of the unfinished file's name: two addresses of the same bytes share it, others do not."""
        return self.md5[:8] if self.md5 else hashlib.sha256(self.url.encode()).hexdigest()[:8]


def _addresses(number, newer, older_md5):
    """Where a network lies, in the order of trying: newer layout, its archived copy, older layout."""
    file = f"imagenet-vgg-verydeep-{number}.mat"
    found = (
        Source(f"https://{VLFEAT}/{file}", newer.md5, newer.size),
        Source(f"http://{VLFEAT}/{file}", newer.md5, newer.size),
        # The Internet Archive; "id_" asks for the bytes as they were, without its own banner.
        Source(f"https://web.archive.org/web/2020id_/https://{VLFEAT}/{file}", newer.md5, newer.size),
        Source(f"https://{VLFEAT}/beta16/{file}", older_md5),
        Source(f"http://{VLFEAT}/beta16/{file}", older_md5),
    )
    return tuple(source for source in found if source.md5 or source.url.startswith("https:"))


SOURCES = {
    "vgg19": _addresses(19, VGG19_NEWER, VGG19_OLDER.md5),
    "vgg16": _addresses(16, VGG16_NEWER, None),
}
