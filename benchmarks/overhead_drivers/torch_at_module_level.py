"""A training module as people write them: torch is imported at its top. `report` is the library's under test."""

from __future__ import annotations

import os

import torch

if os.environ["OVERHEAD_SYSTEM"] == "ray":
    from ray import tune

    def _report(**metrics):
        tune.report(metrics)
else:
    from tunesmith import report as _report


def train(config):
    """Something trivial that touches torch."""
    _report(loss=float(torch.tensor(config["x"])))
