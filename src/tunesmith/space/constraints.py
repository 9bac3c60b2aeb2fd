"""Which configs of a space are allowed, where its domains alone cannot say: predicates of the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from tunesmith.errors import SpaceError
from tunesmith.rng import derived_seed
from tunesmith.space.labels import one_line
from tunesmith.space.source import source_text

#: Called with a config; true where it is allowed.
Constraint: TypeAlias = Callable[[dict[Any, Any]], Any]

#: After so many draws in a row that broke a constraint, the allowed part is taken to be empty.
MAX_DRAWS = 10_000


def parse_constraints(constraints: Any) -> tuple[Constraint, ...]:
    """One predicate or several, checked.

    Raises: SpaceError if one cannot be called.
    """
    several = (constraints,) if callable(constraints) else tuple(constraints or ())
    for constraint in several:
        if not callable(constraint):
            raise SpaceError(f"A constraint is {constraint!r}. Give a function of a config: lambda c: c['a'] < c['b'].")
    return several


def broken_constraint(constraints: Sequence[Constraint], config: dict[Any, Any]) -> Constraint | None:
    """The first constraint that the config breaks, None if it is allowed.

    Raises: SpaceError if a constraint itself fails: then it says nothing about the config.
    """
    for constraint in constraints:
        try:
            is_allowed = bool(constraint(config))
        except Exception as error:
            raise SpaceError(
                f"The constraint {_words(constraint)} raised {type(error).__name__}: {error}. "
                f"The config was {one_line(repr(config), 300)}. Mend the function; leaves of options that were not "
                "chosen are not in a config."
            ) from error
        if not is_allowed:
            return constraint
    return None


def check_constraints(constraints: Sequence[Constraint], config: dict[Any, Any]) -> None:
    """Raise SpaceError if the config breaks one."""
    if constraints and (broken := broken_constraint(constraints, config)) is not None:
        raise SpaceError(f"The config {one_line(repr(config), 300)} breaks the constraint {_words(broken)}.")


def redrawn(seed: int, attempt: int) -> int:
    """The seed of the next draw for a sample whose earlier draws were not allowed; the first is the seed itself."""
    return seed if attempt == 0 else derived_seed(seed, "constraints", attempt)


def never_met(constraints: Sequence[Constraint], config: dict[Any, Any], fixed: Mapping[Any, Any]) -> SpaceError:
    """The error where no draw was allowed."""
    broken = broken_constraint(constraints, config)
    which = "" if broken is None else f"; the last one broke {_words(broken)}"
    where = " at one point of its grid" if fixed else ""
    return SpaceError(
        f"None of {MAX_DRAWS:,} configs drawn from the space{where} met its constraints{which}. "
        "Narrow the domains to where the constraints can hold."
    )


def _words(constraint: Constraint) -> str:
    return repr(one_line(source_text(constraint), 200))
