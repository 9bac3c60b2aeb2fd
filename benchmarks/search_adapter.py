"""tunesmith's searchers as optimizers of the search-quality benchmark: `--opt search_adapter:auto`."""

from __future__ import annotations

import os
from functools import partial

from tunesmith.protocols import History
from tunesmith.rng import generator
from tunesmith.searchers import create_searcher
from tunesmith.space import Space, choice, lograndint, loguniform, randint, uniform
from tunesmith.trial import Mode, Objective, Trial, TrialStatus


class Tunesmith:
    """Sequential ask and tell over a searcher, a history in the memory."""

    def __init__(self, params, seed, budget, *, searcher):
        self.params = params
        self.space = Space(tree([p for p in params if p.parent is None], params))
        self.objective = Objective(("loss",), (Mode.MIN,))
        self.searcher, self.seed, self.trials = create_searcher(searcher), seed, []

    def ask(self):
        n = len(self.trials)
        history = History(self.space, self.objective, self.seed, tuple(self.trials))
        self.suggestion = self.searcher.suggest(history, generator(self.seed, "suggest", n), 1)[0]
        return flat(self.suggestion.config)

    def tell(self, config, value):
        n = len(self.trials)
        trial = Trial(
            n, f"t{n}", self.suggestion.config, TrialStatus.COMPLETED, attempt=1, step=1, n_reports=1,
            metrics={"loss": value}, best_value=value, best_step=1,
        )
        self.trials.append(trial)


def tree(params, all_params):
    """The space of these parameters; the children of a choice lie within the options they are active for."""
    return {p.name: domain(p, all_params) for p in params}


def domain(p, all_params):
    children = [q for q in all_params if q.parent == p.name]
    if p.kind == "cat":
        if not children:
            return choice(p.choices)
        return choice([
            {"": value, **tree([q for q in children if value in q.when], all_params)} for value in p.choices
        ])
    if p.kind == "int":
        return (lograndint if p.log else randint)(int(p.lo), int(p.hi) + 1)
    return (loguniform if p.log else uniform)(p.lo, p.hi)


def flat(config):
    out = {}
    for name, value in config.items():
        if isinstance(value, dict):
            out[name] = value[""]
            out.update(flat({k: v for k, v in value.items() if k != ""}))
        else:
            out[name] = value
    return out


NAMES = ("auto", "gp", "tpe", "forest", "sobol", "zoom", "cmaes", "evolution", "random")
OPTIMIZERS = {name: partial(Tunesmith, searcher=name) for name in NAMES}
if os.environ.get("BENCH_LABEL"):
    OPTIMIZERS[os.environ["BENCH_LABEL"]] = partial(Tunesmith, searcher=os.environ.get("BENCH_SEARCHER", "gp"))
