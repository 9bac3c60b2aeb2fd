"""One round of the race, and what must be true of each driver's end and of the store afterwards."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from campaigns.kill9.checks import Contents, Finding, check_anytime, check_finished, read_contents
from campaigns.kill9.driver import SCRIPT, Driver
from campaigns.kill9.listener import Listener
from campaigns.kill9.processes import is_alive, kill, marked, until_gone
from campaigns.two_drivers.scenarios import RacePlan, Scenario

REFUSED_WITHIN_S = 1.0
GONE_WITHIN_S = 2.0
RUN_WITHIN_S = 60.0


@dataclass
class RaceResult:
    """What a round showed."""

    plan: RacePlan
    findings: list[Finding] = field(default_factory=list)
    n_owners: int = 0  #: drivers that came to the end of the experiment
    n_refused: int = 0
    n_locked_out: int = 0  #: takeovers that failed on the file lock of a driver frozen within a commit
    n_too_late: int = 0  #: drivers that found the experiment finished by the other
    n_fenced: int = 0
    refused_s: list[float] = field(default_factory=list)  #: from the call of tune.run to its error
    refused_with_cpu_s: list[float] = field(default_factory=list)  #: the same without waiting for a CPU
    n_acks: int = 0
    wall_s: float = 0.0
    output: str = ""


def play_race(plan: RacePlan, *, script: Sequence[str] = SCRIPT, keep: Path | None = None) -> RaceResult:
    """Play the round in a temporary folder. Args: keep: where folders of rounds with findings are moved."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"2d-{plan.number}-"))
    race = _Race(plan, folder, script)
    try:
        race.play()
    finally:
        race.close()
        result = race.result
        result.wall_s = time.monotonic() - began
        if result.findings:
            result.output = "\n".join(f"--- {run.name}\n{run.read_text()}" for run in sorted(folder.glob("run-*.txt")))
        if result.findings and keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            for pipe in (folder / "pipe", *folder.glob("gate-*")):
                pipe.unlink(missing_ok=True)
            shutil.move(folder, keep / folder.name)
        shutil.rmtree(folder, ignore_errors=True)
    return result


