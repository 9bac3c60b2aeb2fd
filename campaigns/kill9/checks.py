"""What must be true of a store, judged from its rows and from what the campaign heard, not by tunesmith's own fold."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tunesmith as tune
from campaigns.kill9.contents import loss_at, read_checkpoint
from campaigns.kill9.listener import Ack, Start
from tunesmith.errors import StoreError
from tunesmith.stores import DATABASE_NAME
from tunesmith.stores.reader import Reader


class Row(NamedTuple):
    """A row of `results`."""

    seq: int
    trial: int
    attempt: int
    step: int
    value: float | None
    verdict: str | None
    checkpoint: str | None
    superseded: int


class Entry(NamedTuple):
    """A row of `log`."""

    seq: int
    type: str
    trial: int | None
    attempt: int | None
    body: dict[str, Any]


class LeaseRow(NamedTuple):
    """A row of `lease`."""

    epoch: int
    pid: int
    acquired_at: float
    released_at: float | None


class Contents(NamedTuple):
    """Everything that a store holds, as it lies there."""

    rows: list[Row]
    log: list[Entry]
    trials: dict[int, dict[str, Any]]
    kept: list[tuple[int, int, str]]  #: trial, step, path of the checkpoints that are not deleted
    leases: list[LeaseRow]
    status: str | None


class Finding(NamedTuple):
    """One violation: its kind, as in the table of figures, and what was seen."""

    kind: str
    text: str


def read_contents(folder: Path) -> tuple[Contents | None, list[Finding]]:
    """The store's contents, and why it is unreadable if it is. (None, []) where no store was made yet."""
    if not (folder / DATABASE_NAME).exists():
        return None, []
    try:
        analysis = tune.load(folder)
        reader: Reader = analysis.reader
        try:
            damage = reader.query("PRAGMA integrity_check")
            if damage != [("ok",)]:
                return None, [Finding("unreadable", f"integrity_check: {damage[:3]}")]
            list(analysis.trials)
            return _contents(reader), []
        finally:
            reader.close()
    except (StoreError, ValueError, KeyError) as error:
        return None, [Finding("unreadable", f"{type(error).__name__}: {error}")]


def _contents(reader: Reader) -> Contents:
    rows = reader.query(
        "SELECT seq, trial, attempt, step, value, verdict, checkpoint, superseded FROM results ORDER BY seq"
    )
    log = reader.query("SELECT seq, type, trial, attempt, body FROM log ORDER BY seq")
    names = ("trial", "status", "attempt", "step", "n_reports", "config", "reason")
    trials = [dict(zip(names, row, strict=True)) for row in reader.query(f"SELECT {', '.join(names)} FROM trials")]
    kept = reader.query("SELECT trial, step, path FROM checkpoints WHERE state = 'kept'")
    leases = reader.query("SELECT epoch, pid, acquired_at, released_at FROM lease ORDER BY epoch")
    return Contents(
        rows=[Row(*row) for row in rows],
        log=[Entry(*row[:4], json.loads(row[4])) for row in log],
        trials={trial["trial"]: {**trial, "config": json.loads(trial["config"])} for trial in trials},
        kept=kept,
        leases=[LeaseRow(*row) for row in leases],
        status=reader.query("SELECT status FROM experiment")[0][0],
    )


def check_anytime(
    contents: Contents | None, acks: Sequence[Ack], starts: Sequence[Start], folder: Path
) -> list[Finding]:
    """What holds after every kill, before anything is run again, and at the end."""
    rows = contents.rows if contents else []
    found = check_acknowledged(rows, acks)
    found += [Finding("half checkpoint", start.flaw) for start in starts if start.flaw]
    if contents is None:
        return found
    found += _check_values(contents)
    found += _check_starts(contents, starts)
    found += _check_superseded(contents)
    for trial, step, path in contents.kept:
        saved_step, flaw = read_checkpoint(str(folder / path), trial=trial)
        if flaw or saved_step != step:
            found.append(Finding("half checkpoint", flaw or f"{path} holds step {saved_step}, its row says {step}"))
    return found


def check_acknowledged(rows: Sequence[Row], acks: Sequence[Ack]) -> list[Finding]:
    """Every acknowledged report is stored exactly once, with its value; no key twice, heard or stored."""
    stored: dict[tuple[int, int, int], list[float | None]] = defaultdict(list)
    for row in rows:
        stored[row.trial, row.attempt, row.step].append(row.value)
    found = []
    for ack in acks:
        values = stored.get((ack.trial, ack.attempt, ack.step), [])
        if ack.value not in values:
            found.append(Finding("lost", f"{ack} was acknowledged; stored: {values or 'nothing'}"))
    found += [Finding("duplicate", f"{key} is stored {len(v)} times") for key, v in stored.items() if len(v) > 1]
    heard = Counter((ack.trial, ack.attempt, ack.step) for ack in acks)
    found += [Finding("duplicate", f"{key} was acknowledged {n} times") for key, n in heard.items() if n > 1]
    return found


