"""Judges: who compares two arms' answers where no rule can, and how far each is to be trusted."""
