"""What runs inside the sandbox's own process: standard library only, and nothing of evalkit's.

The process is started without site-packages; see `evalkit.scorers.code.sandbox`.
"""
