"""The faces: what a user calls to tune something."""

from tunesmith.api.optimize import maximize, minimize
from tunesmith.api.run import run

__all__ = ["maximize", "minimize", "run"]
