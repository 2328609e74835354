"""What runs in OpenCompass's own environment. It imports nothing of evalkit and loads no model."""
