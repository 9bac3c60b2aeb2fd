"""`tunesmith confirm`: the best configs of an experiment again, with new seeds, and which one to take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli import exit_codes
from tunesmith.cli.method_options import is_given
from tunesmith.cli.output import masked, print_json, say
from tunesmith.cli.places import experiment_argument, find_experiment, json_option, storage_option

if TYPE_CHECKING:
    from tunesmith.analysis.confirmation import Confirmation


@click.command("confirm", short_help="Run the best configs again: was the winner lucky?")
@experiment_argument
@click.argument("target", required=False)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="How many of the best configs.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Of each, with new seeds.")
@click.option("--name", help="Of the experiment with the repeats.  [default: EXPERIMENT-confirm]")
@click.option("--seed", type=click.IntRange(0), help="For the same seeds again.")
@click.option(
    "--cwd", metavar="FOLDER", type=click.Path(exists=True, file_okay=False), help="Where it is run, if not as before."
)
@click.option("--takeover", is_flag=True, help="Fence off another process that runs the repeats.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress, only the answer.")
@storage_option
@json_option
def command(experiment: str | None, target: str | None, **options: Any) -> int:
    """Run the best configs of EXPERIMENT again (the newest, if none is named), and say which one to take.

    Each repeat is trained as far as its config was when it was best. What `tunesmith run` started is run by the same
    arguments, in the same directory. For an experiment that a Python script started give the function as TARGET.
    Interrupted, the same command goes on; more --repeats add to it.

    \b
    Examples:
      tunesmith confirm
      tunesmith confirm my_experiment --top 5 --repeats 10
      tunesmith confirm my_experiment train.py:train --json
    """
    from tunesmith.api import load
    from tunesmith.api.confirm import confirm
    from tunesmith.cli.request import enter_directory, recorded_request, trainable_and_space

    found = find_experiment(experiment, options["storage"])
    folder = found.parent if found.is_file() else found
    is_silent = options["as_json"] or options["quiet"]
    arguments = {name: options[name] for name in ("name", "seed", "takeover") if is_given(options[name])}
    if target is None:
        request = recorded_request(folder)
        enter_directory(options["cwd"] or request.cwd)
        trainable, space = trainable_and_space(request)
        if "executor" in request.options:
            arguments["executor"] = request.options["executor"]
    else:
        from tunesmith.cli.target import load_target

        if options["cwd"]:
            enter_directory(options["cwd"])
        trainable, space = load_target(target), None
    answer = confirm(
        load(folder),
        options["top"],
        options["repeats"],
        trainable,
        config=space,
        verbose=0 if is_silent else 2,
        **arguments,
    )
    if options["as_json"]:
        print_json(facts(answer))
    else:
        say(str(answer))
    if any(one.n_left for one in answer.configs):
        return exit_codes.INTERRUPTED
    return exit_codes.FAILED if answer.configs[0].is_mostly_without_value else exit_codes.OK


def facts(answer: Confirmation) -> dict[str, Any]:
    """The answer for programs."""
    lead = answer.lead
    return {
        "metric": answer.metric,
        "mode": answer.mode.value,
        "configs": [
            {
                "config": masked(one.config),
                "mean": one.mean,
                "interval": one.interval,
                "values": one.values,
                "claimed": one.claimed,
                "step": one.step,
                "trial": one.trial,
                "n_failed": one.n_failed,
                "n_no_value": one.n_no_value,
                "n_left": one.n_left,
                "n_out_of_bounds": one.n_out_of_bounds,
            }
            for one in answer.configs
        ],
        "lead": lead and {"by": lead.by, "interval": lead.interval, "is_clear": lead.is_clear, "unclear": lead.unclear},
        "experiment": None if answer.result is None else str(answer.result.folder),
    }
