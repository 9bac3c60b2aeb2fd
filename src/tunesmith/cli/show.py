"""`tunesmith show`: one experiment, as the summary at its end has it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.output import print_json, say, width
from tunesmith.cli.places import experiment_argument, json_option, open_experiment, storage_option

if TYPE_CHECKING:
    from tunesmith.stores import Reader

_LABEL = 12


@click.command("show", short_help="How an experiment stands: counts, the best, failures.")
@experiment_argument
@storage_option
@json_option
def command(experiment: str | None, storage: str | None, as_json: bool) -> None:
    """Show how an experiment stands (the newest, if none is named): counts, the best config, failures.

    \b
    Examples:
      tunesmith show
      tunesmith show my_experiment --json
    """
    reader = open_experiment(experiment, storage)
    try:
        if as_json:
            print_json(facts(reader))
        else:
            for line in _lines(reader):
                say(line)
    finally:
        reader.close()


def facts(reader: Reader) -> dict[str, Any]:
    """The experiment for programs."""
    from tunesmith.cli.best import best_facts
    from tunesmith.cli.listing import summary

    spec, driver = reader.spec, reader.driver()
    return {
        **summary(reader.folder),
        "detail": reader.status().detail,
        "n_results": reader.n_results(),
        "searcher": spec.searcher_name,
        "scheduler": spec.scheduler_name,
        "seed": spec.seed,
        "driver": None if driver is None else {"host": driver.owner.host, "pid": driver.owner.pid},
        "best": best_facts(reader),
    }


def _lines(reader: Reader) -> list[str]:
    from tunesmith.callbacks.choices import Choices
    from tunesmith.callbacks.progress_view import LiveFacts, build_view
    from tunesmith.callbacks.summary import summary_lines

    spec, standing, now = reader.spec, reader.status(), time.time()
    started = spec.created_at if standing.started_at is None else standing.started_at
    live = LiveFacts(elapsed_s=max(0.0, (standing.ended_at or now) - started), now_wall=now)
    view = build_view(
        reader,
        live,
        folder=reader.folder,
        database=reader.path,
        log_file=lambda trial: reader.folder / "logs" / f"{trial.index:05d}.log",
    )
    lines = [text for text, _ in summary_lines(view, Choices(), width=min(width(), 120))]
    seed = f"{spec.searcher_name} and {spec.scheduler_name}, seed {spec.seed}"
    return [*lines[:1], *_driver_lines(reader), "chosen by".ljust(_LABEL) + seed, *lines[1:]]


def _driver_lines(reader: Reader) -> list[str]:
    driver = reader.driver()
    if driver is not None:
        return ["driver".ljust(_LABEL) + driver.words()]
    if reader.status().status == "running":
        words = "its driver is gone and did not close it; `tunesmith resume` or the same call goes on"
        return ["driver".ljust(_LABEL) + words]
    return []
