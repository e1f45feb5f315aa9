"""Pictures in and out: decode, resize, save."""


class ImageError(Exception):
    """A picture that cannot be read or written: one line with the file, what was found and what to do."""
