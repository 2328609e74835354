"""evalkit: is the fine-tuned model really better than its base?"""

__version__ = "0.1.0"
