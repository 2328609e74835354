"""lm-eval's tasks as suites: its prompts, filters, scores and aggregates, through our engine."""
