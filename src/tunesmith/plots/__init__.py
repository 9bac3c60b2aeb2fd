"""Plotly figures of results: what was found, how, and what it cost. Needs the extra `plots`.

    from tunesmith import plots

    figure = plots.best_so_far(result)
    figure.show()
    plots.save(figure, "best.png")

Each function takes what `tune.run` returned or `tune.load` gave, also of an experiment that still runs. What is drawn
is computed in `tunesmith.analysis`. docs/plots.md shows them all.
"""

from __future__ import annotations

from tunesmith.plots.best import best_so_far
from tunesmith.plots.comparison import comparison
from tunesmith.plots.contours import contour
from tunesmith.plots.curves import learning_curves
from tunesmith.plots.export import save
from tunesmith.plots.fronts import pareto_front
from tunesmith.plots.importances import importance
from tunesmith.plots.parallel import parallel_coordinates
from tunesmith.plots.rungs import rung_survival
from tunesmith.plots.slices import slices
from tunesmith.plots.timelines import timeline

__all__ = [
    "best_so_far",
    "comparison",
    "contour",
    "importance",
    "learning_curves",
    "parallel_coordinates",
    "pareto_front",
    "rung_survival",
    "save",
    "slices",
    "timeline",
]
