"""`tunesmith best`: the best config, with its value, step and checkpoint from one and the same step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tunesmith.cli import exit_codes
from tunesmith.cli.output import number, print_json, say, table, warn
from tunesmith.cli.places import experiment_argument, json_option, open_experiment, storage_option

if TYPE_CHECKING:
    from tunesmith.analysis import ExperimentAnalysis
    from tunesmith.stores import Reader


class _Ranked(NamedTuple):
    metric: str
    trial: int
    value: float


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
        if top is not None:
            return _print_top(reader, metric, mode, n=top, as_json=as_json)
        found = best_facts(reader, metric, mode)
        if found is None:
            warn(f"tunesmith: {reader.spec.name} has no result to choose from yet. See `tunesmith show`.")
            return exit_codes.NOTHING
        if as_json:
            print_json(found)
        else:
            _print_best(found)
        return exit_codes.OK
    finally:
        reader.close()


def best_facts(reader: Reader, metric: str | None = None, mode: str | None = None) -> dict[str, Any] | None:
    """Everything of the best result from one step; None where there is none.

    Raises: ConfigError where the experiment has no metric and mode and none are given.
    """
    from tunesmith.analysis import ExperimentAnalysis
    from tunesmith.errors import TuneError

    analysis = ExperimentAnalysis(reader)
    objective = reader.spec.objective
    if metric is not None or mode is not None:
        ranked = _ranked(analysis, metric, mode)
        return _of_trial(analysis, ranked[0]) if ranked else None
    if objective is None:
        return None
    try:
        best = analysis.best
    except TuneError:
        return None
    return {
        "trial": best.trial.index,
        "trial_id": best.trial.trial_id,
        "metric": objective.metric,
        "mode": objective.mode.value,
        "value": best.value,
        "step": best.step,
        "checkpoint": best.checkpoint,
        "config": best.config,
    }


def _ranked(analysis: ExperimentAnalysis, metric: str | None, mode: str | None) -> list[_Ranked]:
    """Each trial with the best finite value it ever reported, the best first."""
    from tunesmith.analysis.metric_choice import choose_metric
    from tunesmith.analysis.scores import Scope, scores

    chosen = choose_metric(analysis.reader, metric, mode)
    found = scores(analysis.reader, chosen.name, mode=chosen.mode, scope=Scope.ALL)
    sign = 1 if chosen.mode.value == "min" else -1
    finite = [_Ranked(chosen.name, trial, value) for trial, value in found.items() if math.isfinite(value)]
    return sorted(finite, key=lambda entry: (sign * entry.value, entry.trial))


def _of_trial(analysis: ExperimentAnalysis, ranked: _Ranked) -> dict[str, Any]:
    """The result in which the trial had its best value, with the config of that very attempt."""
    results = analysis.reader.results(ranked.trial)
    at = next(result for result in results if result.metrics.get(ranked.metric) == ranked.value)
    checkpoint = None if at.checkpoint is None else str(analysis.folder / at.checkpoint)
    if at.checkpoint in analysis.reader.deleted_checkpoints():
        checkpoint = None
    return {
        "trial": ranked.trial,
        "trial_id": analysis[ranked.trial].trial_id,
        "metric": ranked.metric,
        "value": ranked.value,
        "step": at.step,
        "checkpoint": checkpoint,
        "config": analysis.reader.config_of(ranked.trial, at.attempt),
    }


def _print_best(found: dict[str, Any]) -> None:
    from tunesmith.callbacks.text import clean, config_literal

    say(f"{found['metric']} {number(found['value'])} at step {found['step']} of trial {found['trial']}")
    for line in config_literal(found["config"]):
        say(line)
    if found.get("checkpoint"):
        say(f"checkpoint  {clean(found['checkpoint'])}")


def _print_top(reader: Reader, metric: str | None, mode: str | None, *, n: int, as_json: bool) -> int:
    from tunesmith.analysis import ExperimentAnalysis
    from tunesmith.callbacks.text import format_config

    analysis = ExperimentAnalysis(reader)
    found = [_of_trial(analysis, entry) for entry in _ranked(analysis, metric, mode)[:n]]
    if as_json:
        print_json(found)
    elif found:
        rows = [
            [entry["trial"], number(entry["value"]), entry["step"], format_config(entry["config"])] for entry in found
        ]
        for line in table(("trial", found[0]["metric"], "step", "config"), rows, right=("trial", "step")):
            say(line)
    return exit_codes.OK if found else exit_codes.NOTHING
