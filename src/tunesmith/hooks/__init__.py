"""`Callback`: what an experiment does, told trial by trial under Ray Tune's hook names; and who tells it."""

from tunesmith.hooks.callback import Callback, LoggerCallback
from tunesmith.hooks.caller import ForgivingCaller, HookCaller
from tunesmith.hooks.live_trial import LiveTrial

__all__ = ["Callback", "ForgivingCaller", "HookCaller", "LiveTrial", "LoggerCallback"]
