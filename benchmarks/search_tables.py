"""What rows of runs say: normalised regret, ranks, wins and losses, and comparisons with an interval, as markdown.

Regret is (loss - optimum) / (median loss of a random config - optimum), clipped to [0, 1.5]; 0 is best. A problem's
regret is the mean over its seeds, and the problem is the unit of everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

CLIP = (0.0, 1.5)
FLOOR = 1e-4  #: is added to a regret before its logarithm is taken: an optimum that was found counts like 1e-4
TIE = 1e-12
N_RESAMPLES = 10_000
_N_WILCOXON = 6  #: fewer problems cannot give p < 0.05 whatever they say


@dataclass(frozen=True)
class Results:
    """Regrets of runs, and what their rows lack."""

    marks: tuple[int, ...]
    #: optimizer -> problem -> seed -> regret at each mark, shape (len(marks),)
    regrets: dict[str, dict[str, dict[str, Array]]]
    cpu_s: dict[str, float]  #: mean per run, of the optimizer's own ask and tell
    n_failed: dict[str, int]

    @property
    def optimizers(self) -> list[str]:
        """In the order in which they were asked for."""
        return list(self.regrets)

    def problems(self, *optimizers: str) -> list[str]:
        """Those that all of these have runs of."""
        return [p for p in self.regrets[optimizers[0]] if all(p in self.regrets[o] for o in optimizers)]

    def means(self, optimizer: str, problems: Sequence[str]) -> Array:
        """Mean over seeds, shape (problems, marks)."""
        return np.array([np.mean(list(self.regrets[optimizer][p].values()), axis=0) for p in problems])

    def common(self, *optimizers: str) -> Results:
        """Only the problems and seeds that all of these have."""
        kept: dict[str, dict[str, dict[str, Array]]] = {o: {} for o in optimizers}
        for problem in self.problems(*optimizers):
            seeds = set.intersection(*(set(self.regrets[o][problem]) for o in optimizers))
            for o in optimizers if seeds else ():
                kept[o][problem] = {s: r for s, r in self.regrets[o][problem].items() if s in seeds}
        return Results(self.marks, kept, self.cpu_s, self.n_failed)


def results_of(
    rows: Iterable[Mapping[str, str]], references: Mapping[str, Any], *, marks: Sequence[int], optimizers: Sequence[str]
) -> Results:
    """The rows of these optimizers as regrets; of rows with one problem, optimizer and seed the last one counts."""
    regrets: dict[str, dict[str, dict[str, Array]]] = {o: {} for o in optimizers}
    costs: dict[str, dict[tuple[str, str], float]] = {o: {} for o in optimizers}
    n_failed = dict.fromkeys(optimizers, 0)
    for row in rows:
        name, problem = row["optimizer"], row["problem"]
        if name not in regrets or problem not in references:
            continue
        if row["error"]:
            n_failed[name] += 1
            continue
        optimum, median = references[problem]["optimum"], references[problem]["random_median"]
        losses = np.array([float(row[f"y{mark}"]) for mark in marks])
        regret = np.clip((losses - optimum) / max(median - optimum, TIE), *CLIP)
        regrets[name].setdefault(problem, {})[row["seed"]] = regret
        costs[name][problem, row["seed"]] = float(row["cpu_s"])
    means = {o: float(np.mean(list(c.values()))) for o, c in costs.items() if c}
    return Results(tuple(marks), {o: r for o, r in regrets.items() if r}, means, n_failed)


def ranks(regrets: Array) -> Array:
    """Rank of each optimizer on each problem, 1 the least regret; ties share their mean. Shape (optimizers, ...)."""
    less = (regrets[None] < regrets[:, None] - TIE).sum(1)
    tied = (np.abs(regrets[None] - regrets[:, None]) <= TIE).sum(1)
    mean_ranks: Array = 1 + less + (tied - 1) / 2
    return mean_ranks


def summary(results: Results) -> list[str]:
    """Three tables: mean of regret with the optimizer's CPU seconds, geometric mean, average rank."""
    names = results.optimizers
    problems = results.problems(*names)
    regrets = np.array([results.means(o, problems) for o in names])  # (optimizers, problems, marks)
    seeds = [[len(results.regrets[o][p]) for p in problems] for o in names]
    counts = [f"{min(n)}" if min(n) == max(n) else f"{min(n)} to {max(n)}" for n in seeds]
    order = np.argsort(regrets.mean(1)[:, -1])
    lines = [f"{len(problems)} problems; regret 0 is best, a random config's median is 1.", ""]
    for title, values, digits in (
        ("mean regret", regrets.mean(1), 4),
        (f"geometric mean of (regret + {FLOOR:g})", np.exp(np.log(regrets + FLOOR).mean(1)), 4),
        (f"average rank among {len(names)}", ranks(regrets).mean(1), 2),
    ):
        head = [title, "seeds", *(f"@{m}" for m in results.marks), "CPU s per run", "failed runs"]
        rows = []
        for i in order:
            cost, n_failed = f"{results.cpu_s[names[i]]:.2f}", str(results.n_failed[names[i]])
            rows.append([names[i], counts[i], *(f"{v:.{digits}f}" for v in values[i]), cost, n_failed])
        lines += [*markdown(head, rows), ""]
    return lines


