"""Methods that are searcher and scheduler at once: one model decides what is tried, and how far it is trained."""

from __future__ import annotations

from tunesmith.methods.auto_scheduler import METHODS, AutoScheduler, Chosen, create_scheduler
from tunesmith.methods.curve_search import CurveSearch
from tunesmith.methods.freeze_thaw import FreezeThaw

__all__ = ["METHODS", "AutoScheduler", "Chosen", "CurveSearch", "FreezeThaw", "create_scheduler"]
