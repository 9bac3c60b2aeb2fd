"""What do trackers cost? The network and images of examples/cifar.py, with and without W&B, TensorBoard and MLflow.

    python benchmarks/tracking_cost.py                     # 5 pairs of runs of about a minute
    python benchmarks/tracking_cost.py --n-pairs 3 --n-train 2000

Each pair is the same training twice (same seed, random search, every trial to its end: the same work), in turns with
nothing first and with everything first. Trials have 2 CPUs, as in the example; with `--cpus 1` two of them keep a
machine of 2 cores busy all the time. W&B is offline, MLflow writes its local database. Wall time is that of `tune.run`,
with the wait for trackers at its end (`end`); CPU time is that of the driver and all below it; `others` is what the
rest of the machine used meanwhile, in CPU s for each second. A pair in which that is not near 0 tells nothing:
trainings of two threads wait for each other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil

TRACKERS = ("none", "wandb", "tensorboard", "mlflow", "all")


def run_once(which: str, folder: str, n_train: int, n_samples: int, n_epochs: int, n_cpus: int, seed: int) -> None:
    """One experiment; prints its wall and CPU seconds as JSON."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
    import cifar
    import tunesmith as tune
    from tunesmith.trackers import MLflowLoggerCallback, TBXLoggerCallback, WandbLoggerCallback

    makers = {
        "wandb": lambda: WandbLoggerCallback(project="tracking-cost"),
        "tensorboard": TBXLoggerCallback,
        "mlflow": lambda: MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db"),
    }
    chosen = list(makers) if which == "all" else [] if which == "none" else [which]
    images, _ = cifar.load_data(folder, n_train, 100)
    space = {
        "l1": tune.choice([16, 64, 256]),
        "l2": tune.choice([16, 64, 256]),
        "lr": tune.loguniform(1e-4, 1e-2),
        "batch_size": 16,
    }
    begin, busy, before_s = time.monotonic(), busy_s(), own_s()
    result = tune.run(
        tune.with_parameters(train, images=images),
        config={**space, "n_epochs": n_epochs},
        num_samples=n_samples,
        search_alg="random",
        seed=seed,
        resources_per_trial={"cpu": n_cpus},
        local_dir=folder,
        verbose=0,
        callbacks=[makers[name]() for name in chosen],
    )
    wall_s = time.monotonic() - begin
    cpu_s = own_s()
    assert all(trial.step == n_epochs for trial in result.trials)
    end_s = time.time() - max(trial.trial.ended_at for trial in result.trials)
    others = max(0.0, busy_s() - busy - (cpu_s - before_s)) / wall_s
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s - before_s, "end_s": end_s, "others": others}))


def own_s() -> float:
    """CPU seconds of this process, and of those below it that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in used)


def busy_s() -> float:
    """CPU seconds that all of the machine has used since its start."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system  # on Linux `user` has no niced time


def train(config, images):
    """Train and validate as the example does, `n_epochs` long."""
    import torch
    from torch.utils.data import DataLoader, random_split

    import cifar
    import tunesmith as tune

    torch.manual_seed(0)
    net, criterion = cifar.Net(config["l1"], config["l2"]), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=config["lr"], momentum=0.9)
    n_fit = int(0.8 * len(images))
    parts = random_split(images, [n_fit, len(images) - n_fit])
    fit, validate = (DataLoader(part, batch_size=config["batch_size"]) for part in parts)
    for epoch in range(config["n_epochs"]):
        for inputs, labels in fit:
            optimizer.zero_grad()
            criterion(net(inputs), labels).backward()
            optimizer.step()
        with torch.no_grad():
            losses = [criterion(net(inputs), labels).item() for inputs, labels in validate]
        with tune.checkpoint_dir(epoch + 1) as folder:
            torch.save(net.state_dict(), Path(folder, "checkpoint"))
        tune.report(loss=statistics.fmean(losses))


def measure(which: str, pair: int, arguments: argparse.Namespace) -> dict[str, float]:
    """The same in a process and a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="tracking-cost-") as folder:
        numbers = (arguments.n_train, arguments.n_samples, arguments.n_epochs, arguments.cpus, pair)
        command = [sys.executable, __file__, "--once", which, folder, *map(str, numbers)]
        env = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True, cwd=folder)
        return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-pairs", type=int, default=5)
    parser.add_argument("--n-train", type=int, default=4000, help="images (4000)")
    parser.add_argument("--n-samples", type=int, default=8, help="trials (8)")
    parser.add_argument("--n-epochs", type=int, default=10)
    parser.add_argument("--cpus", type=int, default=2, help="of a trial (2)")
    parser.add_argument("--what", default="all", choices=TRACKERS[1:], help="what is on in the second run of a pair")
    arguments = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("tunesmith", "wandb", "tensorboardX", "mlflow-skinny"))
    print(f"{packages}; Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}")
    print("pair  none: wall, end, CPU s, others   trackers: wall, end, CPU s, others   more wall   more CPU")
    more: list[tuple[float, float]] = []
    for pair in range(arguments.n_pairs):
        order = ["none", arguments.what] if pair % 2 == 0 else [arguments.what, "none"]
        found = {which: measure(which, pair, arguments) for which in order}
        none, tracked = found["none"], found[arguments.what]
        wall, cpu = (100 * (tracked[key] / none[key] - 1) for key in ("wall_s", "cpu_s"))
        more.append((wall, cpu))
        print(
            f"{pair:4d} {none['wall_s']:11.1f} {none['end_s']:5.1f} {none['cpu_s']:6.1f} {none['others']:7.2f}"
            f" {tracked['wall_s']:15.1f} {tracked['end_s']:5.1f} {tracked['cpu_s']:6.1f} {tracked['others']:7.2f}"
            f" {wall:+11.1f} % {cpu:+7.1f} %",
            flush=True,
        )
    medians = [statistics.median(column) for column in zip(*more, strict=True)]
    print(f"median of the pairs: {medians[0]:+.1f} % wall, {medians[1]:+.1f} % CPU")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        run_once(*sys.argv[2:4], *map(int, sys.argv[4:]))
    else:
        main()
