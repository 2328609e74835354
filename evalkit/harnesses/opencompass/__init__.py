"""OpenCompass's data sets as suites: its prompts and scores, over our engine."""
