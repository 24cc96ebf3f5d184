"""Other parameters of the same function: which units may be rescaled, and what comes of it."""