def _check_values(contents: Contents) -> list[Finding]:
    found = []
    for row in contents.rows:
        expected = loss_at(contents.trials[row.trial]["config"]["x"], row.step)
        if row.value != expected:
            found.append(Finding("wrong", f"{row} has another value than the trial computed, {expected}"))
    counts = Counter(row.trial for row in contents.rows)
    for index, trial in contents.trials.items():
        if trial["n_reports"] != counts[index]:
            found.append(Finding("wrong", f"trial {index} counts {trial['n_reports']} reports, has {counts[index]}"))
    return found


def _check_starts(contents: Contents, starts: Sequence[Start]) -> list[Finding]:
    """Each attempt begins at the newest checkpoint committed before it, once, and none begins after the trial's end."""
    found: list[Finding] = []
    saved: dict[int, list[tuple[int, str]]] = defaultdict(list)
    over: dict[int, str] = {}
    begun: dict[tuple[int, int], int] = {}
    for item in sorted([*contents.rows, *contents.log], key=lambda item: item.seq):
        if isinstance(item, Row):
            if item.checkpoint is not None:
                saved[item.trial].append((item.step, item.checkpoint))
            if item.verdict in ("stop", "complete"):
                over[item.trial] = f"answered {item.verdict} at step {item.step}"
        elif item.type == "DeleteCheckpoint":
            saved[item.trial] = [entry for entry in saved[item.trial] if entry[1] != item.body["path"]]
        elif item.type == "ConcludeAttempt" and item.body["status"] in ("COMPLETED", "STOPPED", "INVALID"):
            over[item.trial] = item.body["status"]
        elif item.type == "StartAttempt":
            newest = saved[item.trial][-1] if saved[item.trial] else (0, None)
            given = item.body["start_step"], item.body["checkpoint"]
            if given != newest:
                found.append(Finding("resume", f"trial {item.trial} attempt {item.attempt}: {given}, newest {newest}"))
            if item.trial in over:
                found.append(Finding("run twice", f"trial {item.trial} began again after it was {over[item.trial]}"))
            if (item.trial, item.attempt) in begun:
                found.append(Finding("run twice", f"trial {item.trial} attempt {item.attempt} was begun twice"))
            begun[item.trial, item.attempt] = given[0]
            saved[item.trial] = [entry for entry in saved[item.trial] if entry[0] <= given[0]]
    return found + _check_heard_starts(begun, starts)


def _check_heard_starts(begun: dict[tuple[int, int], int], starts: Sequence[Start]) -> list[Finding]:
    found = []
    for start in starts:
        expected = begun.get((start.trial, start.attempt))
        if expected != start.start:
            found.append(Finding("resume", f"{start} but the log says step {expected}"))
    for key, n in Counter((start.trial, start.attempt) for start in starts).items():
        if n > 1:
            found.append(Finding("run twice", f"{n} processes were attempt {key[1]} of trial {key[0]}"))
    return found


def _check_superseded(contents: Contents) -> list[Finding]:
    """What counts of a trial is one chain of steps 1, 2, 3, ... over its attempts."""
    found, chains = [], defaultdict(list)
    for row in contents.rows:
        if not row.superseded:
            chains[row.trial].append(row.step)
    for trial, steps in chains.items():
        if steps != list(range(1, len(steps) + 1)):
            found.append(Finding("steps", f"the steps of trial {trial} that count are {steps}"))
    return found


def check_finished(
    contents: Contents, *, n_trials: int, n_steps: int, killed: Counter[int], n_allowed: int
) -> list[Finding]:
    """After the last run everything is over; only a trial that was itself killed too often may have failed."""
    found = []
    if contents.status != "finished":
        found.append(Finding("unfinished", f"the experiment is {contents.status!r}"))
    if sorted(contents.trials) != list(range(n_trials)):
        found.append(Finding("unfinished", f"the trials are {sorted(contents.trials)} of {n_trials}"))
    for index, trial in contents.trials.items():
        is_done = trial["status"] == "COMPLETED" and trial["step"] == n_steps
        is_stopped = trial["status"] == "STOPPED" and 0 < trial["step"] <= n_steps
        is_killed = trial["status"] == "FAILED" and killed[index] > n_allowed and "SIGKILL" in str(trial["reason"])
        if not (is_done or is_stopped or is_killed):
            what = {name: trial[name] for name in ("status", "attempt", "step", "reason")}
            found.append(Finding("unfinished", f"trial {index}: {what}; it was killed {killed[index]} times"))
    sessions = [entry.body["epoch"] for entry in contents.log if entry.type == "SessionStarted"]
    epochs = [lease.epoch for lease in contents.leases]
    if sessions != sorted(set(sessions)) or not set(sessions) <= set(epochs):
        found.append(Finding("epochs", f"sessions {sessions}, leases {epochs}"))
    if epochs != list(range(1, len(epochs) + 1)):
        found.append(Finding("epochs", f"leases {epochs}"))
    return found
