"""evalkit's engine against lm-eval's HFLM: the same work, timed and compared sample by sample."""
