"""`tunesmith trials`: the trials of an experiment, filtered and sorted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.output import masked, number, print_json, say, table, warn, width
from tunesmith.cli.places import experiment_argument, json_option, open_experiment, storage_option

if TYPE_CHECKING:
    from tunesmith.stores import Reader
    from tunesmith.trial import Trial

_MAX_LINES = 100  #: of a table, unless --limit says more
_MAX_SINGLE_READS = 200  #: beyond it reading all trials at once costs less


@click.command("trials", short_help="The trials, filtered and sorted.")
@experiment_argument
@click.option("-w", "--where", metavar="CONDITION", help="Only trials for which this is true.")
@click.option("-s", "--sort", multiple=True, metavar="NAME", help="By this; -NAME is the largest first. Repeatable.")
@click.option("-n", "--limit", type=click.IntRange(1), help="At most so many.  [default: 100, with --json all]")
@click.option("-c", "--columns", metavar="NAME,NAME", help="These columns only: names as in --where.")
@storage_option
@json_option
def command(
    experiment: str | None,
    where: str | None,
    sort: tuple[str, ...],
    limit: int | None,
    columns: str | None,
    storage: str | None,
    as_json: bool,
) -> None:
    """List the trials of an experiment.

    Conditions compare names with values: ==, !=, <, <=, >, >=, in, not in, and, or, not. Names are trial, status, step,
    best_value, time_total_s, reason, ..., parameters and metrics (config.x and metrics.x where both have an x).

    \b
    Examples:
      tunesmith trials -w "status == 'FAILED'" --columns trial,reason
      tunesmith trials my_experiment -w "loss < 1 and opt in ('a', 'b')" -s loss
      tunesmith trials -w "optimizer/lr < 1e-3" -s -time_total_s --json
    """
    reader = open_experiment(experiment, storage)
    try:
        found, n_all = _selected(reader, where, sort, limit or (None if as_json else _MAX_LINES))
        if columns is not None:
            _print_columns(reader, found, columns.split(","), as_json=as_json)
            if n_all > len(found) and not as_json:
                warn(_more_words(n_all - len(found)))
        elif as_json:
            print_json([trial_facts(reader, trial) for trial in found])
        else:
            for line in _table(reader, found):
                say(line)
            if n_all > len(found):
                say(_more_words(n_all - len(found)))
    finally:
        reader.close()


def _more_words(n: int) -> str:
    return f"... and {n} more; --limit shows them."


def _selected(reader: Reader, where: str | None, sort: tuple[str, ...], limit: int | None) -> tuple[list[Trial], int]:
    """The trials, and how many there are without the limit."""
    from tunesmith.cli.filters import Names, Sql, names_in, parse_sort, parse_where

    is_plain = where is None and not sort  # then nothing is named, and no trial needs to be read but those shown
    names = Names(frozenset(), frozenset()) if is_plain else names_in(reader)
    condition = Sql("1") if where is None else parse_where(where, names)
    order = parse_sort(sort, names)
    rows = reader.query(
        f"SELECT trial FROM trials WHERE {condition.text} ORDER BY {order.text}", condition.values + order.values
    )
    chosen = [int(index) for (index,) in rows[:limit]]
    if len(chosen) <= _MAX_SINGLE_READS:
        return [reader.trial(index) for index in chosen], len(rows)
    by_index = {trial.index: trial for trial in reader.trials()}
    return [by_index[index] for index in chosen if index in by_index], len(rows)


def trial_facts(reader: Reader, trial: Trial) -> dict[str, Any]:
    """A trial for programs."""
    checkpoint = trial.checkpoint
    return {
        "trial": trial.index,
        "trial_id": trial.trial_id,
        "status": trial.status.value,
        "config": masked(trial.config),
        "metrics": trial.metrics or {},
        "step": trial.step,
        "best_value": trial.best_value,
        "best_step": trial.best_step,
        "attempt": trial.attempt,
        "n_failures": trial.n_failures,
        "time_total_s": trial.time_total_s,
        "started_at": trial.started_at,
        "ended_at": trial.ended_at,
        "reason": trial.reason,
        "error": trial.error,
        "checkpoint": None if checkpoint is None else str(reader.folder / checkpoint.path),
        "log": str(reader.folder / "logs" / f"{trial.index:05d}.log"),
    }


def _table(reader: Reader, trials: list[Trial]) -> list[str]:
    """The same table as the live display has, so that both read alike."""
    from tunesmith.callbacks.choices import Choices
    from tunesmith.callbacks.progress_view import ProgressView
    from tunesmith.callbacks.tables import trial_table

    if not trials:
        return ["No trial."]
    spec = reader.spec
    names = {trial.index: f"{spec.trainable_name}_{trial.trial_id}" for trial in trials}
    view = ProgressView(
        name=spec.name, folder=str(reader.folder), trials=tuple(trials), names=names, objective=spec.objective
    )
    return trial_table(view, trials, choices=Choices(), width=width()).lines()


def _print_columns(reader: Reader, trials: list[Trial], columns: list[str], *, as_json: bool) -> None:
    from tunesmith.cli.filters import column_of, names_in

    names = names_in(reader)
    pieces = [column_of(column.strip(), names) for column in columns]
    values = tuple(value for piece in pieces for value in piece.values)
    rows = reader.query(f"SELECT trial, {', '.join(piece.text for piece in pieces)} FROM trials", values)
    by_index = {row[0]: row[1:] for row in rows}
    headings = [column.strip() for column in columns]
    cells = [_without_secrets(headings, by_index[trial.index]) for trial in trials]
    if as_json:
        print_json([dict(zip(headings, row, strict=True)) for row in cells])
        return
    for line in table(headings, [[number(value) for value in row] for row in cells], drops=False):
        say(line)


def _without_secrets(headings: list[str], row: Sequence[Any]) -> list[Any]:
    names = [re.sub(r"[\[\]\"']+", "/", heading).strip("/") for heading in headings]  # config["api_key"] is one too
    return [masked({name: value})[name] for name, value in zip(names, row, strict=True)]
