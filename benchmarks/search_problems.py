"""Problems of our own, with what the harness's open set lacks: conditional parameters, mixed kinds, live training.

The interface is the harness's: `params` (kind, bounds, `parent` and `when`) and `evaluate(config, rng=...)`. The
synthetic ones have a loss of 0 at a point that is drawn with the instance's number, and nowhere less.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from search_params import Config, Param, cat, float_, int_, sample

N_INSTANCES = 3
N_FOR_MEDIAN = 200  #: random configs that the reference of a live problem is made from; 10 times as many where cheap


class Problem(Protocol):
    """What is tuned."""

    name: str
    params: list[Param]
    optimum: float | None  #: the least loss there is; None: unknown

    def evaluate(self, config: Config, rng: np.random.Generator | None = None) -> dict[str, float]:
        """The loss told ("value"), the loss judged by ("true") and the seconds it took ("time")."""


# ---------------------------------------------------------------- synthetic


class Synthetic:
    """A loss made of terms, each 0 at its best place; the places are drawn with the instance's number."""

    family = ""
    optimum: float | None = 0.0
    noise_std = 0.0  #: of the loss that is told

    def __init__(self, instance: int) -> None:
        self.name = f"{self.family}/{instance}"
        self.params = self.make_params()
        self._by_name = {p.name: p for p in self.params}
        self.draw(np.random.default_rng([instance, zlib.crc32(self.family.encode())]))

    def make_params(self) -> list[Param]:
        """The parameters."""
        raise NotImplementedError

    def draw(self, rng: np.random.Generator) -> None:
        """Draw what the instance's number decides."""
        raise NotImplementedError

    def loss(self, config: Config) -> float:
        """The loss, without noise."""
        raise NotImplementedError

    def evaluate(self, config: Config, rng: np.random.Generator | None = None) -> dict[str, float]:
        """See Problem."""
        true = self.loss(config)
        noise = self.noise_std * rng.standard_normal() if rng is not None and self.noise_std else 0.0
        return {"value": true + noise, "true": true, "time": 1.0}

    def place(self, name: str, u: float) -> float:
        """The place of a value that the parameter can have, near u."""
        return self._by_name[name].to_unit(self._by_name[name].from_unit(u))

    def away(self, config: Config, name: str, *, best: float, width: float) -> float:
        """0 at the best place, about 1 far away, 1/2 at `width`: steep near the best, flat elsewhere."""
        distance = self._by_name[name].to_unit(config[name]) - best
        return distance**2 / (distance**2 + width**2)


class Tree(Synthetic):
    """Four branches with parameters of their own; the best branch is narrow, the broad ones end higher."""

    family = "tree"
    _FLOORS, _WIDTHS = (0.0, 0.08, 0.2, 0.35), (0.15, 0.3, 0.3, 0.4)

    def make_params(self) -> list[Param]:
        """See Synthetic."""
        return [
            cat("model", "a", "b", "c", "d"),
            float_("shared", 1e-4, 1.0, log=True),
            float_("a_rate", 1e-5, 1e-1, log=True, under=("model", "a")),
            float_("a_share", 0.0, 1.0, under=("model", "a")),
            int_("a_size", 1, 64, log=True, under=("model", "a")),
            float_("b_rate", 1e-5, 1e-1, log=True, under=("model", "b")),
            cat("b_kind", "x", "y", under=("model", "b")),
            float_("x_power", 0.5, 4.0, under=("b_kind", "x")),
            int_("y_depth", 1, 12, under=("b_kind", "y")),
            int_("c_depth", 1, 20, under=("model", "c")),
            float_("c_share", 0.0, 1.0, under=("model", "c")),
            float_("d_rate", 1e-3, 1e3, log=True, under=("model", "d")),
        ]

    def draw(self, rng: np.random.Generator) -> None:
        """See Synthetic."""
        places = rng.uniform(0.1, 0.9, len(self.params))
        self._best = {p.name: self.place(p.name, u) for p, u in zip(self.params, places, strict=True)}
        rank = dict(zip("abcd", rng.permutation(4).tolist(), strict=True))
        self._floor = {branch: self._FLOORS[k] for branch, k in rank.items()}
        self._width = {branch: self._WIDTHS[k] for branch, k in rank.items()}
        self._kind = str(rng.choice(["x", "y"]))

    def loss(self, config: Config) -> float:
        """See Synthetic."""
        branch = config["model"]
        names = [name for name in config if self._by_name[name].kind != "cat"]
        terms = [self.away(config, name, best=self._best[name], width=self._width[branch]) for name in names]
        wrong_kind = 0.1 if config.get("b_kind", self._kind) != self._kind else 0.0
        return self._floor[branch] + wrong_kind + sum(terms) / len(terms)


