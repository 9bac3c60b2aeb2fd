"""What ends a simulated driver, or a whole simulation. Not exceptions that anybody between could swallow."""

from __future__ import annotations


class Violation(BaseException):
    """Something that must never be was seen. `kind` names the invariant."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text = kind, text

    def __reduce__(self) -> tuple[type[Violation], tuple[str, str]]:
        return Violation, (self.kind, self.text)  # it comes back from other processes


class DriverCrash(BaseException):
    """The driver's process is gone, at the named place."""

    def __init__(self, where: str, *, is_power_loss: bool = False) -> None:
        super().__init__(where)
        self.is_power_loss = is_power_loss


class AppendError(Exception):
    """The disk refused: an append raised, and whether it was stored the driver cannot know."""


def require(holds: bool, kind: str, text: str) -> None:
    """Raise a Violation unless it holds."""
    if not holds:
        raise Violation(kind, text)
