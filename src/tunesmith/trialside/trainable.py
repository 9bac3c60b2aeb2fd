"""The class API, and what wraps and names a trainable."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.errors import CheckpointError, TrainableError
from tunesmith.trialside.current import get_session

#: How the checkpoint was described by what `save_checkpoint` returned; without it the folder itself is the checkpoint.
_NOTE_FILE = ".tunesmith_trainable.json"
_STATE_FILE = ".tunesmith_state.pkl"


class Trainable:
    """A trial as an object: `setup` once, then `step` again and again until the trial is to end.

    Override `setup`, `step`, and for checkpoints `save_checkpoint` and `load_checkpoint`.
    """

    #: What `with_parameters` carries: keyword arguments of `setup`.
    _parameters: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, config: dict[str, Any] | None = None, *_: Any, **__: Any) -> None:
        self.config: dict[str, Any] = {} if config is None else config
        self._iteration = 0
        self.setup(self.config, **self._parameters)

    def setup(self, config: dict[str, Any]) -> None:
        """Prepare for training with this config. Called once, before all else."""

    def step(self) -> dict[str, Any]:
        """Train for one iteration and return its metrics; `"done": True` among them ends the trial."""
        raise NotImplementedError(f"{type(self).__name__} has no step().")

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        """Save into this folder. What is returned, a dict or a path in it, is what `load_checkpoint` will be given."""
        raise NotImplementedError(f"{type(self).__name__} has no save_checkpoint(), and a checkpoint was asked for.")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from a checkpoint: what `save_checkpoint` returned, or the folder's path where it returned nothing."""
        raise NotImplementedError(f"{type(self).__name__} has no load_checkpoint(), and is to start from a checkpoint.")

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another config without a new object; whether it did. tunesmith starts each attempt anew instead."""
        return False

    def cleanup(self) -> None:
        """Free what `setup` took. Called once, however the trial ends, unless it is killed."""

    def log_result(self, result: dict[str, Any]) -> None:
        """Look at each result before it is reported."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> Any:
        """What a trial with this config needs, such as {"cpu": 2}; None: what the experiment says."""
        return None

    @property
    def iteration(self) -> int:
        """How many steps are done, those before the start checkpoint included."""
        return self._iteration

    @property
    def training_iteration(self) -> int:
        """The same as `iteration`."""
        return self._iteration

    @property
    def trial_id(self) -> str:
        """The trial's id; "default" outside a trial."""
        return "default" if (session := get_session()) is None else session.facts.trial_id

    @property
    def trial_name(self) -> str:
        """The trial's name; "default" outside a trial."""
        return "default" if (session := get_session()) is None else session.facts.trial_name

    @property
    def logdir(self) -> str:
        """The trial's own folder; outside a trial the current directory."""
        return str(Path.cwd()) if (session := get_session()) is None else str(session.make_trial_dir())

    def train(self) -> dict[str, Any]:
        """Do one step and return its metrics.

        Raises: TrainableError if they are not a dict.
        """
        result = self.step()
        if not isinstance(result, Mapping):
            raise TrainableError(f"{type(self).__name__}.step() returned {result!r:.200}. Return a dict of metrics.")
        self._iteration += 1
        copied = dict(result)
        self.log_result(copied)
        return copied

    def save(self, checkpoint_dir: str | os.PathLike[str]) -> str:
        """Save into this folder, with a note of what `save_checkpoint` returned; returns the folder."""
        folder = Path(checkpoint_dir)
        returned = self.save_checkpoint(str(folder))
        note: dict[str, Any] | None = None
        if isinstance(returned, Mapping):
            import pickle

            # Read by `restore` inside a trial only: neither driver nor store ever opens it.
            (folder / _STATE_FILE).write_bytes(pickle.dumps(dict(returned)))
            note = {"kind": "dict"}
        elif returned is not None and Path(returned).absolute() != folder.absolute():
            note = {"kind": "path", "path": _path_within(folder, returned)}
        if note is not None:
            (folder / _NOTE_FILE).write_text(json.dumps(note), encoding="utf-8")
        return str(folder)

    def restore(self, checkpoint_dir: str | os.PathLike[str], *, step: int | None = None) -> None:
        """Go on from what `save` wrote into this folder; `step` is how many steps were done by then."""
        folder = Path(checkpoint_dir)
        note_file = folder / _NOTE_FILE
        note = json.loads(note_file.read_text(encoding="utf-8")) if note_file.exists() else {"kind": "folder"}
        if note["kind"] == "dict":
            import pickle

            self.load_checkpoint(pickle.loads((folder / _STATE_FILE).read_bytes()))
        elif note["kind"] == "path":
            self.load_checkpoint(str(folder / note["path"]))
        else:
            self.load_checkpoint(str(folder))
        if step is not None:
            self._iteration = step

    def stop(self) -> None:
        """End by hand what was begun by hand: calls `cleanup`."""
        self.cleanup()


def with_parameters(trainable: Any, **parameters: Any) -> Any:
    """The trainable with objects bound to it: keyword arguments of the function, or of the class's `setup`.

    They travel with the code, once per experiment, and are shared by its trials; the config stays small.
    Raises: TrainableError if the trainable does not take them.
    """
    if isinstance(trainable, type) and issubclass(trainable, Trainable):
        _check_accepts(trainable.setup, (None, {}), parameters, what=f"{trainable.__name__}.setup")
        attributes = {"_parameters": {**trainable._parameters, **parameters}, "__module__": trainable.__module__}
        metaclass: Any = type(trainable)
        return metaclass(trainable.__name__, (trainable,), {**attributes, "__doc__": trainable.__doc__})
    if not callable(trainable) or isinstance(trainable, type):
        raise TrainableError(
            f"with_parameters was given {trainable!r:.200}. Give a function, or a subclass of Trainable."
        )
    _check_accepts(trainable, ({},), parameters, what=trainable_name(trainable))
    return functools.partial(trainable, **parameters)


def trainable_name(trainable: Any) -> str:
    """What a trainable is called: the innermost function's or class's name; "lambda" for one without."""
    while isinstance(trainable, functools.partial):
        trainable = trainable.func
    name = getattr(trainable, "__name__", None)
    if not isinstance(name, str):
        name = type(trainable).__name__
    return "lambda" if name == "<lambda>" else name


def _check_accepts(function: Any, before: tuple[Any, ...], parameters: Mapping[str, Any], *, what: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # a builtin does not say
    try:
        signature.bind_partial(*before, **parameters)
    except TypeError as error:
        raise TrainableError(
            f"{what}{signature} does not take the parameters {sorted(parameters)}: {error}. Add them to its signature."
        ) from None


def _path_within(folder: Path, returned: Any) -> str:
    try:
        return Path(returned).absolute().relative_to(folder.absolute()).as_posix()
    except (TypeError, ValueError):
        raise CheckpointError(
            f"save_checkpoint() returned {returned!r:.200}, which is not in {str(folder)!r}. "
            "Save into the folder it is given, and return a path in it, a dict, or nothing."
        ) from None
