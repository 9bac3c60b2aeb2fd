"""What the best configs of a search are worth when they are run again: by how much the search flattered them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tunesmith.analysis import html
from tunesmith.analysis.confirmation_words import HEADINGS, between, number, rows, sentences
from tunesmith.analysis.confirmed import Confirmed, Lead
from tunesmith.analysis.experiment_analysis import ExperimentAnalysis
from tunesmith.analysis.intervals import welch_interval
from tunesmith.callbacks.text import clean, config_literal, format_count
from tunesmith.errors import TuneError
from tunesmith.trial import MetricConstraint, Mode


class Confirmation:
    """The best configs of a search after each was run several times: which one to take. See `tunesmith.confirm`."""

    def __init__(
        self,
        configs: Sequence[Confirmed],
        *,
        metric: str,
        mode: Mode,
        result: ExperimentAnalysis | None = None,
        constraints: Sequence[MetricConstraint] = (),
    ) -> None:
        """Args: configs: in any order."""
        self.metric, self.mode = metric, mode
        #: The experiment with the repeats.
        self.result = result
        self._constraints = tuple(constraints)
        together = [replace(one, n_compared=len(configs)) for one in configs]
        #: The best mean first; those that broke a constraint in most repeats, those that gave no value in most, and
        #: those that gave none, last.
        self.configs = tuple(sorted(together, key=self._rank))

    def _rank(self, one: Confirmed) -> tuple[tuple[bool, bool, bool], float]:
        return one.standing, self.mode.as_loss(one.mean) if one.n else 0.0

    @property
    def best(self) -> Confirmed:
        """The config that ranks first. If most of its repeats gave no value, those of every config did: take none.

        Raises: TuneError where no repeat has a finite value.
        """
        best = self.configs[0]
        if best.n == 0:
            where = "" if self.result is None else f" Look at tunesmith.load({str(self.result.folder)!r}).errors."
            raise TuneError(f"No repeat has a finite {self.metric!r} yet.{where}")
        return best

    @property
    def lead(self) -> Lead | None:
        """How far the best is ahead; None where there is no other to compare it with.

        Compared are the configs that give a value in most repeats and keep the constraints as the best does.
        """
        first = self.configs[0]
        # Equal standings are neighbours: the others that can be compared are the next ones.
        others = [one for one in self.configs[1:] if one.standing == first.standing]
        if not others or first.n == 0 or first.is_mostly_without_value:
            return None
        intervals = [self._interval_of_lead(first, other) for other in others]
        unclear = [rank for rank, found in enumerate(intervals, 2) if found is None or found[0] <= 0]
        by = self.mode.as_loss(others[0].mean) - self.mode.as_loss(first.mean)
        return Lead(by, intervals[0], tuple(unclear))

    def _interval_of_lead(self, first: Confirmed, other: Confirmed) -> tuple[float, float] | None:
        worse, better = (other, first) if self.mode is Mode.MIN else (first, other)
        return welch_interval(worse.values, better.values)

    def words(self) -> str:
        """The whole answer in plain text: a table, which config to take, and how sure that is."""
        table = [HEADINGS, *rows(self.configs, self._constraints)]
        widths = [max(len(row[i]) for row in table) for i in range(len(HEADINGS) - 1)]
        lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in table]
        best = self._literal()
        return "\n".join([self._title(), "", *lines, "", *self._sentences(), *([""] if best else []), *best])

    __str__ = words

    def __repr__(self) -> str:
        first = self.configs[0]
        return f"<Confirmation of {self.metric}: {number(first.mean)} {between(first)}, n={first.n}>"

    def _repr_html_(self) -> str:
        table = html.table(HEADINGS, rows(self.configs, self._constraints))
        told = "".join(f"<p>{html.text(words)}</p>" for words in self._sentences())
        best = self._literal()
        return f"<p><b>{html.text(self._title())}</b></p>{table}{told}{html.lines(best) if best else ''}"

    def _title(self) -> str:
        n = sum(one.n + one.n_without_value for one in self.configs)
        what = f"{format_count(len(self.configs), 'config')}, {format_count(n, 'repeat')}"
        name = "" if self.result is None else f" in {clean(self.result.reader.spec.name)}"
        return f"{clean(self.metric)} ({self.mode.value}) of {what}{name}"

    def _sentences(self) -> list[str]:
        return list(
            sentences(self.configs, self.lead, metric=self.metric, mode=self.mode, constraints=self._constraints)
        )

    def _literal(self) -> list[str]:
        """The best config as code; nothing where none is to be taken."""
        first = self.configs[0]
        return [] if first.n == 0 or first.is_mostly_without_value else config_literal(first.config)
