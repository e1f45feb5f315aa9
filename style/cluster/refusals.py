"""What is not done over several ranks, and why."""

from ..options import SettingsError, flag

REFUSED = {  # options that need more than a strip of the picture, and what they work with instead
    "dither": "one machine: over several each dot would wait for all above it",
    "wrap": "one machine: over several the first strip would be the last one's neighbour",
    "precondition": "0 over several machines: the spectrum is one of the whole picture",
}


def check_settings(settings):
    """Raise SettingsError for what is not done over several ranks."""
    if settings.optimizer not in ("l-bfgs", "adam"):
        raise SettingsError(
            f"--optimizer {settings.optimizer}: over several machines l-bfgs or adam; the others keep whole vectors",
            "optimizer",
        )
    if not {**settings.content_layers, **settings.style_layers}:
        raise SettingsError(
            "--content-layers none, --style-layers none: over several machines at least one layer, whose tiles say "
            "who has which rows",
            "content_layers",
        )
    for name, works in REFUSED.items():
        if getattr(settings, name):
            raise SettingsError(f"{flag(name)}: works with {works}", name)
