"""`tune.confirm`: the best configs of a search again, with new seeds, since the winner of a noisy search is lucky."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.analysis.claims import Claim, best_claims, same_text, single_objective
from tunesmith.analysis.confirmation import Confirmation
from tunesmith.analysis.repeats import judge
from tunesmith.api.folder import existing
from tunesmith.api.load import stored_arguments
from tunesmith.api.run import run
from tunesmith.errors import ConfigError, ExperimentExistsError, SpaceError
from tunesmith.events import Suggestion
from tunesmith.rng import derived_seed
from tunesmith.searchers.repeated_configs import RepeatedConfigs
from tunesmith.space import Choice, Opaque, Space, objects_in, readable_space, restore_space
from tunesmith.space.categorical import Categorical
from tunesmith.spec import check_number
from tunesmith.stoppers.arguments import whole
from tunesmith.stoppers.own_limit import OwnLimitStopper
from tunesmith.stores import open_reader
from tunesmith.stores.codec import parse_config
from tunesmith.trialside.trainable import Trainable

#: Arguments of `run` that are settled here.
_SETTLED = (
    "metric", "mode", "constraints", "parameter_constraints", "stop", "scheduler", "search_alg", "num_samples",
    "points_to_evaluate", "warm_start", "local_dir", "storage_path",
)  # fmt: skip
#: What the search was limited by is no limit of its confirmation.
_OF_THE_SEARCH = ("search_alg", "num_samples", "time_budget_s", "max_total_steps", "fail_fast")
_BEGUN = "SELECT trial, config, max_t FROM trial_configs JOIN trial_states USING (trial) ORDER BY trial"


def confirm(
    result: ExperimentAnalysis,
    top: int = 3,
    repeats: int = 5,
    trainable: Any = None,
    *,
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
    seed: int | None = None,
    **run_arguments: Any,
) -> Confirmation:
    """Run the best configs of a search again, each several times with new seeds, and say which one to take.

    The best of many noisy results is partly luck. Each repeat is trained to the step at which its config was best in
    the search, and judged by its value there (the last before it, where it ended earlier), not by its luckiest step.
    Functions that report folds train all of them to their own end, and are judged by the mean over them.
    The repeats are an experiment of their own beside the search; the same call goes on with it, and larger `repeats`
    add to it. Failed repeats are counted, and raise nothing.

    Args:
        result: of a search with one metric, as `run`, `minimize` or `load` gave it.
        top: how many different configs, the best by the objective; those of failed trials are left out.
        repeats: of each config.
        trainable: the training function or class. A result of this process remembers its own; a loaded one does not.
        config: the space as in the search, only for a loaded result whose configs hold objects (functions, classes).
        name: of the experiment; `<name of the search>-confirm` unless given.
        seed: of the experiment; no repeat gets a seed that a search with the same number gave its trials.
        run_arguments: as of `run`, but for what is settled here (the metric, scheduler, searcher, stop rule, place).
            Resources, retries and checkpoints are the search's unless given; its budgets do not count here.
    Returns: the confirmation; of an interrupted one, what there is.
    Raises: ConfigError for several objectives or none, a missing trainable or space, or an argument of the wrong kind;
        TuneError where no trial has a finite value; ExperimentExistsError where an experiment of this name repeats
        other configs.
    """
    _check(result, run_arguments)
    top, repeats = whole("top", top, at_least=1), whole("repeats", repeats, at_least=1)
    objective = single_objective(result)
    claims = best_claims(result, top)
    trainable = _trainable(result, trainable)
    space = _space(result, config)
    configs = [_config(claim, space) for claim in claims]
    name = f"{result.folder.name[:192]}-confirm" if name is None else name
    limits = [_limit(claim, trainable) for claim in claims]
    _check_begun(result, name, claims, limits)
    repeated = run(
        trainable,
        config=space.tree,
        name=name,
        storage_path=result.folder.parent,
        metric=objective.metric,
        mode=objective.mode.value,
        num_samples=repeats * len(claims),
        search_alg=RepeatedConfigs(
            [Suggestion(own, max_t=limit) for own, limit in zip(configs, limits, strict=True)], repeats
        ),
        stop=OwnLimitStopper(),
        seed=None if seed is None else derived_seed(check_number("seed", seed), "confirm"),
        **{**_arguments(result), **run_arguments},
    )
    return judge(claims, configs, repeated, repeats=repeats, constraints=objective.constraints)


def _check(result: Any, run_arguments: Mapping[str, Any]) -> None:
    if not isinstance(result, ExperimentAnalysis):
        raise ConfigError(
            f"confirm was given {type(result).__name__}. Give what tune.run or tune.minimize returned, or "
            "tune.load(folder)."
        )
    settled = [name for name in _SETTLED if name in run_arguments]
    if settled:
        raise ConfigError(f"confirm() was given {settled[0]}=, which follows from the search. Leave it out.")


def _trainable(result: ExperimentAnalysis, given: Any) -> Any:
    if given is not None:
        return given
    if result._made_with is None:
        raise ConfigError(
            "A loaded result does not hold the training function: code is not stored. "
            f"Give it: tune.confirm(result, trainable={result.reader.spec.trainable_name})."
        )
    return result._made_with[0]


def _space(result: ExperimentAnalysis, given: Mapping[str, Any] | None) -> Space:
    """The search's space for what it found: grids are choices there, since a sample is one config and no whole grid.

    Rebuilt from the store it takes the values of `sample_from` as they are; objects are then only labels.
    """
    if given is not None:
        space = Space(dict(given))
    elif result._made_with is not None:
        space = result._made_with[1]
    else:
        space = _stored_space(result)
    return Space(_without_grids(space.tree))


def _stored_space(result: ExperimentAnalysis) -> Space:
    description = result.reader.spec.space
    try:
        return restore_space(description)
    except SpaceError:
        pass
    try:
        return readable_space(description)
    except SpaceError as error:
        raise ConfigError(f"The space cannot be rebuilt from the store: {error} Give it again as config=.") from error


def _without_grids(node: Any) -> Any:
    if isinstance(node, Categorical):
        return Choice(tuple(map(_without_grids, node.options)))
    if type(node) is dict:
        return {key: _without_grids(inner) for key, inner in node.items()}
    if type(node) in (list, tuple):
        return type(node)(map(_without_grids, node))
    return node


def _config(claim: Claim, space: Space) -> dict[str, Any]:
    """The config as the search's trial had it. Raises: ConfigError where only a label is left of an object in it."""
    config = parse_config(claim.text, space)
    labels = [value.label for _, _, value in objects_in(config) if isinstance(value, Opaque)]
    if labels:
        raise ConfigError(
            f"The config of trial {claim.trial} holds {labels[0]}, of which the store keeps only this label. "
            "Give the space as config=, as in the search."
        )
    try:
        space.check(config)
    except SpaceError as error:
        raise ConfigError(f"config= is not the space of the search: {error}") from error
    return config


