"""What driver and agents tell each other: MessagePack both ways, so that nobody unpickles what came over a network."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from tunesmith.errors import TrainableError, TunesmithError
from tunesmith.events import (
    AnswerReport,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    ReportRefused,
    StartAttempt,
    StopAttempt,
    TrialReported,
)
from tunesmith.executors.attempts import PackedConfig, config_fields

PROTOCOL = 1  #: of these messages and of the agent's methods; driver and agents must have the same

AttemptEvent = AttemptStarted | TrialReported | CheckpointSaved | ReportRefused | AttemptEnded
AttemptCommand = StartAttempt | AnswerReport | StopAttempt


class Happened(msgspec.Struct, tag=True, frozen=True):
    """Agent to driver: what its executor's `wait` returned."""

    events: list[AttemptEvent]


class Broken(msgspec.Struct, tag=True, frozen=True):
    """Agent to driver: its executor can run nothing more."""

    error: str
    is_trainable: bool  #: the user's code is to blame

    def as_error(self) -> TunesmithError:
        """What `wait` raises."""
        return TrainableError(self.error) if self.is_trainable else TunesmithError(self.error)


class Closed(msgspec.Struct, tag=True, frozen=True):
    """Agent to driver: nothing of the experiment runs on the node any more."""


class CarryOut(msgspec.Struct, tag=True, frozen=True):
    """Driver to agent."""

    commands: list[AttemptCommand]


class Close(msgspec.Struct, tag=True, frozen=True):
    """Driver to agent: end all attempts and leave."""


FromAgent = Happened | Broken | Closed
ToAgent = CarryOut | Close

encode = msgspec.msgpack.Encoder().encode
decode_from_agent = msgspec.msgpack.Decoder(FromAgent).decode
_decode_to_agent = msgspec.msgpack.Decoder(ToAgent).decode


def travelling(command: AttemptCommand) -> AttemptCommand:
    """The command as it can be sent: the config packed here, where its objects are. Raises whatever pickling raises."""
    if isinstance(command, StartAttempt):
        return replace(command, config=config_fields(command.config))
    if isinstance(command, AnswerReport) and command.decision.clone is not None:
        return replace(command, decision=replace(command.decision, clone=None))  # the agent starts it when it is told
    return command


def decode_to_agent(body: bytes) -> ToAgent:
    """The message, with its configs left packed."""
    message = _decode_to_agent(body)
    if isinstance(message, Close):
        return message
    return CarryOut([_packed(command) for command in message.commands])


def _packed(command: AttemptCommand) -> AttemptCommand:
    if isinstance(command, StartAttempt):
        return replace(command, config=PackedConfig(command.config))
    return command
