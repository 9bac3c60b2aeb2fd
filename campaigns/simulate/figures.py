"""The figures of a campaign, in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from campaigns.simulate.campaign import Played
from campaigns.simulate.continuity import Compared
from campaigns.simulate.planted import Bug

#: Words in the table for what is counted, in its order.
_ROWS = {
    "trials": "trials",
    "attempts": "attempts",
    "reports made": "reports made",
    "results acknowledged": "  acknowledged",
    "records": "records in the logs",
    "passes": "passes, each checked",
    "replays compared": "replays compared with the live state",
    "virtual seconds": "virtual seconds",
    "drivers": "drivers",
    "crashes": "  that crashed",
    "power losses": "  that crashed with a power loss",
    "takeovers": "  that were taken over while they ran",
    "appends refused": "  whose disk refused an append",
    "sessions that ended interrupted": "  that were interrupted, and resumed",
    "sessions that ended failed": "  that ended because of failures",
    "sessions that ended time budget": "  that ended because of a time budget",
    "sessions that ended step budget": "  that ended because of a step budget",
    "interrupts": "interrupts posted",
    "second presses": "  with a second press",
    "attempts with a fault": "attempts with a fault",
    "attempts that hang": "  that hang",
    "given up": "attempts given up for their silence",
    "stand-ins": "requests that random search answered for a slow searcher",
    "nodes lost": "nodes lost",
    "messages that came twice": "messages that came twice",
    "messages that came late": "messages that came late",
    "stray messages": "messages of attempts of an earlier driver",
    "reports after a stop": "reports after a stop",
    "checkpoints saved at a stop": "checkpoints saved at a stop",
    "slow appends": "slow appends",
    "wall clock jumps": "jumps of the wall clock by an hour",
}


@dataclass
class Tally:
    """What happened in some worlds."""

    n_seeds: int = 0
    n_sqlite: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)  #: of the violations
    ends: Counter[str] = field(default_factory=Counter)

    def add(self, played: Played) -> None:
        """Count one world in."""
        self.n_seeds += 1
        self.n_sqlite += played.is_sqlite
        self.counts.update(played.counts)
        self.ends[played.end] += 1
        if played.violation is not None:
            self.kinds[played.violation.kind] += 1


def table(tally: Tally, *, seed: int, wall_s: float) -> str:
    """The table of a campaign's worlds."""
    lines = [
        ("seeds, the first of them", f"{tally.n_seeds}, {seed}"),
        ("  on the real SQLite store", f"{tally.n_sqlite}"),
        ("seconds in all, and ms of one seed", f"{wall_s:.0f}, {1000 * wall_s / max(1, tally.n_seeds):.1f}"),
        *((words, f"{tally.counts[name]}") for name, words in _ROWS.items()),
        *((f"driver crashes {name[8:]}", f"{n}") for name, n in sorted(tally.counts.items()) if name[:8] == "crashed "),
        *((f"experiments that ended: {end}", f"{n}") for end, n in sorted(tally.ends.items())),
        ("violations", f"{tally.kinds.total()}"),
        *((f"  {kind}", f"{n}") for kind, n in tally.kinds.most_common()),
    ]
    width = max(len(words) for words, _ in lines)
    return "\n".join(f"{words:<{width}}  {value:>12}" for words, value in lines)


def continuity_lines(pairs: Sequence[Compared]) -> str:
    """The figures of interrupted experiments beside uninterrupted ones, and what differs."""
    different = [pair for pair in pairs if pair.difference is not None]
    lines = [
        f"experiments played twice, once interrupted: {len(pairs)}",
        f"  interruptions {sum(pair.n_interruptions for pair in pairs)}, "
        f"trials {sum(pair.n_trials for pair in pairs)}, decisions {sum(pair.n_decisions for pair in pairs)}",
        f"  that came to something else: {len(different)}",
        *(f"  seed {pair.seed}: {pair.difference}" for pair in different),
    ]
    return "\n".join(lines)


def planted_table(found: Mapping[Bug, Played | None], *, seed: int) -> str:
    """Which planted bugs were found, by which invariant, in how many worlds."""
    lines = [f"{'planted bug':48}  {'found by the invariant':54}  seeds"]
    for bug, played in found.items():
        if played is None or played.violation is None:
            lines.append(f"{bug.value:48}  NOT FOUND")
        else:
            lines.append(f"{bug.value:48}  {played.violation.kind:54}  {played.seed - seed + 1:>5}")
    n_found = sum(played is not None for played in found.values())
    return "\n".join([*lines, f"found: {n_found} of {len(found)}"])
