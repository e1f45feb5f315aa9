"""Neural style transfer after Gatys, Ecker & Bethge: losses, objective, optimisers, and the job that ties them."""

from .settings import Settings, SettingsError, presets, settings_from
from .transfer import Job, Result, transfer

__all__ = ["Job", "Result", "Settings", "SettingsError", "presets", "settings_from", "transfer"]
