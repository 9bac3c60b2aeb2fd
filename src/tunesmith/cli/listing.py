"""`tunesmith ls`: the experiments there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.output import is_utf_8, number, print_json, say, table, when
from tunesmith.cli.places import experiment_folders, json_option, results_root, storage_option

if TYPE_CHECKING:
    from tunesmith.stores import Reader

_HEADINGS = ("name", "status", "trials", "best", "metric", "started", "trainable")


@click.command("ls", short_help="List the experiments.")
@click.option("-n", "limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@click.option("-a", "--all", "is_all", is_flag=True, help="All of them.")
@storage_option
@json_option
def command(limit: int, is_all: bool, storage: str | None, as_json: bool) -> None:
    """List the experiments, the one changed last first.

    \b
    Examples:
      tunesmith ls
      tunesmith ls --storage results --json
    """
    root = results_root(storage)
    folders = experiment_folders(root)
    shown = folders if is_all else folders[:limit]
    facts = [summary(folder) for folder in shown]
    if as_json:
        print_json({"storage": root, "experiments": facts, "n_more": len(folders) - len(shown)})
        return
    if not facts:
        say(f"There is no experiment in {root}.")
        return
    for line in table(_HEADINGS, [_row(fact) for fact in facts], right=("trials", "best")):
        say(line)
    if len(folders) > len(shown):
        say(f"... and {len(folders) - len(shown)} more; --all shows them.")


def summary(folder: Path) -> dict[str, Any]:
    """The experiment in a few facts; where it cannot be read, why."""
    from tunesmith.errors import TunesmithError
    from tunesmith.stores import open_reader

    facts: dict[str, Any] = {"name": folder.name, "folder": str(folder)}
    if not is_utf_8(str(folder)):
        return facts | {"status": "unreadable", "error": "its name is not UTF-8"}
    try:
        reader = open_reader(folder)
    except TunesmithError as error:
        return facts | {"status": "unreadable", "error": str(error)}
    try:
        standing, spec = reader.status(), reader.spec
        objective = spec.objective
        best, best_trial = _best(reader)
        counts = reader.counts()
        return facts | {
            "status": standing_word(reader),
            "n_trials": sum(counts.values()),
            "n_wanted": spec.n_trials,
            "states": {state.value: n for state, n in counts.items()},
            "metric": None if objective is None else objective.metric,
            "mode": None if objective is None else objective.mode.value,
            "best": best,
            "best_trial": best_trial,
            "started_at": standing.started_at,
            "ended_at": standing.ended_at,
            "trainable": spec.trainable_name,
        }
    except TunesmithError as error:
        return facts | {"status": "unreadable", "error": str(error)}
    finally:
        reader.close()


def _best(reader: Reader) -> tuple[float | None, int | None]:
    """Value and trial of the best result. With constraints all results have to be looked at, else only the trials."""
    objective = reader.spec.objective
    if objective is not None and objective.constraints:
        from tunesmith.analysis.scores import best_point

        point = best_point(reader, objective.metric, mode=objective.mode, constraints=objective.constraints)
        return (None, None) if point is None else (point[3], point[0])
    top = reader.top_trials(1)
    return (top[0].best_value, top[0].index) if top else (None, None)


def standing_word(reader: Reader) -> str:
    """How it stands, in a word: `running` only where its driver lives, `lost` where that is gone without an end."""
    status = reader.status().status or "not started"
    return "lost" if status == "running" and reader.driver() is None else str(status)


def _row(fact: dict[str, Any]) -> list[str]:
    if "error" in fact:
        return [fact["name"], fact["status"], "", "", "", "", fact["error"]]
    wanted = "" if fact["n_wanted"] is None else f"/{fact['n_wanted']}"
    trials = f"{fact['n_trials']}{wanted}"
    metric = "" if fact["metric"] is None else f"{fact['mode']} {fact['metric']}"
    return [
        fact["name"],
        fact["status"],
        trials,
        number(fact["best"]),
        metric,
        when(fact["started_at"]),
        fact["trainable"],
    ]
