"""`tunesmith plot`: figures of results, as a page or an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tunesmith.cli.output import print_json, say
from tunesmith.cli.places import experiment_argument, find_experiment, json_option, storage_option

#: What `--kind` may say: the functions of `tunesmith.plots`.
KINDS = (
    "best_so_far",
    "learning_curves",
    "parallel_coordinates",
    "slices",
    "contour",
    "importance",
    "pareto_front",
    "timeline",
    "rung_survival",
    "comparison",
)
_WITHOUT_METRIC = ("pareto_front", "timeline", "rung_survival")


@click.command("plot", short_help="A figure, as a page or an image.")
@experiment_argument
@click.option("-k", "--kind", type=click.Choice(KINDS), metavar="KIND", default=KINDS[0], show_default=True)
@click.option("-o", "--output", metavar="FILE", help="An .html, .png, .svg or .pdf.  [default: KIND.html]")
@click.option("--metric", help="Another metric than the experiment's.")
@click.option("--with", "others", multiple=True, metavar="EXPERIMENT", help="Of a comparison: the others.")
@storage_option
@json_option
def command(
    experiment: str | None,
    kind: str,
    output: str | None,
    metric: str | None,
    others: tuple[str, ...],
    storage: str | None,
    as_json: bool,
) -> None:
    """Draw a figure of an experiment, also of one that runs. Needs the extra `plots`.

    Kinds are best_so_far, learning_curves, parallel_coordinates, slices, contour, importance, pareto_front, timeline,
    rung_survival and comparison; docs/plots.md shows them all.

    \b
    Examples:
      tunesmith plot my_experiment --kind learning_curves -o curves.png
      tunesmith plot first --kind comparison --with second -o comparison.html
    """
    if (kind == "comparison") != bool(others):
        raise click.UsageError("--kind comparison and --with EXPERIMENT belong together.")
    if metric is not None and kind in _WITHOUT_METRIC:
        raise click.UsageError(f"--metric has no meaning for {kind}.")
    places = [find_experiment(name, storage) for name in (experiment, *others)]
    path = Path(output or f"{kind}.html")
    figure = _figure(kind, places, {} if metric is None else {"metric": metric})
    from tunesmith import plots

    plots.save(figure, path)
    if as_json:
        print_json({"kind": kind, "path": path.absolute()})
    else:
        say(str(path))


def _figure(kind: str, places: list[Path], options: dict[str, Any]) -> Any:
    """The figure. Raises ImportError that says what to install, or why nothing can be drawn."""
    from tunesmith import plots
    from tunesmith.api import load

    results = [load(place) for place in places]
    try:
        if kind == "comparison":
            return plots.comparison({result.folder.name: result for result in results}, **options)
        return getattr(plots, kind)(results[0], **options)
    finally:
        for result in results:
            result.reader.close()
