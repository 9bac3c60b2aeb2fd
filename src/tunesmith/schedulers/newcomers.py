"""Whether new trials may still come, as far as the log tells: a scheduler is not told how many there will be."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunesmith.events import ConfigsSuggested, Record, SessionStarted, StartAttempt, Suggest


@dataclass
class Newcomers:
    """Folds what a scheduler can know about the supply of new trials.

    Who asks for a new trial while some are paused, and can have none now or later, sees the experiment start a paused
    one that it did not name, as soon as nothing else runs: none will come then.
    """

    #: The paused trial that was started because no new one will come; None as long as any may.
    stand_in: int | None = None
    #: The searcher had no config and waits for news, so that there may be one later.
    is_waiting: bool = False
    _thawed: set[int] = field(default_factory=set)  #: by the searcher, and not started since

    @property
    def are_over(self) -> bool:
        """Whether no new trial will come."""
        return self.stand_in is not None

    def observe(self, record: Record, *, is_unasked: bool = False) -> None:
        """Fold one record.

        Args: is_unasked: of a start: the trial was paused, and the scheduler would not have named it.
        """
        if isinstance(record, StartAttempt):
            if record.attempt == 1:
                self.stand_in = None
            elif is_unasked and record.trial not in self._thawed and not self.is_waiting:
                self.stand_in = record.trial
            self._thawed.discard(record.trial)
        elif isinstance(record, Suggest | SessionStarted):
            self.stand_in, self.is_waiting = None, False
            if isinstance(record, SessionStarted):
                self._thawed.clear()
        elif isinstance(record, ConfigsSuggested):
            self._thawed.update(thaw.trial for thaw in record.thaws)
            self.is_waiting = not (record.suggestions or record.thaws or record.stops or record.is_exhausted)
            if record.suggestions:
                self.stand_in = None
