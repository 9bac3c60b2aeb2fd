"""How many trials reached each rung, and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith.analysis.survival import survival
from tunesmith.plots.axes import tick_text
from tunesmith.plots.figure import (
    BLUE,
    GREEN,
    LIGHT,
    ORANGE,
    VERMILION,
    counted,
    empty_figure,
    escape,
    graph_objects,
    make_figure,
    reader_of,
    status_note,
    why_empty,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from tunesmith.analysis import ExperimentAnalysis

_LOOKS = {
    "went on": ("went on", "#BCC4CE"),
    "completed": ("completed", BLUE),
    "stopped": ("stopped", ORANGE),
    "failed": ("failed", VERMILION),
    "not over": ("running, paused or interrupted", GREEN),
}


def rung_survival(result: ExperimentAnalysis) -> Figure:
    """How many trials reached each rung, and how many of them went on, were stopped, failed or completed after it.

    Where the scheduler has no rungs, or has not stopped or paused anyone at one, the bars are steps, doubling.
    Raises: ImportError without plotly.
    """
    reader = reader_of(result)
    found = survival(reader)
    title = "Trials at each rung" if found.has_rungs else "Trials at each step"
    if len(found.level) == 0:
        return empty_figure(title, why_empty(reader, found.time_attr))
    unit = found.time_attr
    first = "the first rung" if found.has_rungs else f"{unit} {tick_text(float(found.level[0]))}"
    reached = f"{int(found.n_reached[0]):,} of {counted(reader.n_trials(), 'trial')} reached {first}"
    figure = make_figure(title, [reached, *status_note(reader)])
    names = [tick_text(float(level)) for level in found.level]
    for fate, (legend, colour) in _LOOKS.items():
        counts = found.fates[fate]
        if counts.any():
            figure.add_trace(
                graph_objects().Bar(
                    x=names,
                    y=counts,
                    name=legend,
                    marker={"color": colour},
                    hovertemplate=f"{escape(unit)} %{{x}}: %{{y:,}} {legend}<extra></extra>",
                )
            )
    figure.add_trace(
        graph_objects().Scatter(
            x=names,
            y=found.n_reached,
            text=[f"{n:,}" for n in found.n_reached.tolist()],
            mode="text",
            textposition="top center",
            hoverinfo="skip",
            showlegend=False,
        )
    )
    top = float(found.n_reached.max())
    figure.update_layout(
        barmode="stack",
        bargap=0.35,
        xaxis={"title": {"text": escape(unit)}, "type": "category", "showgrid": False},
        yaxis={"title": {"text": "trials"}, "range": [0, 1.12 * top], "gridcolor": LIGHT, "rangemode": "tozero"},
    )
    if top <= 10:
        figure.update_layout(yaxis={"dtick": 1 if top <= 6 else 2})
    return figure
