"""Figures as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.errors import ConfigError, TunesmithError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_IMAGES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp")


def save(
    figure: Figure,
    path: str | os.PathLike[str],
    *,
    width: int = 900,
    height: int | None = None,
    scale: float = 1.0,
) -> Path:
    """Write a figure to a file: `.html` (one file that needs no network, 5 MB), or `.png`, `.svg`, `.pdf`, `.webp`.

    Images are drawn by a Chrome or Chromium without a window.

    Args:
        width, height: in pixels of the figure's layout; the height that the figure asks for, or 520, where left out.
        scale: pixels of the image for each of these: 2 for print.
    Returns: the path.
    Raises: ConfigError for another ending; ImportError without kaleido; TunesmithError without a browser.
    """
    target = Path(path)
    ending = target.suffix.lower()
    if ending == ".html":
        figure.write_html(target, include_plotlyjs=True, full_html=True)
        return target
    if ending not in _IMAGES:
        raise ConfigError(f"A figure cannot be saved as {target.name!r}. Give a name that ends in .html or {_IMAGES}.")
    try:
        import kaleido.errors
    except ImportError as error:
        raise ImportError("Images need kaleido, which is not installed: pip install tunesmith[plots]") from error
    try:
        image = figure.to_image(
            format=ending[1:].replace("jpg", "jpeg"),
            width=width,
            height=height or figure.layout.height or 520,
            scale=scale,
        )
    except (kaleido.errors.KaleidoError, RuntimeError) as error:
        raise TunesmithError(
            f"The image could not be drawn: {_first_line(error)} Images need a Chrome or Chromium: install one "
            "(Debian: apt-get install chromium) or name it in BROWSER_PATH; or save the figure as .html."
        ) from error
    target.write_bytes(image)
    return target


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
