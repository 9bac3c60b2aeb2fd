"""Any interleaving of events, wrong ones included: the invariants hold, a replay is exact, and the experiment ends."""

from __future__ import annotations

import math

from campaigns.simulate.checks import facts
from campaigns.simulate.schedulers import Synchronous
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    ConfigsSuggested,
    InterruptRequested,
    NodeLost,
    NodeOffered,
    ReportRefused,
    StartAttempt,
    Suggest,
    TrialReported,
)
from tunesmith.resources import Node, Resources
from tunesmith.schedulers import ASHAScheduler, FIFOScheduler
from tunesmith.spec import CheckpointPolicy
from tunesmith.stoppers import DictStopper, NoopStopper
from tunesmith.trial import AttemptOutcome, TrialStatus

from .world import World, of

SCHEDULERS = {
    "fifo": FIFOScheduler,
    "asha": lambda: ASHAScheduler(max_t=8, reduction_factor=2),
    "rank": lambda: ASHAScheduler(max_t=8, reduction_factor=2, first_arrivals="rank"),
    "synchronous": lambda: Synchronous(n_at_once=3),
}
STOPPERS = {"none": NoopStopper, "limit": lambda: DictStopper({"training_iteration": 6})}
LOSSES = st.sampled_from([0.0, 0.5, 1.0, -1.0, math.nan, math.inf, -math.inf, 0.1, 0.2, 0.3])
TRIALS = st.integers(-1, 9)
NODES = (Node("a", 2.0, ("0", "1")), Node("b", 1.0, ("0",)))


