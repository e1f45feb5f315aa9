"""A finished picture goes to its file, or where that fails to another place: it is not lost."""

from .names import refuge
from .pictures import images, saving
from .printing import warn


class SavedElsewhereError(images.ImageError):
    """The output could not be written; the message says why, and where the picture is."""


def write(result, output, replace, *, quality=None, dpi=None, checkpoint=None):
    """Save a result (or what has its `save`); returns where.

    replace     a function of a path: whether a file that is there gives way
    quality, dpi  as for saving.save
    checkpoint  checkpoint.Checkpoint of the run, or None: it keeps the state of a picture that cannot be written

    A name that another program has taken meanwhile is left alone: the picture gets the next number. Raises
    SavedElsewhereError where the picture went to the folder for temporary files, or nowhere.
    """
    name, number = output, 1
    while True:
        try:
            result.save(name, replace=replace(name), quality=quality, dpi=dpi)
            return name
        except saving.OutputExistsError as error:
            number += 1
            name = output.with_stem(f"{output.stem}-{number}")
            warn(f"{error}; the picture goes to {name}")
        except images.ImageError as error:
            state = f", the run in {checkpoint.path}" if checkpoint is not None and checkpoint.kept() else ""
            place = refuge()
            try:
                result.save(place, replace=False)
            except images.ImageError as other:
                raise SavedElsewhereError(f"{error}, nor could {other}{state}") from None
            raise SavedElsewhereError(f"{error}; the picture is in {place}{state}") from None
