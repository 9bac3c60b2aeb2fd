"""What a user asked to tune: a Python function by name, or a program."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tunesmith.errors import ConfigError

_INTERPRETERS = re.compile(r"(python|pypy|bash|sh|zsh|dash|env|Rscript|julia|perl|ruby|node|uv|run|time|nice)[\d.]*")


def load_target(text: str) -> Any:
    """The function or class of `module:name` or `file.py:name`; the module is imported.

    Raises: ConfigError.
    """
    place, separator, name = text.rpartition(":")
    if not separator or not place or not name:
        raise ConfigError(
            f"{text!r} is no target. Give module:function, file.py:function, a sweep.yaml, "
            "or a command after --, such as: -- python train.py --lr {lr}"
        )
    module = _module_of_file(Path(place)) if place.endswith(".py") else _module(place)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = ", ".join(sorted(key for key in vars(module) if not key.startswith("_"))[:20])
            raise ConfigError(f"{place} has no {name!r}. It has: {known or 'nothing'}.")
        found = getattr(found, part)
    return found


def _module(name: str) -> ModuleType:
    _look_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
        raise ConfigError(f"There is no module {name!r} here ({Path.cwd()}), nor installed.") from None


def _module_of_file(path: Path) -> ModuleType:
    """The module in a file. It travels to the workers with the function, as they could not import it by its name."""
    if not path.is_file():
        raise ConfigError(f"There is no file {str(path)!r} in {Path.cwd()}.")
    import cloudpickle

    _look_in(path.absolute().parent)
    name = re.sub(r"\W", "_", path.stem)
    if name in sys.modules:
        name = f"{name}_of_tunesmith_run"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ConfigError(f"{str(path)!r} cannot be imported.")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def program_trainable(
    words: Sequence[str], tree: Mapping[str, Any], *, has_braces: bool, metrics: Sequence[str]
) -> Any:
    """The command as a trainable, checked against the space.

    Raises: ConfigError for a program that is not there, or braces that are no parameter.
    """
    from tunesmith.trialside.arguments import MACROS, split_braces
    from tunesmith.trialside.program import ProgramTrainable

    if sys.platform == "win32":
        raise ConfigError("Programs are tuned on Linux and macOS. On Windows give a Python function, or use WSL.")
    names = known_names(tree)
    for word in words:
        if word.startswith("${") and word not in MACROS:
            raise ConfigError(f"{word} is not known. Known are {', '.join(MACROS)}.")
        if word in MACROS or not has_braces:
            continue
        for name in (name for _, name in split_braces(word) if name is not None):
            if name not in names:
                raise ConfigError(
                    f"The argument {word!r} names {{{name}}}, which is no parameter. Parameters are "
                    f"{', '.join(sorted(names)) or 'none'}. A brace that is meant as one is written {{{{ or }}}}."
                )
    first = words[0]
    if "{" not in first and shutil.which(first) is None:
        raise ConfigError(f"There is no program {first!r} on the PATH, nor is it a file that can be executed.")
    trainable = ProgramTrainable(program_name(words))
    return functools.partial(trainable, words=tuple(words), has_braces=has_braces, metrics=tuple(metrics))


def program_name(words: Sequence[str]) -> str:
    """What a command is called: `train` of `python -u train.py --lr {lr}`."""
    plain = [word for word in words if re.fullmatch(r"[\w./][\w./-]*", word)]
    own = [word for word in plain if _INTERPRETERS.fullmatch(Path(word).name) is None]
    stem = Path((own or plain or list(words))[0]).stem
    return "".join(c if c.isprintable() else "_" for c in stem) or "program"


def known_names(tree: Any, before: str = "") -> set[str]:
    """Names of parameters, nested ones and the dicts around them, also those within the options of a choice."""
    from tunesmith.space import Categorical

    found: set[str] = set()
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            found |= {f"{before}{key}"} | known_names(value, f"{before}{key}/")
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            found |= {f"{before}{i}"} | known_names(value, f"{before}{i}/")
    elif isinstance(tree, Categorical):
        for option in tree.options:
            found |= known_names(option, before)
    return found
