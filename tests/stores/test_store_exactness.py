"""What goes in comes out: properties over values that JSON, SQLite or Unicode would bend."""

import json
import math
import subprocess
import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tunesmith.events import Decision, Suggest, Verdict
from tunesmith.stores import MemoryStore, create_store, open_reader, open_store
from tunesmith.stores.codec import dumps, loads, metrics_text, parse_metrics, parse_record, record_tree
from tunesmith.trial import Checkpoint, TrialStatus

from .store_samples import PLACEMENT, answer, make_spec, make_trial, report, start

any_float = st.floats(allow_nan=True, allow_infinity=True)
any_text = st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates and NUL included
json_leaf = st.one_of(any_float, any_text, st.integers(), st.booleans(), st.none())


def same(a, b):
    """Equality in which NaN equals NaN and types matter."""
    return msgspec.to_builtins(a) == msgspec.to_builtins(b) or repr(a) == repr(b)


@given(st.dictionaries(any_text, any_float, max_size=5))
def test_any_metrics_come_back_exactly(metrics):
    text = metrics_text(metrics)
    json.loads(text, parse_constant=lambda word: pytest_fail(word))
    assert repr(parse_metrics(text)) == repr(metrics)


def pytest_fail(word):
    raise AssertionError(f"{word} is not JSON")


def test_metrics_that_are_huge_integers_come_back_as_floats():
    assert parse_metrics(metrics_text({"n": 2**64 + 1, "m": 10**400})) == {"n": float(2**64), "m": math.inf}


def test_metrics_whose_sum_overflows_are_finite():
    assert parse_metrics(metrics_text({"a": 1.7e308, "b": 1.7e308})) == {"a": 1.7e308, "b": 1.7e308}


@given(
    st.recursive(json_leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3))
)
def test_any_tree_comes_back_exactly(tree):
    text = dumps(tree)
    text.encode()
    assert repr(loads(text)) == repr(tree)


@given(st.dictionaries(st.text(max_size=3), any_float | st.integers() | any_text, max_size=3), any_text)
def test_any_decision_comes_back_exactly(numbers, reason):
    record = msgspec.structs.replace(answer(report()), decision=Decision(Verdict.STOP, reason, numbers))
    assert repr(parse_record(dumps(record_tree(record)))) == repr(record)


plain_text = st.text(max_size=8)
maybe = lambda strategy: st.none() | strategy  # noqa: E731
wall = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)  # SQLite has one zero
count = st.integers(0, 2**40)
checkpoints = st.lists(
    st.builds(
        Checkpoint,
        path=plain_text,
        step=count,
        attempt=count,
        score=maybe(any_float),
        metrics=maybe(st.just({"a": math.nan})),
    ),
    max_size=2,
).map(tuple)


@st.composite
def any_trial(draw):
    best = draw(maybe(any_float.map(lambda value: value + 0.0)))
    texts = {name: draw(maybe(plain_text)) for name in ("node", "stop_asked", "reason", "error", "proposed_by")}
    walls = {name: draw(maybe(wall)) for name in ("started_at", "reported_at", "ended_at")}
    counts = {name: draw(count) for name in ("attempt", "n_failures", "n_losses", "n_preemptions", "n_reports", "step")}
    return make_trial(
        draw(st.integers(0, 3)),
        **counts, **texts, **walls,
        status=draw(st.sampled_from(TrialStatus)),
        config=draw(st.dictionaries(plain_text, st.integers(-9, 9) | plain_text | wall, max_size=2)),
        metrics=draw(maybe(st.dictionaries(any_text, any_float, max_size=2))),
        best_value=best,
        best_step=None if best is None else draw(count),
        time_total_s=draw(wall),
        checkpoints=draw(checkpoints),
        placement=draw(maybe(st.just(PLACEMENT))),
        pid=draw(maybe(count)),
        max_t=draw(maybe(wall)),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(any_trial(), min_size=1, max_size=4))
def test_any_trial_comes_back_exactly(trials):
    with tempfile.TemporaryDirectory() as folder, create_store(folder, make_spec()) as store:
        for trial in trials:
            store.append([], [trial])
        written = {trial.index: trial for trial in trials}
        assert repr(open_reader(folder).trials()) == repr([written[index] for index in sorted(written)])


