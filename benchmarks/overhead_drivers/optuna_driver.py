"""Runs one task with Optuna on an SQLite file: in this process, one trial after another, nothing isolated."""

from __future__ import annotations

from time import perf_counter

import optuna
from common import N_REPORTS, finish, task

optuna.logging.set_verbosity(optuna.logging.WARNING)


def trivial(trial):
    return trial.suggest_float("x", 0, 1)


def stepwise(trial, times_s):
    trial.suggest_float("x", 0, 1)
    for step in range(1, N_REPORTS + 1):
        begin = perf_counter()
        trial.report(1.0, step)  # all alike: nothing is pruned, so all do the same work
        should_stop = trial.should_prune()
        times_s.append(perf_counter() - begin)
        if should_stop:
            raise optuna.TrialPruned
    return 1.0


def main() -> None:
    asked = task()
    times_s: list[float] = []
    study = optuna.create_study(
        storage=f"sqlite:///{asked['out']}/study.db",
        sampler=optuna.samplers.RandomSampler(seed=asked["seed"]),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=4),
    )
    objective = trivial if asked["task"] == "trivial" else lambda trial: stepwise(trial, times_s)
    study.optimize(objective, n_trials=asked["n_trials"])
    trials = study.get_trials(deepcopy=False)
    n_reports = sum(max(1, len(trial.intermediate_values)) for trial in trials)
    finish(asked, n_reports=n_reports, times_s=times_s)


if __name__ == "__main__":
    main()
