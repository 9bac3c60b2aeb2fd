import pytest
from msgspec.structs import replace

from tunesmith import uniform
from tunesmith.errors import ConfigError
from tunesmith.events import Suggestion
from tunesmith.protocols import Exhausted, History, Wait
from tunesmith.rng import generator
from tunesmith.searchers import ConcurrencyLimiter, GPSearch, RandomSearch
from tunesmith.space import Space
from tunesmith.trial import Mode, Objective, Trial, TrialStatus

SPACE, OBJECTIVE = Space({"x": uniform(0, 1)}), Objective(("loss",), (Mode.MIN,))


class Witness:
    """A searcher that keeps what it was shown."""

    uses_results = True

    def suggest(self, history, rng, n):
        self.shown, self.n = history, n
        return [Suggestion({"x": 0.5}) for _ in range(n)]


def history(*statuses):
    return History(SPACE, OBJECTIVE, 1, tuple(_trial(i, status) for i, status in enumerate(statuses)))


def _trial(index, status):
    facts = {"index": index, "trial_id": f"t{index}", "config": {"x": index / 10}, "status": TrialStatus[status]}
    if status in ("PENDING", "FAILED"):
        return Trial(**facts)
    return Trial(**facts, step=1, n_reports=1, metrics={"loss": 1.0}, best_value=1.0, best_step=1)


def ask(searcher, history, n=10):
    return searcher.suggest(history, generator(1, "suggest", len(history.trials)), n)


@pytest.mark.parametrize(
    ("statuses", "n"),
    [((), 3), (("RUNNING",), 2), (("RUNNING", "COMPLETED", "FAILED"), 2), (("PENDING", "PAUSED"), 1)],
)
def test_no_more_are_asked_for_than_may_be_open(statuses, n):
    assert len(ask(ConcurrencyLimiter(Witness(), 3), history(*statuses))) == n


def test_full_house_waits():
    found = ask(ConcurrencyLimiter(Witness(), 3), history("RUNNING", "STOPPED", "PAUSED", "PENDING"))
    assert found == Wait("3 trials are open, and 3 may be")


def test_fewer_are_asked_for_where_fewer_are_wanted():
    assert len(ask(ConcurrencyLimiter(Witness(), 3), history(), n=1)) == 1


def test_what_the_searcher_says_instead_of_configs_is_passed_on():
    class Done(Witness):
        def suggest(self, history, rng, n):
            return Exhausted("nothing left")

    assert ask(ConcurrencyLimiter(Done(), 2), history("COMPLETED")) == Exhausted("nothing left")


def test_a_batch_begins_when_all_of_the_last_are_over():
    limiter = ConcurrencyLimiter(Witness(), 2, batch=True)
    assert isinstance(ask(limiter, history("COMPLETED", "RUNNING")), Wait)
    assert len(ask(limiter, history("COMPLETED", "FAILED"))) == 2


def test_a_batch_begun_is_filled_whatever_became_of_its_first_trials():
    limiter = ConcurrencyLimiter(Witness(), 4, batch=True)
    assert len(ask(limiter, history("COMPLETED", "RUNNING"))) == 2


def test_results_of_a_batch_are_shown_when_it_is_whole():
    witness = Witness()
    limiter = ConcurrencyLimiter(witness, 2, batch=True)
    ask(limiter, history("COMPLETED", "COMPLETED", "COMPLETED"))
    assert [trial.best_value for trial in witness.shown.trials] == [1.0, 1.0, None]
    assert witness.shown.trials[2].status is TrialStatus.PENDING
    ask(limiter, history(*["COMPLETED"] * 4))
    assert [trial.best_value for trial in witness.shown.trials] == [1.0] * 4


def test_results_are_shown_at_once_without_batches():
    witness = Witness()
    ask(ConcurrencyLimiter(witness, 2), history("COMPLETED", "COMPLETED", "COMPLETED"))
    assert witness.shown == history("COMPLETED", "COMPLETED", "COMPLETED")


def test_a_batch_is_the_same_in_one_piece_and_in_two():
    whole = ask(ConcurrencyLimiter(RandomSearch(), 4, batch=True), history(*["COMPLETED"] * 4))
    trials = history(*["COMPLETED"] * 5).trials
    trials = (*trials[:4], replace(trials[4], config=whole[0].config))
    rest = ask(ConcurrencyLimiter(RandomSearch(), 4, batch=True), History(SPACE, OBJECTIVE, 1, trials))
    assert rest == whole[1:]


@pytest.mark.parametrize("wrapped", [RandomSearch(), GPSearch()])
def test_it_uses_results_as_the_searcher_does(wrapped):
    assert ConcurrencyLimiter(wrapped, 2).uses_results is wrapped.uses_results


@pytest.mark.parametrize("n", [0, True, 2.0, None])
def test_a_number_that_bounds_nothing_is_refused(n):
    with pytest.raises(ConfigError, match=r"max_concurrent is .*whole number of 1 or more"):
        ConcurrencyLimiter(RandomSearch(), n)


def test_what_is_no_searcher_is_refused():
    with pytest.raises(ConfigError, match=r"searcher is 'gp'. Give a searcher"):
        ConcurrencyLimiter("gp", 2)
