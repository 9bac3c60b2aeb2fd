"""Each trial draws its own random numbers, the same ones whenever the experiment has the same seed."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_SEEDERS: dict[str, Callable[[ModuleType, int], object]] = {
    "numpy.random": lambda module, seed: module.seed(seed % 2**32),
    "torch": lambda module, seed: _seed_torch(module, seed),
}


def _seed_torch(torch: Any, seed: int) -> None:
    """The CPU's generator alone, where there is no GPU: to ask for the others costs 2 ms of each trial."""
    has_gpu = os.environ.get("CUDA_VISIBLE_DEVICES") != "" or sys.platform != "linux"
    (torch if has_gpu else torch.default_generator).manual_seed(seed)


def seed_generators(seed: int) -> None:
    """Seed the generators there are now, and those of NumPy and PyTorch, if not there yet, when they are imported."""
    random.seed(seed)
    missing = []
    for name, seeder in _SEEDERS.items():
        if name in sys.modules:
            seeder(sys.modules[name], seed)
        else:
            missing.append(name)
    if missing:
        sys.meta_path.insert(0, _SeedAtImport(seed, missing))


class _SeedAtImport:
    """Finds the modules as the interpreter does, and has them seeded when they are loaded."""

    def __init__(self, seed: int, names: list[str]) -> None:
        self._seed, self._names = seed, names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        if name not in self._names:
            return None
        self._names.remove(name)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            load: Callable[[ModuleType], Any] = spec.loader.exec_module

            def load_and_seed(module: ModuleType) -> None:
                load(module)
                _SEEDERS[name](module, self._seed)

            spec.loader.exec_module = load_and_seed  # type: ignore[method-assign]
        return spec
