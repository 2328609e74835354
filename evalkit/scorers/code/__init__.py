"""Answers that are programs: put together with their tests, and run in a sandbox.

Nothing is imported here: the sandbox's own process comes through this package without packages.
"""
