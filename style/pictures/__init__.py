"""Pictures in and out: decode, resize, save."""
