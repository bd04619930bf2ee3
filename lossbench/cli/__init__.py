"""The command line."""

from lossbench.cli.program import app, main

__all__ = ["app", "main"]
