"""Comparisons of the live state machine with the witness's books, and with a replay of what is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from campaigns.simulate.asking import is_without_effect, n_fitting
from campaigns.simulate.faults import Violation, require
from campaigns.simulate.plan import Plan
from campaigns.simulate.rows import Row
from campaigns.simulate.stores import Backend, SqliteBackend
from campaigns.simulate.witness import Witness
from tunesmith.events import ConfigsSuggested, EndReason, Suggest, Suggestion, TrialReported
from tunesmith.experiment import Experiment
from tunesmith.experiment.invariants import check_invariants
from tunesmith.protocols import Exhausted, Proposal, Wait
from tunesmith.rng import generator
from tunesmith.schedulers import ASHAScheduler
from tunesmith.searchers import RandomSearch
from tunesmith.stores.codec import dumps, parse_record, record_tree
from tunesmith.trial import Trial, TrialStatus


def new_experiment(plan: Plan) -> Experiment:
    """The state machine, as each driver makes it."""
    scheduler, searcher = plan.make_scheduler(), plan.make_searcher()
    return Experiment(
        plan.spec,
        space=plan.space,
        objective=scheduler.bind(plan.spec.objective),
        scheduler=scheduler,
        stopper=plan.make_stopper(),
        n_ahead=plan.n_ahead,
        curves_by=getattr(searcher, "curves_by", None),
        thaws=plan.thaws,
    )


# ---------------------------------------------------------------- between two passes


def check_pass(experiment: Experiment, witness: Witness) -> None:
    """The state machine agrees with the books, its slots with what runs, and nothing idles that could run."""
    try:
        check_invariants(experiment.state)
    except AssertionError as error:
        raise Violation("ExperimentState.check_invariants", f"{error}") from error
    text = f"{len(experiment.trials)} trials, the log has {len(witness.rows)}"
    require(len(experiment.trials) == len(witness.rows), "other trials than in the log", text)
    for index in sorted(witness.dirty):
        _check_trial(experiment.trials[index], witness.rows[index], witness.plan)
    witness.dirty.clear()
    _check_slots(experiment, witness)
    _check_idle_slots(witness)
    if isinstance(experiment.scheduler, ASHAScheduler):
        _check_rungs(experiment.scheduler)


def _check_trial(trial: Trial, row: Row, plan: Plan) -> None:
    is_equal = (trial.status, trial.attempt, trial.n_failures) == (row.status, row.attempt, row.n_failures)
    text = f"{trial.status} attempt {trial.attempt}, {trial.n_failures} failures; the log says {row}"
    require(is_equal, "a trial in another state than the log says", f"trial {trial.index}: {text}")
    metrics = row.results[-1][2] if row.results else None
    if row.has_gone_back:
        _check_best_of_clone(trial, row, plan)
        trial = replace(trial, best_value=row.best(plan.mode)[0], best_step=row.best(plan.mode)[1])
        if row.is_fresh_clone:  # it knows its last report as of a checkpoint
            is_own = trial.metrics is None or repr(trial.metrics) in {repr(m) for _, _, m in row.results}
            require(is_own, "a clone claims what is not its own", f"{trial}, {row}")
            trial = replace(trial, metrics=metrics)
    seen = (trial.step, repr(trial.metrics), (trial.best_value, trial.best_step))
    text = f"trial {trial.index} shows {seen}; not superseded are {row.results}"
    is_visible = seen == (row.step, repr(metrics), row.best(plan.mode))
    require(is_visible, "a trial shows other results than those that count", text)
    paths = [(saved.step, saved.path) for saved in trial.checkpoints]
    require(paths == row.checkpoints, "other checkpoints than the log's", f"{paths}, {row.checkpoints}")


def _check_best_of_clone(trial: Trial, row: Row, plan: Plan) -> None:
    """A clone that went back may not know the best of its results that still count, but claims nothing that is not."""
    exact, _ = row.best(plan.mode)
    claimed = trial.best_value
    values = {(step, metrics["score"]) for _, step, metrics in row.results}
    is_true = claimed is None or (trial.best_step, claimed) in values
    is_modest = claimed is None or (exact is not None and not plan.mode.is_better(claimed, exact))
    text = f"trial {trial.index} claims {claimed} at step {trial.best_step}; not superseded are {row.results}"
    require(is_true and is_modest, "a clone claims what is not its own", text)


def _check_slots(experiment: Experiment, witness: Witness) -> None:
    running = experiment.state.running
    text = f"running: {sorted(running)}; started and not heard to have ended: {sorted(witness.held)}"
    require(running == set(witness.held), "other attempts run than were started", text)
    used, held = experiment.state.pool.used(), [start.placement.resources for start in witness.held.values()]
    amounts = [(used.cpu, sum(r.cpu for r in held)), (used.gpu, sum(r.gpu for r in held))]
    amounts += [
        (used.custom.get(name, 0.0), sum(r.custom[name] for r in held)) for name in witness.plan.spec.resources.custom
    ]
    is_equal = all(abs(booked - real) < 1e-6 for booked, real in amounts)
    require(is_equal, "other slots are booked than are held", f"booked and held: {amounts}")


def _check_idle_slots(witness: Witness) -> None:
    """No slot is free while a trial could start, and the searcher is asked while configs are missing."""
    plan, now = witness.plan, witness.handled_at
    answer = witness.last_answer
    is_answered = answer is not None and (answer.is_exhausted or is_without_effect(answer))
    is_asked = witness.request is not None or not witness.has_room
    if plan.n_ahead is None and witness.ending is None and not is_asked and not is_answered:
        n_missing = witness.n_missing()[1]
        require(n_missing < 1, "too few configs are held ready", f"{n_missing} are missing")
    if witness.ending is not None or witness.is_tripped or plan.scheduler == "synchronous" or not _has_room(witness):
        return
    ready = [i for i, row in enumerate(witness.rows) if row.status is TrialStatus.PENDING and row.not_before <= now]
    ready += [i for i, row in enumerate(witness.rows) if row.is_wanted]
    require(not ready, "a slot idles", f"trials {ready} could start")
    require(is_asked or is_answered, "a slot idles", "and the searcher is not asked")


def _has_room(witness: Witness) -> bool:
    placements = [start.placement for start in witness.held.values()]
    return n_fitting(witness.plan, placements, witness.ledger.lost_nodes | witness.quarantined) > 0


def _check_rungs(scheduler: ASHAScheduler) -> None:
    for rungs in scheduler._brackets:
        for rung in rungs:
            is_finite = all(map(math.isfinite, rung.scores)) and rung.scores == sorted(rung.scores)
            require(is_finite, "a rung holds what cannot be ranked", f"rung {rung.level}: {rung.scores}")


# ---------------------------------------------------------------- replays


#: Of schedulers: caches, and objects that only hold arguments.
_NO_FACTS = ("_bracket_shares", "_cache", "_fits", "_ladder", "_plain", "points")


def facts(experiment: Experiment) -> dict[str, Any]:
    """All that the fold and the deciders know, comparable: NaN equals NaN."""
    state = dict(vars(experiment.state))
    pool = vars(state.pop("pool")).copy()
    pool.pop("_fitting")
    for name in ("changed", "spec", "objective"):
        state.pop(name)
    state["pool"] = _rounded(pool)
    state["scheduler"] = {k: v for k, v in vars(experiment.scheduler).items() if not k.startswith(_NO_FACTS)}
    state["curves"] = [curve.points() for curve in experiment.history().curves]
    state["scheduler lines"] = list(experiment.scheduler.describe())
    state["stopper"] = sorted(vars(experiment.stopper).items())
    return {name: repr(sorted(value) if isinstance(value, set) else value) for name, value in state.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def require_same_facts(live: dict[str, Any], replayed: dict[str, Any]) -> None:
    """Replaying the stored log gives what the live one was."""
    different = {name: (live[name], replayed[name]) for name in live if live[name] != replayed[name]}
    require(not different, "a replay differs", f"live and replayed: {different}")


def check_replay(experiment: Experiment, witness: Witness, backend: Backend) -> None:
    """The stored log gives the same state, deciders and projection; and each suggestion was the searcher's own."""
    lines = backend.lines()
    if not isinstance(backend, SqliteBackend):
        require([dumps(record_tree(parse_record(line))) for line in lines] == lines, "a record comes back changed", "")
    records = list(map(parse_record, lines))
    stored = {(r.trial, r.attempt, r.step) for r in records if isinstance(r, TrialReported)}
    missing = witness.ledger.acknowledged.keys() - stored
    require(not missing, "an acknowledged report is not in the log", f"{sorted(missing)}")
    require(len(records) == sum(witness.batch_sizes), "records that nobody committed", f"{len(records)}")
    answers = {record.request: record for record in records if isinstance(record, ConfigsSuggested)}
    replayed, place = new_experiment(witness.plan), 0
    for size in witness.batch_sizes:
        batch = records[place : place + size]
        place += size
        replayed.replay(batch)
        for record in batch:
            if isinstance(record, Suggest) and record.request in answers:
                _check_suggestions(witness.plan, record, answers[record.request], replayed)
    require_same_facts(facts(experiment), facts(replayed))
    _check_projection(replayed, backend)