class StoreMachine(RuleBasedStateMachine):
    """The SQLite store beside the list, with closing, crashes (a takeover of what was left open) and exports."""

    @initialize()
    def create(self):
        self.directory = tempfile.TemporaryDirectory()
        self.folder = Path(self.directory.name) / "0"
        self.store = create_store(self.folder, make_spec())
        self.model = MemoryStore()
        self.steps: dict[tuple[int, int], int] = {}
        self.attempts: dict[int, int] = {}
        self.unanswered = []

    def append(self, records, trials=()):
        self.store.append(records, trials)
        self.model.append(records, trials)

    @rule(trial=st.integers(0, 2), start_step=st.integers(0, 3), lr=st.sampled_from([0.1, 0.2, math.inf]))
    def start(self, trial, start_step, lr):
        attempt = self.attempts[trial] = self.attempts.get(trial, 0) + 1
        config = {"lr": lr, "layers": 2}
        self.steps[trial, attempt] = start_step
        self.append(
            [start(trial, attempt, config=config, start_step=start_step)],
            [make_trial(trial, attempt=attempt, config=config)],
        )

    @rule(trial=st.integers(0, 2), value=any_float, is_answered=st.booleans(), is_saved=st.booleans())
    def report(self, trial, value, is_answered, is_saved):
        attempt = self.attempts.get(trial, 0)
        if attempt == 0:
            return
        step = self.steps[trial, attempt] = self.steps[trial, attempt] + 1
        path = f"trials/{trial:05d}/checkpoint_{step:06d}" if is_saved else None
        reported = report(trial, attempt, step, metrics={"loss": value, "x": 1.0}, checkpoint=path)
        records = [reported, answer(reported)] if is_answered else [reported]
        if not is_answered:
            self.unanswered.append(reported)
        before = next(t for t in self.model.trials() if t.index == trial)
        after = msgspec.structs.replace(
            before,
            metrics=reported.metrics,
            step=step,
            best_value=value + 0.0,
            best_step=step,
            n_reports=before.n_reports + 1,
        )
        self.append(records, [after])

    @rule(verdict=st.sampled_from(Verdict), is_reasoned=st.booleans())
    def answer(self, verdict, is_reasoned):
        if self.unanswered:
            self.append([answer(self.unanswered.pop(), verdict, "why" if is_reasoned else None)])

    @rule(n=st.integers(0, 3))
    def command(self, n):
        self.append([Suggest(n, n)] * n)

    @rule()
    def close_and_open(self):
        self.store.close()
        self.store = open_store(self.folder)

    @rule()
    def take_over(self):
        left = self.store
        self.store = open_store(self.folder, takeover=True)
        left.close()

    @rule()
    def crash(self):
        """What a kill leaves is the database and its WAL; another process copies them, as POSIX locks demand."""
        target = self.folder.with_name(str(int(self.folder.name) + 1))
        target.mkdir()
        files = [str(path) for path in self.folder.iterdir() if not path.name.endswith("-shm")]
        subprocess.run(["cp", *files, str(target)], check=True)
        self.store.close()
        self.folder, self.store = target, open_store(target, takeover=True)

    @invariant()
    def log_and_trials_are_those_of_the_model(self):
        if not hasattr(self, "store"):
            return
        assert repr(list(self.store.records())) == repr(list(self.model.records()))
        reader = open_reader(self.folder)
        assert repr(reader.trials()) == repr(self.model.trials())
        assert reader.last_seq() == self.model.last_seq()
        paged, after_seq = [], 0
        while page := reader.records(after_seq, limit=2):
            paged += page
            after_seq = page[-1][0]
        assert [seq for seq, _ in paged] == list(range(1, self.model.last_seq() + 1))
        assert repr([record for _, record in paged]) == repr(list(self.model.records()))
        current = {(r.trial, r.step): r.attempt for r in reader.results()}
        assert len(current) == reader.n_results()
        for trial, attempt in self.attempts.items():
            assert all(step <= self.steps[trial, attempt] for t, step in current if t == trial)
        reader.close()

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            self.directory.cleanup()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
