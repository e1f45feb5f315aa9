"""Pictures that are too large to be computed whole: tiles, and the plan that chooses them."""
