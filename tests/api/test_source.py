"""The fingerprint of a trainable's code: what changes it, and what does not."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.api.source import source_digest

MODULE = """
import functools
import tunesmith as tune
from base_of_{name} import Elsewhere

FACTOR = {factor}
DATA = list(range({n_data}))
UNUSED = {unused}

def deeper(x): return x + {deeper}

@functools.lru_cache
def helper(x): return deeper(x) * 2

def unused(x): return x * {unused}

class Model:
    def __init__(self, width): self.width = width * {model}

def decorate(function):
    @functools.wraps(function)
    def around(config): return function(config) * {decorator}
    return around

def bare(function):
    return lambda config: function(config)

def plain(config):
    def inner(): return FACTOR
    return helper(config["x"]) * inner() + len(DATA)

def building(config): return Model(3).width

def leaf(config): return {leaf}

@decorate
def decorated(config): return leaf(config)

undeclared = bare(leaf)

class Base(tune.Trainable):
    rate = {attribute}
    def step(self): return {{"loss": deeper({base})}}

class Sub(Base):
    def setup(self, config): self.k = 1

class FromElsewhere(Elsewhere):
    pass

class Callable:
    def __call__(self, config): return {leaf}
    def method(self, config): return {leaf}
    @classmethod
    def of_class(cls, config): return cls()(config)

def with_data(config, data=None, model=None): return {leaf}

def in_a_loop(config): return itself(config) if config else None
def itself(config): return in_a_loop(config)
"""
NAMES = ("factor", "n_data", "unused", "deeper", "model", "decorator", "leaf", "base", "attribute")


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Any]:
    """Makes a module with some of its numbers changed; each has a file of its own."""
    numbers, made = itertools.count(), []

    def make(*, elsewhere: int = 1, **changes: int) -> ModuleType:
        name = f"source_{next(numbers)}"
        texts = {
            f"base_of_{name}": f"class Elsewhere:\n    def __call__(self, config): return {elsewhere}\n",
            name: MODULE.format(name=name, **{**dict.fromkeys(NAMES, 1), **changes}),
        }
        for module, text in texts.items():
            file = tmp_path / f"{module}.py"
            file.write_text(text)
            spec = importlib.util.spec_from_file_location(module, file)
            assert spec is not None and spec.loader is not None
            sys.modules[module] = importlib.util.module_from_spec(spec)
            made.append(module)
            spec.loader.exec_module(sys.modules[module])
        return sys.modules[name]

    yield make
    for module in made:
        del sys.modules[module]


def pick(name: str) -> Any:
    return lambda module: getattr(module, name)


CHANGES: list[tuple[str, Any, str]] = [
    ("a function's own text", pick("leaf"), "leaf"),
    ("a global that a function within it names", pick("plain"), "factor"),
    ("a helper of a helper behind a cache", pick("plain"), "deeper"),
    ("a class of the same file", pick("building"), "model"),
    ("the decorator", pick("decorated"), "decorator"),
    ("what the decorated function calls", pick("decorated"), "leaf"),
    ("what a decorator of a library wraps", lambda module: functools.singledispatch(module.leaf), "leaf"),
    ("what a closure holds", pick("undeclared"), "leaf"),
    ("a base class", pick("Sub"), "base"),
    ("what a base class has beside methods", pick("Sub"), "attribute"),
    ("what a base class calls", pick("Sub"), "deeper"),
    ("a base class of another file", pick("FromElsewhere"), "elsewhere"),
    ("the class of an object", lambda module: module.Callable(), "leaf"),
    ("the class of a method's object", lambda module: module.Callable().method, "leaf"),
    ("the class of a class method", lambda module: module.Callable.of_class, "leaf"),
    ("what a partial is of", lambda module: functools.partial(module.with_data, data=1), "leaf"),
    ("the function with parameters", lambda module: tune.with_parameters(module.with_data, data=[1]), "leaf"),
    ("the class with parameters", lambda module: tune.with_parameters(module.Sub), "base"),
]


@pytest.mark.parametrize(("trainable", "number"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_a_change_of_it_is_noticed_and_nothing_else(load: Any, trainable: Any, number: str) -> None:
    before = source_digest(trainable(load()))
    assert before is not None
    assert source_digest(trainable(load())) == before
    assert source_digest(trainable(load(unused=2))) == before
    assert source_digest(trainable(load(**{number: 2}))) != before


def test_plain_arguments_that_are_bound_are_compared_and_data_is_not(load: Any) -> None:
    function = load().with_data

    def digest(**bound: Any) -> str | None:
        return source_digest(functools.partial(function, **bound))

    assert digest(data=1) == digest(data=1) != digest(data=2)
    assert digest(data=[1, {"a": "b"}]) != digest(data=[1, {"a": "c"}])
    assert digest(data=np.arange(3)) == digest(data=np.arange(4))
    assert digest(data=list(range(10**6))) == digest(data=list(range(10**6 + 1)))
    sub = load().Sub
    sub.setup = lambda self, config, width: None
    assert source_digest(tune.with_parameters(sub, width=1)) != source_digest(tune.with_parameters(sub, width=2))


def test_the_call_around_a_lambda_is_no_part_of_it() -> None:
    # fmt: off
    digests = [source_digest(lambda config: config["x"]), source_digest(lambda config: config["x"])]
    digests += [source_digest(lambda config: config["x"])]
    # fmt: on
    assert len(set(digests)) == 1


def test_functions_that_name_each_other_come_to_an_end(load: Any) -> None:
    assert source_digest(load().in_a_loop) == source_digest(load().itself) is not None


def test_what_has_no_source_has_no_fingerprint() -> None:
    namespace: dict[str, Any] = {}
    # Not under the name "<string>": from Python 3.13 on that of `python -c` has a source.
    exec(compile("def made(config): return 1", "<made up>", "exec"), namespace)
    assert source_digest(namespace["made"]) is None
    assert source_digest(len) is None


def test_an_object_that_answers_oddly_keeps_nothing_from_running() -> None:
    class Odd:
        def __call__(self, config: dict[str, Any]) -> float:
            return 1.0

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    assert source_digest(Odd()) is None


def test_a_class_of_this_program_or_of_python_is_nobodys_change(load: Any) -> None:
    class Own(tune.Trainable):
        def step(self) -> dict[str, Any]:
            return {"loss": 1.0, "done": True}

    before = source_digest(Own)
    original, tune.Trainable.cleanup = tune.Trainable.cleanup, lambda self: None  # type: ignore[method-assign]
    try:
        assert source_digest(Own) == before is not None
    finally:
        tune.Trainable.cleanup = original  # type: ignore[method-assign]
