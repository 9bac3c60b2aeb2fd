"""Values that a function of the user makes: `sample_from`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tunesmith.errors import SpaceError
from tunesmith.space.base import Domain
from tunesmith.space.labels import object_label
from tunesmith.space.source import source_text

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class SampleFrom(Domain):
    """What `fn` returns, called with no argument or with the config as far as it is known."""

    fn: Callable[..., Any]

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise SpaceError(
                f"sample_from expected a function, saw {object_label(self.fn)}. "
                "Write sample_from(lambda config: ...), or the value itself as a constant."
            )
        self.takes_config  # noqa: B018  raises now rather than in the first trial

    @cached_property
    def takes_config(self) -> bool:
        """Whether `fn` is called with the config.

        One parameter without a default receives it, and so does one with the default None if the function is written in
        Python. Any other default is how loops bind a variable (`lambda i=i: ...`), and stays. Random functions of
        libraries, with optional parameters (`numpy.random.rand`) or without a signature, are called without argument.
        """
        try:
            parameters = inspect.signature(self.fn).parameters.values()
        except (ValueError, TypeError):
            return False
        required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if len(required) > 1 or any(p.kind is p.KEYWORD_ONLY for p in required):
            raise SpaceError(
                f"sample_from({object_label(self.fn)}): the function needs {', '.join(p.name for p in required)}; "
                "expected at most one positional argument, the config. Bind the others with functools.partial."
            )
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if required:
            return True
        is_python = inspect.isfunction(getattr(self.fn, "__func__", self.fn))
        return is_python and len(positional) == 1 and positional[0].default is None

    @cached_property
    def _source(self) -> str:
        return source_text(self.fn)

    def sample(self, rng: np.random.Generator) -> Any:
        """Refused: the value may depend on the rest of the config, so only a `Space` can draw it."""
        raise SpaceError("a sample_from value is drawn with its whole config. Call Space.sample.")

    def encode(self, value: Any) -> float:
        """Refused: there is no way back from the value to a place in the unit interval."""
        raise SpaceError("a sample_from value has no place in the unit interval. Model the drawn value itself.")

    def decode(self, u: float) -> Any:
        """Refused, like `encode`."""
        raise SpaceError("a sample_from value cannot be made from a number. Call Space.sample.")

    def contains(self, value: Any) -> bool:
        """True: what the function may return is not known."""
        return True

    @property
    def cardinality(self) -> int | None:
        """None: not known."""
        return None

    def describe(self) -> dict[str, Any]:
        """The source text of the function, or its qualified name where the source is not at hand."""
        return {"type": "sample_from", "source": self._source}
