"""Trials on a Ray cluster. Only here is Ray imported."""

from tunesmith.executors.ray.cluster import trial_placement_group
from tunesmith.executors.ray.executor import RayExecutor

__all__ = ["RayExecutor", "trial_placement_group"]
