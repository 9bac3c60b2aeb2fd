"""`tunesmith best`: the best config, with its value, step and checkpoint from one and the same step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli import exit_codes
from tunesmith.cli.output import masked, number, print_json, say, table, warn
from tunesmith.cli.places import experiment_argument, json_option, open_experiment, storage_option

if TYPE_CHECKING:
    from tunesmith.analysis.scores import BestReport
    from tunesmith.stores import Reader


_KEPT = "SELECT path FROM checkpoints WHERE trial = ? AND attempt = ? AND step = ? AND state = 'kept'"


@click.command("best", short_help="The best config, its value and checkpoint.")
@experiment_argument
@click.option("--metric", help="Another metric than the experiment's.")
@click.option("--mode", type=click.Choice(["min", "max"]), help="Of that metric.")
@click.option("--top", type=click.IntRange(1), help="The best so many trials, as a table.")
@storage_option
@json_option
def command(
    experiment: str | None, metric: str | None, mode: str | None, top: int | None, storage: str | None, as_json: bool
) -> int:
    """Print the best config found so far, of any step of any trial.

    \b
    Examples:
      tunesmith best
      tunesmith best my_experiment --top 5
      tunesmith best my_experiment --metric accuracy --mode max --json
    """
    reader = open_experiment(experiment, storage)
    try:
        _check_is_known(reader, metric, mode)
        if top is not None:
            found = top_facts(reader, metric, mode, n=top)
            _print_top(found, as_json=as_json)
            return exit_codes.OK if found else exit_codes.NOTHING
        best = best_facts(reader, metric, mode)
        if as_json:
            print_json(best)
        elif best is not None:
            _print_best(best)
        if best is None:
            warn(f"tunesmith: {reader.spec.name} has no result to choose from yet. See `tunesmith show`.")
        return exit_codes.NOTHING if best is None else exit_codes.OK
    finally:
        reader.close()


def _check_is_known(reader: Reader, metric: str | None, mode: str | None) -> None:
    """Raise click.UsageError where the experiment does not say what is good, and the options do not either."""
    from tunesmith.analysis.scores import metrics_seen

    objective = reader.spec.objective
    if metric is None and objective is None:
        seen = ", ".join(metrics_seen(reader)) or "none yet"
        raise click.UsageError(
            f"{reader.spec.name} was run without a metric. Give --metric NAME --mode min (or max); it has {seen}."
        )
    if mode is None and metric is not None and (objective is None or metric not in objective.metrics):
        raise click.UsageError(f"Say which values of {metric} are good: --mode min or --mode max.")


def best_facts(reader: Reader, metric: str | None = None, mode: str | None = None) -> dict[str, Any] | None:
    """Everything of the best result from one report; None where there is none, or nobody says what is good."""
    if metric is None and reader.spec.objective is None:
        return None
    found = top_facts(reader, metric, mode, n=1)
    if not found:
        return None
    return {**found[0], "checkpoint": _fetched(reader, found[0]["checkpoint"])}


def _fetched(reader: Reader, checkpoint: str | None) -> str | None:
    """The checkpoint's folder, brought here where it lies at a URL; if that fails, where it would be."""
    from tunesmith.errors import TunesmithError
    from tunesmith.executors.remote_folders import fetch_if_elsewhere

    if checkpoint is None:
        return None
    try:
        return str(fetch_if_elsewhere(reader.folder, Path(checkpoint).relative_to(reader.folder).as_posix()))
    except TunesmithError as error:
        warn(f"tunesmith: {error}")
        return checkpoint


def top_facts(reader: Reader, metric: str | None, mode: str | None, *, n: int) -> list[dict[str, Any]]:
    """The same of the best `n` trials, the best first: of cross-validated ones those with the most folds.

    The experiment's constraints hold for its own metric, whether it is named here or not.

    Raises: ConfigError for an unknown metric, or where no mode is known.
    """
    from tunesmith.analysis.metric_choice import choose_metric
    from tunesmith.analysis.scores import best_of_each

    chosen, objective = choose_metric(reader, metric, mode), reader.spec.objective
    is_own = objective is not None and chosen.name == objective.metric
    constraints = objective.constraints if objective is not None and is_own else ()
    found = best_of_each(reader, chosen.name, mode=chosen.mode, constraints=constraints)
    found.sort(key=lambda best: (-best.n_folds, chosen.mode.as_loss(best.value), best.trial))
    return [_facts_of(reader, best, chosen.name, chosen.mode.value) for best in found[:n]]


def _facts_of(reader: Reader, best: BestReport, metric: str, mode: str) -> dict[str, Any]:
    """The report in which the trial had its best value, with the config of that very attempt."""
    kept = reader.query(_KEPT, (best.trial, best.attempt, best.step))
    return {
        "trial": best.trial,
        "trial_id": reader.trial(best.trial).trial_id,
        "metric": metric,
        "mode": mode,
        "value": best.value,
        "step": best.step,
        "checkpoint": str(reader.folder / kept[0][0]) if kept else None,
        "config": masked(reader.config_of(best.trial, best.attempt)),
    }


def _print_best(found: dict[str, Any]) -> None:
    from tunesmith.callbacks.text import clean, config_literal

    say(f"{found['metric']} {number(found['value'])} at step {found['step']} of trial {found['trial']}")
    for line in config_literal(found["config"]):
        say(line)
    if found.get("checkpoint"):
        say(f"checkpoint  {clean(found['checkpoint'])}")


def _print_top(found: list[dict[str, Any]], *, as_json: bool) -> None:
    from tunesmith.callbacks.text import format_config

    if as_json:
        print_json(found)
    elif found:
        rows = [
            [entry["trial"], number(entry["value"]), entry["step"], format_config(entry["config"])] for entry in found
        ]
        for line in table(("trial", found[0]["metric"], "step", "config"), rows, right=("trial", "step")):
            say(line)