def _check_projection(replayed: Experiment, backend: Backend) -> None:
    pairs = zip(backend.trials(), replayed.trials, strict=True)
    different = [(stored, folded) for stored, folded in pairs if repr(stored) != repr(folded)]
    require(not different, "the stored trials are not those of the log", f"stored and folded: {different}")


def _check_suggestions(plan: Plan, request: Suggest, answer: ConfigsSuggested, replayed: Experiment) -> None:
    """The answer is what a new searcher says for the history of that moment, with a stream of its own.

    Of trials that are to go on or to end, less what could not be any more when the answer came.
    """
    history = replayed.history()
    trials = history.trials
    found: Sequence[Proposal] | Exhausted | Wait | None = None
    if request.instead_of is None:
        with suppress(ArithmeticError):
            found = plan.make_searcher().suggest(history, generator(plan.seed, "suggest", len(trials)), request.n)
    if found is None:
        found = RandomSearch().suggest(history, generator(plan.seed, "fallback", len(trials)), request.n)
    proposals = [] if isinstance(found, Exhausted | Wait) else found
    configs = [one.config for one in proposals if isinstance(one, Suggestion)][: plan.n_trials - len(trials)]
    given = [suggestion.config for suggestion in answer.suggestions]
    is_equal = given == configs and answer.is_exhausted == isinstance(found, Exhausted)
    text = f"request {request.request} was answered {answer}, the searcher says {found}"
    require(is_equal, "another suggestion than the searcher's", text)
    is_told = all(one in proposals for one in (*answer.thaws, *answer.stops))
    require(is_told, "other trials go on or end than the searcher says", text)


# ---------------------------------------------------------------- the end


def check_end(experiment: Experiment, witness: Witness, backend: Backend) -> None:
    """The experiment ended as it must: nothing runs, nothing is held, nothing acknowledged is missing."""
    ending = witness.ending
    require(ending is not None and experiment.is_done, "the loop returned without an end", f"{ending}")
    require(not witness.ledger.live, "attempts are left running", f"{witness.ledger.live}")
    check_replay(experiment, witness, backend)
    assert ending is not None
    statuses = [row.status for row in witness.rows]
    allowed = {TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED}
    if ending.why not in (EndReason.FINISHED, EndReason.EXHAUSTED):
        allowed |= {TrialStatus.PENDING}
    if ending.why.is_resumable:
        allowed |= {TrialStatus.PAUSED, TrialStatus.INTERRUPTED}
    require(set(statuses) <= allowed, "trials are left in a state that the end does not allow", f"{ending}, {statuses}")
    if isinstance(backend, SqliteBackend):
        visible = {index: row.results for index, row in enumerate(witness.rows) if row.results}
        stored = dict(sorted(backend.results().items()))
        require(repr(stored) == repr(visible), "readers see other results", f"{stored}, {visible}")
