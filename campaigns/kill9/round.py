"""One round: start the script, kill somebody, look, run the script again to its end, look again."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from campaigns.kill9.checks import Finding, check_anytime, check_finished, read_contents
from campaigns.kill9.driver import SCRIPT, Driver
from campaigns.kill9.listener import Listener
from campaigns.kill9.plan import Kill, RoundPlan, Target
from campaigns.kill9.processes import is_alive, kill, marked, reaper_of, template_of, tree_of, until_gone

CLEAN_WITHIN_S = 2.0
RUN_WITHIN_S = 60.0


@dataclass
class RoundResult:
    """What a round showed."""

    plan: RoundPlan
    findings: list[Finding] = field(default_factory=list)
    kills: list[Target] = field(default_factory=list)  #: who was killed in fact
    n_too_late: int = 0  #: kills for which the run had ended before
    n_acks: int = 0
    n_restarted: int = 0  #: attempts that began from a checkpoint
    n_from_scratch: int = 0  #: later attempts that began without one
    is_complete: bool = False  #: the last run ended as it must
    clean_s: list[float] = field(default_factory=list)  #: from a kill until nothing of what must go was left
    resume_s: list[float] = field(
        default_factory=list
    )  #: from the next start until the first trial trained (or the end)
    n_files_left: int = 0  #: drafts, partial checkpoints and temporary files after the last run
    wall_s: float = 0.0
    output: str = ""  #: of the drivers, where there is a finding


def play_round(plan: RoundPlan, *, script: Sequence[str] = SCRIPT, keep: Path | None = None) -> RoundResult:
    """Play the round in a temporary folder. Args: keep: where folders of rounds with findings are moved."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"k9-{plan.number}-"))
    player = _Player(plan, folder, script)
    try:
        player.play()
    finally:
        player.close()
        result = player.result
        result.wall_s = time.monotonic() - began
        if result.findings:
            result.output = "\n".join(f"--- {run.name}\n{run.read_text()}" for run in sorted(folder.glob("run-*.txt")))
        if result.findings and keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (folder / "pipe").unlink(missing_ok=True)
            shutil.move(folder, keep / folder.name)
        shutil.rmtree(folder, ignore_errors=True)
    return result