def every_problem(results: Results, *, mark: int) -> list[str]:
    """Each problem's mean regret by optimizer, the least in bold; below, how often the first wins against each."""
    names, at = results.optimizers, results.marks.index(mark)
    problems = results.problems(*names)
    values = np.array([results.means(o, problems)[:, at] for o in names])
    rows = []
    for j, problem in enumerate(problems):
        least = values[:, j].min()
        cells = [f"**{v:.4f}**" if v <= least + TIE else f"{v:.4f}" for v in values[:, j]]
        rows.append([problem, *cells])
    rows.append([f"{names[0]} won/tied/lost", "", *(_won_tied_lost(values[0], v) for v in values[1:])])
    return markdown([f"regret @{mark}", *names], rows)


def _won_tied_lost(ours: Array, theirs: Array) -> str:
    tied = np.abs(ours - theirs) <= TIE
    return f"{int((~tied & (ours < theirs)).sum())}/{int(tied.sum())}/{int((~tied & (ours > theirs)).sum())}"


def comparison(results: Results, name: str, *, peer: str) -> list[str]:
    """One optimizer against one peer, on the problems and seeds that both have.

    The ratio of mean regrets below 1 is a lead; its interval is of a bootstrap over problems (percentiles). p is of
    Wilcoxon's signed-rank test on the problems' differences, two-sided, left out where there are fewer than 6.
    """
    both = results.common(name, peer)
    problems = both.problems(name, peer)
    if not problems:
        return [f"No problem and seed of both {name} and {peer}."]
    ours, theirs = both.means(name, problems), both.means(peer, problems)
    n_seeds = min(len(both.regrets[name][p]) for p in problems)
    columns = ("mean regrets", "ratio", "95 %", "ratio of geometric means", "95 %", "won/tied/lost", "Wilcoxon p")
    rows = []
    for k, mark in enumerate(both.marks):
        a, b = ours[:, k], theirs[:, k]
        means = f"{a.mean():.4f} / {b.mean():.4f}"
        ratio = interval_words(bootstrap_ratio(a, b))
        geometric = interval_words(resampled(partial(_log_mean_ratio, np.log(a + FLOOR) - np.log(b + FLOOR)), len(a)))
        rows.append([f"@{mark}", means, *ratio, *geometric, _won_tied_lost(a, b), _wilcoxon(a - b)])
    count = f"{len(problems)} problems, at least {n_seeds} paired seeds each."
    return [count, "", *markdown([f"{name} / {peer}", *columns], rows)]


def _log_mean_ratio(log_ratios: Array, picked: Indices) -> Array:
    ratio: Array = np.exp(log_ratios[picked].mean(-1))
    return ratio


def interval_words(found: tuple[float, float, float]) -> tuple[str, str]:
    """Two cells: a value, and its interval."""
    value, low, high = found
    return f"{value:.2f}", f"{low:.2f} to {high:.2f}"


def bootstrap_ratio(a: Array, b: Array) -> tuple[float, float, float]:
    """Ratio of the means of two paired samples, and its 95 % interval; shapes (n,)."""
    return resampled(lambda picked: a[picked].mean(-1) / np.maximum(b[picked].mean(-1), TIE), len(a))


def bootstrap_mean(a: Array) -> tuple[float, float, float]:
    """Mean of a sample, and its 95 % interval; shape (n,)."""
    return resampled(lambda picked: a[picked].mean(-1), len(a))


def resampled(statistic: Callable[[Indices], Array], n: int, *, seed: int = 0) -> tuple[float, float, float]:
    """The statistic of all n, and the 2.5 and 97.5 % quantiles of it over resamples (percentile bootstrap).

    Args: statistic: indices, shape (..., n) -> values, shape (...).
    """
    picks = np.random.default_rng(seed).integers(n, size=(N_RESAMPLES, n))
    low, high = np.quantile(statistic(picks), [0.025, 0.975])
    return float(statistic(np.arange(n))), float(low), float(high)


def _wilcoxon(differences: Array) -> str:
    differences = differences[np.abs(differences) > TIE]
    if len(differences) < _N_WILCOXON:
        return ""
    from scipy.stats import wilcoxon

    return f"{wilcoxon(differences).pvalue:.3g}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table; its columns are padded, so that it can be read as it stands."""
    widths = [max(len(str(line[i])) for line in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = "|".join(["-" * (widths[0] + 2), *(f"{'-' * (w + 1)}:" for w in widths[1:])])
    return [line(head), f"|{rule}|", *(line(row) for row in rows)]
