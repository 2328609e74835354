"""Comparisons with judges: what is judged, what that takes, and what comes of it."""
