"""What judges said, and how far they can be trusted: the same words and figures in every report."""
