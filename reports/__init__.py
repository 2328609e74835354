"""What a comparison came to: printed, written and shown. Needs records alone, never a model."""