class AnyEvents(RuleBasedStateMachine):
    """Feeds events that are right, and events that are not."""

    @initialize(
        scheduler=st.sampled_from(sorted(SCHEDULERS)),
        stopper=st.sampled_from(sorted(STOPPERS)),
        n_ahead=st.sampled_from([0, 3, None]),
        gpu=st.sampled_from([0.0, 0.5, 1.0]),
        spec=st.fixed_dictionaries(
            {
                "n_trials": st.sampled_from([1, 4, 9]),
                "max_failures": st.sampled_from([0, 1, -1]),
                "fail_fast": st.booleans(),
                "max_concurrent_trials": st.sampled_from([None, 1, 2]),
                "max_total_steps": st.sampled_from([None, 12]),
                "time_budget_s": st.sampled_from([None, 40.0]),
                "n_alike_failures": st.sampled_from([2, 100]),
                "checkpoint_policy": st.sampled_from([CheckpointPolicy(), CheckpointPolicy(keep_num=2)]),
            }
        ),
    )
    def begin(self, scheduler, stopper, n_ahead, gpu, spec):
        self.world = World(
            scheduler=SCHEDULERS[scheduler],
            stopper=STOPPERS[stopper],
            n_ahead=n_ahead,
            answers_itself=False,
            resources=Resources(cpu=0.5, gpu=gpu),
            **spec,
        )
        self.epoch = 1
        self.world.begin(nodes=NODES)

    def feed(self, *events):
        records = self.world.handle(*events)
        answers = [(a.trial, a.attempt, a.step) for a in of(records, AnswerReport)]
        reports = [(e.trial, e.attempt, e.step) for e in events if isinstance(e, TrialReported)]
        known = [key for key in reports if 0 <= key[0] < len(self.world.trials)]
        assert sorted(answers) == sorted(known), "each report is answered once, and nothing else is"

    def running(self, pick):
        running = sorted(self.world.state.running)
        return running[pick % len(running)] if running else None

    # ------------------------------------------------------------ events that are right

    @rule(
        pick=st.integers(0, 9), n=st.integers(0, 4), is_exhausted=st.booleans(), cpu_s=st.sampled_from([0.0, 0.2, 9.0])
    )
    def answer_a_request(self, pick, n, is_exhausted, cpu_s):
        for request, asked in self.world.state.requests.items():
            n_given = asked.n if pick < 7 else n
            found = self.world.suggested(request, n_given, is_exhausted=is_exhausted and pick == 9, cpu_s=cpu_s)
            self.feed(found)
            break

    @rule(pick=st.integers(0, 9), loss=LOSSES, saves=st.booleans(), is_last=st.integers(0, 9), skip=st.integers(1, 3))
    def report(self, pick, loss, saves, is_last, skip):
        index = self.running(pick)
        if index is not None:
            step = self.world.trials[index].step + skip
            folder = f"{index}/{self.world.trials[index].attempt}/{step}" if saves else None
            self.feed(self.world.reported(index, step, metrics={"loss": loss}, checkpoint=folder, is_last=is_last == 9))

    @rule(pick=st.integers(0, 9), outcome=st.sampled_from(AttemptOutcome))
    def end(self, pick, outcome):
        index = self.running(pick)
        if index is not None:
            self.feed(self.world.ended(index, outcome, error="E: e"))

    @rule(seconds=st.floats(0.0, 20.0) | st.just(70.0))
    def time_passes(self, seconds):
        self.world.now += seconds
        self.feed()

    @rule(pick=st.integers(0, 9), loss=LOSSES, outcome=st.sampled_from(AttemptOutcome))
    def many_at_once(self, pick, loss, outcome):
        index, other = self.running(pick), self.running(pick + 1)
        if index is not None:
            report = self.world.reported(index, metrics={"loss": loss})
            self.feed(report, self.world.ended(other, outcome), self.world.ended(index, outcome))

    # ------------------------------------------------------------ events that are wrong, or rare

    @rule(trial=TRIALS, attempt=st.integers(0, 4), step=st.integers(-1, 9), loss=LOSSES, saves=st.booleans())
    def any_report(self, trial, attempt, step, loss, saves):
        folder = f"{trial}/{attempt}/{step}" if saves else None
        self.feed(TrialReported(trial, attempt, step, {"loss": loss}, 1.0, 0.0, folder))

    @rule(pick=st.integers(0, 9), saves=st.booleans())
    def the_same_report_again(self, pick, saves):
        index = self.running(pick)
        if index is not None and self.world.trials[index].metrics is not None:
            trial = self.world.trials[index]
            folder = f"{index}/{trial.attempt}/{trial.step}-again" if saves else None
            report = self.world.reported(index, trial.step, metrics=dict(trial.metrics), checkpoint=folder)
            self.feed(report, report)

    @rule(trial=TRIALS, attempt=st.integers(0, 4), outcome=st.sampled_from(AttemptOutcome))
    def any_end_twice(self, trial, attempt, outcome):
        ended = AttemptEnded(trial, attempt, outcome, 0.0, error="E: e")
        self.feed(ended, ended)

    @rule(trial=TRIALS, attempt=st.integers(0, 4))
    def any_start(self, trial, attempt):
        self.feed(AttemptStarted(trial, attempt, 0.0, pid=5, node="a"))

    @rule(request=st.integers(0, 12), n=st.integers(0, 3))
    def any_suggestion(self, request, n):
        if request not in self.world.state.requests:
            self.feed(self.world.suggested(request, n))

    @rule(trial=TRIALS)
    def refused_elsewhere(self, trial):
        self.feed(ReportRefused(trial, 1, 1, "late"))

    @rule(level=st.integers(1, 2), luck=st.integers(0, 7))
    def interrupt(self, level, luck):
        if luck == 0:
            self.feed(InterruptRequested(level, "SIGINT"))

    @rule(node=st.sampled_from(["a", "c"]), luck=st.integers(0, 7))
    def lose_a_node(self, node, luck):
        if luck == 0:
            self.feed(NodeLost(node))

    @rule(node=st.sampled_from(["b", "c"]), extra=st.integers(0, 1))
    def offer_a_node(self, node, extra):
        known = next((known for known in self.world.state.pool.nodes if known.name == node), None)
        cpu, gpus = (known.cpu, known.gpus) if known else (1.0, ())
        self.feed(NodeOffered(Node(node, cpu + extra, gpus)))

    @rule()
    def the_driver_dies(self):
        self.epoch += 1
        self.world.experiment = self.world.new_experiment()
        self.world.experiment.replay(self.world.log)
        self.world.begin(self.epoch, nodes=NODES)

    # ------------------------------------------------------------ what holds

    @invariant()
    @precondition(lambda self: hasattr(self, "world"))
    def a_replay_is_exact(self):
        replayed = self.world.new_experiment()
        replayed.replay(self.world.log)
        assert facts(replayed) == facts(self.world.experiment)

    @invariant()
    @precondition(lambda self: hasattr(self, "world"))
    def there_are_never_too_many_trials(self):
        assert len(self.world.trials) <= self.world.spec.n_trials

    def teardown(self):
        """Under an executor that does its part the experiment ends, and leaves no slot taken."""
        if not hasattr(self, "world"):
            return
        world = self.world
        for _ in range(3000):
            if world.experiment.is_done:
                break
            for request, asked in list(world.state.requests.items()):
                self.feed(world.suggested(request, asked.n))
            index = self.running(0)
            if index is None:
                deadline = world.experiment.next_deadline()
                assert world.experiment.is_done or world.state.requests or deadline < math.inf, "nothing can happen"
                if deadline < math.inf:
                    world.now = max(world.now, deadline)
                    self.feed()
            elif index in world.state.answered or index in world.state.stopping:
                self.feed(world.ended(index, AttemptOutcome.STOPPED))
            elif world.trials[index].step >= 9:
                self.feed(world.ended(index, AttemptOutcome.RETURNED))
            else:
                folder = f"{index}/{world.trials[index].attempt}/{world.trials[index].step + 1}"
                self.feed(world.reported(index, metrics={"loss": index / 10}, checkpoint=folder))
        assert world.experiment.is_done
        assert all(trial.status is not TrialStatus.RUNNING for trial in world.trials)
        assert abs(world.state.pool.used().cpu) < 1e-9
        n_starts = sum(isinstance(record, StartAttempt) for record in world.log)
        assert n_starts == sum(trial.attempt for trial in world.trials)
        assert not of(world.log, Suggest) or world.state.n_requests == max(s.request for s in of(world.log, Suggest))
        assert all(isinstance(r, ConfigsSuggested) is False or r.request >= 1 for r in world.log)


AnyEvents.TestCase.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyEvents = AnyEvents.TestCase
