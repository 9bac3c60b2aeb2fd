"""The search benchmark on a few evaluations, and what its tables are computed from."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import search_pipelines
from search_adapter import OPTIMIZERS
from search_parallel import Run, losses_of_gain
from search_params import sample
from search_problems import Deep, Mixed, Tree, own_problems, references
from search_runs import HERE, run_one
from search_tables import bootstrap_ratio, comparison, ranks, results_of, summary

SYNTHETIC = [kind(i) for kind in (Tree, Mixed, Deep) for i in range(3)]


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "search.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.processes
def test_benchmark_runs_two_searchers_once_and_prints_their_tables(tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    arguments = ["--set", "own", "--only", "deep/0", "--opt", "auto,random", "--seeds", "0-1", "--marks", "5,15"]
    first = benchmark(*arguments, "--out", str(out), "--report")
    assert first.returncode == 0, first.stderr
    rows = rows_of(out)
    assert [(row["optimizer"], row["seed"], row["error"]) for row in rows] == [
        ("auto", "0", ""),
        ("auto", "1", ""),
        ("random", "0", ""),
        ("random", "1", ""),
    ]
    assert all(float(row["y5"]) >= float(row["y15"]) > 0.0 for row in rows)
    tables = [line.split("|")[1].strip() for line in first.stdout.splitlines() if "@15" in line and "|" in line]
    assert tables == ["mean regret", "geometric mean of (regret + 0.0001)", "average rank among 2", "regret @15", "@15"]
    again = benchmark(*arguments, "--out", str(out), "--report")
    assert again.stderr == ""  # nothing was run
    assert again.stdout == first.stdout


@pytest.mark.processes
def test_without_a_harness_the_message_says_which_folder_is_missing_what(tmp_path: Path) -> None:
    found = benchmark("--harness", str(tmp_path), "--opt", "random", "--out", str(tmp_path / "results.csv"))
    assert found.returncode == 1
    assert f"There is no search-quality harness at {tmp_path}" in found.stderr
    assert "--harness" in found.stderr


@pytest.mark.parametrize("problem", SYNTHETIC, ids=lambda problem: problem.name)
def test_a_synthetic_problem_reaches_its_optimum_and_nothing_below(problem: Tree | Mixed | Deep) -> None:
    rng = np.random.default_rng(0)
    best: dict[tuple[object, ...], tuple[float, dict[str, object]]] = {}
    for _ in range(1000):
        config = sample(problem.params, rng)
        loss = problem.loss(config)
        assert loss >= 0.0
        options = tuple(config.get(p.name) for p in problem.params if p.kind == "cat")
        best[options] = min(best.get(options, (np.inf, {})), (loss, config), key=lambda pair: pair[0])
    numbers = {p.name: p for p in problem.params if p.kind != "cat"}
    least = []
    for _, config in best.values():
        for name in numbers.keys() & config.keys():  # each term depends on one number, given the options
            values = [numbers[name].from_unit(u) for u in np.linspace(0, 1, 301)]
            config[name] = min(values, key=lambda value: problem.loss({**config, name: value}))
        least.append(problem.loss(config))
    assert min(least) < 1e-3
    assert problem.optimum == 0.0


@pytest.mark.parametrize("name", own_problems(None))
def test_a_searcher_is_shown_the_parameters_that_are_active_and_no_others(name: str) -> None:
    params = own_problems(None)[name]().params
    optimizer = OPTIMIZERS["random"](params, 3, 40)
    shown = set()
    for _ in range(40):
        config = optimizer.ask()
        active = {p.name for p in params if p.parent is None or config.get(p.parent) in p.when}
        assert set(config) == active
        for p in params:
            if p.name in config:
                assert config[p.name] in p.choices if p.kind == "cat" else p.lo <= config[p.name] <= p.hi
        shown |= active
        optimizer.tell(config, 0.0)
    assert shown == {p.name for p in params}


def test_what_a_live_problem_evaluated_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = own_problems(tmp_path)["live/diabetes"]
    problem = make()
    config = {"scale": "standard", "reduce": "none", "model": "ridge", "linear_c": 0.1}
    first = problem.evaluate(config)
    assert 0.4 < first["value"] < 0.7
    monkeypatch.setattr(search_pipelines.Pipeline, "_train", lambda self, config: pytest.fail("trained again"))
    assert make().evaluate(config) == first


def test_told_losses_have_noise_and_judged_ones_have_none() -> None:
    problem = Mixed(0)
    config = sample(problem.params, np.random.default_rng(0))
    found = [problem.evaluate(config, rng=np.random.default_rng(i)) for i in range(2)]
    assert found[0]["value"] != found[1]["value"]
    assert found[0]["true"] == found[1]["true"] == problem.loss(config)


@pytest.mark.parametrize("n_workers", [2, 8])
def test_random_search_ends_where_it_ends_with_one_worker(n_workers: int) -> None:
    curves = []
    for n in (1, n_workers):
        curve, _ = Run(Deep(0), searcher="random", n_workers=n, seed=5, durations="lognormal").curve(20)
        assert len(curve) == 20
        assert curve == sorted(curve, reverse=True)
        curves.append(curve)
    assert curves[0][-1] == curves[1][-1]
    assert curves[0] != curves[1]  # they finish in another order


def test_one_simulated_worker_judges_like_the_sequential_run() -> None:
    curve, _ = Run(Tree(0), searcher="random", n_workers=1, seed=5, durations="table").curve(20)
    sequential, _, _ = run_one(Tree(0), OPTIMIZERS["random"], seed=5, n=20)
    assert curve == sequential


def row(optimizer: str, problem: str, seed: int, *losses: float, cpu_s: float = 1.0) -> dict[str, str]:
    marks = {f"y{mark}": str(loss) for mark, loss in zip((10, 20), losses, strict=True)}
    return {"optimizer": optimizer, "problem": problem, "seed": str(seed), "cpu_s": str(cpu_s), "error": "", **marks}


REFERENCES = {name: {"optimum": 1.0, "random_median": 3.0} for name in ("p", "q")}


def test_regret_is_measured_from_the_optimum_in_units_of_a_random_configs_median() -> None:
    rows = [row("a", "p", 0, 9.0, 1.0), row("a", "p", 1, 2.0, 2.0), row("a", "q", 0, 3.0, 1.5)]
    found = results_of(rows, REFERENCES, marks=(10, 20), optimizers=["a"])
    assert found.means("a", ["p", "q"]).tolist() == [[(1.5 + 0.5) / 2, 0.25], [1.0, 0.25]]


def test_a_failed_run_counts_as_failed_and_not_as_a_regret() -> None:
    rows = [row("a", "p", 0, 2.0, 2.0), {**row("a", "p", 1, 9.0, 9.0), "error": "ValueError: no"}]
    found = results_of(rows, REFERENCES, marks=(10, 20), optimizers=["a"])
    assert found.n_failed == {"a": 1}
    assert found.means("a", ["p"]).tolist() == [[0.5, 0.5]]


def test_only_problems_and_seeds_that_both_have_are_compared() -> None:
    rows = [row("a", "p", 0, 2.0, 2.0), row("a", "p", 1, 3.0, 3.0), row("a", "q", 0, 3.0, 3.0)]
    rows += [row("b", "p", 0, 3.0, 3.0), row("b", "q", 7, 3.0, 3.0)]
    found = results_of(rows, REFERENCES, marks=(10, 20), optimizers=["a", "b"]).common("a", "b")
    assert found.problems("a", "b") == ["p"]
    assert found.means("a", ["p"]).tolist() == [[0.5, 0.5]]


def test_equal_regrets_share_the_mean_of_their_ranks() -> None:
    assert ranks(np.array([[0.1], [0.2], [0.1], [0.0]])).ravel().tolist() == [2.5, 4.0, 2.5, 1.0]


def test_a_ratio_that_is_the_same_on_all_problems_has_an_interval_without_width() -> None:
    b = np.array([0.1, 0.2, 0.4])
    assert bootstrap_ratio(b / 2, b) == pytest.approx((0.5, 0.5, 0.5))


def test_an_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    # 200 samples of 20 problems; a percentile bootstrap covers a little less than 95 %. P(fewer than 170) < 1e-4.
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        b = rng.uniform(0.5, 1.5, 20)
        _, low, high = bootstrap_ratio(b * rng.uniform(0.4, 0.8, 20), b)
        covered += low <= 0.6 <= high
    assert 170 <= covered < 200


def test_a_comparison_counts_problems_won_and_lost() -> None:
    rows = [row("a", "p", 0, 2.0, 2.0), row("a", "q", 0, 2.0, 3.0)]
    rows += [row("b", "p", 0, 3.0, 3.0), row("b", "q", 0, 2.0, 2.0)]
    lines = comparison(results_of(rows, REFERENCES, marks=(10, 20), optimizers=["a", "b"]), "a", peer="b")
    cells = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| @")]
    assert [(c[1], c[2], c[3], c[7]) for c in cells] == [
        ("@10", "0.5000 / 0.7500", "0.67", "1/1/0"),
        ("@20", "0.7500 / 0.7500", "1.00", "1/0/1"),
    ]


def test_the_summary_ranks_by_problem_and_orders_by_the_last_mark() -> None:
    rows = [row("a", "p", 0, 2.0, 2.0), row("b", "p", 0, 1.5, 3.0, cpu_s=7.0)]
    lines = summary(results_of(rows, REFERENCES, marks=(10, 20), optimizers=["b", "a"]))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith(("| a", "| b"))]
    assert cells[0] == ["a", "1", "0.5000", "0.5000", "1.00", "0"]
    assert cells[1] == ["b", "1", "0.2500", "1.0000", "7.00", "0"]
    ranks_of_a = cells[5]
    assert ranks_of_a == ["a", "1", "2.00", "1.00", "1.00", "0"]


def test_half_of_the_gain_is_lost_where_more_workers_end_half_way_to_random() -> None:
    rows = [row("random x1", p, 0, 3.0, 3.0) for p in "pq"] + [row("auto x1", p, 0, 1.0, 2.0) for p in "pq"]
    rows += [row("auto x8", p, 0, 2.0, 2.0) for p in "pq"]
    names = ["random x1", "auto x1", "auto x8"]
    lines = losses_of_gain(results_of(rows, REFERENCES, marks=(10, 20), optimizers=names), "auto", workers=[1, 8])
    shares = [[cell.strip() for cell in line.split("|")][3] for line in lines if line.startswith("| auto x8")]
    assert shares == ["0.50", "0.00"]


def test_the_least_loss_of_any_run_becomes_the_optimum_where_none_is_known(tmp_path: Path) -> None:
    class Unknown(Deep):
        optimum = None

    file = tmp_path / "refs.json"
    problems = {"deep/0": lambda: Unknown(0)}
    first = references(problems, file, best={"deep/0": 9.0})["deep/0"]
    assert 0.0 < first["optimum"] < first["random_median"] < 9.0
    lower = references(problems, file, best={"deep/0": 1e-6})["deep/0"]
    assert lower == {**first, "optimum": 1e-6}
    assert references(problems, file, best={"deep/0": 0.5})["deep/0"] == lower
