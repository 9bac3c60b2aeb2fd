"""What all figures share: colours, titles, empty figures, and the import of plotly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.errors import ConfigError
from tunesmith.stores import Reader
from tunesmith.trial import TrialStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from plotly.graph_objects import Figure

    Array = NDArray[np.float64]

# The palette of Okabe and Ito (2008), told apart with every kind of colour blindness.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, BLACK = "#56B4E9", "#CC79A7", "#F0E442", "#222222"
GREY, LIGHT = "#8C8C8C", "#E3E6EA"
#: Of lines that are compared, in this order.
SERIES = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, BLACK)

STATE_COLOURS = {
    TrialStatus.COMPLETED: BLUE,
    TrialStatus.STOPPED: ORANGE,
    TrialStatus.FAILED: VERMILION,
    TrialStatus.INVALID: VERMILION,
    TrialStatus.RUNNING: GREEN,
    TrialStatus.PAUSED: PURPLE,
    TrialStatus.PENDING: GREY,
    TrialStatus.INTERRUPTED: GREY,
}
#: From good to bad: viridis without its yellow end, which is hard to see on white.
SCALE = ("#440154", "#3B528B", "#21908C", "#35B779", "#8FD744")
_FONT = "Inter, Segoe UI, Helvetica, Arial, DejaVu Sans, sans-serif"


def graph_objects() -> Any:
    """The module plotly.graph_objects.

    Raises: ImportError that says how to install it.
    """
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise ImportError("Figures need plotly, which is not installed: pip install tunesmith[plots]") from error
    return go


def reader_of(result: Any) -> Reader:
    """Where the result is read from.

    Raises: ConfigError if it is no result.
    """
    if isinstance(result, ExperimentAnalysis):
        return result.reader
    raise ConfigError(f"A figure was asked for of {type(result).__name__}. Give what tune.run or tune.load returned.")


def make_figure(title: str, notes: Sequence[str] = ()) -> Figure:
    """An empty figure with a title, and below it the notes in one line."""
    figure = graph_objects().Figure()
    axis = {
        "gridcolor": LIGHT,
        "linecolor": GREY,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": GREY,
        "ticklen": 4,
        "automargin": True,
        "title": {"standoff": 8, "font": {"size": 13}},
    }
    figure.update_layout(
        template="none",
        font={"family": _FONT, "size": 13, "color": BLACK},
        title={
            "text": f"<b>{escape(title)}</b>",
            "font": {"size": 17},
            "subtitle": {"text": wrapped(" · ".join(notes)), "font": {"size": 12, "color": "#5A5A5A"}},
            "x": 0.0,
            "xref": "paper",
            "xanchor": "left",
            "yref": "container",
            "y": 1.0,
            "yanchor": "top",
            "pad": {"t": 24},
        },
        margin={"l": 64, "r": 24, "t": 84, "b": 88},
        paper_bgcolor="white",
        plot_bgcolor="white",
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "x": 0.0, "xanchor": "left", "yref": "container", "y": 0.01, "yanchor": "bottom"},
        xaxis=axis,
        yaxis=axis,
    )
    return figure


def empty_figure(title: str, sentence: str) -> Figure:
    """A figure without data that says why."""
    figure = make_figure(title)
    figure.update_layout(xaxis={"visible": False}, yaxis={"visible": False})
    figure.add_annotation(
        text=wrapped(sentence), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font_size=15
    )
    return figure


def why_empty(reader: Reader, metric: str) -> str:
    """The sentence for an experiment in which nothing is known of a metric."""
    if reader.n_trials() == 0:
        return "The experiment has no trial yet."
    counts = ", ".join(f"{count} {state.value.lower()}" for state, count in reader.counts().items())
    if reader.n_results() == 0:
        return f"No trial has reported anything yet ({counts})."
    return f"No trial reported a finite {metric!r} ({counts})."


def without_value(value: Array, is_drawn: NDArray[np.bool_] | None = None) -> list[str]:
    """How many trials have no finite value, where there are any; for the subtitle.

    Args: is_drawn: trials that are drawn all the same, as crosses.
    """
    is_missing = ~np.isfinite(value)
    n = int(is_missing.sum() if is_drawn is None else (is_missing & ~is_drawn).sum())
    return [f"{n:,} without a finite value"] if n else []


def status_note(reader: Reader) -> list[str]:
    """That the experiment is not over, where it is not; for the subtitle."""
    status = reader.status().status
    if status == "running":
        return ["still running" if reader.driver() is not None else "cut off while it ran"]
    return [] if status is None or status == "finished" else [f"ended: {status}"]


def escape(text: str) -> str:
    """Text as it is, where plotly would read tags."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def wrapped(text: str, width: int = 110) -> str:
    """The text as plotly's HTML, broken between words."""
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return "<br>".join(escape(one) for one in [*lines, line])


def shortened(text: str, width: int = 28) -> str:
    """At most so many characters, the middle left out."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def told_apart(names: Sequence[str], width: int) -> list[str]:
    """Each shortened; of those that would read the same, the part in which they differ is kept."""
    texts = [shortened(name, width) for name in names]
    for text in {text for text in texts if texts.count(text) > 1}:
        same = [i for i, other in enumerate(texts) if other == text]
        letters = zip(*(names[i] for i in same), strict=False)
        start = next((place for place, ones in enumerate(letters) if len(set(ones)) > 1), 0)
        for i in same:
            rest = names[i][max(0, start - width // 3) :]
            texts[i] = f"…{rest}" if len(rest) < width else f"…{rest[: width - 2]}…"
    return texts


def counted(n: int, noun: str) -> str:
    """`1 trial`, `2,000 trials`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
