"""Simulated trainings."""

from __future__ import annotations

import math

from tunesmith.executors.simulated import SimulatedStep
from tunesmith.space import uniform

SPACE = {"level": uniform(0.0, 1.0), "speed": uniform(0.5, 2.0)}


def curve(n_steps=27, *, saves_every=0, fails_at=lambda config, step: False):
    """A falling curve that ends at the config's level; each config has its own pace."""

    def script(config, first_step):
        for step in range(first_step, n_steps + 1):
            if fails_at(config, step):
                raise RuntimeError(f"broken at step {step}")
            loss = config["level"] + math.exp(-step / 5)
            yield SimulatedStep(config["speed"], {"loss": loss}, bool(saves_every) and step % saves_every == 0)

    return script


def fixed(n_steps, duration_s=1.0, **metrics):
    """Every trial alike."""

    def script(config, first_step):
        for _ in range(first_step, n_steps + 1):
            yield SimulatedStep(duration_s, metrics or {"loss": 1.0})

    return script


def compact(log):
    """The decisions of a log, a line each: what differs between two runs differs here."""
    return "\n".join(line for record in log for line in _lines(record)) + "\n"


def _lines(record):
    kind = type(record).__name__
    who = f"{getattr(record, 'trial', None)}.{getattr(record, 'attempt', None)}"
    if kind == "StartAttempt":
        yield f"start {who} at {record.start_step}"
    elif kind == "TrialReported":
        yield f"report {who} {record.step} {record.metrics['loss']:.17g} {record.at:.17g}"
    elif kind == "AnswerReport" and record.decision.verdict.value != "continue":
        yield f"answer {who} {record.step} {record.decision.verdict.value}: {record.decision.words()}"
    elif kind == "ConcludeAttempt":
        yield f"conclude {who} {record.status.value}: {record.reason}"
    elif kind == "ConfigsSuggested":
        yield from (f"config {s.config['level']:.17g} {s.config['speed']:.17g}" for s in record.suggestions)
    elif kind == "EndExperiment":
        yield f"end {record.why.value}"


def asha_run(seed=7):
    """16 trials on 4 workers, one in two goes on: the run of the golden log."""
    from tunesmith.schedulers import ASHAScheduler
    from tunesmith.testing import simulate

    return simulate(
        curve(9),
        space=SPACE,
        scheduler=ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
        n_trials=12,
        n_workers=3,
        cost_s=0.125,
        start_s=0.25,
        seed=seed,
    )


if __name__ == "__main__":
    print(compact(asha_run().log), end="")
