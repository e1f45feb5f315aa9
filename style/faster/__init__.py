"""What makes `--preset fast` fast: our own L-BFGS, the weighted spectrum, deferred terms."""
