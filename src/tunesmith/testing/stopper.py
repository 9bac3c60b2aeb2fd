"""What every stopper promises."""

from __future__ import annotations

from tunesmith.events import Verdict
from tunesmith.protocols import Stopper
from tunesmith.testing.samples import decisions, interleaved, make_report, play


class StopperContract:
    """Derive from it and override `make`; `metric` too if the rule is about another one.

    Rules in Ray Tune's form (functions, `tune.Stopper`) may remember what they like: they are set `is_fold = False`.
    """

    metric = "loss"
    #: Whether all that the rule knows comes from `observe`.
    is_fold = True

    def make(self) -> Stopper:
        """A new stopper, always with the same arguments."""
        raise NotImplementedError

    # ------------------------------------------------------------ the contract

    def test_equal_histories_give_equal_decisions(self) -> None:
        reports = interleaved(5, 12, seed=2, metric=self.metric)
        assert decisions(play(self.make(), reports)) == decisions(play(self.make(), reports))

    def test_decisions_end_a_trial_or_let_it_go_on(self) -> None:
        for seed in range(10):
            for _, _, decision in decisions(play(self.make(), interleaved(5, 12, seed=seed, metric=self.metric))):
                assert decision.verdict in (Verdict.CONTINUE, Verdict.STOP, Verdict.COMPLETE)
                assert decision.verdict is Verdict.CONTINUE or decision.words()

    def test_a_replay_of_the_log_stands_where_the_live_one_stands(self) -> None:
        if not self.is_fold:
            return
        live, replayed = self.make(), self.make()
        for record in play(live, interleaved(5, 8, seed=4, metric=self.metric)):
            replayed.observe(record)
        assert replayed.should_end() == live.should_end()
        later = [make_report(trial, step, **{self.metric: 0.3}) for step in range(1, 8) for trial in (20, 21)]
        assert decisions(play(replayed, later)) == decisions(play(live, later))

    def test_asking_for_the_end_leaves_no_trace(self) -> None:
        stopper = self.make()
        play(stopper, interleaved(5, 8, seed=5, metric=self.metric))
        why = stopper.should_end()
        assert stopper.should_end() == why
        assert why is None or isinstance(why, str)

    def test_nothing_ends_before_it_began(self) -> None:
        assert self.make().should_end() is None
