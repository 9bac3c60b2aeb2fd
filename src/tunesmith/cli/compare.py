"""`tunesmith compare`: several experiments side by side."""

from __future__ import annotations

from typing import Any

import click

from tunesmith.cli.output import number, print_json, say, table, warn
from tunesmith.cli.places import complete_names, find_experiment, json_option, storage_option

_HEADINGS = ("name", "best", "metric", "trials", "results", "trial time", "status")


@click.command("compare", short_help="Several experiments side by side.")
@click.argument("experiments", nargs=-1, required=True, shell_complete=complete_names)
@storage_option
@json_option
def command(experiments: tuple[str, ...], storage: str | None, as_json: bool) -> None:
    """Compare experiments: the best value of each, what it cost, and the parameters in which the best configs differ.

    \b
    Examples:
      tunesmith compare first second
      tunesmith plot first --kind comparison --with second -o comparison.html
    """
    if len(experiments) < 2:
        raise click.UsageError("Give two experiments or more.")
    facts = [_facts(name, storage) for name in experiments]
    if as_json:
        print_json(facts)
        return
    _warn_of_other_metrics(facts)
    for line in table(_HEADINGS, [_row(fact) for fact in _ranked(facts)], right=("best", "trials", "results")):
        say(line)
    lines = _differences(facts)
    if lines:
        say("")
        for line in lines:
            say(line)


def _facts(name: str, storage: str | None) -> dict[str, Any]:
    from tunesmith.cli.show import facts
    from tunesmith.stores import open_reader

    reader = open_reader(find_experiment(name, storage))
    try:
        (time_s,) = reader.query("SELECT total(time_total_s) FROM trial_states")[0]
        return {**facts(reader), "trial_time_s": time_s}
    finally:
        reader.close()


def _ranked(facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best first, where all have the same metric; those without a result last."""
    if len({(fact["metric"], fact["mode"]) for fact in facts}) > 1:
        return facts
    sign = -1 if facts[0]["mode"] == "max" else 1
    return sorted(facts, key=lambda f: (f["best"] is None, sign * f["best"]["value"] if f["best"] else 0.0))


def _row(fact: dict[str, Any]) -> list[str]:
    from tunesmith.callbacks.text import format_duration

    best = fact["best"]
    metric = "" if fact["metric"] is None else f"{fact['mode']} {fact['metric']}"
    counts = [str(fact["n_trials"]), str(fact["n_results"]), format_duration(fact["trial_time_s"])]
    return [fact["name"], "" if best is None else number(best["value"]), metric, *counts, fact["status"]]


def _differences(facts: list[dict[str, Any]]) -> list[str]:
    """A table of the parameters that are not the same in all of the best configs."""
    from tunesmith.callbacks.text import flat_config, format_value

    configs = {fact["name"]: flat_config(fact["best"]["config"]) for fact in facts if fact["best"] is not None}
    names = dict.fromkeys(name for config in configs.values() for name in config)
    rows = []
    for name in names:
        cells = [format_value(name, config[name]) if name in config else "-" for config in configs.values()]
        if len(set(cells)) > 1:
            rows.append([name, *cells])
    return table(("best config", *configs), rows) if len(configs) > 1 and rows else []


def _warn_of_other_metrics(facts: list[dict[str, Any]]) -> None:
    if len({(fact["metric"], fact["mode"]) for fact in facts}) > 1:
        warn("tunesmith: these experiments optimise different metrics; they are not ranked.")
