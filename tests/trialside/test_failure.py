from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith.errors import CheckpointError
from tunesmith.trialside import Session, report, run_trainable
from tunesmith.trialside.failure import failure_text

Start = Callable[..., Session]


def failure_of(trainable: Any, session: Session) -> Exception:
    """What it raises; this test's own frame is not part of it, as in a trial."""
    with pytest.raises(Exception) as caught:
        run_trainable(trainable, session)
    error = caught.value
    assert error.__traceback__ is not None
    return error.with_traceback(error.__traceback__.tb_next)


def files_in(error: BaseException) -> list[str]:
    return [line.split('"')[1] for line in failure_text(error).splitlines() if line.startswith("  File ")]


def test_a_traceback_begins_at_the_users_first_frame(start: Start) -> None:
    def train(config: Any) -> None:
        raise ValueError("no data")

    error = failure_of(train, start())
    assert files_in(error) == [__file__]
    assert failure_text(error).endswith('raise ValueError("no data")\nValueError: no data\n')
    assert "run_trainable" in "".join(traceback.format_exception(error))


def test_what_tunesmith_did_for_the_user_stays_in_the_traceback(start: Start) -> None:
    def train(config: Any) -> None:
        report(loss="low")

    files = files_in(failure_of(train, start()))
    assert files[0] == __file__
    assert files[-1].endswith("metrics.py")


def test_an_error_that_no_frame_of_the_user_is_in_is_shown_whole(start: Start, tmp_path: Any) -> None:
    error = failure_of(lambda config: None, start(start_checkpoint=tmp_path / "gone"))
    assert isinstance(error, CheckpointError)
    assert files_in(error)[0].endswith("call.py")
