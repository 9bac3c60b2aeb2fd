"""The loop and what stands around it."""

from tunesmith.runner.loop import Loop

__all__ = ["Loop"]
