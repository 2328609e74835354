"""The gate: what was asked of a comparison before the run, and what comes of it."""