class _Player:
    def __init__(self, plan: RoundPlan, folder: Path, script: Sequence[str]) -> None:
        self.plan, self.folder, self._script = plan, folder, script
        self.store = folder / "campaign"
        self.result = RoundResult(plan)
        self._mark = folder.name
        self._listener = Listener(folder / "pipe")
        self._killed: Counter[int] = Counter()  #: by trial: how often it alone was killed
        self._unswept: set[int] = set()  #: what only the next start's sweep can end
        if plan.self_kill:
            self._killed[plan.self_kill["trial"]] += 1

    def play(self) -> None:
        """All kills, then the last runs."""
        driver = self._start(self.plan.kills[0])
        for number, kill_plan in enumerate(self.plan.kills):
            is_over = self._wait_for(driver, kill_plan)
            target, victims, must_go = self._strike(driver, kill_plan, is_over=is_over)
            if target is None:
                self.result.n_too_late += 1
            else:
                self.result.kills.append(target)
                self._watch_them_go(driver, target, must_go, victims)
            if driver.code is not None and number + 1 < len(self.plan.kills):
                driver = self._start(self.plan.kills[number + 1])
        self._to_the_end(driver)

    def close(self) -> None:
        """Whatever happened, leave no process behind."""
        left = marked(self._mark) | {pid for pid in self._pids() if is_alive(pid)}
        kill(left)
        self._listener.close()

    def _start(self, kill_plan: Kill | None) -> Driver:
        call = (kill_plan.call, kill_plan.when) if kill_plan is not None and kill_plan.call else None
        plan = self.plan
        settings = {
            "folder": str(self.folder),
            "pipe": str(self.folder / "pipe"),
            "gate": None,
            "by": "A",
            "takeover": False,
            "n_trials": plan.n_trials,
            "n_steps": plan.n_steps,
            "n_parallel": plan.n_parallel,
            "is_asha": plan.is_asha,
            "checkpoint_every": plan.checkpoint_every,
            "keep_num": plan.keep_num,
            "step_s": plan.step_s,
            "has_children": plan.has_children,
            "max_failures": plan.max_failures,
            "self_kill": plan.self_kill,
        }
        return Driver(settings, mark=self._mark, folder=self.folder, script=self._script, call=call)

    # ------------------------------------------------------------ the kill

    def _wait_for(self, driver: Driver, kill_plan: Kill) -> bool:
        """Until the kill's instant; True when the run ended before it."""
        listener = self._listener
        if kill_plan.target in (Target.DRIVER_AT_CALL, Target.TRIAL_AT_CALL):
            self._wait_for_end(driver)
            return True
        end = driver.started_at + kill_plan.delay_s
        if kill_plan.after_n_acks is not None:
            goal = len(listener.acks) + kill_plan.after_n_acks
            n_starts = len(listener.starts)
            listener.listen_until(
                lambda: (len(listener.acks) >= goal and len(listener.starts) > n_starts) or driver.code is not None,
                within_s=RUN_WITHIN_S,
            )
            end = time.monotonic() + kill_plan.delay_s
        listener.listen_until(lambda: time.monotonic() >= end or driver.code is not None, within_s=RUN_WITHIN_S)
        return driver.code is not None

    def _strike(self, driver: Driver, kill_plan: Kill, *, is_over: bool) -> tuple[Target | None, set[int], set[int]]:
        """Kill. Returns whom in fact (None: too late), the victims, and the processes that must go with them."""
        target = kill_plan.target
        if target is Target.DRIVER_AT_CALL:
            return (target if driver.was_killed else None), set(), set()
        if target is Target.TRIAL_AT_CALL:
            sacrificed = self.plan.self_kill["trial"] if self.plan.self_kill else None
            heard = [start for start in self._listener.starts if start.trial == sacrificed]
            return (target if heard else None), set(), set()
        if is_over:
            return None, set(), set()
        target, victims = self._victims(driver, kill_plan)
        tree = {member for pid in victims for member in tree_of(pid)}
        kill(victims)
        if target in (Target.TRIAL, Target.TRIALS, Target.ALL):
            self._listener.listen()
            trials = {start.pid: start.trial for start in self._listener.starts}
            # Of `ALL`, the driver may have heard of the end of those that went before it: one kill comes after another.
            heard = victims[: victims.index(driver.pid)] if target is Target.ALL else victims
            self._killed.update(trials[pid] for pid in heard if pid in trials)
        return target, set(victims), tree

    def _victims(self, driver: Driver, kill_plan: Kill) -> tuple[Target, list[int]]:
        """Whom to kill, in which order; the driver where the wished-for target is not there (yet)."""
        rng, target = random.Random(kill_plan.choice), kill_plan.target
        reaper, template = reaper_of(driver.pid), template_of(driver.pid)
        self._listener.listen()
        known = {start.pid for start in self._listener.starts}
        trials = sorted(pid for pid in known if is_alive(pid))
        found: list[int | None] = []
        if target is Target.REAPER:
            found = [reaper]
        elif target is Target.TEMPLATE:
            found = [template]
        elif target is Target.DRIVER_AND_REAPER:
            found = rng.sample([driver.pid, reaper], 2)
        elif target is Target.ALL:
            found = rng.sample([driver.pid, reaper, template, *trials], 3 + len(trials)) if template else [None]
        elif target in (Target.TRIAL, Target.TRIALS):
            found = [*rng.sample(trials, 1 if target is Target.TRIAL else len(trials))] if trials else [None]
        victims = [pid for pid in found if pid is not None]
        if not victims or len(victims) != len(found):
            return Target.DRIVER, [driver.pid]
        return target, victims

    # ------------------------------------------------------------ afterwards

    def _watch_them_go(self, driver: Driver, target: Target, must_go: set[int], victims: set[int]) -> None:
        """Nothing of what was killed is left after 2 s; the store is whole already, before anything is run again."""
        if not target.has_driver:
            if target is Target.TRIAL_AT_CALL:
                return
            seconds, left = until_gone(lambda: {pid for pid in must_go if is_alive(pid)}, within_s=CLEAN_WITHIN_S)
        elif target.has_reaper_too:
            driver.wait()
            seconds, left = until_gone(lambda: {pid for pid in victims if is_alive(pid)}, within_s=CLEAN_WITHIN_S)
            self._unswept |= self._alive() - left
        else:
            driver.wait()
            # What an earlier kill left may be there still: this run may have died before it could sweep.
            seconds, left = until_gone(lambda: self._alive() - self._unswept, within_s=CLEAN_WITHIN_S)
        self.result.clean_s.append(seconds)
        self._complain_about(left, f"after {target.value}")
        if target.has_driver and self.plan.looks_between:
            self._look()

    def _to_the_end(self, driver: Driver) -> None:
        """Let a driver that lives come to its end, then run the same script again: it goes on, or is finished."""
        if driver.code is None:
            self._wait_for_end(driver)
            self._check_ended(driver, "the run that was left alive")
            self._nothing_is_left("after a run that ended by itself")
        n_starts = len(self._listener.starts)
        driver = self._start(None)
        began = driver.started_at
        self._listener.listen_until(
            lambda: len(self._listener.starts) > n_starts or driver.code is not None, within_s=RUN_WITHIN_S
        )
        self.result.resume_s.append(time.monotonic() - began)
        if self._unswept:
            _, left = until_gone(lambda: {pid for pid in self._unswept if is_alive(pid)}, within_s=CLEAN_WITHIN_S)
            self._complain_about(left, "after the next start's sweep")
        self._wait_for_end(driver)
        self._check_ended(driver, "the last run")
        self._nothing_is_left("after the last run")
        self._look_at_the_end()

    def _wait_for_end(self, driver: Driver) -> None:
        if not self._listener.listen_until(lambda: driver.code is not None, within_s=RUN_WITHIN_S):
            self.result.findings.append(Finding("unfinished", f"a run did not end within {RUN_WITHIN_S:g} s"))
            driver.kill()
        self._listener.listen()

    def _check_ended(self, driver: Driver, which: str) -> None:
        if driver.code != 0:
            text = driver.text()[-1500:]
            self.result.findings.append(Finding("unfinished", f"{which} ended with status {driver.code}:\n{text}"))

    def _nothing_is_left(self, when: str) -> None:
        _, left = until_gone(self._alive, within_s=CLEAN_WITHIN_S)
        self._complain_about(left, when)

    def _complain_about(self, left: set[int], when: str) -> None:
        for pid in left:
            text = f"process {pid} is left {CLEAN_WITHIN_S:g} s {when}"
            self.result.findings.append(Finding("process left", text))

    def _pids(self) -> set[int]:
        return {start.pid for start in self._listener.starts} | self._listener.children

    def _alive(self) -> set[int]:
        self._listener.listen()
        return marked(self._mark) | {pid for pid in self._pids() if is_alive(pid)}

    def _look(self) -> None:
        self._listener.listen()
        contents, findings = read_contents(self.store)
        self.result.findings += findings
        if not findings:
            self.result.findings += check_anytime(contents, self._listener.acks, self._listener.starts, self.store)

    def _look_at_the_end(self) -> None:
        result, listener, plan = self.result, self._listener, self.plan
        contents, findings = read_contents(self.store)
        if contents is not None:
            findings = check_anytime(contents, listener.acks, listener.starts, self.store)
            findings += check_finished(
                contents,
                n_trials=plan.n_trials,
                n_steps=plan.n_steps,
                killed=self._killed,
                n_allowed=plan.max_failures,
            )
        elif not findings:
            findings = [Finding("unfinished", "there is no store after the last run")]
        result.is_complete = not any(finding.kind == "unfinished" for finding in [*result.findings, *findings])
        result.findings += [finding for finding in findings if finding not in result.findings]
        result.n_acks = len(listener.acks)
        result.n_restarted = sum(start.start > 0 for start in listener.starts)
        result.n_from_scratch = sum(start.attempt > 1 and start.start == 0 for start in listener.starts)
        drafts = [*self.store.glob(".experiment.db.*"), *self.store.glob("trials/*/.checkpoint_*")]
        result.n_files_left = len(drafts) + len(list((self.folder / "tmp").iterdir()))