class _Race:
    def __init__(self, plan: RacePlan, folder: Path, script: Sequence[str]) -> None:
        self.plan, self.folder, self._script = plan, folder, script
        self.result = RaceResult(plan)
        self._listener = Listener(folder / "pipe")
        self._drivers: dict[str, Driver] = {}  #: by the name that their trials give; "0" prepares
        self._n_trials = plan.n_trials
        self._gates: dict[str, int] = {}  #: by driver: the end that holds it back until it is closed

    def play(self) -> None:
        """Prepare, let them meet, wait for their ends, judge."""
        scenario = self.plan.scenario
        if scenario in (Scenario.KILLED, Scenario.TAKEOVER_BOTH):
            self._start("0")
            self._after_acks("0")
            self._drivers["0"].kill()
            until_gone(self._alive, within_s=GONE_WITHIN_S)
        elif scenario is Scenario.FINISHED:
            self._start("0")
            self._wait_for_end("0")
            self._n_trials += 2
        if scenario.is_race:
            self._start_together(takeover=scenario.takes_over)
        else:
            self._one_after_another()
        for name in self._drivers:
            self._wait_for_end(name)
        self._judge()

    def close(self) -> None:
        """Whatever happened, leave no process behind."""
        kill(self._alive())
        for by in list(self._gates):
            self._open_gate(by)
        self._listener.close()

    # ------------------------------------------------------------ how they meet

    def _start(self, by: str, *, takeover: bool = False, at_gate: bool = False) -> None:
        """Start a driver; at its gate it waits with everything imported, and has begun to wait when this returns."""
        plan, gate = self.plan, self.folder / f"gate-{by}"
        if at_gate:
            os.mkfifo(gate, 0o600)
            self._gates[by] = os.open(gate, os.O_RDWR)
        settings = {
            "folder": str(self.folder),
            "pipe": str(self.folder / "pipe"),
            "gate": str(gate) if at_gate else None,
            "by": by,
            "takeover": takeover,
            "n_trials": self._n_trials,
            "n_steps": plan.n_steps,
            "n_parallel": plan.n_parallel,
            "is_asha": False,
            "checkpoint_every": 1,
            "keep_num": None,
            "step_s": plan.step_s,
            "has_children": plan.has_children,
            "max_failures": 0,
            "self_kill": None,
        }
        self._drivers[by] = Driver(settings, mark=self.folder.name, folder=self.folder, script=self._script)

    def _open_gate(self, by: str) -> None:
        os.close(self._gates.pop(by))

    def _start_together(self, *, takeover: bool) -> None:
        """Both have imported everything and wait; the gates open at the same instant, or the second a moment later."""
        self._start("A", takeover=takeover, at_gate=True)
        self._start("B", takeover=takeover, at_gate=True)
        self._listener.listen_until(lambda: self._listener.n_ready == 2, within_s=RUN_WITHIN_S)
        self._open_gate("A")
        if self.plan.lead_s:
            time.sleep(self.plan.lead_s)
        self._open_gate("B")

    def _one_after_another(self) -> None:
        """The later ones have imported everything before the first begins, so that they come while it runs."""
        scenario = self.plan.scenario
        later = ("B", "C") if scenario is Scenario.TAKEOVER_TWICE else ("B",)
        for by in later:
            self._start(by, takeover=scenario.takes_over, at_gate=True)
        self._listener.listen_until(lambda: self._listener.n_ready == len(later), within_s=RUN_WITHIN_S)
        self._start("A")
        self._after_acks("A")
        if scenario is Scenario.FROZEN:
            os.kill(self._drivers["A"].pid, signal.SIGSTOP)
        self._open_gate("B")
        if len(later) > 1:
            self._after_acks("B", n=2)
            self._open_gate("C")
        elif scenario is Scenario.FROZEN:
            self._after_acks("B", n=2)
            os.kill(self._drivers["A"].pid, signal.SIGCONT)

    def _after_acks(self, by: str, n: int | None = None) -> None:
        """Until trials of this driver acknowledged so many reports (or it ended)."""
        goal = self.plan.after_n_acks if n is None else n
        listener, driver = self._listener, self._drivers[by]
        listener.listen_until(
            lambda: sum(ack.by == by for ack in listener.acks) >= goal or driver.code is not None,
            within_s=RUN_WITHIN_S,
        )

    def _wait_for_end(self, by: str) -> None:
        driver = self._drivers[by]
        if not self._listener.listen_until(lambda: driver.code is not None, within_s=RUN_WITHIN_S):
            self._find("unfinished", f"driver {by} did not end within {RUN_WITHIN_S:g} s")
            driver.kill()
        self._listener.listen()

    # ------------------------------------------------------------ what must be true

    def _find(self, kind: str, text: str) -> None:
        self.result.findings.append(Finding(kind, text))

    def _alive(self) -> set[int]:
        self._listener.listen()
        told = {start.pid for start in self._listener.starts} | self._listener.children
        return marked(self.folder.name) | {pid for pid in told if is_alive(pid)}

    def _judge(self) -> None:
        _, left = until_gone(self._alive, within_s=GONE_WITHIN_S)
        for pid in left:
            self._find("process left", f"process {pid} is left {GONE_WITHIN_S:g} s after all drivers ended")
        contents, findings = read_contents(self.folder / "campaign")
        self.result.findings += findings
        if contents is None:
            self._find("owners", "there is no store that could be read")
            return
        listener, plan = self._listener, self.plan
        self.result.n_acks = len(listener.acks)
        self.result.findings += check_anytime(contents, listener.acks, listener.starts, self.folder / "campaign")
        self.result.findings += check_finished(
            contents, n_trials=self._n_trials, n_steps=plan.n_steps, killed=Counter(), n_allowed=0
        )
        self._judge_ends(contents)
        self._judge_writes(contents)

    def _judge_ends(self, contents: Contents) -> None:
        """One driver came to the end; every other one says clearly who has the experiment."""
        contenders = {name: driver for name, driver in self._drivers.items() if name != "0"}
        names = {driver.pid: name for name, driver in contenders.items()}
        done = [lease for lease in contents.leases if lease.pid in names and contenders[names[lease.pid]].code == 0]
        self.result.n_too_late = sum(driver.code == 0 for driver in contenders.values()) - len(done)
        # One that came when another had ended and given back its lease is no second owner.
        overlaps = [a for a, b in pairwise(done) if a.released_at is None or a.released_at > b.acquired_at]
        self.result.n_owners = min(len(done), 1) + len(overlaps)
        if self.result.n_owners != 1:
            self._find("owners", f"{self.result.n_owners} owners: {contents.leases}")
        pids = {str(driver.pid) for driver in self._drivers.values()}
        for name, driver in contenders.items():
            if driver.code == 0:
                continue
            said = driver.said()
            text = str(said.get("text"))
            if self._is_locked_out(name, text):
                self.result.n_locked_out += 1
                continue
            is_fenced = "taken over" in text
            names_other = any(f"process {pid} on host {platform.node()}, started 2" in text for pid in pids)
            if said.get("error") != "LeaseError" or not names_other or f"process {driver.pid} " in text:
                self._find("unclear end", f"driver {name} (pid {driver.pid}) ended with {driver.code}: {said}")
            if is_fenced:
                self.result.n_fenced += 1
            else:
                self.result.n_refused += 1
                seconds, starved_s = float(said.get("seconds", "inf")), float(said.get("starved_s", 0.0))
                self.result.refused_s.append(seconds)
                self.result.refused_with_cpu_s.append(seconds - starved_s)
                if seconds - starved_s >= REFUSED_WITHIN_S:
                    self._find(
                        "slow", f"driver {name} was refused after {seconds:.2f} s ({starved_s:.2f} s without CPU)"
                    )
            if is_fenced and not self.plan.scenario.takes_over:
                self._find("owners", f"driver {name} was fenced though nobody asked for a takeover: {text}")

    def _is_locked_out(self, name: str, text: str) -> bool:
        """Whether a frozen driver held SQLite's lock, in the middle of a commit: then nobody can take over before it
        wakes, and the message names it."""
        frozen = self._drivers.get("A")
        is_frozen = self.plan.scenario is Scenario.FROZEN and name == "B" and frozen is not None
        return is_frozen and f"has been locked by process {frozen.pid} " in text

    def _judge_writes(self, contents: Contents) -> None:
        """What stands in the log after a session's start comes from that session's trials, and from no other's."""
        sessions = [(entry.seq, entry.body["epoch"]) for entry in contents.log if entry.type == "SessionStarted"]
        names = {driver.pid: name for name, driver in self._drivers.items()}
        owner_of_epoch = {epoch: names.get(pid, f"pid {pid}") for epoch, pid, _, _ in contents.leases}
        by = {(start.trial, start.attempt): start.by for start in self._listener.starts}
        for item in [*contents.rows, *(entry for entry in contents.log if entry.type == "AttemptStarted")]:
            epoch = next((epoch for seq, epoch in reversed(sessions) if seq < item.seq), None)
            heard = by.get((item.trial or 0, item.attempt or 0))
            if epoch is None or (heard is not None and heard != owner_of_epoch.get(epoch)):
                self._find("fenced write", f"{item} is of driver {heard}, in epoch {epoch} of {owner_of_epoch}")
        last_seq, last_epoch = sessions[-1]
        if last_epoch != contents.leases[-1].epoch:
            self._find("epochs", f"the last session has epoch {last_epoch}, the last lease {contents.leases[-1].epoch}")
        for entry in contents.log:
            is_lost = entry.type == "AttemptEnded" and entry.body["outcome"] in ("LOST", "SIGNALLED")
            if is_lost and entry.seq > last_seq:
                self._find("disturbed", f"a trial of the last owner was lost: {entry.body}")
