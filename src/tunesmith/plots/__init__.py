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

__all__ = ["best_so_far"]
