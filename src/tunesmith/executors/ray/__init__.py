"""Trials on a Ray cluster. Only here is Ray imported."""

from tunesmith.executors.ray.executor import RayExecutor

__all__ = ["RayExecutor"]
