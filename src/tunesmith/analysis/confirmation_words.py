"""A confirmation in words: its table, which config to take, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunesmith.analysis.confirmed import Confirmed, Lead
from tunesmith.callbacks.text import clean, format_config
from tunesmith.trial import MetricConstraint, Mode

HEADINGS = ("rank", "mean", "95 % interval", "n", "claimed", "step", "notes", "config")


def rows(configs: Sequence[Confirmed], constraints: Sequence[MetricConstraint]) -> Iterator[tuple[str, ...]]:
    """Of each config, in the order of its rank, the cells under `HEADINGS`."""
    for rank, one in enumerate(configs, 1):
        notes = ", ".join(_notes(one, _bounds(constraints)))
        values = (number(one.mean), between(one), str(one.n), number(one.claimed), str(one.step))
        yield (str(rank), *values, notes, format_config(one.config))


def sentences(
    configs: Sequence[Confirmed],
    lead: Lead | None,
    *,
    metric: str,
    mode: Mode,
    constraints: Sequence[MetricConstraint],
) -> Iterator[str]:
    """What the table says, the important first."""
    first, bounds = configs[0], _bounds(constraints)
    if any(one.n_left for one in configs):
        yield "It is not over: the same call goes on."
    if first.n == 0:
        yield f"No repeat has a finite {clean(metric)}. Look at the errors of its trials."
        return
    yield f"{_take_words(first, bounds)}: {_mean_words(first)}."
    if first.n_without_value:
        yield f"{first.n_without_value} of its {first.n + first.n_without_value} repeats gave no value."
    if first.is_mostly_without_value:
        return  # its values are those of the lucky repeats: a comparison would say nothing
    apart = [rank for rank, one in enumerate(configs, 1) if one.standing != first.standing and _is_begun(one)]
    if lead is not None:
        yield _lead_words(lead, is_of_all=all(one.standing == first.standing for one in configs))
    if apart:
        yield f"Not compared with {_configs(apart)}: {_apart_words([configs[rank - 1] for rank in apart], bounds)}."
    yield _optimism_words(first, mode)
    yield from _sameness_words(configs)


def number(value: float) -> str:
    """Five digits."""
    return f"{value:.5g}"


def between(one: Confirmed) -> str:
    """The interval of its mean; empty where there is none."""
    interval = one.interval
    return "" if interval is None else f"[{number(interval[0])}, {number(interval[1])}]"


def _is_begun(one: Confirmed) -> bool:
    return one.n + one.n_without_value > 0


def _bounds(constraints: Sequence[MetricConstraint]) -> list[str]:
    return [clean(str(bound)) for bound in constraints]


def _notes(one: Confirmed, bounds: Sequence[str]) -> Iterator[str]:
    if one.n_failed:
        yield f"{one.n_failed} failed"
    if one.n_no_value:
        yield f"{one.n_no_value} without a value"
    if one.n_left:
        yield f"{one.n_left} to come"
    if one.n_out_of_bounds:
        yield f"{one.n_out_of_bounds} broke {' or '.join(bounds)}"


def _take_words(first: Confirmed, bounds: Sequence[str]) -> str:
    if first.is_mostly_without_value:
        return "Take none of them: most repeats of every config gave no value. Of the first"
    if first.is_mostly_out_of_bounds:
        kept = " and ".join(bounds)
        return f"No config keeps {kept} in at least half of its repeats; the best of them is the first"
    return "Take the first"


def _mean_words(one: Confirmed) -> str:
    if one.interval is None:
        return f"its only value is {number(one.mean)}, and one value has no interval"
    low, high = map(number, one.interval)
    return f"its mean over {one.n} repeats is {number(one.mean)} (95 % interval {low} to {high})"


def _lead_words(lead: Lead, *, is_of_all: bool) -> str:
    if lead.interval is None:
        return (
            f"It leads the second by {number(lead.by)}, which may be luck: without two values of each there is "
            "no interval. Give a larger repeats."
        )
    difference = f"by {number(lead.by)} (95 % interval {number(lead.interval[0])} to {number(lead.interval[1])})"
    if lead.is_clear:
        every = "every other" if is_of_all else "every other that is compared"
        return f"It is better than {every}, than the second {difference}."
    return f"It leads the second {difference}. These repeats cannot tell it from {_configs(lead.unclear)}."


def _apart_words(apart: Sequence[Confirmed], bounds: Sequence[str]) -> str:
    """Why these are not compared, in the order in which it weighs."""
    reasons = []
    if any(one.n == 0 or one.is_mostly_without_value for one in apart):
        reasons.append("gave no value")
    if any(one.is_mostly_out_of_bounds for one in apart):
        reasons.append(f"broke {' or '.join(bounds)}")
    return f"most of {'its' if len(apart) == 1 else 'their'} repeats {' or '.join(reasons)}"


def _configs(ranks: Sequence[int]) -> str:
    """`config 3`, `configs 2, 3 and 5`."""
    if len(ranks) == 1:
        return f"config {ranks[0]}"
    return f"configs {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


def _optimism_words(first: Confirmed, mode: Mode) -> str:
    worse_by = mode.as_loss(first.mean) - mode.as_loss(first.claimed)
    claim = f"The search had seen {number(first.claimed)} of it"
    if worse_by <= 0:
        return f"{claim}: the repeats are no worse."
    return f"{claim}: {number(worse_by)} better than the repeats are on average."


def _sameness_words(configs: Sequence[Confirmed]) -> Iterator[str]:
    """That values without any spread are no certainty."""
    several = [one for one in configs if one.n > 1]
    if configs[0].n < 2 or any(len(set(one.values)) > 1 for one in several):
        return
    if any(one.n_without_value for one in several):  # not all repeats are alike then, whatever their values
        yield "The values of each config are all the same: they say nothing about noise."
        return
    yield (
        "Every repeat of a config gave the same value. Either the training is deterministic, "
        "or it sets its own seed, and then this says nothing about noise."
    )
