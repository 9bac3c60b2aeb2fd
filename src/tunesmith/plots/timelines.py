"""When and where each attempt ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunesmith.analysis.attempts import OUTCOMES, AttemptBar, attempt_bars
from tunesmith.plots.axes import duration_axis
from tunesmith.plots.figure import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    counted,
    empty_figure,
    escape,
    graph_objects,
    make_figure,
    reader_of,
    shortened,
    status_note,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from tunesmith.analysis import ExperimentAnalysis

_COLOURS = {
    "completed": BLUE,
    "stopped": ORANGE,
    "paused": PURPLE,
    "cloned": SKY,
    "failed": VERMILION,
    "lost": YELLOW,
    "interrupted": GREY,
    "running": GREEN,
}
_MAX_BARS = 5000
_MAX_LANES = 64


def timeline(result: ExperimentAnalysis) -> Figure:
    """When each attempt ran and how it ended: were the workers busy, and what did failures cost?

    A row is a place on a node: the lowest that was free when the attempt started, so there are as many rows as ran at
    once. Time between sessions of the experiment is left out. Of more than 5,000 attempts the longest are drawn, and of
    more than 64 rows the first.

    Raises: ImportError without plotly.
    """
    reader = reader_of(result)
    title = "Attempts over time"
    bars = attempt_bars(reader)
    if not bars:
        return empty_figure(title, "No attempt has started yet.")
    lanes = sorted({(bar.node, bar.lane) for bar in bars})
    shown = [bar for bar in bars if (bar.node, bar.lane) in set(lanes[:_MAX_LANES])]
    shown = sorted(sorted(shown, key=lambda bar: bar.start_s - bar.end_s)[:_MAX_BARS], key=lambda bar: bar.start_s)
    notes = [f"{counted(len(bars), 'attempt')} of {counted(len({bar.trial for bar in bars}), 'trial')}"]
    if len(shown) < len(bars):
        notes.append(f"the longest {len(shown):,} on the first {min(len(lanes), _MAX_LANES)} places")
    end_s = max(bar.end_s for bar in bars)
    busy = sum(bar.end_s - bar.start_s for bar in bars)
    if end_s > 0:
        notes.append(f"{len(lanes):,} at once, {busy / (end_s * len(lanes)):.0%} busy")
    figure = make_figure(title, [*notes, *status_note(reader)])
    unit_s, unit = duration_axis(end_s)
    places = {lane: i for i, lane in enumerate(lanes[:_MAX_LANES])}
    for outcome in OUTCOMES:
        mine = [bar for bar in shown if bar.outcome == outcome]
        if mine:
            _add_bars(figure, mine, outcome, places=places, unit_s=unit_s, unit=unit, has_gaps=len(shown) <= 1000)
    names = _lane_names(lanes[:_MAX_LANES])
    every = max(1, -(-len(names) // 32))
    figure.update_layout(
        barmode="overlay",
        xaxis={"title": {"text": f"time at work ({unit})"}, "range": [0, 1.01 * end_s / unit_s or 1.0]},
        yaxis={
            "title": {"text": "place"},
            "tickvals": list(range(0, len(names), every)),
            "ticktext": names[::every],
            "range": [len(names) - 0.5, -0.5],
            "showgrid": False,
            "ticks": "",
        },
        height=max(320, 190 + min(28 * len(names), 900)),
    )
    return figure


def _add_bars(
    figure: Figure,
    bars: list[AttemptBar],
    outcome: str,
    *,
    places: dict[tuple[str, int], int],
    unit_s: float,
    unit: str,
    has_gaps: bool,
) -> None:
    start = np.array([bar.start_s for bar in bars])
    width = np.array([bar.end_s for bar in bars]) - start
    figure.add_trace(
        graph_objects().Bar(
            orientation="h",
            name=outcome,
            base=start / unit_s,
            x=width / unit_s,
            width=0.85,
            y=[places[bar.node, bar.lane] for bar in bars],
            # Of a bar with a base, plotly's x is where it ends.
            customdata=[
                [bar.trial, bar.attempt, length] for bar, length in zip(bars, (width / unit_s).tolist(), strict=True)
            ],
            marker={"color": _COLOURS[outcome], "line": {"color": "white", "width": 0.6 if has_gaps else 0.0}},
            hovertemplate=f"trial %{{customdata[0]}}, attempt %{{customdata[1]}}: {outcome}<br>"
            f"from %{{base:.4g}} {unit}, for %{{customdata[2]:.4g}} {unit}<extra></extra>",
        )
    )


def _lane_names(lanes: list[tuple[str, int]]) -> list[str]:
    """Numbers from 1, with the node's name where there are several."""
    has_several = len({node for node, _ in lanes}) > 1
    return [
        f"{escape(shortened(node or 'unknown', 18))} · {lane + 1}" if has_several else str(lane + 1)
        for node, lane in lanes
    ]
