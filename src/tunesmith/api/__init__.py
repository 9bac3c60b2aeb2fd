"""The faces: what a user calls to tune something."""

from tunesmith.api.load import load
from tunesmith.api.optimize import maximize, minimize
from tunesmith.api.run import run

__all__ = ["load", "maximize", "minimize", "run"]
