"""What the words of `resume=` mean: Ray Tune's, on experiments that go on by their name anyway."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tunesmith.api.folder import existing
from tunesmith.errors import ConfigError
from tunesmith.trial import Trial, TrialStatus

_PLACES = ("LOCAL", "REMOTE", "PROMPT", "AUTO")
_RERUNS = ("ERRORED", "ERRORED_ONLY", "RESTART_ERRORED", "RESTART_ERRORED_ONLY")

#: The states of a trial that count as an error, and are run again on request: the function may have been mended.
RERUN = (TrialStatus.FAILED, TrialStatus.INVALID)


class Resume(NamedTuple):
    """How an experiment of the given name is gone on with."""

    must_exist: bool = False
    asks: bool = False  #: ask at the terminal whether to go on, if it exists
    reruns_failed: bool = False
    is_from_scratch: bool = False  #: failed trials that run again do not start from their checkpoint
    without_new_trials: bool = False

    def reruns(self, trials: Sequence[Trial]) -> tuple[int, ...]:
        """The trials to be run again."""
        if not self.reruns_failed:
            return ()
        return tuple(trial.index for trial in trials if trial.status in RERUN)


def parse_resume(resume: bool | str, name: str | None) -> Resume:
    """The meaning of a word: a place (LOCAL, REMOTE, PROMPT, AUTO), a rerun (ERRORED, ERRORED_ONLY, RESTART_ERRORED,
    RESTART_ERRORED_ONLY), or both with a plus between them; True is LOCAL. LOCAL and REMOTE are the same here:
    an experiment lies where `storage_path` says.

    Raises: ConfigError for another word, or where a word needs a name and there is none.
    """
    if resume is False or resume is None:
        return Resume()
    given = ["LOCAL"] if resume is True else str(resume).upper().split("+")
    place = given[0] if given[0] in _PLACES else "LOCAL"
    rerun = given[-1] if given[-1] in _RERUNS else ""
    if given not in (([rerun], [place, rerun]) if rerun else ([place],)):
        words = ", ".join(map(repr, (*_PLACES, *_RERUNS)))
        raise ConfigError(f"resume is {resume!r}. Give True, False, or one of {words}; 'AUTO+ERRORED' joins two.")
    if not name and place != "AUTO":
        raise ConfigError(f"resume is {resume!r}, but there is no name. Give the name of the experiment to go on with.")
    return Resume(
        must_exist=place in ("LOCAL", "REMOTE"),
        asks=place == "PROMPT",
        reruns_failed=bool(rerun),
        is_from_scratch=rerun.startswith("RESTART"),
        without_new_trials=rerun.endswith("ONLY"),
    )


def settle_name(resume: Resume, root: Path, name: str) -> str:
    """The name to run under: the given one, or a new one where the user does not want to go on with it.

    Raises: ConfigError if the experiment must exist and does not, or nobody is there to be asked.
    """
    folder = existing(root, name) if name else None
    if folder is None:
        if resume.must_exist:
            raise ConfigError(f"There is no experiment {name!r} in {root} to go on with. resume='AUTO' would make it.")
        return name
    if not resume.asks:
        return name
    if not sys.stdin.isatty():
        raise ConfigError("resume is 'PROMPT', but there is no terminal to ask at. Use True or 'AUTO'.")
    if input(f"Go on with the experiment {name!r} in {root}? [Y/n] ").strip().lower() in ("", "y", "yes"):
        return name
    return next(new for i in range(2, 1_000_000) if not (root / (new := f"{name}_{i}")).exists())