def _limit(claim: Claim, trainable: Any) -> int | None:
    """How far its repeats are trained; None: to their own end.

    How many reports a fold takes may be chance (early stopping), so that a limit would cut folds off. Classes have one
    nevertheless: without a stop rule they would not end.
    """
    is_class = isinstance(trainable, type) and issubclass(trainable, Trainable)
    return None if claim.n_folds and not is_class else claim.step


def _check_begun(result: ExperimentAnalysis, name: str, claims: Sequence[Claim], limits: Sequence[int | None]) -> None:
    """Repeats of other configs, or to other steps, are not added to."""
    folder = existing(result.folder.parent, name)
    if folder is None:
        return
    reader = open_reader(folder)
    try:
        begun = reader.query(_BEGUN)
    finally:
        reader.close()
    wanted = [(same_text(claim.text), limit) for claim, limit in zip(claims, limits, strict=True)]
    if any((same_text(text), max_t) != wanted[trial % len(wanted)] for trial, text, max_t in begun):
        raise ExperimentExistsError(
            f"The experiment {name!r} exists and repeats other configs: top= differs, or the search has found better "
            "ones since. Give another name=."
        )


def _arguments(result: ExperimentAnalysis) -> dict[str, Any]:
    """What holds here as it did in the search. A space or a code that changed since is no other experiment's here."""
    stored = stored_arguments(result.reader.spec)
    facts = {key: value for key, value in stored.items() if key not in _OF_THE_SEARCH}
    return {**facts, "raise_on_failed_trial": False, "on_change": {"space": "allow"}}
