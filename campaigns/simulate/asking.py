"""When the searcher must be asked, for how many configs, and when random search instead: worked out naively."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from statistics import fmean, median_low

from campaigns.simulate.faults import require
from campaigns.simulate.plan import Plan
from campaigns.simulate.rows import Row
from tunesmith.events import ConcludeAttempt, ConfigsSuggested, Suggest
from tunesmith.resources import Placement
from tunesmith.trial import TrialStatus

SLACK_S = 1e-5
_PATIENCE_S = 60.0
_EPS = 1e-9


def n_fitting(plan: Plan, placements: Sequence[Placement], lost_nodes: Collection[str]) -> int:
    """How many more trials there is room for beside these; at most as many as may run."""
    limit = plan.spec.max_concurrent_trials
    n = 0
    for node in plan.nodes:
        n_here = 0
        while node.name not in lost_nodes and _fits(plan, node.name, placements, n_here + 1):
            n_here += 1
        n += n_here
    return n if limit is None else min(n, limit - len(placements))


def _fits(plan: Plan, name: str, placements: Sequence[Placement], n_more: int) -> bool:
    """Whether so many more fit this node."""
    need = plan.spec.resources
    (node,) = (node for node in plan.nodes if node.name == name)
    mine = [placement for placement in placements if placement.node == name]
    n = len(mine) + n_more
    shares = [1.0 - sum(placement.gpus.get(gpu, 0.0) for placement in mine) for gpu in node.gpus]
    if 0.0 < need.gpu < 1.0:
        has_gpus = sum(math.floor(share / need.gpu + _EPS) for share in shares) >= n_more
    else:
        has_gpus = sum(share > 1.0 - _EPS for share in shares) >= n_more * need.gpu
    has_custom = all(amount * n <= node.custom.get(what, 0.0) + _EPS for what, amount in need.custom.items())
    return need.cpu * n <= node.cpu + _EPS and has_gpus and has_custom


class AskingBooks:
    """What the log says about the searcher's cost and the trials' time, and what follows from it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._costs_s: list[float] = []  #: of each answer, per config or thaw
        self._started_at: dict[int, float] = {}  #: of the running attempts of this session
        self._held_s: dict[int, list[float]] = {}  #: by trial, of its attempts since it was last over
        self._totals_s: list[float] = []  #: of the trials that completed or were stopped
        self._idle: tuple[int, float] | None = None  #: request, and since when a slot waits for its answer

    def begin_session(self) -> None:
        """Another driver: it knows nothing of what its attempts had cost by now."""
        self._started_at.clear()
        self._idle = None

    # ------------------------------------------------------------ facts

    def note_answer(self, answer: ConfigsSuggested) -> None:
        """The searcher itself answered."""
        n = len(answer.suggestions) + len(answer.thaws)
        if n:
            self._costs_s.append(answer.cpu_s / n)

    def note_start(self, trial: int, now: float) -> None:
        """It has its slot."""
        self._started_at[trial] = now

    def note_conclusion(self, record: ConcludeAttempt, now: float) -> None:
        """It has given its slot back; for how long it had it must be said."""
        since = self._started_at.pop(record.trial, None)
        held_s = None if since is None else now - since
        is_true = record.held_s == held_s
        if held_s is not None and record.held_s is not None:
            is_true = abs(record.held_s - held_s) < SLACK_S
        require(is_true, "a slot was not held for so long", f"{record}: {held_s}")
        if record.held_s is not None:
            self._held_s.setdefault(record.trial, []).append(record.held_s)
        if record.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED):
            parts = self._held_s.pop(record.trial, [])
            if parts and record.status is not TrialStatus.FAILED:
                self._totals_s.append(sum(parts))

    # ------------------------------------------------------------ what follows

    def n_ahead(self, n_slots: int) -> tuple[int, int]:
        """How many configs are to be held ready; two numbers where rounding decides between them."""
        if self._plan.n_ahead is not None:
            return self._plan.n_ahead, self._plan.n_ahead
        if not self._costs_s or not self._totals_s:
            return 0, 0
        cost_s, mean_s = median_low(self._costs_s[-9:]), fmean(self._totals_s)
        if mean_s == 0.0:  # trials that were over in no time at all
            n = n_slots if cost_s > 0.0 else 0
            return n, n
        shares = [cost_s / mean_s * (1.0 + sign * _EPS) for sign in (-1, 1)]
        low, high = (min(n_slots, math.ceil(n_slots * share)) if share > 0.02 else 0 for share in shares)
        return low, high

    def n_missing(self, rows: Sequence[Row], lost_nodes: Collection[str], now: float) -> tuple[int, int, int]:
        """How many configs idle slots wait for, and how many (two numbers, as above) with those to be held ready."""
        placements = [row.placement for row in rows if row.status is TrialStatus.RUNNING and row.placement]
        free = n_fitting(self._plan, placements, lost_nodes)
        pending = [row.not_before for row in rows if row.status is TrialStatus.PENDING]
        ready, surely_ready = (sum(at <= now + slack_s for at in pending) for slack_s in (SLACK_S, -SLACK_S))
        n_left = self._plan.n_trials - len(rows)
        if self._plan.thaws:
            n_left += sum(row.status is TrialStatus.PAUSED and not row.is_wanted for row in rows)
            ready, surely_ready = (n + sum(row.is_wanted for row in rows) for n in (ready, surely_ready))
        low, high = self.n_ahead(free + len(placements))
        n_idle, n_low = (min(free + ahead - ready, n_left) for ahead in (0, low))
        n_idle_at_most, n_high = (min(free + ahead - surely_ready, n_left) for ahead in (0, high))
        if self._plan.n_ahead is None and n_idle_at_most >= 1:  # those are not to wait for more than they need
            return n_idle, min(n_low, n_idle) if n_idle >= 1 else n_low, n_idle_at_most
        return n_idle, n_low, n_high

    def check_request(self, record: Suggest, missing: tuple[int, int, int]) -> None:
        """The searcher is asked for what is missing."""
        _, low, high = missing
        if self._plan.thaws and record.n == 0:  # only trials that run are to be judged
            low, high = 0, 0
        text = f"{record}, missing are {low} to {high}"
        require(low <= record.n <= high, "other configs asked for than are missing", text)

    def check_stand_in(self, record: Suggest, asked: Suggest | None, *, n_idle: int, now: float) -> None:
        """Random search is asked for what idle slots have waited for long enough."""
        is_of_request = asked is not None and asked.request == record.instead_of and asked.instead_of is None
        require(is_of_request, "a stand-in for nobody", f"{record}, asked was {asked}")
        request, since = self._idle or (None, math.inf)
        is_due = request == record.instead_of and now >= since + _PATIENCE_S - SLACK_S
        text = f"{record} at {now}; request {request} since {since}, {n_idle} slots idle"
        require(is_due and record.n == n_idle, "a stand-in that is not due", text)

    # ------------------------------------------------------------ between two passes

    def look(self, asked: Suggest | None, *, n_idle: int, now: float) -> float:
        """After a pass at this time; answers when a slot will have stood idle for too long."""
        if asked is None or asked.instead_of is not None or n_idle < 1:
            self._idle = None
            return math.inf
        if self._idle is None or self._idle[0] != asked.request:
            self._idle = (asked.request, now)
        return self._idle[1] + _PATIENCE_S


def is_without_effect(answer: ConfigsSuggested) -> bool:
    """Whether the searcher had nothing to say."""
    return not (answer.suggestions or answer.thaws or answer.stops)
