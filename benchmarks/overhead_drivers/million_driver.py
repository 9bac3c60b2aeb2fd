"""Many reports through loop, Experiment, FIFO and SqliteStore; the trials are simulated, the commits real.

Reports come one at a time (random durations), so that each is a pass of the loop and a transaction of its own, as the
worst case is on a real machine. `"task": "load"` reads the experiment again, in a process of its own.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from common import finish, task

import tunesmith as tune

N_WORKERS = 8
N_STEPS = 100


def script(config, first_step):
    from tunesmith.executors.simulated import SimulatedStep

    rng = random.Random(config["x"])
    for step in range(first_step, N_STEPS + 1):
        yield SimulatedStep(0.5 + rng.random(), {"loss": config["x"] + 1 / step, "accuracy": rng.random()})


def fill(asked) -> None:
    from tunesmith.executors.simulated import SimulatedExecutor
    from tunesmith.experiment import Experiment
    from tunesmith.runner.loop import Loop
    from tunesmith.runner.suggester import InlineSuggester
    from tunesmith.schedulers import FIFOScheduler
    from tunesmith.searchers import RandomSearch
    from tunesmith.space import Space
    from tunesmith.spec import ExperimentSpec
    from tunesmith.stoppers import parse_stop
    from tunesmith.stores import create_store
    from tunesmith.trial import parse_objective

    space = Space({"x": tune.uniform(0, 1), "lr": tune.loguniform(1e-5, 1e-1), "layers": tune.choice([1, 2, 3])})
    spec = ExperimentSpec(
        experiment_id="0123456789abcdef",
        name="million",
        trainable_name="simulated",
        space=space.describe(),
        space_fingerprint=space.fingerprint,
        seed=asked["seed"],
        n_trials=asked["n_reports"] // N_STEPS,
        objective=parse_objective("loss", "min"),
        created_at=time.time(),
    )
    executor = SimulatedExecutor(script, n_workers=N_WORKERS)
    scheduler = FIFOScheduler()
    objective = scheduler.bind(spec.objective)
    store = create_store(Path(asked["folder"]), spec, space)
    experiment = Experiment(
        spec, space=space, objective=objective, scheduler=scheduler, stopper=parse_stop(None), n_ahead=4 * N_WORKERS
    )
    loop = Loop(
        experiment,
        store=store,
        executor=executor,
        suggester=InlineSuggester(RandomSearch(), executor.post),
        clock=executor.clock,
        delete_checkpoint=lambda command: None,
    )
    begin, begin_cpu = time.perf_counter(), time.process_time()
    loop.run(store.epoch)
    cpu_s, wall_s = time.process_time() - begin_cpu, time.perf_counter() - begin
    store.close()
    size_bytes = sum(file.stat().st_size for file in Path(asked["folder"]).rglob("*") if file.is_file())
    finish(asked, n_reports=experiment.state.n_steps, cpu_s=cpu_s, loop_wall_s=wall_s, size_bytes=size_bytes)


def load(asked) -> None:
    import pandas  # noqa: F401  # what imports cost is not what is measured here

    import tunesmith.analysis  # noqa: F401

    times: dict[str, float] = {}

    def timed(name, call):
        begin = time.process_time()
        value = call()
        times[name] = time.process_time() - begin
        return value

    result = timed("load", lambda: tune.load(asked["folder"]))
    best = timed("get_best_trial", lambda: result.get_best_trial("loss", "min", "all"))
    frame = timed("dataframe", result.dataframe)
    results = timed("results_dataframe", lambda: len(result.results_dataframe()))
    assert best is not None and len(frame) == len(result)
    finish(asked, n_reports=results, times_s=times)


if __name__ == "__main__":
    asked = task()
    (load if asked["task"] == "load" else fill)(asked)