class Mixed(Synthetic):
    """Flat, of all kinds, noisy: the best rate depends on the optimizer, the best width on the activation."""

    family = "mixed"
    noise_std = 0.01

    def make_params(self) -> list[Param]:
        """See Synthetic."""
        return [
            cat("optimizer", "sgd", "momentum", "adam", "lion"),
            cat("activation", "relu", "tanh", "gelu"),
            cat("norm", "no", "yes"),
            float_("rate", 1e-5, 1.0, log=True),
            float_("decay", 1e-6, 1e-1, log=True),
            float_("dropout", 0.0, 0.7),
            int_("width", 8, 512, log=True),
            int_("depth", 1, 8),
        ]

    def draw(self, rng: np.random.Generator) -> None:
        """See Synthetic."""
        by = {p.name: p.choices for p in self.params if p.kind == "cat"}
        self._rate = {option: rng.uniform(0.15, 0.85) for option in by["optimizer"]}
        self._width = {option: self.place("width", rng.uniform(0.1, 0.9)) for option in by["activation"]}
        self._depth = {option: self.place("depth", rng.uniform(0.1, 0.9)) for option in by["norm"]}
        self._decay, self._dropout = rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.6)
        self._cost: dict[str, float] = {}
        for options in by.values():
            extra = np.sort(rng.uniform(0.02, 0.25, len(options)))
            extra[0] = 0.0
            self._cost |= dict(zip(rng.permutation(options).tolist(), extra.tolist(), strict=True))

    def loss(self, config: Config) -> float:
        """See Synthetic."""
        terms = [
            0.35 * self.away(config, "rate", best=self._rate[config["optimizer"]], width=0.12),
            0.20 * self.away(config, "width", best=self._width[config["activation"]], width=0.25),
            0.15 * self.away(config, "depth", best=self._depth[config["norm"]], width=0.25),
            0.10 * self.away(config, "decay", best=self._decay, width=0.3),
            0.20 * self.away(config, "dropout", best=self._dropout, width=0.25),
        ]
        return float(sum(terms)) + sum(self._cost[config[name]] for name in ("optimizer", "activation", "norm"))


class Deep(Synthetic):
    """Three parameters matter; an option opens two further levels, of which none does."""

    family = "deep"

    def make_params(self) -> list[Param]:
        """See Synthetic."""
        return [
            float_("rate", 1e-5, 1.0, log=True),
            float_("share", 0.0, 1.0),
            int_("size", 1, 128, log=True),
            cat("augment", "off", "on"),
            cat("policy", "flip", "mix", under=("augment", "on")),
            float_("flip_angle", 0.0, 45.0, under=("policy", "flip")),
            int_("flip_count", 1, 10, under=("policy", "flip")),
            float_("mix_alpha", 0.01, 10.0, log=True, under=("policy", "mix")),
        ]

    def draw(self, rng: np.random.Generator) -> None:
        """See Synthetic."""
        self._best = {name: self.place(name, rng.uniform(0.1, 0.9)) for name in ("rate", "share", "size")}
        self._cost_of_on = float(rng.choice([0.0, 0.05]))

    def loss(self, config: Config) -> float:
        """See Synthetic."""
        rate, share = (self.away(config, name, best=self._best[name], width=0.12) for name in ("rate", "share"))
        size = self.away(config, "size", best=self._best["size"], width=0.25)
        return 0.5 * rate + 0.3 * share + 0.2 * size + (self._cost_of_on if config["augment"] == "on" else 0.0)


# ---------------------------------------------------------------- the set and its references


def own_problems(cache: Path | None) -> dict[str, Callable[[], Problem]]:
    """Name -> what makes the problem; the evaluations of live ones are kept in the folder `cache`, None: nowhere."""
    from search_pipelines import DATASETS, Pipeline

    made: dict[str, Callable[[], Problem]] = {
        f"{kind.family}/{i}": partial(kind, i) for kind in (Tree, Mixed, Deep) for i in range(N_INSTANCES)
    }
    return made | {f"live/{name}": partial(Pipeline, name, cache) for name in DATASETS}


def references(
    problems: Mapping[str, Callable[[], Problem]], file: Path, *, best: Mapping[str, float]
) -> dict[str, Any]:
    """What regret is measured by, kept in `file`: the median loss of a random config, and the least loss known.

    Args: best: the least loss of any run, by problem; where the optimum is unknown it counts if it is less.
    """
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name, make in problems.items():
        if name not in best:
            continue
        if name not in found:
            problem, rng = make(), np.random.default_rng(12345)
            n = N_FOR_MEDIAN if problem.optimum is None else 10 * N_FOR_MEDIAN
            losses = [problem.evaluate(sample(problem.params, rng))["true"] for _ in range(n)]
            least = min(losses) if problem.optimum is None else problem.optimum
            found[name] = {
                "optimum": least,
                "random_median": float(np.median(losses)),
                "exact": problem.optimum is not None,
            }
        if not found[name]["exact"]:
            found[name]["optimum"] = min(found[name]["optimum"], best[name])
    file.write_text(json.dumps(found, indent=1) + "\n")
    return found
